"""Many blocking calls at once, with a limit to how long anyone waits for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Fanout(Generic[K, T]):
    """Runs calls by key on daemon threads. A call that outlasts its welcome goes on by itself.

    Until it has come back, its key is in `busy` and is not started again. With `threads` 0 the
    calls run one after the other in the caller's thread, without a time limit.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._busy: set[K] = set()
        self._lock = threading.Lock()

    @property
    def busy(self) -> frozenset[K]:
        with self._lock:
            return frozenset(self._busy)

    def run(self, calls: Mapping[K, Callable[[], T]], timeout_s: float) -> dict[K, T | Exception]:
        """What each call returned or raised; a key is missing when its call has not come back.

        What is not an Exception (an interrupt, a crash in a test) is raised here.
        """
        if not self._threads:
            return {key: _outcome(call) for key, call in calls.items()}
        todo: queue.SimpleQueue[tuple[K, Callable[[], T]]] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[K, T | BaseException]] = queue.SimpleQueue()
        fresh = {key: call for key, call in calls.items() if key not in self.busy}
        with self._lock:
            self._busy |= set(fresh)
        for item in fresh.items():
            todo.put(item)
        for _ in range(min(self._threads, len(fresh))):
            threading.Thread(target=self._work, args=(todo, done), daemon=True).start()
        outcomes = _collect(done, len(fresh), timeout_s)
        self._forget(todo)
        return outcomes

    def _forget(self, todo: queue.SimpleQueue[tuple[K, Callable[[], T]]]) -> None:
        """Calls that no thread has begun in time are not begun any more."""
        while True:
            try:
                key, _ = todo.get_nowait()
            except queue.Empty:
                return
            with self._lock:
                self._busy.discard(key)

    def _work(
        self,
        todo: queue.SimpleQueue[tuple[K, Callable[[], T]]],
        done: queue.SimpleQueue[tuple[K, T | BaseException]],
    ) -> None:
        while True:
            try:
                key, call = todo.get_nowait()
            except queue.Empty:
                return
            try:
                outcome: T | BaseException = call()
            except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
                outcome = error
            with self._lock:
                self._busy.discard(key)
            done.put((key, outcome))


def _outcome(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - handed to the caller as it is
        return error


def _collect(
    done: queue.SimpleQueue[tuple[K, T | BaseException]], count: int, timeout_s: float
) -> dict[K, T | Exception]:
    outcomes: dict[K, T | Exception] = {}
    deadline = time.monotonic() + timeout_s
    while len(outcomes) < count:
        try:
            key, outcome = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        outcomes[key] = outcome
    return outcomes
