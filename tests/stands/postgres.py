"""A real PostgreSQL of our own: made, started and stopped here, on loopback and a socket file.

Nothing is asked of a server that may already run on this machine. The databases use the rules of
a language for sorting, as a server that somebody set up by hand would.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

ACCOUNT = "postgres"  # PostgreSQL refuses to run as root; Debian's package makes this user
BINARIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
START_S = 60
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest release that is installed."""
    found = [folder for pattern in BINARIES for folder in Path("/").glob(pattern[1:])]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    complete = [
        each for each in found if (each / "initdb").exists() and (each / "postgres").exists()
    ]
    return max(complete, default=None, key=_release)


def _release(folder: Path) -> tuple[int, str]:
    digits = "".join(char for char in str(folder) if char.isdigit())
    return int(digits or 0), str(folder)


def why_not() -> str:
    """Why no server can be started here; "" when one can."""
    if binaries() is None:
        return "PostgreSQL's server is not installed (`apt-get install postgresql`)"
    if os.getuid() == 0 and not _has_account():
        return f"PostgreSQL does not run as root, and there is no user `{ACCOUNT}`"
    return ""


def _has_account() -> bool:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


@dataclass
class Postgres:
    """A server with a superuser of the name `postgres`. `start` before, `stop` after use."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp")))
    port: int = 0
    _server: subprocess.Popen[bytes] | None = None
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def start(self) -> Postgres:
        if os.getuid() == 0:
            shutil.chown(self.folder, ACCOUNT, ACCOUNT)
        data = self.folder / "data"
        arguments = ["-D", str(data), "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = self._run("initdb", *arguments, "--locale=C.UTF-8")
        assert made.wait() == 0, (self.folder / "log").read_text()
        (data / "pg_hba.conf").write_text(HBA)
        self.go_on()
        return self

    def go_on(self) -> None:
        """Start the server, also again after `halt`."""
        self.port = self.port or _free_port()
        settings = {
            **QUICK,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        data = str(self.folder / "data")
        self._server = self._run("postgres", "-D", data, "-p", str(self.port), *flags)
        self._until_ready()

    def halt(self) -> None:
        """Stop it as an administrator does, connections and all."""
        assert self._server
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def stop(self) -> None:
        if self._server:
            self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"db{next(self._numbers)}"
        self.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        )
        return self.url(name)

    def url(self, name: str = "postgres", user: str = ACCOUNT) -> str:
        """Over the socket file, where everybody is who he says he is."""
        return f"postgresql://{user}@/{name}?host={self.folder}&port={self.port}"

    def tcp(self, name: str = "postgres", user: str = ACCOUNT) -> str:
        """Over loopback, where a password is asked for."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, name: str = "postgres") -> None:
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        folder = binaries()
        assert folder
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*_as_account(), str(folder / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            )

    def _until_ready(self) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._server
                dead = self._server.poll() is not None
                if dead or time.monotonic() > until:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return


def _as_account() -> list[str]:
    """Not as root; and it ends when whoever started it is killed."""
    if not (setpriv := shutil.which("setpriv")):
        return []
    user = [f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups"] if os.getuid() == 0 else []
    return [setpriv, *user, "--pdeathsig=INT"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started() -> Postgres:
    """A running server, or a skip that says what is missing."""
    if reason := why_not():
        pytest.skip(reason)
    server = Postgres()
    try:
        return server.start()
    except BaseException:
        server.stop()
        raise
