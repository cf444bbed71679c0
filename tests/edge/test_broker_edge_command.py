"""`broker-edge` says what is wrong, then what to do, and ends with a telling code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INVITE = "  hint: make a new invitation: `broker edge invite`\n"


def last_words(done) -> str:
    """What stands on stderr beside the log."""
    lines = [line for line in done.stderr.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def join(command, tmp_path):
    def join(line: str, *arguments: str, home="home"):
        return command(
            "join", "--home", str(tmp_path / home), "--join", "-", *arguments, given=line
        )

    return join


def test_joining_twice_with_one_invitation_is_joining_once(join, world):
    line = world.invite()
    for _ in range(2):
        done = join(line)
        assert (done.returncode, last_words(done)) == (0, "\n")
    assert "enrolled as node-1 (nd_1)" not in done.stderr


def test_an_invitation_in_a_file_works_alike(command, world, tmp_path):
    (tmp_path / "join.json").write_text(world.invite())
    done = command("join", "--home", str(tmp_path / "h"), "--join", str(tmp_path / "join.json"))
    assert done.returncode == 0, done.stderr


def test_a_reused_invitation_is_refused(join, world):
    line = world.invite()
    assert join(line).returncode == 0
    done = join(line, home="another")
    assert done.returncode == 4
    assert last_words(done) == (
        f"error[TOK003]: the join token was already used, with another key\n{INVITE}"
    )


def test_an_expired_invitation_is_refused(join, world):
    done = join(world.invite(ttl=timedelta(seconds=-60)))
    assert done.returncode == 4
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    assert re.fullmatch(
        rf"error\[TOK002\]: the join token expired at {when}\n{re.escape(INVITE)}", last_words(done)
    )


def test_another_ca_than_the_pinned_one_is_refused(join, world):
    done = join(world.invite(ca_pin=f"sha256:{'0' * 64}"))
    assert done.returncode == 4
    assert last_words(done) == (
        f"error[EDG003]: {world.gateway.enrol_url} is not the broker of this invitation: "
        f"its CA is {world.ca.pin}, expected sha256:{'0' * 64}\n"
        "  hint: wrong address, or somebody is in the way; the token was not sent\n"
    )


def test_a_broker_that_cannot_be_reached_is_waited_for_a_while(join, world):
    done = join(world.invite(url="https://127.0.0.1:1"), "--wait", "0.4")
    assert done.returncode == 12
    assert last_words(done) == (
        "error[EDG005]: cannot reach https://127.0.0.1:1: [Errno 111] Connection refused\n"
        "  hint: is the broker running, and is this the address that it listens on?\n"
    )


def test_a_line_that_is_no_invitation_is_explained(join):
    done = join("hello")
    assert done.returncode == 2
    assert last_words(done) == (
        "error[EDG001]: the invitation cannot be used: it is not JSON\n"
        '  hint: expected {"url": ..., "token": ..., "ca_pin": ...} '
        "as `broker edge invite` prints it\n"
    )


def test_a_folder_that_was_never_enrolled_needs_an_invitation(command, tmp_path):
    done = command("run", "--home", str(tmp_path / "h"))
    assert done.returncode == 4
    assert last_words(done) == (
        f"error[EDG002]: {tmp_path / 'h'} is not enrolled\n"
        "  hint: give the invitation with --join FILE or --join - (stdin)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "a=/no/such.csv"], "error[EDG007]: data set: /no/such.csv is no file"),
        (["--label", "colour"], "error[EDG012]: `colour` is not a label"),
        (["--join", "/no/such/file"], "error[EDG001]: the invitation /no/such/file cannot be read"),
        (["--country", "Norway"], "argument --country: `Norway` is no ISO code of two letters"),
        (["--address", "a b"], "argument --address: `a b` is no host name or address"),
    ],
)
def test_a_wrong_argument_is_named(command, tmp_path, arguments, words):
    done = command("run", "--home", str(tmp_path / "h"), *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_token_shows_nowhere_while_the_agent_runs(world, tmp_path):
    line = world.invite()
    agent = world.start(tmp_path / "home", join=line)
    world.online()
    process = Path(f"/proc/{agent.process.pid}")
    token = json.loads(line)["token"].encode()
    assert token not in (process / "cmdline").read_bytes()
    assert token not in (process / "environ").read_bytes()
    assert token.decode() not in agent.said


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments):
    probe = (
        "import sys\nfrom edge.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('LOADED', *sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert "argparse" in loaded
    assert not loaded & {"cryptography", "pydantic", "sqlalchemy", "flwr", "numpy", "typer"}


def test_an_agent_at_work_has_loaded_only_what_a_node_needs():
    probe = "import sys, edge.agent, edge.process; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = {"pydantic", "sqlalchemy", "flwr", "numpy", "typer", "starlette", "uvicorn", "rich"}
    assert not set(done.stdout.split()) & heavy


def test_the_folder_may_come_from_the_environment(command, tmp_path):
    done = command("run", env={**os.environ, "FEDBROKER_HOME": str(tmp_path / "here")})
    assert f"{tmp_path / 'here'} is not enrolled" in done.stderr
