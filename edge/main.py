"""`broker-edge`: enrol this machine with a broker and work for it."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from broker.errors import BrokerError, UsageError, WaitTimeoutError

log = logging.getLogger("broker.edge")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after SIGTERM or SIGINT, else as `broker.errors` has them."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        _enrol(options) if options.verb == "join" else _run(options)
    except BrokerError as error:
        print(_words(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    """Work until SIGTERM."""
    from edge import keys
    from edge.agent import About, Agent, own_address
    from edge.datasets import DatasetBook, parse
    from edge.identity import NodeHome, identity_of

    datasets, labels = parse(options.dataset), _labels(options)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    home = NodeHome(options.home)
    try:
        node = _enrol(options, stop)
    except WaitTimeoutError:
        if stop.is_set():
            return
        raise
    identity = identity_of(home, node, options.address or own_address(node.agent_url), datasets)
    if identity.flower_key:
        labels["flower-key"] = keys.flower_key(identity.flower_key)
    log.info("%s (%s) works for %s", node.name, node.node_id, node.agent_url)
    Agent(home, identity, About(DatasetBook(datasets), labels, options.country)).run(stop)
    log.info("stopped")


def _enrol(options: argparse.Namespace, stop: threading.Event | None = None) -> Any:
    """The node's enrolment: as it is on disk, or by a new invitation."""
    from edge.identity import Credentials, NodeHome
    from edge.join import enrol, needed, read_invitation

    home = NodeHome(options.home)
    if options.join is not None:
        invitation = read_invitation(_read(options.join))
        if needed(home, invitation):
            name = options.name or socket.gethostname()
            node = enrol(home, invitation, name, options.wait, stop or threading.Event())
            log.info("enrolled as %s (%s)", node.name, node.node_id)
    return Credentials(home).node


def _read(place: str) -> str:
    """The invitation's text. A terminal is told what is expected of it."""
    from edge.join import MAX_JOIN_BYTES

    if place == "-":
        if sys.stdin.isatty():
            print("Paste the invitation, then Ctrl-D:", file=sys.stderr)
        return sys.stdin.read(MAX_JOIN_BYTES)
    try:
        with Path(place).open(encoding="utf-8") as file:
            return file.read(MAX_JOIN_BYTES)
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"the invitation {place} cannot be read: {exc}", code="EDG001") from exc


def _labels(options: argparse.Namespace) -> dict[str, str]:
    labels = {"name": options.name} if options.name else {}
    for word in options.label:
        key, equals, value = word.partition("=")
        if not equals or not _LABEL.fullmatch(key) or not value or len(value) > 200:
            raise UsageError(
                f"`{word}` is not a label", code="EDG012", hint="e.g. --label site=oslo"
            )
        labels[key] = value
    return labels


def _words(error: BrokerError) -> str:
    lines = [f"error[{error.code}]: {error.message}"]
    return "\n".join([*lines, f"  hint: {error.hint}"] if error.hint else lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="broker-edge",
        description="Enrol this machine with a broker and work for it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fedbroker {_version()}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    join = verbs.add_parser("join", help="enrol, and end", allow_abbrev=False)
    run = verbs.add_parser(
        "run", help="enrol if needed, then work until SIGTERM", allow_abbrev=False
    )
    for each in (join, run):
        _common(each, needs_join=each is join)
    _about(run)
    return parser


def _common(parser: argparse.ArgumentParser, *, needs_join: bool) -> None:
    add = parser.add_argument
    add(
        "--join",
        metavar="FILE|-",
        required=needs_join,
        help="the invitation as `broker edge invite` printed it; - reads it from stdin",
    )
    add("--home", metavar="DIR", type=Path, default=_home(os.environ), help="default: %(default)s")
    add("--name", help="what the machine calls itself; the broker's name for it stands")
    add(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long to try to reach the broker when enrolling; default: %(default)g",
    )


def _about(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--country", metavar="XX", type=_country, help="ISO code of where the machine stands")
    add("--label", metavar="KEY=VALUE", action="append", default=[], help="may be repeated")
    add(
        "--dataset",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="a .csv or .npz that never leaves; its row count and columns' hash are told; "
        "may be repeated",
    )
    add(
        "--address",
        metavar="HOST",
        type=_host,
        help="where other nodes may dial this machine; default: as the broker sees it",
    )


def _country(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2}", word):
        raise argparse.ArgumentTypeError(f"`{word}` is no ISO code of two letters")
    return word.upper()


def _host(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", word):
        raise argparse.ArgumentTypeError(f"`{word}` is no host name or address")
    return word


def _home(environ: Mapping[str, str]) -> Path:
    if given := environ.get("FEDBROKER_HOME"):
        return Path(given).expanduser().absolute()
    state = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "broker-edge"


def _version() -> str:
    try:
        return version("fedbroker")
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
