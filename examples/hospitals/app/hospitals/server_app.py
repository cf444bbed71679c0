"""What runs at the aggregator: it sees sums, models and the public held-out quarter, no row."""

from __future__ import annotations

import json
import os
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from broker.fl import Federation, Quorum, Terms
from hospitals import model

HELD_OUT = Path(__file__).with_name("held_out.json")
app = ServerApp()


class Average(Quorum, FedAvg):
    """FedAvg, weighted by each site's rows, measured on the held-out quarter after every round."""

    def __init__(self, federation: Federation, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(federation)
        self.x, self.y = x, y

    def measure(self, arrays: ArrayRecord) -> dict[str, float]:
        weights = arrays.to_numpy_ndarrays()
        return {
            "loss": model.loss(weights, self.x, self.y),
            "accuracy": model.accuracy(weights, self.x, self.y),
        }


def held_out() -> tuple[np.ndarray, np.ndarray]:
    data = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    return np.array(data["x"]), np.array(data["y"])


def common_scale(replies: list[Message]) -> model.Scale:
    arrays = [reply.content["moments"].to_numpy_ndarrays() for reply in replies]
    parts = [model.Moments(float(count[0]), total, squares) for count, total, squares in arrays]
    return reduce(add, parts).scale()


@app.main()
def main(grid: Grid, context: Context) -> None:
    timeout_s = float(context.run_config["round-timeout"])
    federation = Federation(grid, Terms.from_environ(os.environ), timeout_s=timeout_s)
    x, y = held_out()
    described = [
        reply for reply in federation.ask(MessageType.QUERY, RecordDict()) if not reply.has_error()
    ]
    if len(described) < federation.terms.min_sites:
        raise RuntimeError(f"only {len(described)} sites described their data")
    per_site = {
        federation.site(reply): model.accuracy(reply.content["alone"].to_numpy_ndarrays(), x, y)
        for reply in described
    }
    scale = common_scale(described)
    federation.book.note({"kind": "alone", "accuracy": per_site})
    strategy = Average(federation, scale.of(x), y)
    found = strategy.start(
        grid=federation,
        initial_arrays=ArrayRecord(model.zeros()),
        num_rounds=federation.terms.rounds,
        timeout=timeout_s,
        train_config=ConfigRecord({"mean": scale.mean.tolist(), "spread": scale.spread.tolist()}),
    )
    finish(federation, strategy, (found.arrays, scale), per_site)


def finish(
    federation: Federation,
    strategy: Average,
    learnt: tuple[ArrayRecord, model.Scale],
    per_site: dict[str, float],
) -> None:
    arrays, scale = learnt
    weights = arrays.to_numpy_ndarrays()
    np.savez(
        federation.terms.artifacts / "model.npz",
        weights=weights[0],
        intercept=weights[1],
        mean=scale.mean,
        spread=scale.spread,
    )
    measured = strategy.measure(arrays)
    federation.book.close(
        {
            "global_accuracy": measured["accuracy"],
            "global_loss": measured["loss"],
            "best_single_site_accuracy": max(per_site.values()),
            "per_site": per_site,
        }
    )
