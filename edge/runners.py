"""The one table of what this agent can run: kind of order to class, loaded when it is needed."""

from __future__ import annotations

import importlib

from broker.errors import RequestError
from edge.runner import Identity, Runner

RUNNERS = {
    "process": "edge.process:ProcessRunner",
    "superlink": "edge.flower.superlink:SuperLinkRunner",
    "supernode": "edge.flower.supernode:SuperNodeRunner",
}


def runner_for(kind: str, identity: Identity) -> Runner:
    """RequestError EDG010: this agent does not know the kind."""
    if kind not in RUNNERS:
        known = ", ".join(sorted(RUNNERS))
        raise RequestError(f"this agent cannot run `{kind[:100]}`: it knows {known}", code="EDG010")
    module, _, name = RUNNERS[kind].partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)(identity)
    return runner
