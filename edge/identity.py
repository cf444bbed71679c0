"""Who this node is, on disk: what belongs together lies in one folder and is switched in one step.

In `<home>/identity`:
- `current` is a link to the folder in use, e.g. `2`;
- `2/` holds key.pem, certificate.pem, ca.pem and node.json;
- `1/` is the one before, kept until the next renewal;
- `next/key.pem` is a key that is being enrolled: with it a lost answer can be asked for again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import shutil
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from broker.errors import AuthError
from edge import keys
from edge.channel import client_context
from edge.files import make_folder, point, settle, write_file
from edge.runner import Identity

RENEW_AT = 2 / 3  # of a certificate's life
JITTER = 0.05


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the broker gave. `token_hash` names the invitation, `ca_pin` the CA."""

    node_id: str
    name: str
    agent_url: str
    ca_pin: str
    token_hash: str


class NodeHome:
    """The agent's folder."""

    def __init__(self, root: Path) -> None:
        self.root = make_folder(root.absolute())
        self._identities = make_folder(self.root / "identity")
        self.current = self._identities / "current"
        self._next = self._identities / "next"

    @property
    def orders(self) -> Path:
        return make_folder(self.root / "orders")

    @property
    def flower_key(self) -> Path:
        return self.root / "flower_key"

    def enrolment(self) -> Enrolment | None:
        """None: this folder has never been enrolled. AuthError EDG002: it is damaged."""
        try:
            return Enrolment(**json.loads((self.current / "node.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise AuthError(
                f"{self.current / 'node.json'} cannot be read",
                code="EDG002",
                hint="delete the folder `identity` and enrol again with --join",
            ) from exc

    def next_key(self) -> bytes:
        """The key of the enrolment under way: the same one again until it is done."""
        path = make_folder(self._next) / "key.pem"
        if not path.exists():
            write_file(path, keys.new_key())
        return path.read_bytes()

    def adopt(self, key: bytes, certificate: str, ca: str, node: Enrolment) -> None:
        """Switch to a new identity. The one before stays on disk; older ones are deleted."""
        number = max(self._numbers(), default=0) + 1
        draft = make_folder(self._identities / f"draft-{number}")
        files = {
            "key.pem": key,
            "certificate.pem": certificate.encode(),
            "ca.pem": ca.encode(),
            "node.json": json.dumps(asdict(node)).encode(),
        }
        for name, content in files.items():
            write_file(draft / name, content)
        draft.rename(self._identities / str(number))
        settle(self._identities)
        point(self.current, str(number))
        self._forget(number - 1)

    def _numbers(self) -> list[int]:
        return [int(path.name) for path in self._identities.iterdir() if path.name.isdigit()]

    def _forget(self, before: int) -> None:
        for number in self._numbers():
            if number < before:
                shutil.rmtree(self._identities / str(number))
        shutil.rmtree(self._next, ignore_errors=True)


class Credentials:
    """An enrolled node's right to speak. Safe to use from several threads.

    `chance` in 0..1 moves the time of renewal a little, so that nodes enrolled together do not
    come back together.
    """

    def __init__(self, home: NodeHome, chance: float | None = None) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._chance = random.random() if chance is None else chance  # noqa: S311 - spreads load
        self._load()

    @property
    def agent_url(self) -> str:
        return self.node.agent_url

    def context(self) -> ssl.SSLContext:
        """The same object until the certificate is renewed."""
        with self._lock:
            return self._context

    def due(self, now: datetime) -> bool:
        """Whether it is time for a new certificate."""
        begin, end = self.life
        share = RENEW_AT + JITTER * (2 * self._chance - 1)
        return now >= begin + (end - begin) * share

    def check(self, now: datetime) -> None:
        """AuthError NOD006 once the certificate has expired: the node must be invited again."""
        if now >= self.life[1]:
            when = self.life[1].isoformat(timespec="seconds")
            raise AuthError(f"the node's certificate expired at {when}", code="NOD006")

    def renew(self, ask: Callable[[str], str]) -> None:
        """A new certificate for a new key. `ask` exchanges a CSR for a certificate, both PEM.

        Until it has answered, nothing changes; from the switch on new connections use the new pair.
        """
        key = keys.new_key()
        certificate = ask(keys.csr(key, self.node.name))
        ca = (self._home.current / "ca.pem").read_text()
        keys.check_certificate(certificate, key, ca, self.node.node_id)
        self._home.adopt(key, certificate, ca, self.node)
        self._load()

    def _load(self) -> None:
        node = self._home.enrolment()
        if node is None:
            raise AuthError(
                f"{self._home.root} is not enrolled",
                code="EDG002",
                hint="give the invitation with --join FILE or --join - (stdin)",
            )
        here = self._home.current.resolve()
        context = client_context((here / "ca.pem").read_text())
        context.load_cert_chain(here / "certificate.pem", here / "key.pem")
        with self._lock:
            self.node = node
            self.life = keys.lifetime(here / "certificate.pem")
            self._context = context


def identity_of(
    home: NodeHome, node: Enrolment, address: str, datasets: Mapping[str, Path]
) -> Identity:
    """What runners are told. Its paths stay the same when the certificate is renewed."""
    has_flower = importlib.util.find_spec("flwr") is not None
    if has_flower:
        keys.flower_key(home.flower_key)
    return Identity(
        node_id=node.node_id,
        name=node.name,
        key=home.current / "key.pem",
        certificate=home.current / "certificate.pem",
        ca=home.current / "ca.pem",
        home=home.root,
        address=address,
        flower_key=home.flower_key if has_flower else None,
        datasets=dict(datasets),
    )


def token_hash(token: str) -> str:
    """Names an invitation without giving it away."""
    return hashlib.sha256(token.encode()).hexdigest()
