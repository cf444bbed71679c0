"""The docs say what the code says: error codes, exit codes, commands, files."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from broker import errors
from broker.cli.main import Commands
from broker.documents.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for room in ("broker", "providers", "edge") for path in (ROOT / room).rglob("*.py")]
CODE = re.compile(r"[\"']([A-Z]{2,3}\d{3})[\"']")
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


ACCELERATORS = {"AI100", "GB200"}  # names that look like codes


def codes_in_sources() -> set[str]:
    found = {code for path in SOURCES for code in CODE.findall(path.read_text(encoding="utf-8"))}
    return found - ACCELERATORS


def test_every_error_code_has_a_line_in_the_docs_and_no_line_is_stale() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| ([A-Z]{2,3}\d{3}) \|", text, flags=re.MULTILINE))
    assert documented == codes_in_sources() | CODES.keys()


def test_every_exit_code_of_the_error_tree_is_documented() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    tree = [
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, errors.BrokerError)
    ]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    assert {one.exit_code for one in tree} <= documented


def test_the_readme_lists_every_command_with_its_help() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, entry in Commands.table.items():
        if not entry.hidden:
            assert re.search(rf"^broker {name} +{re.escape(entry.help)}$", text, re.MULTILINE), name


def test_every_link_in_the_docs_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_file_is_valid(path: Path) -> None:
    from broker.documents.policies import load_policies
    from broker.documents.task import load_task

    if path.read_text().startswith("#") and "\npolicy:" in path.read_text():
        assert load_policies([path]).rules
    else:
        assert load_task(path).demand.name
