"""A reservation is an offer that is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from broker.model import Attempt, Lease, LeaseState, Location, Market, Offer
from broker.reservations import in_use, offers

TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SHAPE = Offer("aws", "us-east-1", "us-east-1b", "p4d", Market.ON_DEMAND, 96.0, 1152.0, "A100", 8.0)


@dataclass(frozen=True)
class Entry:
    id: str = "cr-1"
    instance_type: str = "p4d"
    region: str = "us-east-1"
    zone: str | None = "us-east-1a"
    count: int = 2
    usd_per_hour: Decimal = Decimal(0)
    until: date | None = None
    location: Location | None = None


def a_lease(number: int, offer: Offer, state: LeaseState, *, tried: bool) -> Lease:
    attempt = Attempt(f"at_{number}", offer, NOW) if tried else None
    return Lease(f"ls_{number}", "run_1", "task", 0, (offer,), NOW, state=state, attempt=attempt)


def one(entry: Entry, used: int = 0) -> Offer:
    known = {("us-east-1", "p4d"): SHAPE}
    return offers("aws@lab", [entry], known, {"cr-1": used}, TODAY)[0]


def test_it_has_the_shape_that_the_catalog_knows_and_its_own_place_and_price() -> None:
    offer = one(Entry(usd_per_hour=Decimal("1.50")))
    assert (offer.cloud, offer.zone, offer.market) == ("aws@lab", "us-east-1a", Market.RESERVED)
    assert (offer.accelerator, offer.vcpus, offer.left) == ("A100", 96.0, 2)
    assert offer.price is not None
    assert offer.price.usd_per_hour == Decimal("1.50")
    assert offer.key == "aws@lab/us-east-1a/p4d/reserved:cr-1"


def test_a_machine_that_no_catalog_describes_has_no_shape() -> None:
    (offer,) = offers("aws", [Entry(instance_type="x9")], {}, {}, TODAY)
    assert (offer.vcpus, offer.accelerator, offer.site.country) == (None, None, None)


@given(count=st.integers(1, 9), used=st.integers(0, 12))
def test_what_is_left_and_what_is_used_never_exceed_the_count(count: int, used: int) -> None:
    offer = one(Entry(count=count), used)
    assert offer.left is not None
    assert 0 <= offer.left <= count
    assert offer.left + min(used, count) == count
    assert offer.available == (used < count)


def test_it_is_gone_on_the_day_after_its_last() -> None:
    assert one(Entry(until=TODAY)).available
    assert not offers("aws", [Entry(until=date(2026, 11, 20))], {}, {}, TODAY)


def test_open_leases_count_from_the_moment_they_are_written() -> None:
    reserved = replace(SHAPE, market=Market.RESERVED, reservation="cr-1")
    leases = [
        a_lease(1, reserved, LeaseState.PENDING, tried=False),
        a_lease(2, reserved, LeaseState.RUNNING, tried=True),
        a_lease(3, reserved, LeaseState.CLOSED, tried=True),
        a_lease(4, SHAPE, LeaseState.RUNNING, tried=True),
    ]
    assert in_use(leases) == {"cr-1": 2}
