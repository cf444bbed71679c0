"""The real thing: Flower's own processes on three sites and an aggregator, over mutual TLS.

Slow, and the only proof that the pinned Flower still does what the adapter believes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from broker.errors import RequestError
from broker.federation.app import build
from broker.model import OrderState
from edge.flower import install
from edge.flower.audit import broken_at
from edge.flower.control import Control, ControlClient, ControlCommand, SuperLink
from edge.flower.output import Output
from edge.flower.rules import pem_of
from edge.flower.service import House, make_private, start_superlink
from edge.flower.superlink import Patience, SuperLinkRunner
from edge.flower.supernode import SuperNodeRunner
from edge.flower.tls import make_loopback
from edge.processes import ProcessGroup
from tests.flower.conftest import (
    DATA,
    HOSPITALS,
    NOW,
    Stage,
    Trust,
    marked,
    superlink_spec,
    supernode_spec,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what flwr imports
]


def listening() -> set[str]:
    """Listening TCP sockets of this process; those of others end with them."""
    sockets = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            sockets.add(str(fd.readlink()))
        except OSError:
            continue
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
            found.add(cells[1])
    return found


def test_three_hospitals_learn_more_together_than_the_best_alone(
    trust: Trust, stage: Stage, data: Path, tmp_path: Path
) -> None:
    before = listening()
    names = ("oslo", "berlin", "lyon")
    sites = [trust.node(name, datasets={DATA: data / f"{name}.npz"}) for name in names]
    aggregator = trust.node("aggregator").identity
    main = stage.start(
        "aggregator", SuperLinkRunner(aggregator), "superlink", superlink_spec(sites, 3, 2)
    )
    stage.wait("aggregator", lambda told: told.said(OrderState.READY) is not None, 60)
    for site in sites:
        runner = SuperNodeRunner(site.identity)
        stage.start(site.identity.name, runner, "supernode", supernode_spec(main))
    stage.threads["aggregator"].join(200)
    stage.stop()

    state, words, found = main.states[-1]
    assert state is OrderState.SUCCEEDED, (words, bytes(main.text).decode())
    metrics = found["result"]["metrics"]
    assert metrics["global_accuracy"] > 0.90
    assert metrics["global_accuracy"] > metrics["best_single_site_accuracy"]
    assert set(metrics["per_site"]) == set(names)
    rounds = [item for item in main.events if item["kind"] == "round"]
    assert [(item["round"], item["sites"]) for item in rounds] == [
        (number, sorted(names)) for number in (1, 2, 3)
    ]
    assert "Starting Average strategy" in bytes(main.text).decode()
    assert {item["name"] for item in found["artifacts"]} >= {"model.npz", "result.json"}

    for name in names:
        assert stage.told[name].said(OrderState.READY) == {"dataset": DATA}
        assert stage.told[name].last is OrderState.CANCELLED
        crossed = found["traffic"][f"nd_{name}"]
        rows = np.load(data / f"{name}.npz")["x"].nbytes
        assert 0 < crossed["bytes_up"] < rows + 30_000
    assert broken_at(tmp_path / "aggregator" / "audit.jsonl", found["audit"]["head"]) is None
    assert no_row_crossed(tmp_path, data, names)
    assert marked() == []
    assert listening() <= before


def no_row_crossed(folder: Path, data: Path, names: tuple[str, ...]) -> bool:
    """No site's first row stands in anything that the aggregator's machine has kept."""
    kept = b"".join(
        path.read_bytes() for path in (folder / "aggregator").rglob("*") if path.is_file()
    )
    rows = [np.load(data / f"{name}.npz")["x"][0].astype("<f8").tobytes() for name in names]
    return not any(row in kept for row in rows)


def test_an_order_that_is_stopped_leaves_nothing(trust: Trust, stage: Stage, data: Path) -> None:
    before = listening()
    site = trust.node("oslo", datasets={DATA: data / "oslo.npz"})
    aggregator = trust.node("aggregator").identity
    main = stage.start(
        "aggregator", SuperLinkRunner(aggregator), "superlink", superlink_spec([site], 99, 1)
    )
    stage.wait("aggregator", lambda told: told.said(OrderState.READY) is not None, 60)
    node = stage.start("oslo", SuperNodeRunner(site.identity), "supernode", supernode_spec(main))
    stage.wait("aggregator", lambda told: len(told.events) >= 2, 90)
    running = " ".join(marked())
    for command in ("flower-superlink", "flwr-serverapp", "edge.flower.quick", "edge.flower.warm"):
        assert command in running
    assert "flwr-clientapp" not in running, "a client app's token stands on no command line"
    stage.stop()
    assert main.last is OrderState.CANCELLED
    assert node.last is OrderState.CANCELLED
    assert marked() == []
    assert listening() <= before


def test_too_few_sites_are_a_failure_that_names_the_absent(trust: Trust, stage: Stage) -> None:
    site = trust.node("oslo")
    runner = SuperLinkRunner(trust.node("aggregator").identity, Patience(join_s=1, look_s=0.2))
    told = stage.start("aggregator", runner, "superlink", superlink_spec([site], 1, 1))
    stage.threads["aggregator"].join(60)
    state, words, _ = told.states[-1]
    assert state is OrderState.FAILED
    assert words == "0 of at least 1 sites came online; not seen: oslo"
    assert marked() == []


def test_a_supernode_that_cannot_stay_fails_after_some_tries(
    trust: Trust, stage: Stage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = trust.node("oslo", datasets={DATA: data / "oslo.npz"})
    assert site.identity.flower_key is not None
    site.identity.flower_key.write_text("no key")
    monkeypatch.setattr("edge.flower.supernode.PAUSE_S", 0.05)
    monkeypatch.setattr("edge.flower.supernode.RESTARTS", 1)
    spec = {"aggregator": "127.0.0.1:9", "aggregator_name": "nobody", "dataset": DATA}
    told = stage.start("oslo", SuperNodeRunner(site.identity), "supernode", spec)
    stage.threads["oslo"].join(60)
    state, words, _ = told.states[-1]
    assert state is OrderState.FAILED
    assert words.startswith("the SuperNode ended 2 times")
    assert b"Unable to parse the private key" in told.text
    assert marked() == []


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    folder = tmp_path_factory.mktemp("link")
    environ = install.environment(folder / "flwr", {}, os.environ)
    loopback = make_loopback(folder, NOW)
    with ProcessGroup(f"or_link_{os.getpid()}", 1.0) as group:
        house = House(group, folder, environ, loopback, make_private(folder))
        server = start_superlink(house, threading.Event(), 60)
        (folder / "flwr").mkdir(exist_ok=True)
        yield SuperLink(server.address, loopback.certificate, folder / "flwr")
        server.check()


@pytest.mark.parametrize("adapter", [ControlClient, ControlCommand])
def test_both_ways_to_the_control_api_keep_one_contract(
    adapter: type[Control], link: SuperLink, trust: Trust
) -> None:
    control = adapter(link)  # type: ignore[call-arg]
    name = adapter.__name__.lower()
    key = pem_of(trust.node(name).flower_key)
    flower_id = control.register(key, name)
    assert flower_id.isdigit()
    assert flower_id not in control.online()
    with pytest.raises(RequestError):
        control.register(key, f"{name}-again")
    app = build(HOSPITALS / "app")
    run_id = control.submit(app.fab, {"local-steps": 3})
    assert run_id.isdigit()
    assert control.status(run_id).state in {"pending", "starting"}
    with pytest.raises(RequestError):
        control.submit(b"no bundle", {}) if adapter is ControlClient else control.submit(
            app.fab, {"undeclared": 1}
        )


def test_a_superlink_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.flower.service.PORT_TRIES", 1)
    loopback = make_loopback(tmp_path, NOW)
    loopback.key.write_text("no key")
    environ = install.environment(tmp_path / "flwr", {}, os.environ)
    with ProcessGroup(f"or_test_{os.getpid()}_dead", 1.0) as group:
        house = House(group, tmp_path, environ, loopback, make_private(tmp_path))
        loopback.client()
        with pytest.raises(RequestError, match="no SuperLink"):
            start_superlink(house, threading.Event(), 60)
    assert Output(tmp_path / "superlink.log").tail()
    assert marked() == []
