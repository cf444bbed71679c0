"""The sandbox lives as long as it is wanted, and nothing of it is left afterwards."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import BrokerError, NotFoundError, UsageError
from broker.model import Instance, Market, Offer
from broker.sandbox.starter import Sandbox
from providers import machine_init, machines, registry
from tests.providers.conformance import until
from tests.stands import ec2

pytestmark = pytest.mark.slow

OFFER = Offer("aws", "us-east-1", "us-east-1a", "c6i.large", Market.SPOT, 2, 4)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox that the test may kill."""
    with Sandbox.start(tmp_path / "own") as sandbox:
        yield sandbox


def launch(sandbox: Sandbox, script: str = "exec sleep 1000") -> Instance:
    cloud = registry.build("aws", sandbox.settings("aws", ["us-east-1"], "me"))
    return cloud.launch(OFFER, "at_1", "ls_1", script)


def port(sandbox: Sandbox) -> int:
    return int(sandbox.endpoint.rpartition(":")[2])


def nobody_listens(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) != 0


def test_it_says_where_it_serves_and_only_on_the_loopback(own: Sandbox) -> None:
    note = json.loads((own.folder / "sandbox.json").read_text())
    assert note == {"endpoint": own.endpoint, "pid": own.pid}
    assert own.endpoint.startswith("http://127.0.0.1:")
    assert not nobody_listens(port(own))
    assert own.credentials_file.stat().st_mode & 0o777 == 0o600


def test_after_stop_there_is_no_process_no_port_and_no_note(own: Sandbox) -> None:
    made = launch(own)
    gate = machines.here(own.pid)
    assert machines.alive(own.machine(made.id))
    own.stop()
    assert not machine_init.is_there(gate)
    assert not machines.alive(own.machine(made.id))
    assert nobody_listens(port(own))
    assert not (own.folder / "sandbox.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_its_machines(own: Sandbox, number: signal.Signals) -> None:
    made = launch(own)
    os.kill(own.pid, number)
    until(lambda: not machines.alive(own.machine(made.id)))
    until(lambda: nobody_listens(port(own)))


def test_killed_with_nine_its_machines_still_end(own: Sandbox) -> None:
    made = launch(own)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: not machines.alive(own.machine(made.id)))


def test_after_a_kill_a_new_one_in_the_same_folder_begins_clean(own: Sandbox) -> None:
    made = launch(own)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: nobody_listens(port(own)))
    with Sandbox.start(own.folder) as again:
        assert not again.machine(made.id).exists()
        assert ec2.inventory(again, "me", "us-east-1") == []


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from broker.sandbox.starter import Sandbox;"
        "print(Sandbox.start(Path(sys.argv[1])).pid, flush=True); time.sleep(1000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "child")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        gate = machines.here(int(starter.stdout.readline()))
        assert machine_init.is_there(gate)
        starter.kill()
    until(lambda: not machine_init.is_there(gate))


def test_two_sandboxes_do_not_share_a_folder(own: Sandbox) -> None:
    with pytest.raises(BrokerError, match="another sandbox"):
        Sandbox.start(own.folder)


def test_a_missing_part_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moto.py").write_text("raise ModuleNotFoundError(\"No module named 'moto'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError) as error:
        Sandbox.start(tmp_path / "broken")
    assert error.value.hint == 'pip install "fedbroker[demo]"'


def test_a_machine_finds_the_agent_that_its_image_carries(sandbox: Sandbox, tmp_path: Path) -> None:
    told = tmp_path / "told"
    cloud = registry.build("aws", sandbox.settings("aws", ["us-east-1"], "told"))
    script = f'echo "$FEDBROKER_AGENT" > {told}.part; mv {told}.part {told}'
    cloud.launch(OFFER, "told-1", "ls_1", script)
    until(told.exists)
    assert told.read_text() == f"{sys.executable} -m edge\n"


def test_what_the_sandbox_does_not_know_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(NotFoundError):
        sandbox.interrupt("us-east-1/i-0123456789abcdef0")
    with pytest.raises(UsageError):
        sandbox.control(fail=[{"action": "RunInstances", "oops": 1}])
    with pytest.raises(UsageError):
        sandbox.control(capacity=7)


def test_a_web_page_cannot_talk_to_it(sandbox: Sandbox) -> None:
    """Neither by a name re-bound to this computer, nor by a permission for other origins."""
    connection = http.client.HTTPConnection("127.0.0.1", port(sandbox), timeout=10)
    connection.request("GET", "/", headers={"Host": "evil.example:80", "Origin": "http://evil"})
    reply = connection.getresponse()
    assert reply.status == 421
    connection.close()
    connection.request("GET", "/", headers={"Origin": "http://evil"})
    assert connection.getresponse().getheader("Access-Control-Allow-Origin") is None
    connection.close()
