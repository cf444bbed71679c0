"""A database's errors in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from broker.errors import AuthError, BrokerError, ConflictError

DAMAGED = "STO003"
_RESTORE = "restore it, or move it away"
_SPACE = ("STO002", "there is no space left for the ledger", "free some space")
_MODE = ("STO005", "the ledger cannot be written", "check its owner and mode")
_UNREACHABLE = (
    "STO008",
    "the ledger's server cannot be reached",
    "check that PostgreSQL runs there, and the address in `ledger:`",
)
_REFUSED = (
    "STO009",
    "the ledger's server refuses this user",
    "set PGPASSWORD or ~/.pgpass, and check the user in `ledger:` and the server's pg_hba.conf",
)
_GONE = ("57P01", "57P02", "57P03")  # PostgreSQL shuts down, or is not up yet

# PostgreSQL's error codes (https://www.postgresql.org/docs/current/errcodes-appendix.html) and
# words of SQLite or of a client that never got to a server -> code, ours, hint
_STATES = {
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "42501": (
        "STO010",
        "this user may not do that in the ledger's database",
        "grant it: GRANT CREATE, USAGE ON SCHEMA public, or make it the database's owner",
    ),
    "3D000": ("STO011", "the ledger's database is not there", "createdb NAME on that server"),
    "53100": _SPACE,
    "25006": _MODE,
    "55P03": ("STO001", "the ledger is busy", "another process holds it; try again"),
    **dict.fromkeys(_GONE, _UNREACHABLE),
}
_WORDS = (
    ("locked", "STO001", "the ledger is busy", "another process holds it; try again"),
    ("disk is full", *_SPACE),
    ("not a database", DAMAGED, "the ledger is damaged", _RESTORE),
    ("malformed", DAMAGED, "the ledger is damaged", _RESTORE),
    ("unable to open", "STO004", "the ledger cannot be opened", "check its folder"),
    ("readonly", *_MODE),
    # a failed connection has no code, only the server's words behind the client's
    ("authentication failed", *_REFUSED),
    ("no password supplied", *_REFUSED),
    ("no pg_hba.conf entry", *_REFUSED),
    ("permission denied for database", *_STATES["42501"]),
    ('database "', *_STATES["3D000"]),
    ('role "', *_REFUSED),
    ("connection", *_UNREACHABLE),
    ("could not translate host name", *_UNREACHABLE),
    ("failed to resolve host", *_UNREACHABLE),
    ("timeout expired", *_UNREACHABLE),
)
_AGAIN = ("40P01", "40001")  # deadlock, serialization: nothing was written, read and decide again


@contextmanager
def explained(name: str) -> Iterator[None]:
    """BrokerError with a code and a hint for what the database `name` raises inside.

    ConflictError: the database undid the transaction because of another one. AuthError: it does
    not let this user in.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise trouble(name, error) from error


def trouble(name: str, error: exc.SQLAlchemyError) -> BrokerError:
    origin = getattr(error, "orig", None) or error
    words = " ".join(str(origin).split())
    state = getattr(origin, "sqlstate", None)
    if state in _AGAIN:
        return ConflictError(f"another transaction came first: {words}")
    code, message, hint = _known(state, words)
    made = AuthError if code == _REFUSED[0] else BrokerError
    return made(f"{message}: {name}: {words}", code=code, hint=hint)


def _known(state: str | None, words: str) -> tuple[str, str, str | None]:
    if state in _STATES:
        return _STATES[state]
    found = (each[1:] for each in _WORDS if each[0] in words)
    return next(found, ("STO000", "the ledger failed", None))
