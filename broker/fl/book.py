"""The record of a federation: one line for every round, and a result that is written last.

Both lie in the artifact folder that the broker names. A run counts by this record alone: by the
rounds that aggregated enough sites, never by how its process ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

RESULT = "result.json"
ROUNDS = "rounds.jsonl"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the broker asks of a run. `artifacts` is where files outlive the ServerApp."""

    artifacts: Path
    rounds: int
    min_sites: int

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Without a broker, in a trial by hand: three rounds, one site, files in `artifacts`."""
        return cls(
            Path(environ.get("BROKER_ARTIFACTS", "artifacts")),
            int(environ.get("BROKER_ROUNDS", "3")),
            int(environ.get("BROKER_MIN_SITES", "1")),
        )


@dataclass(slots=True)
class Round:
    """How one round went. `failed` maps the sites that brought nothing to why not."""

    number: int
    sites: list[str]
    aggregated: bool
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # e.g. loss, accuracy

    def line(self) -> dict[str, Any]:
        return {
            "kind": "round",
            "round": self.number,
            "sites": self.sites,
            "aggregated": self.aggregated,
            "seconds": round(self.seconds, 3),
            **({"failed": self.failed} if self.failed else {}),
            **self.metrics,
        }


class Book:
    """Keeps the lines and writes the result. One per run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines: list[dict[str, Any]] = []

    def add(self, item: Round) -> None:
        self.note(item.line())
        self._lines.append(item.line())

    def note(self, item: Mapping[str, Any]) -> None:
        """Any other record for whoever watches; `kind` says what it is."""
        with (self._folder / ROUNDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(item) + "\n")

    def close(self, metrics: Mapping[str, Any]) -> None:
        """Write the result; the run is over with this. It appears whole or not at all."""
        result = {
            "rounds": sum(1 for line in self._lines if line["aggregated"]),
            "history": self._lines,
            "metrics": dict(metrics),
        }
        draft = self._folder / f"{RESULT}.draft"
        draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        draft.replace(self._folder / RESULT)
