"""Providers are found by kind, imported only when asked for, and a missing SDK is named."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from broker.errors import UsageError
from broker.ports import Provider
from providers import registry


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "providers.local:connect", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_the_table_builds_what_it_names(tmp_path: Path) -> None:
    local = registry.build("local", {"name": "here", "folder": str(tmp_path), "owner": "me"})
    aws = registry.build("aws", {"name": "aws", "regions": ["us-east-1"], "owner": "me"})
    for provider, name in ((local, "here"), (aws, "aws")):
        assert isinstance(provider, Provider)
        assert provider.name == name
    assert list(aws.offers()) == []


@pytest.mark.usefixtures("plugged")
def test_others_join_by_an_entry_point(tmp_path: Path) -> None:
    settings = {"name": "x", "folder": str(tmp_path), "owner": "me"}
    assert registry.build("mine", settings).name == "x"
    assert registry.kinds() == ["aws", "local", "mine"]


def test_an_unknown_kind_says_what_is_known() -> None:
    with pytest.raises(UsageError) as error:
        registry.build("azur", {})
    assert error.value.hint == "known: aws, local"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("local", {"name": "x"}),
        ("local", {"name": "x", "folder": "y", "owner": "me", "colour": "red"}),
        ("aws", {"name": "x", "regions": ["us-east-1"], "owner": "me", "colour": "red"}),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        registry.build(kind, settings)


def test_a_missing_sdk_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UsageError, match="boto3") as error:
        registry.build("aws", {"name": "aws", "regions": ["us-east-1"], "owner": "me"})
    assert error.value.hint == 'pip install "fedbroker[aws]"'


def test_neither_the_table_nor_the_module_imports_an_sdk() -> None:
    code = (
        "import sys, providers.registry, providers.aws, providers.local;"
        "sys.exit(any(name in sys.modules for name in ('boto3', 'botocore', 'moto')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
