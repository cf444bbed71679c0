"""A Flower app folder as one bundle (FAB): the same bytes for the same files, on any machine.

A bundle is a zip of the app's `pyproject.toml` first, its other files by name, and `.info/CONTENT`
with the SHA-256 and the size in bits of each. It is made here without flwr for plain apps; an app
with rules of its own for what goes in (`fab-include`, `fab-exclude`, a `.gitignore`) is bundled by
flwr, which alone knows them to the letter.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from broker.errors import UsageError

LIMIT = 10 * 1024 * 1024  # what a SuperLink takes
MANIFEST = "pyproject.toml"
_DATE = (2024, 10, 1, 0, 0, 0)
_KINDS = frozenset({".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl"})
_NOT_FOLDERS = frozenset(
    {"__pycache__", "build", "eggs", "lib", "lib64", "parts", "env", "venv", "ENV"}
)
ROUNDS_KEY = "num-server-rounds"
Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class App:
    """A bundle with what its manifest says. `config` is what a run may override."""

    name: str
    fab: bytes
    config: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.fab).hexdigest()

    def spec(self) -> dict[str, Any]:
        """As a superlink order carries it: plain JSON."""
        fab = base64.b64encode(self.fab).decode("ascii")
        return {"name": self.name, "sha256": self.sha256, "fab_b64": fab}


def build(folder: Path) -> App:
    """UsageError: no Flower app is in the folder, or it is too large."""
    manifest = _manifest(folder)
    flower = manifest["tool"]["flwr"]["app"]
    own_rules = (folder / ".gitignore").exists() or {"fab-include", "fab-exclude"} & flower.keys()
    fab = _by_flower(folder) if own_rules else _bundle(folder)
    if len(fab) > LIMIT:
        raise UsageError(
            f"the app's bundle has {len(fab)} bytes, at most {LIMIT} are taken",
            code="FED030",
            hint="keep data and models out of the app's folder",
        )
    return App(manifest["project"]["name"], fab, dict(_flat(flower.get("config", {}))))


def overrides(app: App, rounds: int, run_config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The run's configuration: the file's values, and the rounds where the app declares them.

    UsageError: a key that the app's `[tool.flwr.app.config]` does not declare; Flower refuses it.
    """
    unknown = sorted(run_config.keys() - app.config.keys())
    if unknown:
        raise UsageError(
            f"the app `{app.name}` declares no setting `{unknown[0]}`",
            code="FED032",
            hint=f"declared: {', '.join(sorted(app.config)) or 'none'}",
        )
    counted = {ROUNDS_KEY: rounds} if ROUNDS_KEY in app.config else {}
    return {**counted, **run_config}


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        components = manifest["tool"]["flwr"]["app"]["components"]
        complete = {"serverapp", "clientapp"} <= components.keys() and manifest["project"]["name"]
    except OSError as exc:
        raise UsageError(f"no Flower app in `{folder}`: no {MANIFEST}", code="FED031") from exc
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise UsageError(f"`{path}` is not a Flower app's: {exc!r}", code="FED031") from exc
    if not complete:
        raise UsageError(f"`{path}` names no serverapp and clientapp", code="FED031")
    return manifest


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Scalar]]:
    """Tables joined by dots, as Flower names them."""
    found: list[tuple[str, Scalar]] = []
    for key, value in config.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _bundle(folder: Path) -> bytes:
    files = {MANIFEST: (folder / MANIFEST).read_bytes()}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST and _belongs(path, name):
            files[name] = path.read_bytes()
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            _add(bundle, name, content)
        _add(bundle, ".info/CONTENT", "\n".join(map(_line, files, files.values())).encode())
    return buffer.getvalue()


def _belongs(path: Path, name: str) -> bool:
    """As Flower's built-in rules, and no hidden folder, and no link out of the app."""
    *folders, last = name.split("/")
    if path.is_symlink() or not path.is_file():
        return False
    if any(part.startswith(".") or part in _NOT_FOLDERS for part in folders):
        return False
    if last.startswith("test_") or last.endswith("_test.py"):
        return False
    return path.suffix in _KINDS or name in {"LICENSE", "LICENSE.md"}


def _add(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3  # the same on every system
    info.external_attr = 0o644 << 16
    bundle.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)


def _line(name: str, content: bytes) -> str:
    return f"{name},{hashlib.sha256(content).hexdigest()},{len(content) * 8}"


def _by_flower(folder: Path) -> bytes:
    try:
        from flwr.cli.build import build_fab_from_disk
    except ImportError as exc:
        raise UsageError(
            "this app says itself what goes into its bundle; flwr is needed to make it",
            code="FED033",
            hint="pip install 'fedbroker[fed]'",
        ) from exc
    try:
        return bytes(build_fab_from_disk(folder))
    except ValueError as exc:
        raise UsageError(f"Flower cannot bundle `{folder}`: {exc}", code="FED031") from exc
