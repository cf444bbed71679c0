"""`flower-supernode` with shorter naps: `python -m edge.flower.quick NAP_S FLAGS...`.

A stock SuperNode sleeps three seconds between two looks for a message, and a round waits for the
one that fell asleep last. The nap's length is the broker's choice: every look costs the SuperLink
some 13 ms of CPU, so a large federation naps longer. Where the tested Flower is not installed, this
is the stock command.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
import types

from edge.flower import install

MODULE = "flwr.supernode.start_client_internal"


def shorten(nap_s: float) -> None:
    """Every sleep of the SuperNode's loop lasts `nap_s` at most; other modules keep theirs."""
    module = importlib.import_module(MODULE)
    clock = types.SimpleNamespace(**vars(time))
    clock.sleep = lambda seconds: time.sleep(min(seconds, nap_s))
    vars(module)["time"] = clock


def main(nap_s: float, flags: list[str]) -> None:
    with contextlib.suppress(ImportError):
        install.require_tested()
        shorten(nap_s)
    from flwr.supernode.cli import flower_supernode

    sys.argv = ["flower-supernode", *flags]
    flower_supernode()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
