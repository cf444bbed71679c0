"""The composition root: a home's parts, each made on first use, so that a command pays for what it uses."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from broker.errors import UsageError
from broker.home import Home, find_home

if TYPE_CHECKING:
    from broker.catalog import Catalog
    from broker.documents.settings import Cloud, Config
    from broker.gateway import Gateway
    from broker.host import Host, Session
    from broker.model import Offer
    from broker.policy import Policy
    from broker.ports import Provider, Store
    from broker.trust.ca import CertificateAuthority


def utc_now() -> datetime:
    return datetime.now(UTC)


def fresh_id(prefix: str) -> str:
    from broker.ids import new_id

    return new_id(prefix, utc_now(), secrets.token_bytes(10))


@dataclass
class Context:
    """One home and its parts."""

    home: Home = field(default_factory=find_home)

    @cached_property
    def config(self) -> Config:
        from broker.documents.settings import Config

        if not self.home.config.exists():
            return Config(path=self.home.config)
        from broker.documents.config_file import load_config

        return load_config(self.home.config)

    @cached_property
    def store(self) -> Store:
        from broker.store import Ledger

        return Ledger(self.shared_ledger or f"sqlite:///{self.home.make().ledger}")

    @cached_property
    def shared_ledger(self) -> str | None:
        """The address of a PostgreSQL database, where the configuration names one.

        Most homes have a file, and most commands need no more of the configuration than that.
        """
        try:
            named = b"ledger" in self.home.config.read_bytes()
        except OSError:
            return None
        return _without_password(self.config.ledger) if named and self.config.ledger else None

    @cached_property
    def ledger_exists(self) -> bool:
        return self.shared_ledger is not None or self.home.ledger.exists()

    @cached_property
    def catalog(self) -> Catalog:
        from broker.catalog import Catalog

        catalog = Catalog(self.home.make().catalog)
        catalog.ensure()
        return catalog

    @cached_property
    def owner(self) -> str:
        """The tag that says a machine is ours. Made once per home, or once per shared ledger."""
        from broker.trust.files import create_once

        path = self.home.make().state / "owner"
        own = create_once(path, f"own_{secrets.token_hex(8)}".encode).decode()
        return _owner_of(self.store, own) if self.shared_ledger else own

    @cached_property
    def ca(self) -> CertificateAuthority:
        from broker.trust.ca import CertificateAuthority

        return CertificateAuthority.open(self.home.make().keys, utc_now())

    @cached_property
    def join_key(self) -> bytes:
        from broker.trust.tokens import join_key

        return join_key(self.home.make().keys)

    def policy(self, files: list[Path] | None = None) -> Policy:
        """The rules of the configuration and of `files` together: all must agree."""
        named = [*self.config.policy_files, *(files or [])]
        if not named:
            from broker.policy import Policy

            return Policy()
        from broker.documents.policies import load_policies

        return load_policies(named)

    @cached_property
    def clouds(self) -> Mapping[str, frozenset[str] | None]:
        """Configured cloud name -> regions it may use (None: all)."""
        return {
            name: frozenset(cloud.regions) or None for name, cloud in self.config.clouds.items()
        }

    def owned_offers(self, *, local: bool = False) -> list[Offer]:
        """Machines that no catalog lists: edge nodes, reservations, and this one where it is wanted."""
        found = self._reserved_offers()
        if self.ledger_exists:
            found += self.fleet.offers()
        if (local and not self.shared_ledger) or "local" in self.config.clouds:
            from broker.catalog import country_sites

            sites = country_sites()  # a provider knows its country; the catalog what that means
            for offer in self.local.offers():
                site = sites.get(offer.site.country or "", offer.site)
                found.append(replace(offer, site=site))
        return found

    def _reserved_offers(self) -> list[Offer]:
        clouds = {name: one for name, one in self.config.clouds.items() if one.reservations}
        if not clouds:
            return []
        from broker.model import FINAL, Lease, LeaseState, Resources
        from broker.reservations import in_use, offers

        opened = set(LeaseState) - FINAL
        leases = self.store.find(Lease, state=opened) if self.ledger_exists else []
        used = in_use(leases)
        found: list[Offer] = []
        for name, cloud in clouds.items():
            kinds = {(one.region, one.instance_type) for one in cloud.reservations}
            shapes = {}
            for region, kind in kinds:
                wanted = Resources(region=region, instance_type=kind)
                for offer in self.catalog.search(wanted, {name: frozenset({region})}, 1):
                    shapes[region, kind] = offer
            found += offers(name, cloud.reservations, shapes, used, utc_now().date())
        return found

    @property
    def catalog_clouds(self) -> Mapping[str, frozenset[str] | None]:
        """The configured clouds whose offers the catalog knows; none configured means all of them."""
        return {name: where for name, where in self.clouds.items() if name != "local"}

    @cached_property
    def providers(self) -> dict[str, Provider]:
        """Every configured cloud, `local`, and the fleet of edge nodes.

        In a ledger that homes share `local` is the machine of the one home that enables it.
        """
        found: dict[str, Provider] = {"edge": self.fleet}
        if not self.shared_ledger:
            found["local"] = self.local
        for name in self.config.clouds:
            found[name] = self.provider(name)
        return found

    def provider(self, name: str) -> Provider:
        from providers.registry import build

        cloud = self.config.clouds[name]
        return build(cloud.provider, _settings(self, name, cloud))

    @cached_property
    def local(self) -> Provider:
        if "local" in self.config.clouds:
            return self.provider("local")
        from providers.local import Local

        return Local("local", folder=self.home.make().machines, owner=self.owner)

    @cached_property
    def fleet(self) -> Any:
        from broker.catalog import country_sites
        from broker.fleet import Fleet

        return Fleet(self.store, sites=country_sites())

    @cached_property
    def gateway(self) -> Gateway:
        """The server for agents, on the ports that this home had before."""
        from broker.gateway import Gateway, Settings

        home, wanted = self.home.make(), self.config.gateway
        before = _ports(home)
        settings = Settings(
            keys_dir=home.keys,
            logs_dir=home.logs,
            host=wanted.host,
            enrol_port=before.get("enrol", 0),
            agent_port=wanted.port or before.get("agent", 0),
            public_host=wanted.public_host,
        )
        return Gateway(self.store, self.ca, settings)

    @property
    def enrol_url(self) -> str:
        """Where agents enrol. Known once the gateway has run in this home."""
        if port := _ports(self.home).get("enrol"):
            self.gateway.enrol_port = port
        return self.gateway.enrol_url

    def build_host(self) -> Host:
        """Engine and gateway, ready to start. The gateway's ports are remembered for the next."""
        from broker.engine import Engine
        from broker.federation import advance as advance_federation
        from broker.host import make_host
        from broker.runs import advance as advance_task
        from broker.trust.machines import MachineInvitations

        invitations = MachineInvitations(
            store=self.store,
            key=self.join_key,
            url=lambda: self.gateway.enrol_url,
            ca_pin=self.ca.pin,
            version=version("fedbroker"),
            now=utc_now,
            extras=("fed",),
        )
        engine = Engine(
            self.store,
            self.providers,
            {"task": advance_task, "fed": advance_federation},
            user_data=invitations,
        )
        return make_host(engine, _Remembered(self), self._log)

    def _log(self, text: str) -> None:
        with (self.home.state / "engine.log").open("a", encoding="utf-8") as file:
            file.write(f"{utc_now().isoformat()} {text}\n")

    def session(self, *, hand_over: bool = True) -> Session:
        from broker.host import Session

        parts = (self.home.make(), self.store, self.build_host, self.spawn_engine)
        return Session(*parts, hand_over=hand_over)

    def spawn_engine(self) -> None:
        """Start the background engine of this home; it leaves by itself when nothing is open."""
        log = os.open(self.home.state / "engine.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            subprocess.Popen(
                [sys.executable, "-m", "broker.cli.main", "engine"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "BROKER_ENGINE": str(self.home.state)},
            )
        finally:
            os.close(log)


class _Remembered:
    """A gateway whose ports are written down: agents dial the next one where they left the last."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gateway = context.gateway

    def start(self) -> None:
        try:
            self._gateway.start()
        except UsageError as error:
            if error.code != "GTW001" or self._needed():
                raise
            self._gateway.enrol_port = self._gateway.agent_port = 0
            self._gateway.start()
        from broker.documents.atomic import write_private

        ports = {"enrol": self._gateway.enrol_port, "agent": self._gateway.agent_port}
        write_private(self._context.home.state / "gateway.json", json.dumps(ports))

    def _needed(self) -> bool:
        """Whether somebody counts on these very ports: an agent, or the configuration."""
        from broker.model import FINAL, Lease, LeaseState, Node, NodeState

        store, away = self._context.store, {NodeState.REVOKED, NodeState.GONE}
        fleet = store.find(Node, kind="edge", state=set(NodeState) - away)
        leases = store.find(Lease, state=set(LeaseState) - FINAL)
        machines = [lease for lease in leases if lease.attempt]
        return bool(self._context.config.gateway.port or fleet or machines)

    def stop(self) -> None:
        self._gateway.stop()


def _without_password(url: str) -> str:
    """UsageError STO014: whoever reads the file would read the password."""
    if ":" in urlsplit(url).netloc.rpartition("@")[0] or "password" in urlsplit(url).query:
        raise UsageError(
            "`ledger:` in the configuration has a password in it",
            code="STO014",
            hint="leave it out, and set PGPASSWORD or write it to ~/.pgpass",
        )
    return url


def _owner_of(store: Store, own: str) -> str:
    """The tag of a ledger that several homes share: the first one's. Each sees all its machines."""
    from broker.errors import ConflictError
    from broker.model import Event

    words = "the machines of this ledger carry one owner tag"
    row = Event("ev_00000000000000000", utc_now(), "", "", "ledger.owner", words, {"owner": own})
    if not store.find(Event, id=row.id):
        with contextlib.suppress(ConflictError):
            store.commit(row)
    return str(store.find(Event, id=row.id)[0].data["owner"])


def _ports(home: Home) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads((home.state / "gateway.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _settings(context: Context, name: str, cloud: Cloud) -> dict[str, Any]:
    """What the provider of a configured cloud is built from: only what the entry says."""
    entry: dict[str, Any] = {"name": name, "owner": context.owner}
    if cloud.provider == "local":
        return entry | {"folder": context.home.make().machines, "country": cloud.country}
    optional = {
        "regions": list(cloud.regions),
        "endpoint": cloud.endpoint,
        "ca_bundle": cloud.ca_bundle,
        "profile": cloud.profile,
        "credentials_file": cloud.credentials_file,
        "image": cloud.image,
    }
    return entry | {key: value for key, value in optional.items() if value}
