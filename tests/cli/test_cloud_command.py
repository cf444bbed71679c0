"""A cloud that cannot be leased from is refused before it stands in the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["gcp", "azure", "mars", "mars@lab"])
def test_a_cloud_without_a_provider_cannot_be_enabled(
    name: str, broker: Callable, home: Path
) -> None:
    done = broker("cloud", "enable", name, "-o", "json")
    assert (done.code, done.json["error"]["code"]) == (2, "USE008")
    assert not (home / "config.yaml").exists()


def test_enabling_and_disabling_a_cloud_is_seen_in_the_list(broker: Callable) -> None:
    assert broker("cloud", "enable", "aws@lab", "--region", "eu-north-1").code == 0
    (one,) = broker("cloud", "list", "-o", "json").json["data"]
    assert (one["name"], one["provider"], one["regions"]) == ("aws@lab", "aws", ["eu-north-1"])
    assert broker("cloud", "disable", "aws@lab").code == 0
    assert broker("cloud", "list", "-o", "json").json["data"] == []
    assert broker("cloud", "disable", "aws@lab").code == 10
