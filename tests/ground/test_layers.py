"""Who may import whom, read from the sources: decisions stay pure, borders stay where they are drawn."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEAMS = {"broker.model", "broker.errors", "broker.ports", "broker.diagnostics"}
PURE = {
    "broker/model": {"broker.model"},
    "broker/errors.py": {"broker.diagnostics", "broker.model"},
    "broker/diagnostics.py": {"broker.model"},
    "broker/ports.py": {"broker.model"},
    "broker/codec.py": set(),
    "broker/actions.py": SEAMS,
    "broker/converge.py": SEAMS | {"broker.actions"},
    "broker/planned.py": SEAMS | {"broker.codec", "broker.ids"},
    "broker/sweep.py": SEAMS | {"broker.ids"},
    "broker/runs.py": SEAMS | {"broker.actions", "broker.codec", "broker.converge", "broker.ids"},
    "broker/ids.py": set(),
    "broker/reservations.py": {"broker.model"},
    "broker/policy": SEAMS | {"broker.policy"},
    "broker/place": SEAMS | {"broker.place"},
}
IMPURE_STDLIB = {
    "asyncio",
    "http",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}
SDKS = ["boto3", "botocore", "flwr", "fastapi", "numpy", "moto", "libcloud", "google", "azure"]


def sources(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        path = ROOT / room
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def imports(path: Path, *, at_top: bool = False) -> set[str]:
    """Modules that a file imports, outside `if TYPE_CHECKING`; `at_top`: only when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if at_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            found.add(node.module or "")
        todo.extend(ast.iter_child_nodes(node))
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in {"broker", "providers", "edge"}}


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("room", sorted(PURE))
def test_a_pure_room_imports_only_what_is_pure(room: str) -> None:
    for path in sources(room):
        found = imports(path)
        strangers = {name for name in ours(found) if not within(name, PURE[room])}
        assert not strangers, f"{path} imports {strangers}"
        effects = {name for name in found if name.split(".")[0] in IMPURE_STDLIB}
        # a policy is read from files by one loader function; the rest of the room never sees a path
        effects -= {"pathlib"} if path.name == "load.py" else set()
        assert not effects, f"{path} imports {effects}"


def test_providers_see_only_the_seams_and_never_the_edge() -> None:
    for path in sources("providers"):
        strangers = {
            name for name in ours(imports(path)) if not within(name, SEAMS | {"providers"})
        }
        assert not strangers, f"{path} imports {strangers}"


def test_the_edge_sees_only_the_seams_and_never_providers() -> None:
    for path in sources("edge"):
        found = ours(imports(path)) - {"broker"}  # the bare package only says where it lies
        strangers = {name for name in found if not within(name, SEAMS | {"edge"})}
        assert not strangers, f"{path} imports {strangers}"


def test_only_the_composition_root_knows_providers_by_name() -> None:
    allowed = {"cli", "sandbox"}
    for path in sources("broker"):
        if path.relative_to(ROOT / "broker").parts[0] in allowed:
            continue
        strangers = {n for n in imports(path) if n.split(".")[0] in {"providers", "edge"}}
        assert not strangers, f"{path} imports {strangers}"


def test_no_module_outside_the_command_imports_the_command() -> None:
    for path in sources("broker", "providers", "edge"):
        if "cli" in path.relative_to(ROOT).parts:
            continue
        assert not {n for n in imports(path) if n.startswith("broker.cli")}, path


def test_no_package_imports_an_sdk_before_it_is_used() -> None:
    for path in sources("broker", "providers", "edge"):
        if "sandbox" in path.parts or "flower" in path.parts:
            continue
        heavy = {n for n in imports(path, at_top=True) if n.split(".")[0] in SDKS}
        assert not heavy, f"{path} imports {heavy} at its top"


def loaded_by(*arguments: str) -> set[str]:
    """Top-level packages loaded by one run of the command."""
    probe = (
        "import sys; from broker.cli.main import run; run(sys.argv[1:]);"
        "print('\\nLOADED ' + ' '.join(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rsplit("LOADED ", 1)[1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    heavy = {*SDKS, "pydantic", "sqlalchemy", "ruamel", "starlette", "uvicorn", "cryptography"}
    assert not loaded_by(*arguments) & heavy


def test_the_check_for_heavy_modules_can_fail() -> None:
    """Control: the probe does see a package that is loaded."""
    assert "typer" in loaded_by("--version")
