"""Does an offer satisfy what the task asks of each node? And if not, which line says so.

The fields are compared in the order of `CHECKS`; the first that fails is the reason. The first
three look only at facts that many offers share (accelerator, place, market), the last three at
the machine's shape: the catalog decides the former once per pool of offers and the latter in SQL.

A task that asks for no accelerator takes any machine with the CPUs and memory: a machine that
happens to carry a GPU and is cheaper is fine. With several alternatives an offer is refused by
the alternative that it gets furthest with, the first of them when they are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.model import AtLeast, Kind, Location, Market, Offer, Reason, Resources


@dataclass(frozen=True, slots=True)
class Check:
    """One field of a request. `fields` are the names under which its file place may be kept."""

    rule: str
    fields: tuple[str, ...]
    asked: Callable[[Resources], bool]
    holds: Callable[[Resources, Offer], bool]
    saw: Callable[[Offer], str]
    wanted: Callable[[Resources], str]


def depth(resources: Resources, offer: Offer, checks: Sequence[Check] | None = None) -> int:
    """How many checks hold before the first that fails; all of them for an offer that fits."""
    for passed, check in enumerate(CHECKS if checks is None else checks):
        if not check.holds(resources, offer):
            return passed
    return len(CHECKS if checks is None else checks)


def fits(resources: Resources, offer: Offer) -> bool:
    return depth(resources, offer) == len(CHECKS)


def refusal(alternatives: Sequence[Resources], offer: Offer) -> Reason | None:
    """Why no alternative takes the offer; None when one does."""
    depths = [depth(resources, offer) for resources in alternatives]
    furthest = max(depths, default=len(CHECKS))
    if furthest == len(CHECKS):
        return None
    return reason(CHECKS[furthest], alternatives[depths.index(furthest)], offer)


def reasons(resources: Resources, offer: Offer) -> tuple[Reason, ...]:
    """Every field of one alternative that the offer fails, not only the first."""
    return tuple(reason(check, resources, offer) for check in failing(resources, offer))


def failing(resources: Resources, offer: Offer) -> tuple[Check, ...]:
    """The checks of one alternative that do not hold."""
    return tuple(check for check in CHECKS if not check.holds(resources, offer))


def reason(check: Check, resources: Resources, offer: Offer) -> Reason:
    return Reason(
        Kind.REQUEST,
        check.rule,
        check.saw(offer),
        check.wanted(resources),
        locate(resources.locations, check.fields),
    )


def locate(locations: dict[str, Location], fields: Sequence[str]) -> Location | None:
    """The place of the first of these fields that the file names."""
    return next((locations[name] for name in fields if name in locations), None)


def shape(accelerator: str | None, count: float) -> str:
    """`A100:8`, or `none`."""
    return f"{accelerator}:{count:g}" if accelerator else "none"


def _accelerators_hold(resources: Resources, offer: Offer) -> bool:
    if resources.accelerator is None:
        return True
    if resources.accelerator != offer.accelerator:
        return False
    wanted = resources.accelerator_count
    return not wanted or wanted == offer.accelerator_count


def _accelerators_wanted(resources: Resources) -> str:
    if resources.accelerator and not resources.accelerator_count:
        return resources.accelerator
    return shape(resources.accelerator, resources.accelerator_count)


def _infra_holds(resources: Resources, offer: Offer) -> bool:
    return (
        resources.cloud in (None, offer.cloud)
        and resources.region in (None, offer.region)
        and resources.zone in (None, offer.zone)
    )


def _infra_wanted(resources: Resources) -> str:
    named = (resources.cloud or "*", resources.region or "*", resources.zone or "*")
    return "/".join(named).removesuffix("/*").removesuffix("/*")


def _market_holds(resources: Resources, offer: Offer) -> bool:
    """Owned and reserved machines are nobody's to take away: they serve a wish for on-demand too."""
    kept = offer.market in (Market.OWNED, Market.RESERVED)
    return (kept and resources.market is Market.ON_DEMAND) or (
        resources.market in (None, offer.market)
    )


def _amount_holds(wanted: AtLeast | None, value: float | None) -> bool:
    return wanted is None or wanted.admits(value)


def _amount(wanted: AtLeast | None, unit: str = "") -> str:
    return f"{wanted.amount:g}{'+' * wanted.or_more}{unit}" if wanted else "any"


def _known(value: float | None, unit: str = "") -> str:
    return "unknown" if value is None else f"{value:g}{unit}"


SHARED_CHECKS = (
    Check(
        "accelerators",
        ("accelerators", "accelerator"),
        lambda resources: resources.accelerator is not None,
        _accelerators_hold,
        lambda offer: shape(offer.accelerator, offer.accelerator_count),
        _accelerators_wanted,
    ),
    Check(
        "infra",
        ("infra", "zone", "region", "cloud"),
        lambda resources: _infra_wanted(resources) != "*",
        _infra_holds,
        lambda offer: "/".join(filter(None, (offer.cloud, offer.region, offer.zone))),
        _infra_wanted,
    ),
    Check(
        "market",
        ("market", "use_spot"),
        lambda resources: resources.market is not None,
        _market_holds,
        lambda offer: str(offer.market),
        lambda resources: str(resources.market or "any"),
    ),
)
SHAPE_CHECKS = (
    Check(
        "instance_type",
        ("instance_type",),
        lambda resources: resources.instance_type is not None,
        lambda resources, offer: resources.instance_type in (None, offer.instance_type),
        lambda offer: offer.instance_type or "none",
        lambda resources: resources.instance_type or "any",
    ),
    Check(
        "cpus",
        ("cpus",),
        lambda resources: resources.cpus is not None,
        lambda resources, offer: _amount_holds(resources.cpus, offer.vcpus),
        lambda offer: _known(offer.vcpus),
        lambda resources: _amount(resources.cpus),
    ),
    Check(
        "memory",
        ("memory", "memory_gib"),
        lambda resources: resources.memory_gib is not None,
        lambda resources, offer: _amount_holds(resources.memory_gib, offer.memory_gib),
        lambda offer: _known(offer.memory_gib, " GiB"),
        lambda resources: _amount(resources.memory_gib, " GiB"),
    ),
)
CHECKS = SHARED_CHECKS + SHAPE_CHECKS
