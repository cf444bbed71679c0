"""Packages that load their parts when they are asked for still say what they do not have."""

from __future__ import annotations

from importlib import import_module

import pytest

PACKAGES = ("broker.model", "broker.policy", "broker.catalog")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_that_a_package_offers_is_there(name: str) -> None:
    package = import_module(name)
    assert all(getattr(package, each) is not None for each in package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_that_no_part_has_is_refused(name: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = import_module(name).nothing
