"""An agent's life: what is ordered happens once, and the broker hears all of it."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from datetime import timedelta

import pytest

from broker.model import Node, NodeState, OrderState


@pytest.fixture
def token(tmp_path):
    """A name that only this test's processes carry."""
    return f"stay-{tmp_path.name}"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def stay(token, tmp_path):
    """A script that notes that it began, starts a daemon, and would run for ten minutes."""
    return (
        f"echo began >> {tmp_path}/began\necho up\n"
        f"setsid nohup bash -c 'exec -a {token} sleep 600' > /dev/null 2>&1 &\n"
        f'bash -c "exec -a {token} sleep 600"\n'
    )


@pytest.fixture
def begun(tmp_path):
    """How often the script of `stay` began."""
    return lambda: (tmp_path / "began").read_text().count("began")


def test_a_node_enrols_and_tells_what_it_has(world, home, tmp_path):
    data = tmp_path / "scans.csv"
    data.write_text("age,group\n41,a\n52,b\n")
    world.start(
        *(home, "--label", "ward=7", "--country", "no", "--dataset", f"scans={data}"),
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
    if importlib.util.find_spec("flwr"):
        assert node.labels["flower-key"].startswith("ecdsa-sha2-nistp384 ")


def test_an_order_runs_and_its_log_arrives(world, home):
    world.start(home, join=world.invite())
    order = world.order(
        world.online(), "echo hello $WHO; echo $BROKER_ORDER; pwd", envs={"WHO": "world"}
    )
    done = world.ended(order)
    assert (done.state, done.exit_code) == (OrderState.SUCCEEDED, 0), done.detail
    folder = home / "orders" / order.id / "files"
    assert world.log(order).decode() == f"hello world\n{order.id}\n{folder}\n"


def test_orders_run_beside_each_other_and_fail_alone(world, home, eventually):
    world.start(home, join=world.invite())
    node = world.online()
    waits = world.order(node, "until [ -e ../go ]; do sleep 0.02; done; echo went")
    fails = world.order(node, "exit 3", setup="echo ready")
    unknown = world.order(node, kind="teleport")
    assert world.ended(fails).exit_code == 3
    assert world.log(fails) == b"ready\n"
    assert world.ended(unknown).state is OrderState.FAILED
    assert world.stored(unknown).detail == (
        "this agent cannot run `teleport`: it knows process, superlink, supernode"
    )
    assert world.state(waits, OrderState.RUNNING)
    (home / "orders" / waits.id / "go").touch()
    assert world.ended(waits).state is OrderState.SUCCEEDED


def test_a_log_of_ten_megabytes_arrives_whole_before_the_end_is_told(world, home):
    world.start(home, join=world.invite())
    script = "head -c 10000000 /dev/urandom | tee copy"
    order = world.order(world.online(), script)
    assert world.ended(order).state is OrderState.SUCCEEDED
    assert world.log(order) == (home / "orders" / order.id / "files" / "copy").read_bytes()


def test_cancelling_ends_every_process_of_the_order(world, home, alive, eventually, stay, token):
    world.start(home, join=world.invite())
    order = world.order(world.online(), f"trap '' TERM\n{stay}")
    eventually(lambda: len(alive(token)) >= 2)
    world.change(order, wanted=False)
    assert world.ended(order).state is OrderState.CANCELLED
    assert not alive(token)
    assert world.log(order) == b"up\n"


def test_an_order_that_the_broker_gave_up_is_stopped(world, home, alive, eventually, stay, token):
    world.start(home, join=world.invite())
    order = world.order(world.online(), stay)
    eventually(lambda: len(alive(token)) >= 2)
    world.change(order, state=OrderState.LOST)
    eventually(lambda: not alive(token))
    assert world.stored(order).state is OrderState.LOST


def test_an_order_not_wanted_any_more_never_begins(world, home, tmp_path):
    agent = world.start(home, join=world.invite())
    node = world.online()
    agent.end()
    order = world.order(node, f"touch {tmp_path}/ran")
    world.change(order, wanted=False)
    world.start(home)
    assert world.ended(order).state is OrderState.CANCELLED
    assert not (tmp_path / "ran").exists()


def test_an_agent_killed_at_work_leaves_no_process_and_its_order_fails_once(
    world, home, alive, eventually, stay, token, begun
):
    agent = world.start(home, join=world.invite())
    order = world.order(world.online(), stay)
    eventually(lambda: len(alive(token)) >= 2)
    eventually(lambda: world.log(order))
    agent.end(signal.SIGKILL)
    world.start(home)
    done = world.ended(order)
    assert (done.state, done.detail) == (OrderState.FAILED, "agent restarted")
    assert not alive(token)
    assert world.log(order) == b"up\n"
    assert begun() == 1


def test_leftovers_of_an_agent_and_its_wardens_killed_together_are_ended(
    world, home, alive, eventually, stay, token
):
    """As when memory runs out: only the mark in their environment is left to find them by."""
    agent = world.start(home, join=world.invite())
    order = world.order(world.online(), stay)
    eventually(lambda: len(alive(token)) >= 2)
    wardens = subprocess.run(
        ["pgrep", "-P", str(agent.process.pid)], capture_output=True, text=True, check=True
    )
    agent.process.send_signal(signal.SIGSTOP)
    for pid in wardens.stdout.split():
        subprocess.run(["kill", "-9", pid], check=True)
    agent.end(signal.SIGKILL)
    assert alive(token)
    world.start(home)
    assert world.ended(order).detail == "agent restarted"
    assert not alive(token)


def test_an_order_that_comes_again_is_told_again_and_not_run_again(
    world, home, eventually, tmp_path
):
    """As after the broker's ledger was restored from an older copy."""
    agent = world.start(home, join=world.invite())
    order = world.order(world.online(), f"echo x >> {tmp_path}/ran")
    assert world.ended(order).state is OrderState.SUCCEEDED
    world.gateway.stop()
    world.change(order, state=OrderState.PENDING)
    world.gateway.start()
    assert world.ended(order).state is OrderState.SUCCEEDED
    agent.end()
    world.change(order, state=OrderState.PENDING)
    world.start(home)
    assert world.ended(order).state is OrderState.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "x\n"


def test_an_order_goes_on_while_the_broker_is_away(world, home, eventually):
    world.start(home, join=world.invite())
    script = "echo one; until [ -e ../go ]; do sleep 0.02; done; echo two; touch ../went"
    order = world.order(world.online(), script)
    eventually(lambda: world.log(order) == b"one\n")
    world.gateway.stop()
    folder = home / "orders" / order.id
    (folder / "go").touch()
    eventually((folder / "went").exists)
    world.gateway.start()
    assert world.ended(order).state is OrderState.SUCCEEDED
    assert world.log(order) == b"one\ntwo\n"


def test_over_a_wire_that_breaks_all_the_time_everything_arrives(world, home, breaker, dial):
    agent = world.start(home, join=world.invite())
    node = world.online()
    agent.end()
    proxy = breaker(world.gateway.agent_port, seed=1, longest=12_000)
    dial(home, proxy.port)
    world.start(home)
    script = "for n in $(seq 25); do printf '{} %0300d\\n' $n; sleep 0.01; done"
    orders = [world.order(node, script.format(each)) for each in range(3)]
    for each, order in enumerate(orders):
        assert world.ended(order).state is OrderState.SUCCEEDED
        assert world.log(order).decode().splitlines() == [f"{each} {n:0300}" for n in range(1, 26)]
    assert proxy.cuts


def test_an_agent_asked_to_end_cancels_its_orders_and_says_so(
    world, home, alive, eventually, stay, token
):
    agent = world.start(home, join=world.invite())
    order = world.order(world.online(), stay)
    eventually(lambda: len(alive(token)) >= 2)
    assert agent.end() == 0
    assert world.stored(order).state is OrderState.CANCELLED
    assert world.log(order) == b"up\n"
    assert not alive(token)


def test_a_revoked_node_stops_all_its_work_and_says_why(
    world, home, alive, eventually, stay, token
):
    agent = world.start(home, join=world.invite())
    node = world.online()
    world.order(node, stay)
    eventually(lambda: len(alive(token)) >= 2)
    world.change(node, state=NodeState.REVOKED)
    assert agent.process.wait(20) == 4
    assert agent.said.endswith(
        "error[NOD003]: node-1 is revoked\n"
        "  hint: to come back it needs a new invitation: `broker edge invite`\n"
    )
    assert not alive(token)


def test_a_restarted_agent_needs_no_invitation(world, home):
    agent = world.start(home, join=world.invite())
    node = world.online()
    assert agent.end() == 0
    world.change(node, state=NodeState.LOST)
    world.start(home)
    assert world.online().id == node.id


def test_one_folder_has_one_agent(world, home, command):
    world.start(home, join=world.invite())
    world.online()
    done = command("run", "--home", str(home))
    assert done.returncode == 11
    assert f"error[EDG006]: another agent is at work in {home}\n" in done.stderr


def test_renewing_all_the_time_disturbs_no_order(world, home, eventually):
    """A broker whose clock is 20 h behind gives certificates that are due at once."""
    world.gateway.stop()
    world.ahead = -timedelta(hours=20)
    world.gateway.start()
    agent = world.start(home, join=world.invite())
    node = world.online()
    script = "for n in $(seq 100); do echo $n; sleep 0.02; done"
    order = world.order(node, script)
    serials = set()

    def renewed() -> bool:
        serials.add(world.stored(node).serial)
        return len(serials) >= 6

    eventually(renewed)
    assert world.ended(order).state is OrderState.SUCCEEDED
    assert world.log(order).decode().split() == [str(n) for n in range(1, 101)]
    assert agent.process.poll() is None
    assert "the broker's clock is -7" in agent.said
    assert world.store.find(Node)[0].state is NodeState.ONLINE
