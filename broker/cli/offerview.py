"""The columns of an offer, by name, for tables and CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from broker.cli import text
from broker.errors import UsageError
from broker.model import Offer


@dataclass(frozen=True, slots=True)
class Column:
    """`read` gives text, or a number in the unit of the header, or None when it is not known."""

    header: str
    read: Callable[[Offer], object]


def _gpu(offer: Offer) -> str | None:
    return f"{offer.accelerator}:{offer.accelerator_count:g}" if offer.accelerator else None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def _rate(usd: Decimal | None) -> str:
    return text.usd(usd, 4) or "unknown"


def _usd(offer: Offer) -> Decimal | None:
    return offer.price.usd_per_hour if offer.price else None


def usd_per_accelerator_hour(offer: Offer) -> Decimal | None:
    usd = _usd(offer)
    if usd is None or not offer.accelerator or not offer.accelerator_count:
        return None
    return usd / Decimal(str(offer.accelerator_count))


COLUMNS: dict[str, Column] = {
    "cloud": Column("CLOUD", lambda one: one.cloud),
    "region": Column("REGION", lambda one: one.region),
    "zone": Column("ZONE", lambda one: one.zone),
    "instance_type": Column("INSTANCE", lambda one: one.node or one.instance_type),
    "accelerator": Column("GPU", _gpu),
    "accelerator_memory": Column("GPU GIB", lambda one: _number(one.chip.memory_gib)),
    "bf16": Column("BF16 TFLOP/S", lambda one: _number(one.chip.bf16_tflops)),
    "vcpus": Column("VCPU", lambda one: _number(one.vcpus)),
    "memory": Column("GIB", lambda one: _number(one.memory_gib)),
    "market": Column("MARKET", lambda one: one.market),
    "price": Column("$/H", lambda one: _rate(_usd(one))),
    "accelerator_price": Column(
        "$/GPU/H", lambda one: _rate(usd_per_accelerator_hour(one)) if one.accelerator else None
    ),
    "country": Column("IN", lambda one: one.site.country),
    "subdivision": Column("STATE", lambda one: one.site.subdivision),
    "blocs": Column("BLOCS", lambda one: ",".join(sorted(one.site.blocs))),
    "operator": Column("OPERATOR", lambda one: one.site.operator),
    "operator_country": Column("SEAT", lambda one: one.site.operator_country),
    "carbon": Column(
        "GCO2/KWH",
        lambda one: None if (g := one.site.carbon_g_per_kwh) is None else f"{g:.0f}",
    ),
    "left": Column("LEFT", lambda one: one.left),
    "as_of": Column("AS OF", lambda one: one.price.as_of if one.price else None),
    "source": Column("SOURCE", lambda one: one.price.source if one.price else None),
    "datasets": Column("DATA", lambda one: ",".join(one.datasets)),
    "key": Column("KEY", lambda one: one.key),
}
NARROW = (
    "cloud",
    "region",
    "zone",
    "instance_type",
    "accelerator",
    "vcpus",
    "memory",
    "market",
    "price",
    "country",
    "carbon",
)
WIDE = (
    *NARROW[:5],
    "accelerator_memory",
    "bf16",
    *NARROW[5:9],
    "accelerator_price",
    "country",
    "subdivision",
    "blocs",
    "operator_country",
    "carbon",
    "left",
    "as_of",
    "source",
    "datasets",
)


def named(words: str) -> tuple[str, ...]:
    """`cloud,price` as names of columns. UsageError: one of them is none."""
    from broker.diagnostics import suggest

    names = tuple(
        word.strip().replace("-", "_").lower() for word in words.split(",") if word.strip()
    )
    for name in names:
        if name not in COLUMNS:
            tip = suggest(name, COLUMNS) or f"one of {', '.join(COLUMNS)}"
            raise UsageError(f"`{name}` is no column", code="USE007", hint=tip)
    return names
