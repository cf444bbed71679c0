"""What runs at a hospital. The path of the data is the node's own; no message names one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hospitals import model

app = ClientApp()


def rows(context: Context) -> tuple[np.ndarray, np.ndarray]:
    with np.load(Path(str(context.node_config["data-path"])), allow_pickle=False) as data:
        return data["x"], data["y"]


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Once, at the start: sums for the common scale, and the model this site would have alone."""
    x, y = rows(context)
    sums = model.moments(x)
    content = RecordDict(
        {
            "moments": ArrayRecord([np.array([sums.count]), sums.total, sums.squares]),
            "alone": ArrayRecord(model.alone(x, y)),
        }
    )
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """A few steps from the common model over this site's rows."""
    x, y = rows(context)
    config = message.content["config"]
    scale = model.Scale(np.array(config["mean"]), np.array(config["spread"]))
    weights = model.improve(
        message.content["arrays"].to_numpy_ndarrays(),
        scale.of(x),
        y,
        int(context.run_config["local-steps"]),
        float(context.run_config["regularisation"]),
    )
    content = RecordDict(
        {
            "arrays": ArrayRecord(weights),
            "metrics": MetricRecord(
                {"num-examples": len(y), "loss": model.loss(weights, scale.of(x), y)}
            ),
        }
    )
    return Message(content, reply_to=message)
