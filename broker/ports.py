"""The seams. At most four methods each; the docstring is the contract; each has a shipped fake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from broker.model import Instance, Offer, Row

R = TypeVar("R", bound=Row)


@runtime_checkable
class Provider(Protocol):
    """One configured cloud (or `local`, or the fleet of edge nodes). Calls block; threads are the caller's.

    `name` is the configured name and stands in every offer's and instance's `cloud`.
    Fake: `providers.fake.FakeCloud`. Every implementation passes `tests/providers/conformance.py`.
    """

    name: str

    def offers(self) -> Iterable[Offer]:
        """All that is sellable now, sold-out too with `available=False`. Empty where the catalog knows it."""

    def launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Instance:
        """Make one machine, tagged in the same call with owner, token and lease.

        The same token (with the same offer and user_data) twice gives the same machine.
        CapacityError, QuotaError, AuthError, RequestError: definite, nothing was made.
        UnknownOutcomeError, and any exception outside `broker.errors`: it may have been made.
        """

    def instances(self) -> Sequence[Instance]:
        """Every machine that carries our owner tag, in all regions, `GONE` ones as long as they are listed.

        Raises when any region cannot be listed: a partial list is a lie.
        """

    def terminate(self, instance_id: str) -> None:
        """Ask for the end; returns when asked, not when done. NotFoundError when already gone."""


class Store(Protocol):
    """The ledger. Fake: `broker.store.memory.MemoryStore`. Both pass `tests/store/conformance.py`."""

    def find(self, kind: type[R], /, **equal: object) -> list[R]:
        """Rows of one kind whose scalar fields equal all given values, by id.

        A value that is a list, tuple, set or frozenset means "one of these".
        """

    def commit(self, *rows: Row) -> tuple[Row, ...]:
        """Write all rows in one durable transaction; returns them with their new versions.

        `version` 0 inserts; `version` n replaces the stored row only if that is at n.
        ConflictError: an id is taken, or a version has moved on; then nothing was written.
        """


class PriceSource(Protocol):
    """What one provider says its machines cost now. Fake: `providers.fake_prices.FakePrices`.

    `name` is the provider's or the configured cloud's. Calls block, and end by themselves: every
    request has a time limit, every list a largest number of pages.
    """

    name: str

    def offers(self) -> Iterator[Offer]:
        """Every offer, its price with currency, date and source; a price that nobody says is None.

        The list is complete or it raises: AuthError without credentials, any other BrokerError
        with the provider's own words.
        """


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, UTC, aware."""

    def sleep(self, seconds: float) -> None:
        """Wait. A test's clock only moves its own hands."""
