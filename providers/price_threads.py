"""Several blocking questions at once, on threads that nobody waits for when the answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], ask: Callable[[T], R], threads: int) -> Iterator[R]:
    """What `ask` says to every item, in the order of the answers; its first error is raised.

    After an error, or when the caller stops reading, no further question is begun. The threads are
    daemons: a command that ends does not wait for a reply that is still to come.
    """
    todo: SimpleQueue[T] = SimpleQueue()
    answers: SimpleQueue[tuple[R | None, Exception | None]] = SimpleQueue()
    wanted = list(items)
    for item in wanted:
        todo.put(item)
    stop = threading.Event()
    for _ in range(min(threads, len(wanted))):
        threading.Thread(target=_work, args=(todo, answers, ask, stop), daemon=True).start()
    try:
        for _ in wanted:
            answer, error = answers.get()
            if error:
                raise error
            yield answer  # type: ignore[misc]  # None only beside an error
    finally:
        stop.set()


def _work(
    todo: SimpleQueue[T],
    answers: SimpleQueue[tuple[R | None, Exception | None]],
    ask: Callable[[T], R],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            item = todo.get_nowait()
        except Empty:
            return
        try:
            answers.put((ask(item), None))
        except Exception as exc:  # noqa: BLE001 - raised in the thread that reads
            answers.put((None, exc))
            stop.set()
