"""Orders are checked before anything starts; a run is judged by its record; secrets stay here."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from broker.errors import RequestError
from broker.model import OrderState
from edge.flower import install, verdict
from edge.flower.artifacts import INLINE_LIMIT, collect
from edge.flower.output import Output
from edge.flower.service import make_private
from edge.flower.spec import NAPS, federation_of, seat_of
from edge.flower.superlink import SuperLinkRunner
from edge.flower.supernode import SuperNodeRunner
from edge.flower.tls import make_loopback
from edge.runner import Work
from tests.flower.conftest import NOW, Told, Trust

ORDER = f"or_{os.getpid()}"  # of this worker alone: groups are found by it on the whole machine

FAB = b"a bundle"


def superlink(trust: Trust, **changes: Any) -> dict[str, Any]:
    app = {
        "name": "app",
        "fab_b64": base64.b64encode(FAB).decode(),
        "sha256": hashlib.sha256(FAB).hexdigest(),
    }
    sites = [trust.node("oslo").spec(), trust.node("lyon").spec()]
    return {"app": app, "rounds": 3, "min_sites": 2, "sites": sites, "run_config": {}, **changes}


def test_a_superlink_order_is_read(trust: Trust) -> None:
    found = federation_of(superlink(trust, run_config={"lr": 0.1}))
    assert (found.fab, found.rounds, found.min_sites) == (FAB, 3, 2)
    assert set(found.members) == {"nd_oslo", "nd_lyon"}
    assert found.members["nd_oslo"].key.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert found.config == {"lr": 0.1}


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 0},
        {"rounds": "many"},
        {"min_sites": 0},
        {"min_sites": 3},
        {"sites": []},
        {"sites": [{"node_id": "a"}]},
        {"sites": [{"node_id": "a", "name": "a", "flower_key": "ssh-rsa AAAA"}]},
        {"sites": [{"node_id": "a", "name": "a", "flower_key": "\u20ac"}]},
        {"app": {}},
        {"app": {"fab_b64": "!", "sha256": ""}},
        {"app": {"fab_b64": base64.b64encode(FAB).decode(), "sha256": "0" * 64}},
        {"app": None},
        {"run_config": 3},
    ],
)
def test_a_superlink_order_that_is_wrong_starts_nothing(
    trust: Trust, changes: dict[str, Any], tmp_path: Path
) -> None:
    runner = SuperLinkRunner(trust.node("aggregator").identity)
    told = Told()
    work = Work(ORDER, "run_1", "superlink", superlink(trust, **changes))
    with pytest.raises(RequestError):
        runner.run(work, tmp_path, told, threading.Event())
    assert told.states == []


def test_a_bundle_over_the_limit_is_refused(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.flower.spec.FAB_LIMIT", len(FAB) - 1)
    with pytest.raises(RequestError, match="at most"):
        federation_of(superlink(trust))


def test_an_ed25519_key_is_no_supernodes_key(trust: Trust) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(RequestError, match="elliptic"):
        federation_of(superlink(trust, sites=[{"node_id": "a", "name": "a", "flower_key": line}]))


def supernode(**changes: Any) -> dict[str, Any]:
    return {"aggregator": "10.0.0.1:5", "aggregator_name": "n", "dataset": "ct", **changes}


def test_the_path_of_the_data_is_the_nodes_own(trust: Trust, tmp_path: Path) -> None:
    file = tmp_path / "ct.npz"
    file.touch()
    identity = trust.node("oslo", datasets={"ct": file}).identity
    spec = supernode(**{"data-path": "/etc/shadow", "file": "/etc/shadow", "nap_s": 60})
    seat = seat_of(spec, identity)
    assert seat.file == file
    assert seat.nap_s == NAPS[1]
    assert seat.key == identity.flower_key


@pytest.mark.parametrize(
    "changes",
    [{"dataset": "mri"}, {"dataset": "gone"}, {"aggregator": "x"}, {"nap_s": None}],
)
def test_a_supernode_order_that_is_wrong_starts_nothing(
    trust: Trust, tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "ct.npz").touch()
    datasets = {"ct": tmp_path / "ct.npz", "gone": tmp_path / "gone.npz"}
    runner = SuperNodeRunner(trust.node("oslo", datasets=datasets).identity)
    told = Told()
    work = Work(ORDER, "run_1", "supernode", supernode(**changes))
    with pytest.raises(RequestError):
        runner.run(work, tmp_path, told, threading.Event())
    assert told.states == []


RESULT = {
    "history": [
        {"round": 1, "aggregated": True, "sites": ["a", "b"]},
        {"round": 2, "aggregated": False, "sites": ["a"]},
        {"round": 3, "aggregated": True, "sites": ["a", "a"]},
    ]
}


@pytest.mark.parametrize(
    ("result", "rounds", "least", "state"),
    [
        (RESULT, 1, 2, OrderState.SUCCEEDED),
        (RESULT, 2, 1, OrderState.SUCCEEDED),
        (RESULT, 2, 2, OrderState.FAILED),
        ({"history": []}, 1, 1, OrderState.FAILED),
        (None, 1, 1, OrderState.FAILED),
    ],
)
def test_a_round_counts_when_it_aggregated_enough_different_sites(
    result, rounds, least, state
) -> None:
    found, words = verdict.judge(result, rounds, least)
    assert found is state
    assert words


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"history": 3}', '{"history": [}'])
def test_a_result_that_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    assert verdict.read_result(tmp_path) is None
    (tmp_path / verdict.RESULT).write_text(text)
    assert verdict.read_result(tmp_path) is None
    (tmp_path / verdict.RESULT).write_text(json.dumps(RESULT))
    assert verdict.read_result(tmp_path) == RESULT


def test_records_come_once_each_and_only_when_their_line_is_whole(tmp_path: Path) -> None:
    records, path = verdict.Records(tmp_path), tmp_path / verdict.ROUNDS
    assert list(records.new()) == []
    path.write_text('{"round": 1}\n{"round"')
    assert list(records.new()) == [{"round": 1}]
    assert list(records.new()) == []
    with path.open("a") as file:
        file.write(': 2}\nnoise\n[1]\n{"long": "' + "x" * verdict.LINE_LIMIT + '"}\n{"round": 3}\n')
    assert list(records.new()) == [{"round": 2}, {"round": 3}]


def test_small_artifacts_go_home_and_large_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.bin").write_bytes(b"a" * INLINE_LIMIT)
    (tmp_path / "deep" / "b.bin").write_bytes(b"b")
    (tmp_path / "link").symlink_to("/etc/passwd")
    large, small = collect(tmp_path)
    assert base64.b64decode(large["content_b64"]) == b"a" * INLINE_LIMIT
    assert small == {"name": "deep/b.bin", "bytes": 1, "sha256": hashlib.sha256(b"b").hexdigest()}


def test_flowers_processes_get_named_variables_and_the_switches(tmp_path: Path) -> None:
    base = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HTTPS_PROXY": "p",
        "LANG": "C",
        "BROKER_MACHINE": "/m",
    }
    found = install.environment(tmp_path, {"BROKER_ROUNDS": "3"}, base)
    assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & found.keys()
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert found["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert found["FLWR_HOME"] == str(tmp_path)
    assert found["PATH"].endswith(f"{os.pathsep}/bin")
    assert found["BROKER_ROUNDS"] == "3"
    assert found["BROKER_MACHINE"] == "/m", "a machine of processes is cleaned by this mark"


@pytest.mark.parametrize("found", [None, "1.30.0", "1.42.0"])
def test_another_flower_is_refused_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    monkeypatch.setattr(install, "version", lambda: found)
    with pytest.raises(RequestError) as caught:
        install.require()
    assert "pip install" in (caught.value.hint or "")
    with pytest.raises(ImportError):
        install.require_tested()


def test_a_command_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="flower-nothing"):
        install.command("flower-nothing")


def test_no_flower_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise install.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(install.importlib.metadata, "version", missing)
    assert install.version() is None


def test_private_files_are_their_owners_alone(tmp_path: Path) -> None:
    loopback = make_loopback(tmp_path, NOW)
    for path in (loopback.key, make_private(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = make_private(tmp_path).read_text()
    assert make_private(tmp_path).read_text() != first


def test_output_is_kept_forwarded_and_searched_across_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.flower.output.FILE_LIMIT", 20)
    got: list[bytes] = []
    output = Output(tmp_path / "a.log", got.append, b"marker")
    assert output.tail() == ""
    for piece in (b"noise mar", b"k", b"er more", b"and more than that", b"new"):
        assert not output.seen.is_set() or b"er" in b"".join(got)
        output(piece)
    assert output.seen.is_set()
    assert b"".join(got).endswith(b"new")
    assert output.tail() == "new"
    assert (tmp_path / "a.old").exists()
