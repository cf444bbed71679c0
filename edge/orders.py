"""Which orders this node has ever taken, and what a new list of the broker changes."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from broker.errors import RequestError
from edge.files import make_folder, settle, write_file
from edge.runner import Work
from edge.spool import Spool

KEPT = 50  # delivered orders whose files stay on disk
log = logging.getLogger("broker.edge")
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class Known:
    """Ids by where they stand on this node. `running` ones have a runner at work."""

    running: Collection[str] = ()
    ended: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do now."""

    start: tuple[Work, ...] = ()
    refuse: tuple[Work, ...] = ()  # no longer wanted before they began
    stop: tuple[str, ...] = ()
    tell: tuple[str, ...] = ()  # ended here, but the broker does not know yet


def changes(listed: Iterable[tuple[Work, bool]], known: Known) -> Changes:
    """Pure. `listed`: every order of this node that is open for the broker, and if it is wanted.

    A running order that is not listed has ended for the broker, whatever we think: it may run
    elsewhere by now, so it is stopped.
    """
    listed = list(listed)
    wanted = {work.id for work, wish in listed if wish}
    fresh = [
        (work, wish)
        for work, wish in listed
        if work.id not in known.running and work.id not in known.ended
    ]
    return Changes(
        start=tuple(work for work, wish in fresh if wish),
        refuse=tuple(work for work, wish in fresh if not wish),
        stop=tuple(sorted(set(known.running) - wanted)),
        tell=tuple(work.id for work, _ in listed if work.id in known.ended),
    )


class OrderBook:
    """The folder of orders. An order is in the book before it starts, and in it for ever."""

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._spools: dict[str, Spool] = {}
        self._old: set[str] = set()
        for path in sorted(folder.iterdir()):
            if (path / "ended").exists():
                self._old.add(path.name)
            elif (path / "order.json").exists():
                self._spools[path.name] = Spool(path, wake)

    def take(self, work: Work) -> Spool | None:
        """Write the order down; None when it was taken before. RequestError: its id is no id."""
        if not _ID.fullmatch(work.id):
            raise RequestError(f"`{work.id[:100]}` is no id of an order", code="EDG009")
        if work.id in self._spools or work.id in self._old:
            return None
        folder = make_folder(self._folder / work.id)
        write_file(folder / "order.json", json.dumps(asdict(work)).encode())
        settle(self._folder)
        self._spools[work.id] = Spool(folder, self._wake)
        return self._spools[work.id]

    def files(self, order_id: str) -> Path:
        """Where the order's processes work."""
        return make_folder(self._folder / order_id / "files")

    def spool(self, order_id: str) -> Spool | None:
        """None for an order whose files were deleted long after it was delivered."""
        return self._spools.get(order_id)

    def spools(self) -> list[Spool]:
        return list(self._spools.values())

    def ended(self) -> set[str]:
        done = {spool.order_id for spool in self.spools() if spool.ended}
        return done | self._old

    def unfinished(self) -> list[Spool]:
        """Orders without a final state: after a start of the agent, those that it died with."""
        return [spool for spool in self.spools() if not spool.ended]

    def prune(self, keep: int = KEPT) -> None:
        """Delete the files of the oldest delivered orders. Their ids stay in the book."""
        done = sorted(spool.order_id for spool in self.spools() if spool.delivered)
        for order_id in done[: max(0, len(done) - keep)]:
            (self._folder / order_id / "ended").touch()
            self._old.add(order_id)
            del self._spools[order_id]
            _clear(self._folder / order_id)


def _clear(folder: Path) -> None:
    settle(folder)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "ended":
            path.unlink(missing_ok=True)
