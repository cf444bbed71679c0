"""What GCP says its machines cost: the Cloud Billing catalog, which prices their parts.

A machine is its cores and memory at the rates of its family, and its accelerators; a TPU slice is
its chips. Local disks that come with some accelerator machines are not part of the price. Which
machines there are comes from the bundled catalog: where a rate is missing, the price is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from broker.errors import AuthError, BrokerError, RequestError, UnknownOutcomeError
from broker.model import Market, Offer, Price
from providers.gcp_skus import CHIP, CORE, RAM, Priced, family, priced, tpu_slice
from providers.price_http import LOOPBACK, UNREACHED, UNREADABLE
from providers.price_registry import PriceSettings, Shape

if TYPE_CHECKING:
    from google.cloud.billing_v1 import CloudCatalogClient

SOURCE: Final = "GCP Cloud Billing catalog"
COMPUTE: Final = "services/6F81-5844-456A"
PAGE: Final = 5000
MAX_PAGES: Final = 200  # the list has some ten
NANO: Final = Decimal(1_000_000_000)
MARKETS: Final[Mapping[str, Market]] = {"OnDemand": Market.ON_DEMAND, "Preemptible": Market.SPOT}
HOURLY: Final[Mapping[str, frozenset[str]]] = {
    CORE: frozenset({"h"}),
    RAM: frozenset({"GiBy.h"}),
    CHIP: frozenset({"h"}),
}
HINT: Final = "`gcloud auth application-default login`, or name a credentials_file for the cloud"


def connect(**settings: Any) -> GcpPrices:
    import google.cloud.billing_v1  # noqa: F401 - says at once when the SDK is missing

    return GcpPrices(PriceSettings(**settings))


class Rate(NamedTuple):
    amount: Decimal
    currency: str


# what is priced on a market -> region -> rate
Rates = Mapping[tuple[Priced, Market], Mapping[str, Rate]]


class GcpPrices:
    """One list holds all regions."""

    def __init__(self, settings: PriceSettings) -> None:
        self.name = settings.name
        self._settings = settings

    def offers(self) -> Iterator[Offer]:
        found: dict[tuple[Priced, Market], dict[str, Rate]] = defaultdict(dict)
        for sku in self._skus():
            self._note(sku, found)
        if not found:
            words = f"{self.name}: no SKU in the list is a machine's"
            raise BrokerError(words, code=UNREADABLE)
        for shape in self._settings.shapes:
            for market in MARKETS.values():
                yield from self._offers(shape, market, found)

    def _skus(self) -> Iterator[Any]:
        """Every SKU of Compute Engine, page after page."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.billing_v1 import ListSkusRequest
        from google.protobuf.json_format import ParseError

        request = ListSkusRequest(parent=COMPUTE, currency_code="USD", page_size=PAGE)
        try:
            client = self._client()
            pager = client.list_skus(
                request=request, retry=self._retry(), timeout=self._settings.timeout_s
            )
            seen: set[str] = set()
            for page in pager.pages:
                yield from page.skus
                if page.next_page_token in seen or len(seen) >= MAX_PAGES:
                    words = f"{self.name}: the list of SKUs has no end ({len(seen)} pages)"
                    raise RequestError(words, code=UNREADABLE)
                seen.add(page.next_page_token)
        except GoogleAuthError as exc:
            raise AuthError(f"{self.name}: {exc}", hint=HINT) from exc
        except (GoogleAPICallError, RetryError) as exc:
            raise self._translated(exc) from exc
        except (OSError, ValueError, TypeError, ParseError) as exc:  # broken or strange replies
            words = f"{self.name}: list SKUs: {type(exc).__name__}: {exc!s:.300}"
            raise UnknownOutcomeError(words, code=UNREACHED) from exc

    def _client(self) -> CloudCatalogClient:
        from google.api_core.client_options import ClientOptions
        from google.cloud.billing_v1 import CloudCatalogClient

        endpoint = self._settings.endpoint
        return CloudCatalogClient(
            credentials=self._credentials(),
            transport="rest",
            client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None,
        )

    def _credentials(self) -> Any:
        """Nobody's for a server on this computer; else the file's, or those of the environment."""
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        if urlsplit(self._settings.endpoint or "").hostname in LOOPBACK:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]  # of a package in part typed
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        path = self._settings.credentials_file
        if path:
            load: Any = google.auth.load_credentials_from_file
            return load(str(path), scopes=scopes)[0]
        return google.auth.default(scopes=scopes)[0]

    def _retry(self) -> Any:
        from google.api_core.exceptions import ServerError, TooManyRequests
        from google.api_core.retry import Retry, if_exception_type

        if self._settings.tries <= 1:
            return None
        transient = if_exception_type(ServerError, TooManyRequests, ConnectionError)
        limit = self._settings.timeout_s * self._settings.tries
        return Retry(transient, initial=0.2, maximum=5.0, timeout=limit)

    def _translated(self, exc: Exception) -> BrokerError:
        from google.api_core.exceptions import Forbidden, InvalidArgument, NotFound, Unauthorized

        words = f"{self.name}: list SKUs: {exc!s:.300}"
        if isinstance(exc, Unauthorized | Forbidden):
            return AuthError(words, hint=HINT)
        if isinstance(exc, InvalidArgument | NotFound):
            return RequestError(words)
        return UnknownOutcomeError(words, code=UNREACHED)

    def _note(self, sku: Any, found: dict[tuple[Priced, Market], dict[str, Rate]]) -> None:
        """Take the SKU's rate for each of its regions; of two the higher."""
        market = MARKETS.get(sku.category.usage_type)
        what = priced(sku.description)
        if market is None or what is None or not sku.pricing_info:
            return
        expression = sku.pricing_info[-1].pricing_expression
        rate = _rate(expression)
        if rate is None or expression.usage_unit not in HOURLY[what.part]:
            return
        for region in sku.service_regions:
            known = found[what, market].get(region)
            if known is None or rate.amount > known.amount:
                found[what, market][region] = rate

    def _offers(self, shape: Shape, market: Market, rates: Rates) -> Iterator[Offer]:
        """In every region that has rates for it or is known to have it."""
        parts = _parts(shape)
        priced_in = [set(rates.get((what, market), ())) for what in parts]
        regions = set(shape.zones) | (set.intersection(*priced_in) if priced_in else set())
        for region in sorted(regions):
            if self._settings.regions and region not in self._settings.regions:
                continue
            found = [(rates.get((what, market), {}).get(region), n) for what, n in parts.items()]
            price = _sum(found, self._settings.as_of)
            for zone in shape.zones.get(region) or (None,):
                yield _offer(self.name, shape, (region, zone, market), price)


def _parts(shape: Shape) -> dict[Priced, Decimal]:
    """What the machine is made of, as it is priced; empty for what we cannot take apart."""
    accelerator = shape.accelerator or ""
    if accelerator.startswith("tpu-"):
        tpu = tpu_slice(accelerator)
        return {Priced(tpu[0], CHIP): Decimal(tpu[1])} if tpu else {}
    if shape.vcpus is None or shape.memory_gib is None:
        return {}
    name = family(shape.instance_type)
    parts = {
        Priced(name, CORE): Decimal(str(shape.vcpus)),
        Priced(name, RAM): Decimal(str(shape.memory_gib)),
    }
    if accelerator:
        parts[Priced(accelerator, CHIP)] = Decimal(str(shape.accelerator_count))
    return parts


def _sum(parts: list[tuple[Rate | None, Decimal]], as_of: str) -> Price | None:
    """Exact; None when a part has no rate."""
    total, currency = Decimal(0), ""
    for rate, amount in parts:
        if rate is None or (currency and rate.currency != currency):
            return None
        total, currency = total + rate.amount * amount, rate.currency
    return Price(total, as_of, SOURCE, currency) if total > 0 else None


def _rate(expression: Any) -> Rate | None:
    """The first tier that is not free."""
    for tier in expression.tiered_rates:
        money = tier.unit_price
        amount = Decimal(money.units) + Decimal(money.nanos) / NANO
        if amount > 0:
            return Rate(amount, money.currency_code)
    return None


def _offer(
    cloud: str, shape: Shape, where: tuple[str, str | None, Market], price: Price | None
) -> Offer:
    region, zone, market = where
    return Offer(
        cloud,
        region,
        zone,
        shape.instance_type,
        market,
        shape.vcpus,
        shape.memory_gib,
        shape.accelerator,
        shape.accelerator_count,
        price,
    )
