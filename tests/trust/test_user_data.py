"""The user data starts the agent with its invitation on stdin; the secret is nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from broker.errors import UsageError
from broker.userdata import MAX_BYTES, JoinInfo, user_data

JOIN = JoinInfo("https://b.example:7443", "bk1_secret-token", "sha256:" + "ab" * 32)
RECORDER = """\
#!/bin/bash
printf '%s\\n' "$@" > "$RECORD/argv"
cat > "$RECORD/stdin"
umask > "$RECORD/umask"
env > "$RECORD/env"
echo $$ > "$RECORD/pid"
"""


@pytest.fixture
def recorder(tmp_path):
    """A stand-in for the agent's program that writes down how it was started."""
    path = tmp_path / "bin with a space" / "agent"
    path.parent.mkdir()
    path.write_text(RECORDER)
    path.chmod(0o755)
    return path


@pytest.fixture
def run(tmp_path):
    """Run a script as a machine would, with this environment."""

    def start(script, **env):
        path = tmp_path / "user-data"
        path.write_text(script)
        process = subprocess.Popen(
            ["bash", path],
            env={"PATH": "/usr/bin:/bin", "RECORD": str(tmp_path), **env},
            stdin=subprocess.DEVNULL,
        )
        assert process.wait(60) == 0
        return process.pid

    return start


def recorded(tmp_path, what):
    return (tmp_path / what).read_text()


def test_it_is_the_same_bytes_for_the_same_machine_and_small():
    assert user_data(JOIN, "0.1.0") == user_data(JOIN, "0.1.0")
    assert user_data(JOIN, "0.1.0").startswith("#!/bin/bash\n")
    assert len(user_data(JOIN, "0.1.0").encode()) < 4096


def test_an_image_that_carries_the_agent_runs_it_with_the_invitation_on_stdin(
    tmp_path, recorder, run
):
    home = tmp_path / "home of it"
    pid = run(user_data(JOIN, "0.1.0"), FEDBROKER_AGENT=str(recorder), FEDBROKER_HOME=str(home))
    argv = recorded(tmp_path, "argv").splitlines()
    assert argv == ["run", "--join", "-", "--home", str(home)]
    assert json.loads(recorded(tmp_path, "stdin")) == {
        "url": JOIN.url,
        "token": JOIN.token,
        "ca_pin": JOIN.ca_pin,
    }
    assert JOIN.token not in recorded(tmp_path, "argv") + recorded(tmp_path, "env")
    assert recorded(tmp_path, "umask").strip() == "0077"
    assert home.stat().st_mode & 0o777 == 0o700
    assert int(recorded(tmp_path, "pid")) == pid, "exec: no shell stays between machine and agent"


def test_a_process_that_stands_for_a_machine_keeps_to_its_own_folder(tmp_path, recorder, run):
    machine = tmp_path / "machine"
    machine.mkdir()
    run(user_data(JOIN, "0.1.0"), FEDBROKER_AGENT=str(recorder), BROKER_MACHINE=str(machine))
    assert recorded(tmp_path, "argv").splitlines()[-1] == str(machine / "agent")


def test_the_agent_may_be_named_as_a_whole_command_line(tmp_path, recorder, run):
    plain = tmp_path / "agent"
    plain.write_text(RECORDER)
    run(
        user_data(JOIN, "0.1.0"),
        FEDBROKER_AGENT=f"bash {plain}",
        FEDBROKER_HOME=str(tmp_path / "home"),
    )
    assert recorded(tmp_path, "argv").splitlines()[0] == "run"


def test_without_an_agent_it_installs_this_version_into_its_own_environment(tmp_path, run):
    """python3 and pip are stand-ins: they write down what is asked, and make the agent."""
    tools = tmp_path / "tools"
    tools.mkdir()
    home = tmp_path / "home"
    (tools / "python3").write_text(
        '#!/bin/bash\nmkdir -p "$3/bin"\ncp "$RECORD/pip" "$3/bin/pip"\nchmod +x "$3/bin/pip"\n'
    )
    (tools / "python3").chmod(0o755)
    (tmp_path / "recorder").write_text(RECORDER)
    (tmp_path / "pip").write_text(
        '#!/bin/bash\necho "$@" >> "$RECORD/pip.log"\n'
        'cp "$RECORD/recorder" "$(dirname "$0")/broker-edge"\n'
        'chmod +x "$(dirname "$0")/broker-edge"\n'
    )
    script = user_data(JOIN, "0.1.0", ["fed"])
    for _ in range(2):  # a machine that boots twice installs once
        run(script, FEDBROKER_HOME=str(home), PATH=f"{tools}:/usr/bin:/bin")
    installed = recorded(tmp_path, "pip.log").splitlines()
    assert len(installed) == 1
    assert installed[0].endswith("fedbroker[fed]==0.1.0")
    assert recorded(tmp_path, "argv").splitlines()[0] == "run"


def test_bash_finds_no_fault_in_it():
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-n"], input=user_data(JOIN, "0.1.0"), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("token", ["$(touch x)", "`x`", "'; x", "\nFEDBROKER_JOIN\ntouch x", "{}"])
def test_nothing_in_the_invitation_is_run_by_the_shell(tmp_path, recorder, run, token):
    run(
        user_data(replace_token(token), "0.1.0"),
        FEDBROKER_AGENT=str(recorder),
        FEDBROKER_HOME=str(tmp_path / "home"),
    )
    assert json.loads(recorded(tmp_path, "stdin"))["token"] == token
    assert not (tmp_path / "x").exists()


def replace_token(token):
    return JoinInfo(JOIN.url, token, JOIN.ca_pin)


@pytest.mark.parametrize("version", ["", "1'; rm -rf /", "$(x)", "-e .", "x" * 50])
def test_a_version_that_is_none_is_refused(version):
    with pytest.raises(UsageError):
        user_data(JOIN, version)


@pytest.mark.parametrize("extra", ["", "Fed", "a b", "$(x)"])
def test_an_extra_that_is_none_is_refused(extra):
    with pytest.raises(UsageError):
        user_data(JOIN, "0.1.0", [extra])


def test_more_than_a_cloud_takes_is_refused():
    with pytest.raises(UsageError):
        user_data(replace_token("x" * MAX_BYTES), "0.1.0")
