"""The processes behind the sandbox's instances."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from providers import machines

GRACE_S = 1.0
NO_SCRIPT = "exec sleep infinity"  # an instance without user data just runs


class Hosts:
    """One machine for each instance. All of them end with this process, even by kill -9."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._host = machines.here()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stop(self._ids())  # left by a sandbox that was killed
        for left in self._ids():
            shutil.rmtree(folder / left)

    def boot(self, instance_id: str, user_data: str) -> None:
        """Run the instance's user data as a process tree; returns once it has begun."""
        machines.boot(
            self._folder / instance_id,
            user_data if user_data.strip() else NO_SCRIPT,
            self._env,
            host=self._host,
            grace_s=GRACE_S,
        )

    def stop(self, instance_ids: Iterable[str]) -> None:
        """End them, all at once; returns when no process of theirs is left."""
        folders = [self._folder / item for item in instance_ids]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda folder: machines.stop(folder, GRACE_S), folders))

    def stop_all(self) -> None:
        self.stop(self._ids())

    def cause_of_end(self, instance_id: str) -> str | None:
        """Why its machine ended; None while it lives."""
        machine = machines.look(self._folder / instance_id)
        if machine is None:
            return "never born"
        return None if machine.alive else machine.cause

    def _ids(self) -> list[str]:
        return [item.name for item in self._folder.iterdir() if item.name.startswith("i-")]
