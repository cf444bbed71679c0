"""What a launched machine runs first: a script that starts the agent. Pure.

The secret token reaches the agent on stdin; it stands in no argument list and in no environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from broker.errors import UsageError

MAX_BYTES = 16 * 1024  # what clouds take as user data
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,40}")
_EXTRA = re.compile(r"[a-z][a-z0-9-]{0,20}")
_SCRIPT = """\
#!/bin/bash
# Starts the fedbroker agent on this machine.
set -eu
umask 077
folder="${{FEDBROKER_HOME:-/var/lib/fedbroker}}"
if [ -n "${{BROKER_MACHINE:-}}" ]; then folder="$BROKER_MACHINE/agent"; fi
mkdir -p "$folder"

agent="${{FEDBROKER_AGENT:-}}"
if [ -z "$agent" ]; then
  agent="$folder/venv/bin/broker-edge"
  if [ ! -x "$agent" ]; then
    python3 -m venv "$folder/venv" || {{
      apt-get update -qq && apt-get install -y -qq python3-venv
      python3 -m venv "$folder/venv"
    }}
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check '{requirement}'
  fi
fi
# an image may name a program or a whole command line, e.g. "python3 -m edge.main"
if [ -x "$agent" ]; then set -- "$agent"; else set -f; set -- $agent; set +f; fi

exec "$@" run --join - --home "$folder" <<'FEDBROKER_JOIN'
{join}
FEDBROKER_JOIN
"""


@dataclass(frozen=True, slots=True)
class JoinInfo:
    """What an agent needs to enrol. `ca_pin` is `sha256:<hex>`; `token` is secret and good once."""

    url: str
    token: str
    ca_pin: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def user_data(join: JoinInfo, version: str, extras: Sequence[str] = ()) -> str:
    """A bash script, the same bytes for the same arguments, under 16 KiB.

    It uses the command in FEDBROKER_AGENT when the image carries the agent; otherwise it installs
    `fedbroker==version` (with `extras`) into a virtual environment. The agent's folder is
    `$BROKER_MACHINE/agent` for a process that stands for a machine, else `$FEDBROKER_HOME` or
    /var/lib/fedbroker.
    """
    script = _SCRIPT.format(requirement=_requirement(version, extras), join=join.to_json())
    if len(script.encode()) >= MAX_BYTES:
        raise UsageError(f"the user data has more than {MAX_BYTES} bytes", code="USE012")
    return script


def _requirement(version: str, extras: Sequence[str]) -> str:
    """A pip requirement that needs no quoting inside single quotes."""
    if not _VERSION.fullmatch(version):
        raise UsageError(f"`{version}` is no version of fedbroker", code="USE012")
    for extra in extras:
        if not _EXTRA.fullmatch(extra):
            raise UsageError(f"`{extra}` is no extra of fedbroker", code="USE012")
    names = f"[{','.join(sorted(extras))}]" if extras else ""
    return f"fedbroker{names}=={version}"
