"""What Azure says its machines cost: the Retail Prices API, which asks for no account.

The API lists meters, not machines: `skuName` and `meterName` say Spot or Low Priority (which is
Batch's, not Spot), `productName` says Windows. It does not say what a machine is made of; that comes
from the types that the bundled catalog knows, and stays unknown for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from broker.errors import BrokerError, RequestError
from broker.model import Market, Offer, Price
from providers.price_http import UNREADABLE, JsonHost
from providers.price_registry import PriceSettings, Shape
from providers.price_threads import each

SOURCE: Final = "Azure Retail Prices API"
BASE: Final = "https://prices.azure.com"
PATH: Final = "/api/retail/prices"
VERSION: Final = "2023-01-01-preview"
THREADS: Final = 4
MAX_PAGES: Final = 3000  # of a thousand meters: several times all there are
EXPECTED: Final = ("serviceName eq 'Virtual Machines'", "priceType eq 'Consumption'")
HOURLY: Final = "1 Hour"
MACHINES: Final = ("Standard_", "Basic_")  # others are hosts and their like


def connect(**settings: Any) -> AzurePrices:
    return AzurePrices(PriceSettings(**settings))


class Meter(NamedTuple):
    """A price of one machine type in a region, since an instant."""

    region: str
    instance_type: str
    market: Market
    since: str
    price: Decimal
    currency: str


class AzurePrices:
    """Named regions are asked at once; without any the whole list is read, which takes minutes."""

    def __init__(self, settings: PriceSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._base = (settings.endpoint or BASE).rstrip("/")
        self._host = JsonHost(
            settings.name,
            self._base,
            timeout_s=settings.timeout_s,
            tries=settings.tries,
            ca_bundle=str(settings.ca_bundle) if settings.ca_bundle else None,
        )
        self._shapes = {shape.instance_type.casefold(): shape for shape in settings.shapes}

    def offers(self) -> Iterator[Offer]:
        for meters in each(self._settings.regions or (None,), self._region, THREADS):
            for meter in _in_force(meters, self._settings.now):
                yield self._offer(meter)

    def _region(self, region: str | None) -> list[Meter]:
        found = []
        for item in self._items(region):
            try:
                meter = _meter(item)
            except (LookupError, TypeError, AttributeError, InvalidOperation) as exc:
                words = f"{self.name}: a meter cannot be read: {type(exc).__name__}: {exc}: {item!r:.300}"
                raise BrokerError(words, code=UNREADABLE) from exc
            if meter and (region is None or meter.region == region):
                found.append(meter)
        return found

    def _items(self, region: str | None) -> Iterator[Mapping[str, Any]]:
        """Every meter, page after page."""
        url: str | None = self._base + PATH + "?" + _question(region)
        seen: set[str] = set()
        while url:
            if url in seen or len(seen) >= MAX_PAGES:
                words = f"{self.name}: the list of prices has no end ({len(seen)} pages)"
                raise RequestError(words, code=UNREADABLE)
            seen.add(url)
            page = self._host.get(url)
            items = page.get("Items") if isinstance(page, dict) else None
            if not isinstance(items, list):
                words = f"{self.name}: a reply without Items: {page!r:.300}"
                raise BrokerError(words, code=UNREADABLE)
            yield from items
            url = page.get("NextPageLink") or None

    def _offer(self, meter: Meter) -> Offer:
        shape = self._shapes.get(meter.instance_type.casefold(), _unknown(meter.instance_type))
        price = Price(meter.price, self._settings.as_of, SOURCE, meter.currency)
        return Offer(
            self.name,
            meter.region,
            None,
            meter.instance_type,
            meter.market,
            shape.vcpus,
            shape.memory_gib,
            shape.accelerator,
            shape.accelerator_count,
            price if meter.price > 0 else None,
        )


def _question(region: str | None) -> str:
    conditions = [*EXPECTED]
    if region:
        quoted = region.replace("'", "''")
        conditions.append(f"armRegionName eq '{quoted}'")
    fields = {
        "api-version": VERSION,
        "currencyCode": "'USD'",
        "$filter": " and ".join(conditions),
    }
    return urlencode(fields, safe="$'", quote_via=quote)


def _meter(item: Mapping[str, Any]) -> Meter | None:
    """None for what is no hourly price of a Linux machine: Windows, Low Priority, reservations."""
    name, region = item["armSkuName"] or "", item["armRegionName"] or ""
    words = f"{item['skuName']} {item['meterName']}"
    product = item["productName"]
    if (
        item["type"] != "Consumption"
        or item["unitOfMeasure"] != HOURLY
        or item["tierMinimumUnits"]
        or not region
        or not name.startswith(MACHINES)
        or not item.get("isPrimaryMeterRegion", True)
        or "Windows" in product
        or "Cloud Services" in product
        or "CloudServices" in product
        or "Low Priority" in words
    ):
        return None
    market = Market.SPOT if "Spot" in words else Market.ON_DEMAND
    price = Decimal(item["retailPrice"])
    return Meter(region, name, market, item["effectiveStartDate"], price, item["currencyCode"])


def _in_force(meters: Sequence[Meter], now: datetime) -> list[Meter]:
    """One meter for each machine, region and market: the latest that has begun, then the dearest."""
    best: dict[tuple[str, str, Market], Meter] = {}
    for meter in meters:
        if _begun(meter.since, now):
            key = (meter.region, meter.instance_type, meter.market)
            best[key] = max(best.get(key, meter), meter, key=_rank)
    return list(best.values())


def _rank(meter: Meter) -> tuple[str, Decimal]:
    return meter.since, meter.price


def _begun(since: str, now: datetime) -> bool:
    """ISO instants in UTC, as the API writes them, are in the order of their text."""
    return since[:19] <= now.strftime("%Y-%m-%dT%H:%M:%S")


_unknown = partial(
    Shape, vcpus=None, memory_gib=None, accelerator=None, accelerator_count=0, zones={}
)
