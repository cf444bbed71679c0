"""Orders of kind "process": a setup script, then a run script, with bash."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from broker.errors import RequestError
from broker.model import OrderState
from edge.processes import GRACE_S, Process, ProcessGroup, base_env
from edge.runner import Identity, Report, Work

POLL_S = 0.05
STAGES = ("setup", "run")


class ProcessRunner:
    """`grace_s`: from SIGTERM to SIGKILL, for a stop and for what the scripts leave behind."""

    def __init__(self, identity: Identity, grace_s: float = GRACE_S) -> None:
        self._identity = identity
        self._grace_s = grace_s

    def run(self, work: Work, folder: Path, report: Report, stop: threading.Event) -> None:
        """SUCCEEDED with 0; FAILED with the exit code of the script that failed; or CANCELLED."""
        scripts = _scripts(work, folder)
        env = self._env(work)
        report.state(OrderState.RUNNING)
        codes: dict[str, int | None] = {}
        with ProcessGroup(work.id, self._grace_s) as group:
            for stage, path in scripts.items():
                process = group.spawn(
                    ["bash", str(path)], cwd=folder, env=env, on_output=report.log
                )
                codes[stage] = _ended(process, stop)
                if codes[stage] != 0:
                    break
        _conclude(report, *codes.popitem())

    def _env(self, work: Work) -> dict[str, str]:
        given = work.spec.get("envs") or {}
        if not isinstance(given, Mapping):
            raise RequestError("`envs` is no mapping", code="EDG011")
        envs = {str(name): str(value) for name, value in given.items()}
        about = {"BROKER_RUN": work.run_id, "BROKER_NODE": self._identity.name}
        return {**base_env(), **about, **envs}


def _scripts(work: Work, folder: Path) -> dict[str, Path]:
    """The scripts as private files, in the order in which they run."""
    if not isinstance(work.spec.get("run"), str):
        raise RequestError("a process order needs `run`", code="EDG011")
    paths = {}
    for stage in STAGES:
        if text := work.spec.get(stage):
            path = folder / f"{stage}.sh"
            path.touch(mode=0o700)
            path.write_text(text, encoding="utf-8")
            paths[stage] = path
    return paths


def _ended(process: Process, stop: threading.Event) -> int | None:
    """The exit code; None when it has not ended before the stop."""
    while (code := process.wait(POLL_S)) is None and not stop.is_set():
        continue
    return code


def _conclude(report: Report, stage: str, code: int | None) -> None:
    if code is None:
        report.state(OrderState.CANCELLED, detail="stopped")
    elif code:
        report.state(OrderState.FAILED, exit_code=code, detail=f"{stage} ended with {code}")
    else:
        report.state(OrderState.SUCCEEDED, exit_code=0)
