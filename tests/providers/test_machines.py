"""A machine is one life of one process tree: booted once, ended whole, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import ConflictError
from providers import machine_init, machines
from tests.providers.conformance import until

TREE = "(setsid sleep 1001 &) ; (sleep 1002 &) ; exec sleep 1000"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "machine"
    yield path
    machines.stop(path, grace_s=0.1)


def members(folder: Path) -> set[int]:
    """Every living process that carries the machine's marker."""
    marker = f"{machine_init.MARKER}={folder}".encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def init_pid(folder: Path) -> int:
    return int((folder / "born").read_text().partition(":")[0])


def test_it_runs_its_user_data_and_lives_while_that_runs(folder: Path) -> None:
    machine = machines.boot(folder, "echo hello; exec sleep 1000", {})
    assert machine.alive
    until(lambda: "hello" in machines.log_tail(folder))
    assert machines.alive(folder)


def test_its_files_are_private(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "user-data").stat().st_mode & 0o777 == 0o600


def test_when_its_user_data_ends_it_ends_with_all_that_was_started(folder: Path) -> None:
    machines.boot(folder, "(setsid sleep 1001 &); sleep 0.1; exit 3", {})
    until(lambda: not machines.alive(folder))
    machine = machines.look(folder)
    assert machine is not None
    assert machine.cause == "user data ended with 3"
    assert members(folder) == set()


def test_user_data_that_ends_at_once_ends_every_machine(tmp_path: Path) -> None:
    """Twenty times: the end must be seen however early it comes."""
    folders = [tmp_path / f"m{number}" for number in range(20)]
    for folder in folders:
        machines.boot(folder, "exit 0", {})
    until(lambda: not any(machines.alive(folder) for folder in folders))


def test_stop_ends_every_process_of_the_tree_even_those_in_other_sessions(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    until(lambda: len(members(folder)) == 4)  # the init, and three sleeps
    machines.stop(folder)
    assert members(folder) == set()
    assert not machines.alive(folder)


def test_processes_that_ignore_sigterm_are_killed_after_the_grace(folder: Path) -> None:
    script = (
        "trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & while :; do sleep 1; done"
    )
    machines.boot(folder, script, {}, grace_s=0.2)
    until(lambda: len(members(folder)) >= 3)
    machines.stop(folder, grace_s=0.2)
    assert members(folder) == set()


def test_a_process_gets_its_grace_to_end_well(folder: Path, tmp_path: Path) -> None:
    last_words = tmp_path / "last words"
    machines.boot(folder, f"trap 'touch \"{last_words}\"; exit' TERM; sleep 1000 & wait", {})
    until(lambda: len(members(folder)) == 3)
    machines.stop(folder)
    assert last_words.exists()


def test_a_process_that_hid_its_marker_is_ended_as_a_descendant(
    folder: Path, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    hidden = f"env -i setsid bash -c 'echo $$ > {pid_file}.part; mv {pid_file}.part {pid_file}"
    machines.boot(folder, f"({hidden}; exec sleep 1000' &); exec sleep 1000", {})
    until(pid_file.exists)
    hidden_one = machines.here(int(pid_file.read_text()))
    assert machine_init.is_there(hidden_one)  # the control
    machines.stop(folder)
    assert not machine_init.is_there(hidden_one)


def test_when_its_init_is_killed_it_is_dead_and_the_rest_is_swept(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    until(lambda: len(members(folder)) == 4)
    os.kill(init_pid(folder), signal.SIGKILL)
    until(lambda: not machines.alive(folder))
    assert members(folder), "the orphans must still run, or this shows nothing"
    machine = machines.look(folder)
    assert machine is not None
    assert machine.cause == "killed"
    assert members(folder) == set()


def test_booting_twice_is_one_machine(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    first = init_pid(folder)
    machines.boot(folder, TREE, {})
    assert init_pid(folder) == first
    until(lambda: len(members(folder)) == 4)


def test_booting_eight_times_at_once_is_one_machine(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: machines.boot(folder, TREE, {}), range(8)))
    assert all(machine.alive for machine in found)
    until(lambda: len(members(folder)) == 4)


def test_two_inits_in_one_folder_are_one_life(folder: Path, tmp_path: Path) -> None:
    """As after a crash between the spawn and the birth: nothing but the lock can help."""
    folder.mkdir(mode=0o700)
    count = tmp_path / "count"
    (folder / "machine.json").write_text('{"note": {}, "digest": ""}')
    (folder / "user-data").write_text(f"echo x >> {count}; exec sleep 1000")
    env = {**os.environ, machine_init.MARKER: str(folder)}
    command = [sys.executable, "-I", "-S", machine_init.__file__, str(folder), "1"]
    inits = [subprocess.Popen(command, env=env) for _ in range(6)]
    assert [init.wait(20) for init in inits] == [0] * 6
    until(count.exists)
    assert count.read_text() == "x\n"
    assert len(members(folder)) == 2


def test_after_a_crash_before_the_birth_boot_makes_the_machine(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "machine.json").write_text("{")
    assert machines.look(folder) is None
    assert machines.boot(folder, TREE, {}).alive


def test_a_folder_has_one_life(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    machines.stop(folder)
    assert not machines.boot(folder, TREE, {}).alive
    assert members(folder) == set()


def test_other_user_data_in_the_same_folder_is_a_conflict(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    with pytest.raises(ConflictError):
        machines.boot(folder, "exec sleep 2000", {})


def test_its_user_data_is_removed_when_it_has_ended(folder: Path) -> None:
    machines.boot(folder, TREE, {})
    assert (folder / "user-data").exists()
    machines.stop(folder)
    assert not (folder / "user-data").exists()


def test_stopping_what_never_was_or_has_ended_is_quiet(folder: Path) -> None:
    machines.stop(folder)
    machines.boot(folder, TREE, {})
    machines.stop(folder)
    machines.stop(folder)
    assert members(folder) == set()


def test_stopping_one_machine_leaves_its_neighbour_alone(folder: Path, tmp_path: Path) -> None:
    """Also one whose folder's name begins the same."""
    neighbour = tmp_path / "machine2"
    machines.boot(folder, TREE, {})
    machines.boot(neighbour, TREE, {})
    until(lambda: len(members(neighbour)) == 4)
    machines.stop(folder)
    assert len(members(neighbour)) == 4
    machines.stop(neighbour)


def test_it_ends_with_its_host_even_when_that_is_killed(folder: Path) -> None:
    host = subprocess.Popen(["sleep", "1000"])
    machines.boot(folder, TREE, {}, host=machines.here(host.pid))
    until(lambda: len(members(folder)) == 4)
    host.kill()  # not waited for: a zombie is gone too
    until(lambda: members(folder) == set())
    host.wait()
    machine = machines.look(folder)
    assert machine is not None
    assert machine.cause == "its host is gone"


def test_control_without_a_host_it_outlives_who_booted_it(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from providers import machines;"
        "machines.boot(Path(sys.argv[1]), 'exec sleep 1000', {})"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=30)
    assert machines.alive(folder)


def test_an_identity_is_never_that_of_a_dead_process() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    name = machines.here(process.pid)
    assert machine_init.is_there(name)
    process.kill()
    process.wait()
    assert not machine_init.is_there(name)
    assert machines.here(process.pid) == ""
