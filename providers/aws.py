"""Amazon EC2 through boto3: leases, lists and ends machines. Prices come from the catalog.

A launch is one RunInstances call with the caller's token as ClientToken and with the tags inside
it, so that nothing can exist untagged. It is never retried here: only then is a definite error
definite for the whole launch. The caller asks again with the same token, which AWS honours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from broker.errors import NotFoundError, RequestError, UnknownOutcomeError
from broker.model import Instance, InstanceState, Market, Offer
from providers.aws_errors import translated
from providers.aws_images import Images
from providers.aws_session import AwsSession, AwsSettings
from providers.aws_zones import Zones

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

OWNER_TAG = "fedbroker:owner"
ATTEMPT_TAG = "fedbroker:attempt"
LEASE_TAG = "fedbroker:lease"
TOKEN_MAX = 64  # ASCII characters that a ClientToken may have
LISTERS = 16  # regions that are listed at the same time
PAGE = 1000  # the most that EC2 gives at once

STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPING,  # not gone: its disk still costs
    "terminated": InstanceState.GONE,
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What was resolved for one launch."""

    offer: Offer
    token: str
    lease_id: str
    user_data: str
    zone: str | None
    image: str


class Aws:
    """The provider. Threads may share it; an instance's id is `region/i-...`.

    A `session` given here is shared with others that log in the same way.
    """

    def __init__(self, settings: AwsSettings, session: AwsSession | None = None) -> None:
        self.name = settings.name
        self._settings = settings
        self._session = session or AwsSession(settings)
        self._zones = Zones(self._session)
        self._images = Images(self._session, settings.image)

    def offers(self) -> Iterable[Offer]:
        """None: EC2 has no call that tells what can be bought at what price; the catalog does."""
        return ()

    def launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Instance:
        """One machine for this token, in the offer's zone, on the offer's market."""
        self._check(offer, token)
        with translated(f"{self.name}: launch {offer.key}"):
            wanted = Launch(
                offer,
                token,
                lease_id,
                user_data,
                zone=self._zones.name_of(offer.region, offer.zone),
                image=self._images.find(offer),
            )
            request = run_request(wanted, self._settings.owner)
            reply = self._session.launcher(offer.region).run_instances(**request)
            return self._instance(offer.region, reply["Instances"][0])

    def instances(self) -> Sequence[Instance]:
        """Our machines in every configured region; that region's error if one cannot be read."""
        with ThreadPoolExecutor(min(LISTERS, len(self._settings.regions))) as pool:
            lists = list(pool.map(self._list, self._settings.regions))
        return [instance for found in lists for instance in found]

    def terminate(self, instance_id: str) -> None:
        """Ask for the end of `region/i-...`. NotFoundError: never seen, or terminated before."""
        region, _, bare = instance_id.partition("/")
        if region not in self._settings.regions or not bare:
            raise NotFoundError(f"{self.name}: no machine {instance_id}")
        with translated(f"{self.name}: terminate {instance_id}"):
            reply = self._session.ec2(region).terminate_instances(InstanceIds=[bare])
            before = reply["TerminatingInstances"][0]["PreviousState"]["Name"]
        if before == "terminated":
            raise NotFoundError(f"{self.name}: {instance_id} is already terminated")

    def _check(self, offer: Offer, token: str) -> None:
        if offer.region not in self._settings.regions:  # it could be launched but never listed
            raise RequestError(f"{self.name}: region {offer.region} is not among its regions")
        if offer.market not in (Market.ON_DEMAND, Market.SPOT, Market.RESERVED):
            raise RequestError(f"{self.name}: cannot buy on the {offer.market} market")
        if not (token.isascii() and 0 < len(token) <= TOKEN_MAX):
            raise RequestError(f"{self.name}: not a client token: {token!r}")

    def _list(self, region: str) -> list[Instance]:
        with translated(f"{self.name}: list {region}"):
            return [self._instance(region, item) for item in self._pages(region)]

    def _pages(self, region: str) -> Iterator[InstanceTypeDef]:
        owner: FilterTypeDef = {"Name": f"tag:{OWNER_TAG}", "Values": [self._settings.owner]}
        pages = self._session.ec2(region).get_paginator("describe_instances")
        for page in pages.paginate(Filters=[owner], PaginationConfig={"PageSize": PAGE}):
            for reservation in page["Reservations"]:
                yield from reservation.get("Instances", ())

    def _instance(self, region: str, item: InstanceTypeDef) -> Instance:
        tags = {tag["Key"]: tag["Value"] for tag in item.get("Tags", ())}
        return Instance(
            id=f"{region}/{item['InstanceId']}",
            cloud=self.name,
            region=region,
            attempt_id=tags.get(ATTEMPT_TAG, ""),
            lease_id=tags.get(LEASE_TAG, ""),
            state=_state(item["State"]["Name"]),
            launched_at=item["LaunchTime"].astimezone(UTC),
            reason=_reason(item),
        )


def connect(**settings: Any) -> Aws:
    """An `Aws` from settings as they stand in a file."""
    return Aws(AwsSettings.of(settings))


def run_request(wanted: Launch, owner: str) -> dict[str, Any]:
    """The arguments of RunInstances. The same launch gives the same request, as tokens demand."""
    tags = [
        {"Key": "Name", "Value": f"fedbroker-{wanted.lease_id}"},
        {"Key": OWNER_TAG, "Value": owner},
        {"Key": LEASE_TAG, "Value": wanted.lease_id},
        {"Key": ATTEMPT_TAG, "Value": wanted.token},
    ]
    request: dict[str, Any] = {
        "ClientToken": wanted.token,
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": wanted.offer.instance_type,
        "ImageId": wanted.image,
        "UserData": wanted.user_data,  # boto3 encodes it in base64
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")
        ],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }
    if wanted.zone:
        request["Placement"] = {"AvailabilityZone": wanted.zone}
    if wanted.offer.reservation:
        target = {"CapacityReservationId": wanted.offer.reservation}
        request["CapacityReservationSpecification"] = {"CapacityReservationTarget": target}
    if wanted.offer.market is Market.SPOT:
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    return request


def _state(name: str) -> InstanceState:
    if name not in STATES:  # to guess would be to lose a machine or to kill one
        raise UnknownOutcomeError(f"EC2 names a state that nobody knows: {name}")
    return STATES[name]


def _reason(item: InstanceTypeDef) -> str:
    why = item.get("StateReason", {})
    return why.get("Message") or why.get("Code") or item.get("StateTransitionReason") or ""
