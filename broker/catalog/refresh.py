"""Asks providers for their prices and puts them into the catalog: each one alone, or not at all.

What a provider says is published whole, in one transaction of its own. When it cannot be reached,
breaks off half-way or says what cannot be true, its last good offers stay, and the result says so.
No provider's trouble touches another's prices.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue

from broker.catalog import query, write
from broker.catalog.catalog import LIVE, Catalog
from broker.catalog.compare import Change, compare, doubt, impossible
from broker.catalog.rows import Row, Source, price_micros
from broker.errors import BrokerError, UnknownOutcomeError, WaitTimeoutError
from broker.model import Offer, Price
from broker.ports import PriceSource

LIMIT_S = 3600.0  # one provider's list in all; each of its requests has a limit of its own
MAX_OFFERS = 2_000_000

REFUSED = "CAT011"
UNREACHED = "CAT012"


@dataclass(frozen=True, slots=True)
class Job:
    """A provider of the catalog and who knows its prices.

    With `regions`, only the offers of these are replaced; those of other regions stay.
    """

    provider: str
    source: PriceSource
    regions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one provider. `as_of` and the counts tell of what the catalog holds now.

    `error` says why the last good offers were kept; None when the new ones were published.
    """

    provider: str
    offers: int
    unpriced: int
    as_of: str | None
    change: Change
    error: BrokerError | None = None

    @property
    def published(self) -> bool:
        return self.error is None


def refresh(
    catalog: Catalog,
    jobs: Sequence[Job],
    *,
    accept_shrink: bool = False,
    limit_s: float = LIMIT_S,
) -> tuple[Refreshed, ...]:
    """All providers at once, each published when it has answered; in the order of `jobs`.

    A provider may be named once.
    A provider that has not answered after `limit_s` is not published any more.
    """
    answers: SimpleQueue[tuple[Job, list[Row] | BrokerError]] = SimpleQueue()
    for job in jobs:
        threading.Thread(target=_ask, args=(job, answers), daemon=True).start()
    done: dict[str, Refreshed] = {}
    end = time.monotonic() + limit_s
    while len(done) < len(jobs):
        try:
            job, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        done[job.provider] = _settle(catalog, job, answer, accept_shrink=accept_shrink)
    return tuple(done.get(job.provider) or _late(catalog, limit_s, job) for job in jobs)


def to_rows(name: str, offers: Iterable[Offer]) -> list[Row]:
    """How the catalog keeps a source's offers. A price that cannot be one is unknown.

    An offer without a price is dated and sourced as the first one that has one.
    BrokerError: too many, or none with a price.
    """
    found = list(islice(offers, MAX_OFFERS + 1))
    if len(found) > MAX_OFFERS:
        raise BrokerError(f"{name}: more than {MAX_OFFERS} offers", code=REFUSED)
    said = next((offer.price for offer in found if offer.price), None)
    if said is None:
        raise BrokerError(f"{name}: {_counted(len(found))}", code=REFUSED)
    return [_row(offer, offer.price, _source(offer.price or said)) for offer in found]


def _counted(offers: int) -> str:
    return f"{offers} offers and no price among them" if offers else "an empty list of offers"


def _row(offer: Offer, price: Price | None, source: Source) -> Row:
    kind, count = offer.accelerator, offer.accelerator_count
    return Row(
        offer.region,
        offer.zone,
        offer.instance_type,
        offer.market.value,
        offer.vcpus,
        offer.memory_gib,
        kind,
        count,
        price_micros(str(price.usd_per_hour), kind, count) if price else None,
        source,
    )


def _source(price: Price) -> Source:
    return Source(price.source, price.as_of, price.currency)


def _ask(job: Job, answers: SimpleQueue[tuple[Job, list[Row] | BrokerError]]) -> None:
    """Always answers: a thread that dies in silence would be waited for to the end."""
    try:
        answers.put((job, to_rows(job.source.name, job.source.offers())))
    except BrokerError as exc:
        answers.put((job, exc))
    except Exception as exc:  # noqa: BLE001 - a bug in one source must not take the others' prices
        words = f"{job.source.name}: {type(exc).__name__}: {exc}"
        answers.put((job, UnknownOutcomeError(words, code=UNREACHED)))


def _settle(
    catalog: Catalog, job: Job, answer: list[Row] | BrokerError, *, accept_shrink: bool
) -> Refreshed:
    try:
        if isinstance(answer, BrokerError):
            raise answer
        return _publish(catalog, job, answer, accept_shrink=accept_shrink)
    except BrokerError as exc:
        return _kept(catalog, job, exc)
    except sqlite3.Error as exc:
        words = f"{job.provider}: the catalog cannot be written: {exc}"
        return _kept(catalog, job, BrokerError(words, code="CAT013"))


def _publish(catalog: Catalog, job: Job, rows: list[Row], *, accept_shrink: bool) -> Refreshed:
    """One look and one write in one transaction: what it was compared with is what it replaces."""
    with catalog.writing() as conn:
        before = query.rows(conn, job.provider)
        inside = [row for row in before if not job.regions or row.region in job.regions]
        new = [row for row in rows if not job.regions or row.region in job.regions]
        change = compare(inside, new)
        _check(job, new, change, _newest(inside), accept_shrink=accept_shrink)
        others = [row for row in before if job.regions and row.region not in job.regions]
        write.replace(conn, job.provider, [*others, *new], LIVE)
    return _refreshed(job, [*others, *new], change)


def _check(
    job: Job, rows: list[Row], change: Change, last: str | None, *, accept_shrink: bool
) -> None:
    if why := impossible(rows, job.regions):
        raise BrokerError(f"{job.provider}: {why}", code=REFUSED)
    if (why := doubt(change)) and not accept_shrink:
        raise BrokerError(
            f"{job.provider}: {why} since {last}",
            code=REFUSED,
            hint=f"broker catalog refresh --cloud {job.source.name} --accept-shrink"
            " publishes it anyway",
        )


def _kept(catalog: Catalog, job: Job, error: BrokerError) -> Refreshed:
    return _refreshed(job, catalog.rows(job.provider), Change(), error)


def _refreshed(
    job: Job, held: list[Row], change: Change, error: BrokerError | None = None
) -> Refreshed:
    unpriced = sum(row.micros is None for row in held)
    return Refreshed(job.provider, len(held), unpriced, _newest(held), change, error)


def _newest(rows: Iterable[Row]) -> str | None:
    return max((row.source.as_of for row in rows), default=None)


def _late(catalog: Catalog, limit_s: float, job: Job) -> Refreshed:
    words = f"{job.provider}: no whole list of prices within {limit_s:g} s"
    return _kept(catalog, job, WaitTimeoutError(words, code=UNREACHED))
