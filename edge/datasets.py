"""What a node tells of its data: a name, how many rows, and a hash of the columns. Never a row.

A CSV has a header; its rows are records, so a line break inside quotes counts for none. A column is
"number" when every cell that is not empty is one, else "text". An npz counts the leading dimension
that its arrays share. The hash is over the sorted names with their types, so that two nodes with
the same columns show the same hash.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from broker.errors import BrokerError, UsageError
from broker.model import Dataset

MAX_HEADER = 64 * 1024
MAX_CELL = 16 * 1024 * 1024
log = logging.getLogger("broker.edge")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class DatasetBook:
    """The data sets of a node. A file is read again only when it has changed."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)
        self._seen: dict[str, tuple[tuple[int, int], Dataset | None]] = {}

    def facts(self) -> list[Dataset]:
        """Of every file that can be read now; what cannot be is said in the log."""
        found = (self._fact(name, path) for name, path in sorted(self.paths.items()))
        return [fact for fact in found if fact]

    def _fact(self, name: str, path: Path) -> Dataset | None:
        try:
            stat = path.stat()
        except OSError as error:
            log.warning("data set %s: %s", name, error)
            return None
        mark = (stat.st_mtime_ns, stat.st_size)
        if name not in self._seen or self._seen[name][0] != mark:
            self._seen[name] = (mark, _readable(name, path))
        return self._seen[name][1]


def parse(words: Iterable[str]) -> dict[str, Path]:
    """From `NAME=PATH` each. UsageError EDG007 says which is wrong."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        path = Path(place).expanduser().absolute()
        if not equals or not _NAME.fullmatch(name):
            raise _unusable(f"`{word}` is not NAME=PATH")
        if name in found:
            raise _unusable(f"`{name}` is given twice")
        if path.suffix not in (".csv", ".npz"):
            raise _unusable(f"{path} is neither .csv nor .npz")
        if not path.is_file():
            raise _unusable(f"{path} is no file")
        found[name] = path
    return found


def fact_of(name: str, path: Path) -> Dataset:
    """Count and hash one file. UsageError EDG007: it is not what its name says."""
    read = _csv if path.suffix == ".csv" else _npz
    try:
        rows, columns = read(path)
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile, SyntaxError) as exc:
        raise _unusable(f"{path} cannot be read: {exc}") from exc
    return Dataset(name=name, rows=rows, schema_hash=schema_hash(columns))


def schema_hash(columns: Mapping[str, str]) -> str:
    canonical = json.dumps(sorted(columns.items()), separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _readable(name: str, path: Path) -> Dataset | None:
    try:
        return fact_of(name, path)
    except BrokerError as error:
        log.warning("data set %s: %s", name, error.message)
        return None


def _csv(path: Path) -> tuple[int, dict[str, str]]:
    csv.field_size_limit(MAX_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if not header:
            raise ValueError("it has no header")
        rows, numeric = 0, set(range(len(header)))
        for record in reader:
            if not record:
                continue  # an empty line is no record
            rows += 1
            numeric -= {
                place for place in numeric if place < len(record) and not _number(record[place])
            }
    return rows, {
        name: "number" if place in numeric else "text" for place, name in enumerate(header)
    }


def _number(cell: str) -> bool:
    try:
        return not cell.strip() or bool(float(cell)) or True
    except ValueError:
        return False


def _npz(path: Path) -> tuple[int, dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        headers = {}
        for member in members:
            with archive.open(member) as file:
                headers[member.removesuffix(".npy")] = _npy_header(file)
    lengths = {shape[0] for _, shape in headers.values() if shape}
    if len(lengths) != 1:
        raise ValueError(f"its arrays do not share one leading dimension: {sorted(lengths)}")
    columns = {name: f"{kind}{list(shape[1:])}" for name, (kind, shape) in headers.items()}
    return lengths.pop(), columns


def _npy_header(file: IO[bytes]) -> tuple[str, tuple[int, ...]]:
    """Type and shape as the array's own header tells them; not one value is read."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("a member is no array")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_HEADER:
        raise ValueError("the header of an array is too long")
    said: Any = ast.literal_eval(file.read(length).decode("latin-1").strip())
    return str(said["descr"]), tuple(int(size) for size in said["shape"])


def _unusable(why: str) -> UsageError:
    return UsageError(
        f"data set: {why}", code="EDG007", hint="e.g. --dataset scans=/data/scans.csv"
    )
