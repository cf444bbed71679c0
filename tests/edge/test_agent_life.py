"""An agent's life: what is ordered happens once, and the broker hears all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from broker.model import ENDED, Node, NodeState, OrderState


def alive(text: str) -> list[int]:
    """Processes whose command line holds the text, outside of this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line:
                found.append(int(entry.name))
    return found


def test_a_node_enrols_and_tells_what_it_has(world, tmp_path):
    data = tmp_path / "scans.csv"
    data.write_text("age,group\n41,a\n52,b\n")
    world.start(
        *(tmp_path / "home", "--label", "ward=7", "--country", "no", "--dataset", f"scans={data}"),
        join=world.invite(),
    )
    node = world.online()
    assert (node.name, node.country) == ("node-1", "NO")
    assert node.labels["ward"] == "7"
    assert node.address == "127.0.0.1"
    assert node.capacity.vcpus >= 1
    assert node.capacity.memory_gib > 0
    assert [(held.name, held.rows) for held in node.datasets] == [("scans", 2)]
    assert node.datasets[0].schema_hash.startswith("sha256:")


def test_an_order_runs_and_its_log_arrives(world, tmp_path):
    world.start(tmp_path / "home", join=world.invite())
    node = world.online()
    order = world.order(node, "echo hello $WHO; echo $BROKER_ORDER; pwd", envs={"WHO": "world"})
    done = world.ended(order)
    assert (done.state, done.exit_code) == (OrderState.SUCCEEDED, 0), done.detail
    folder = tmp_path / "home" / "orders" / order.id / "files"
    assert world.log(order).decode() == f"hello world\n{order.id}\n{folder}\n"
