"""Settings of the AWS provider, and its clients: one of a kind in a region, shared by threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from broker.errors import UsageError
from providers.aws_errors import translated

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient

T = TypeVar("T")
CONNECT_S = 5
READ_S = 30
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
TRIES = 4  # of calls that only read, and of TerminateInstances: repeating them changes nothing


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """`owner` is whose machines these are; only `regions` are ever launched into or listed.

    `image` is an AMI id, or the name of an SSM parameter (it begins with "/") that holds one.
    """

    name: str
    regions: tuple[str, ...]
    owner: str
    endpoint: str | None = None
    ca_bundle: str | None = None
    profile: str | None = None
    credentials_file: str | None = None
    image: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> AwsSettings:
        """From plain values; the regions may be any sequence. UsageError: a setting we lack."""
        known = [item.name for item in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise UsageError(f"unknown settings: {unknown}", hint=f"known: {', '.join(known)}")
        if missing := sorted({"name", "regions", "owner"} - set(settings)):
            raise UsageError(f"missing settings: {missing}")
        return cls(**{**settings, "regions": tuple(dict.fromkeys(settings["regions"]))})

    def __post_init__(self) -> None:
        if not self.regions:
            raise UsageError(f"{self.name}: no regions are configured")


class AwsSession:
    """Clients are thread safe, making them is not; hence the lock."""

    def __init__(self, settings: AwsSettings) -> None:
        import boto3  # noqa: F401 - says at once when the SDK is missing

        self._settings = settings
        self._lock = Lock()
        self._boto: Session | None = None
        self._clients: dict[tuple[str, str, int], Any] = {}

    def ec2(self, region: str) -> EC2Client:
        return cast("EC2Client", self._client("ec2", region, TRIES))

    def launcher(self, region: str) -> EC2Client:
        """Sends once. (`total_max_attempts`: the SDK's `max_attempts=1` would send twice.)"""
        return cast("EC2Client", self._client("ec2", region, 1))

    def ssm(self, region: str) -> SSMClient:
        return cast("SSMClient", self._client("ssm", region, TRIES))

    def _client(self, service: str, region: str, tries: int) -> Any:
        from botocore.config import Config

        key = (service, region, tries)
        with self._lock, translated(f"{self._settings.name}: log in"):
            if key not in self._clients:
                config = Config(
                    connect_timeout=CONNECT_S,
                    read_timeout=READ_S,
                    retries={"mode": "standard", "total_max_attempts": tries},
                    max_pool_connections=32,
                    proxies=_proxies(self._settings.endpoint),
                    user_agent_extra="fedbroker",
                )
                make: Any = self._session().client
                self._clients[key] = make(
                    service,
                    region_name=region,
                    endpoint_url=self._settings.endpoint,
                    verify=self._settings.ca_bundle,
                    config=config,
                )
            return self._clients[key]

    def _session(self) -> Session:
        if self._boto is None:
            import boto3
            import botocore.session

            core = botocore.session.Session(profile=self._settings.profile)
            if self._settings.credentials_file:
                core.set_config_variable("credentials_file", self._settings.credentials_file)
            self._boto = boto3.Session(botocore_session=core)
        return self._boto


def _proxies(endpoint: str | None) -> dict[str, str] | None:
    """None leaves it to the environment, whose proxy cannot reach what serves on this computer."""
    return {} if endpoint and urlsplit(endpoint).hostname in LOOPBACK else None


class Memo:
    """Remembers what a lookup gave for a key. Two threads may look up the same thing at once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def get(self, key: Any, look_up: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = look_up()
        return cast("T", self._known[key])
