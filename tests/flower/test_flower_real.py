"""The real thing: Flower's own processes on three sites and an aggregator, over mutual TLS.

Slow, and the only proof that the pinned Flower still does what the adapter believes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import RequestError
from broker.federation.app import build, overrides
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
from edge.runner import Runner, Work
from tests.flower.conftest import NOW, Site, Told, Trust, until

ROOT = Path(__file__).resolve().parents[2]
HOSPITALS = ROOT / "examples" / "hospitals"
DATA = "breast-cancer"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what flwr imports
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_data", HOSPITALS / "make_data.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("data")
    module.main([str(folder)])
    return folder


class Stage:
    """Runners in threads, as an agent has them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stops: dict[str, threading.Event] = {}
        self.told: dict[str, Told] = {}
        self.threads: dict[str, threading.Thread] = {}

    def start(self, name: str, runner: Runner, kind: str, spec: dict[str, Any]) -> Told:
        folder = self._folder / name
        folder.mkdir()
        stop, told = threading.Event(), Told()
        work = Work(f"or_test_{os.getpid()}_{name}", "run_1", kind, spec)
        thread = threading.Thread(target=runner.run, args=(work, folder, told, stop))
        self.stops[name], self.told[name], self.threads[name] = stop, told, thread
        thread.start()
        return told

    def wait(self, name: str, true: Callable[[Told], bool], within_s: float) -> None:
        """Until it is true of what the runner told; its end without that is a failure at once."""
        told, thread = self.told[name], self.threads[name]
        until(lambda: true(told) or not thread.is_alive(), within_s, name)
        assert true(told), (told.states, bytes(told.text).decode())

    def stop(self, *names: str) -> None:
        for name in names or tuple(self.stops):
            self.stops[name].set()
        for name in names or tuple(self.threads):
            self.threads[name].join(30)
            assert not self.threads[name].is_alive(), name


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.stop()


def marked() -> list[str]:
    """Command lines of every process that carries the mark of this test's orders."""
    mark = f"BROKER_ORDER=or_test_{os.getpid()}_".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


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


def superlink_spec(sites: list[Site], rounds: int, min_sites: int) -> dict[str, Any]:
    app = build(HOSPITALS / "app")
    return {
        "app": app.spec(),
        "run_config": overrides(app, rounds, {"round-timeout": 60.0}),
        "rounds": rounds,
        "min_sites": min_sites,
        "sites": [site.spec() for site in sites],
    }


def supernode_spec(aggregator: Told) -> dict[str, Any]:
    where = aggregator.said(OrderState.READY)
    assert where is not None
    return {
        "aggregator": where["address"],
        "aggregator_name": where["name"],
        "dataset": DATA,
    }


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
