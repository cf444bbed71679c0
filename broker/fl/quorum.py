"""A quorum for any of Flower's strategies: below it the old model stays.

    class Average(Quorum, FedAvg):
        def measure(self, arrays): return {"accuracy": ...}

Without one, a round in which a single site answers releases that site's update as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from broker.fl.book import Round
from broker.fl.grid import Federation

REASON_LIMIT = 200


class Quorum:
    """Mixed in before a strategy. Asks every site in every round; writes the round's line."""

    def __init__(self, federation: Federation, **options: Any) -> None:
        super().__init__(
            **{
                "fraction_evaluate": 0.0,
                "min_train_nodes": 1,
                "min_available_nodes": 1,
                **options,
            }
        )
        self.federation = federation
        self._model: Any = None
        self._began = 0.0

    def measure(self, arrays: Any) -> dict[str, float]:  # noqa: ARG002 - for subclasses
        """What is known of a model, e.g. its accuracy on held-out data. Nothing by default."""
        return {}

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        """No messages while nobody is there: Flower's own choice of sites would wait for ever."""
        self._began, self._model = time.monotonic(), arrays
        if not self.federation.online():
            return []
        return super().configure_train(  # type: ignore[misc]
            server_round, arrays, config, grid
        )

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        answers = list(replies)
        good = [reply for reply in answers if not reply.has_error()]
        sites = sorted(self.federation.site(reply) for reply in good)
        arrays = metrics = None
        if len(set(sites)) >= self.federation.terms.min_sites:
            arrays, metrics = super().aggregate_train(server_round, good)  # type: ignore[misc]
        model = self._model if arrays is None else arrays
        self.federation.book.add(
            Round(
                server_round,
                sites,
                aggregated=arrays is not None,
                seconds=time.monotonic() - self._began,
                failed=self._failed(answers, sites),
                metrics=self.measure(model),
            )
        )
        return arrays, metrics

    def _failed(self, answers: list[Any], sites: list[str]) -> dict[str, str]:
        wrong = {
            self.federation.site(reply): str(reply.error.reason)[:REASON_LIMIT]
            for reply in answers
            if reply.has_error()
        }
        silent = {name: "no answer in time" for name in self.federation.asked if name not in sites}
        return {**silent, **wrong}
