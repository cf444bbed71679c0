"""A SuperExec that keeps a warm start: `python -m edge.flower.warm RUNTIME SECRET_FILE`.

Flower's own starts a new interpreter for every message, which costs one to three seconds of CPU in
imports, and hands it the task's token on the command line, where every local user reads it. This
one imports once and forks a child per task; nothing is written on a command line.

What an app imports is learnt from its first task: the child says which installed modules it had
loaded, and the parent loads them too before the next fork. Modules of the app itself are never
loaded here, so that each task starts from the app's files anew.

It uses private parts of the tested Flower; where they are not, it becomes `flower-superexec`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from edge.flower import install

METHODS = frozenset({"/flwr.proto.Runtime/AcquireTask"})
TASK = "flwr-clientapp"
LEARN_LIMIT = 4000  # modules
LOOK_S = 0.25


def main(runtime: str, secret: str) -> None:
    try:
        client, request, run = _flower(runtime, Path(secret).read_bytes())
    except ImportError:
        _become_stock(runtime, secret)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    lessons = Lessons()
    while True:
        answer = client.AcquireTask(request)
        if answer.HasField("task") and answer.token and os.fork() == 0:
            _child(lessons, run, answer.token)
        lessons.apply()
        time.sleep(LOOK_S)


def _become_stock(runtime: str, secret: str) -> NoReturn:
    stock = install.command("flower-superexec")
    proof = ("--superexec-auth-secret-file", secret)
    argv = [stock, "--runtime-api-address", runtime, "--insecure", *proof]
    os.execv(stock, argv)  # noqa: S606 - an argument list, no shell


def _flower(runtime: str, secret: bytes) -> tuple[Any, Any, Any]:
    """Client, request and what runs a task. ImportError where Flower is not the tested one."""
    install.require_tested()
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.interceptors import (
        RuntimeVersionHttpInterceptor,
        SuperExecAuthHttpInterceptor,
    )
    from flwr.supercore.retry import make_simple_http_retry_invoker
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.supernode.runtime.run_clientapp import run_clientapp

    client = RuntimeHttpClient.from_server_address(
        server_address=runtime,
        insecure=True,
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=METHODS),
        ],
        retry_invoker=make_simple_http_retry_invoker(),
    )

    def run(token: str) -> None:
        run_clientapp(
            runtime_api_address=runtime,
            token=token,
            insecure=True,
            parent_pid=os.getppid(),
            runtime_dependency_install=False,
        )

    return client, AcquireTaskRequest(supported_task_types=[TASK]), run


def _child(lessons: Lessons, run: Any, token: str) -> NoReturn:
    """One task in a process of its own, which never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        run(token)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        lessons.tell()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Lessons:
    """Names of installed modules, from children to their parent, through a pipe."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._known = set(sys.modules)
        self._rest = b""

    def tell(self) -> None:
        """In a child: the modules that it has and its parent had not. Lines are written whole."""
        for name in list(_installed(set(sys.modules) - self._known))[:LEARN_LIMIT]:
            os.write(self._write, name.encode() + b"\n")

    def apply(self) -> None:
        """In the parent: load what was told. What cannot be loaded here is left to the tasks."""
        for name in self._told():
            self._known.add(name)
            if name not in sys.modules and _is_installed(name):
                try:
                    importlib.import_module(name)
                except Exception as exc:  # noqa: BLE001 - a task will import it itself, or not
                    print(f"not kept warm: {name}: {exc}", flush=True)
        self._known |= set(sys.modules)

    def _told(self) -> list[str]:
        try:
            while piece := os.read(self._read, 65536):
                self._rest += piece
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


_ROOTS = tuple(f"{sysconfig.get_path(key)}{os.sep}" for key in ("stdlib", "purelib", "platlib"))


def _installed(names: set[str]) -> Iterator[str]:
    """Those that come from this Python's own folders, in the order in which they were loaded."""
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        if name in names and origin.startswith(_ROOTS):
            yield name


def _is_installed(name: str) -> bool:
    """Whether its package lies in this Python's own folders: a child may tell anything."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return False
    return spec is not None and (spec.origin or "").startswith(_ROOTS)


if __name__ == "__main__":
    main(*sys.argv[1:3])
