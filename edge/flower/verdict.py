"""Whether a federation has learnt anything, from the ServerApp's own record. Pure.

`result.json` in the artifact folder, written last and at once:

    {"history": [{"round": 1, "aggregated": true, "sites": ["oslo", "berlin"], ...}, ...],
     "metrics": {...}}

`rounds.jsonl` beside it grows by one line `{"kind": "round", ...}` for every round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker.model import OrderState

RESULT = "result.json"
ROUNDS = "rounds.jsonl"
LINE_LIMIT = 64 * 1024


def aggregated(result: dict[str, Any], min_sites: int) -> int:
    """How many rounds made a new model out of at least `min_sites` sites' updates."""
    return sum(
        1
        for item in result.get("history", ())
        if item.get("aggregated") and len(set(item.get("sites", ()))) >= min_sites
    )


def judge(result: dict[str, Any] | None, rounds: int, min_sites: int) -> tuple[OrderState, str]:
    if result is None:
        return OrderState.FAILED, "the app ended without a result record"
    done = aggregated(result, min_sites)
    words = f"{done} of {rounds} rounds aggregated from at least {min_sites} sites"
    return (OrderState.SUCCEEDED if done >= rounds else OrderState.FAILED), words


def read_result(folder: Path) -> dict[str, Any] | None:
    """None as long as there is none, and for a file that is no JSON object with a history."""
    try:
        value = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("history"), list) else None


class Records:
    """The lines of `rounds.jsonl` as they come. Lines that are no JSON object are passed over."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROUNDS
        self._offset = 0

    def new(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except OSError:
            return
        whole = fresh.rfind(b"\n") + 1
        self._offset += whole
        for line in fresh[:whole].splitlines():
            value = _object(line)
            if value is not None:
                yield value


def _object(line: bytes) -> dict[str, Any] | None:
    if len(line) > LINE_LIMIT:
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
