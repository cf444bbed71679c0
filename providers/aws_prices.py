"""What AWS says its machines cost: the Price List API on demand, the spot price history on spot.

An on-demand price holds in a whole region; the zones that have the type come from EC2's offerings.
What a machine is made of comes from EC2's list of instance types, and from the price list for types
that EC2 does not list to this account; a type of which neither says it all is left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from broker.errors import BrokerError
from broker.model import Market, Offer, Price
from providers.aws_devices import Machine, described, worded
from providers.aws_errors import translated
from providers.aws_session import LOOPBACK, AwsSession, AwsSettings
from providers.price_registry import PriceSettings
from providers.price_threads import each

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient

LISTED: Final = "AWS Price List API"
SPOT: Final = "AWS EC2 spot price history"
HOME: Final = "us-east-1"  # one of the few regions that answer for the prices of all
LINUX: Final = "Linux/UNIX"
THREADS: Final = 6
MAX_PAGES: Final = 500  # of one list in one region; the longest has some tens
CHUNK: Final = 100  # instance types asked about at once
FILTERS: Final = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
}
MARKET: Final = "OnDemand"
HOURLY: Final = frozenset({"Hrs", "hours", "Hours"})
USD: Final = "USD"
UNREADABLE: Final = "CAT014"


def connect(**settings: Any) -> AwsPrices:
    return AwsPrices(PriceSettings(**settings))


class Listed(NamedTuple):
    """A product of the price list: its attributes and what an hour costs, if it says so."""

    attributes: Mapping[str, str]
    price: Price | None

    @property
    def name(self) -> str:
        return self.attributes["instanceType"]


class AwsPrices:
    """The regions are asked at once; every one must answer."""

    def __init__(self, settings: PriceSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._clients = _Clients(settings)
        self._machines: dict[str, Machine] = {}

    def offers(self) -> Iterator[Offer]:
        regions = self._settings.regions or self._enabled()
        for offers in each(regions, self._region, THREADS):
            yield from offers

    def _enabled(self) -> tuple[str, ...]:
        """The regions that this account may use."""
        with translated(f"{self.name}: list regions"):
            reply = self._clients.ec2(HOME).describe_regions()
        return tuple(sorted(item["RegionName"] for item in reply["Regions"]))

    def _region(self, region: str) -> list[Offer]:
        with translated(f"{self.name}: prices in {region}"):
            listed = self._listed(region)
            spot = self._spot(region)
            zones = self._zones(region)
            names = {*listed, *(name for name, _ in spot)}
            machines = self._described(region, names)
        for name in names - machines.keys():
            if name in listed and (machine := worded(listed[name].attributes)):
                machines[name] = machine
        on_demand = _on_demand(region, listed, zones)
        return [
            _offer(self.name, one, machines[one[0]])
            for one in (*on_demand, *_on_spot(region, spot))
            if one[0] in machines
        ]

    def _listed(self, region: str) -> dict[str, Listed]:
        """Instance type -> what the price list says of it."""
        wanted = {**FILTERS, "regionCode": region}
        pages = (
            self._clients.pricing()
            .get_paginator("get_products")
            .paginate(
                ServiceCode="AmazonEC2",
                FormatVersion="aws_v1",
                Filters=[
                    {"Type": "TERM_MATCH", "Field": field, "Value": value}
                    for field, value in wanted.items()
                ],
            )
        )
        where = f"{self.name}: the price list of {region}"
        found: dict[str, Listed] = {}
        for text in _all(where, pages, "PriceList"):
            product = _product(where, text, self._settings.as_of)
            if product and _dearer(product, found.get(product.name)):
                found[product.name] = product
        return found

    def _spot(self, region: str) -> dict[tuple[str, str], Price | None]:
        """(instance type, zone) -> the price that holds now: the latest said."""
        pages = (
            self._clients.ec2(region)
            .get_paginator("describe_spot_price_history")
            .paginate(StartTime=self._settings.now, ProductDescriptions=[LINUX])
        )
        where, as_of = f"{self.name}: spot prices of {region}", self._settings.as_of
        latest: dict[tuple[str, str], Any] = {}
        for item in _all(where, pages, "SpotPriceHistory"):
            key = (item["InstanceType"], item["AvailabilityZone"])
            if key not in latest or item["Timestamp"] > latest[key]["Timestamp"]:
                latest[key] = item
        return {
            key: _positive(_amount(item["SpotPrice"], where), as_of, SPOT)
            for key, item in latest.items()
        }

    def _zones(self, region: str) -> dict[str, list[str]]:
        """Instance type -> the zones that have it."""
        pages = (
            self._clients.ec2(region)
            .get_paginator("describe_instance_type_offerings")
            .paginate(LocationType="availability-zone")
        )
        where = f"{self.name}: zones of {region}"
        found: dict[str, list[str]] = defaultdict(list)
        for item in _all(where, pages, "InstanceTypeOfferings"):
            found[item["InstanceType"]].append(item["Location"])
        return found

    def _described(self, region: str, names: Iterable[str]) -> dict[str, Machine]:
        """What is known of these types; EC2 is asked only about those that no region has described."""
        where, wanted = f"{self.name}: instance types of {region}", sorted(names)
        unknown = iter([name for name in wanted if name not in self._machines])
        while chunk := list(islice(unknown, CHUNK)):
            pages = (
                self._clients.ec2(region)
                .get_paginator("describe_instance_types")
                .paginate(Filters=[{"Name": "instance-type", "Values": chunk}])
            )
            for item in _all(where, pages, "InstanceTypes"):
                self._machines[item["InstanceType"]] = described(item)
        return {name: self._machines[name] for name in wanted if name in self._machines}


class _Clients(AwsSession):
    """Clients that only read, with the limits of the settings."""

    def __init__(self, settings: PriceSettings) -> None:
        regions = settings.regions or (HOME,)
        super().__init__(
            AwsSettings(
                settings.name,
                regions,
                owner="",
                endpoint=settings.endpoint,
                ca_bundle=str(settings.ca_bundle) if settings.ca_bundle else None,
                profile=settings.profile,
                credentials_file=settings.credentials_file,
            )
        )
        self._limits = settings
        self._made: dict[tuple[str, str], Any] = {}
        self._making = Lock()

    def ec2(self, region: str) -> EC2Client:
        return cast("EC2Client", self._limited("ec2", region))

    def pricing(self) -> PricingClient:
        return cast("PricingClient", self._limited("pricing", HOME))

    def _limited(self, service: str, region: str) -> Any:
        from botocore.config import Config

        with self._making:
            if (service, region) not in self._made:
                config = Config(
                    connect_timeout=min(5.0, self._limits.timeout_s),
                    read_timeout=self._limits.timeout_s,
                    retries={"mode": "standard", "total_max_attempts": self._limits.tries},
                    max_pool_connections=THREADS,
                    proxies={}
                    if urlsplit(self._limits.endpoint or "").hostname in LOOPBACK
                    else None,
                    user_agent_extra="fedbroker",
                )
                make: Any = self._session().client
                self._made[service, region] = make(
                    service,
                    region_name=region,
                    endpoint_url=self._limits.endpoint,
                    verify=self._settings.ca_bundle,
                    config=config,
                )
            return self._made[service, region]


def _all(where: str, pages: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
    """What stands under `key` on every page. BrokerError: it is missing, or there is no end."""
    for number, page in enumerate(pages, 1):
        if number > MAX_PAGES:
            raise BrokerError(f"{where}: more than {MAX_PAGES} pages of {key}", code=UNREADABLE)
        if key not in page:
            raise BrokerError(f"{where}: a reply without {key}", code=UNREADABLE)
        yield from page[key]


def _product(where: str, text: str, as_of: str) -> Listed | None:
    """A machine of the price list; None for what is no machine to be had on demand."""
    try:
        item = json.loads(text)
        attributes = item["product"]["attributes"]
        if not attributes.get("instanceType") or attributes.get("marketoption", MARKET) != MARKET:
            return None
        return Listed(attributes, _price(where, item["terms"].get("OnDemand", {}), as_of))
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        words = f"{where} cannot be read: {type(exc).__name__}: {exc}: {text[:200]}"
        raise BrokerError(words, code=UNREADABLE) from exc


def _price(where: str, terms: Mapping[str, Any], as_of: str) -> Price | None:
    """The hourly price: that of the last tier that is not free."""
    found: Price | None = None
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            if dimension["unit"] not in HOURLY:
                continue
            said = dimension["pricePerUnit"]
            currency = USD if USD in said else min(said)
            found = _positive(_amount(said[currency], where), as_of, LISTED, currency) or found
    return found


def _positive(amount: Decimal, as_of: str, source: str, currency: str = USD) -> Price | None:
    return Price(amount, as_of, source, currency) if amount > 0 else None


def _amount(text: str, where: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as exc:
        raise BrokerError(f"{where}: {text!r} is no price", code=UNREADABLE) from exc


def _dearer(product: Listed, known: Listed | None) -> bool:
    """Of two prices for one machine the higher is promised."""
    if known is None or known.price is None:
        return True
    return product.price is not None and product.price.usd_per_hour > known.price.usd_per_hour


_Place = tuple[str, str | None]  # region, zone
_Priced = tuple[str, _Place, Market, Price | None]


def _on_demand(
    region: str, listed: Mapping[str, Listed], zones: Mapping[str, list[str]]
) -> Iterator[_Priced]:
    """In every zone that has the type; in the region as a whole where no zone is known."""
    for name, product in listed.items():
        for zone in zones.get(name) or (None,):
            yield name, (region, zone), Market.ON_DEMAND, product.price


def _on_spot(region: str, spot: Mapping[tuple[str, str], Price | None]) -> Iterator[_Priced]:
    for (name, zone), price in spot.items():
        yield name, (region, zone), Market.SPOT, price


def _offer(cloud: str, priced: _Priced, machine: Machine) -> Offer:
    name, (region, zone), market, price = priced
    return Offer(
        cloud,
        region,
        zone,
        name,
        market,
        machine.vcpus,
        machine.memory_gib,
        machine.accelerator,
        machine.accelerator_count,
        price,
    )
