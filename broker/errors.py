"""The error tree, named by what the caller does next.

    BrokerError                     show `message`, `hint`, `location`; leave with `exit_code`
    |-- UsageError                  2   the command line or a file is wrong: mend it, run again
    |   `-- DocumentError           2   a YAML file is wrong: every problem with file:line:col
    |-- AuthError                   4   credentials are missing or refused: log in
    |-- InfeasibleError             5   no offer can carry the task: relax the request
    |-- PolicyError                 6   the rules refuse it: relax a rule or move the data
    |-- BudgetError                 7   a price cap or a budget refuses it
    |-- PartialError                8   done in part: resources may still be running
    |-- CapacityError               9   definite: it did not happen, sold out: take the next offer
    |   `-- QuotaError              9   definite: the account's limit: take another pool, raise the quota
    |-- NotFoundError              10   no such thing: it was never there or is already gone
    |-- ConflictError              11   somebody changed the row first: read again, decide again
    |-- WaitTimeoutError           12   it did not come true in time: look, wait on
    |-- RequestError                1   definite: the provider refused the request itself: a bug or a bad setting
    `-- UnknownOutcomeError         1   it may have happened: ask again with the same token, never fail over

A provider translates its SDK's errors once, at its border, with `raise ... from exc`, and keeps
the provider's own words in `message`. Any exception a provider lets through that is not in this
tree counts as `UnknownOutcomeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.diagnostics import Diagnostic
    from broker.model import Location


class BrokerError(Exception):
    """Something a person must read. `code` is stable and has a page in the docs."""

    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "failed"
    default_code: ClassVar[str] = "BRK001"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        location: Location | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.location = location


class UsageError(BrokerError):
    exit_code = 2
    title = "invalid input"
    default_code = "USE001"


class DocumentError(UsageError):
    """A file that cannot be used. `diagnostics` holds every problem, in the file's order."""

    title = "invalid file"
    default_code = "DOC001"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        first = diagnostics[0]
        super().__init__(first.message, code=first.code, hint=first.tip, location=first.location)
        self.diagnostics = tuple(diagnostics)


class AuthError(BrokerError):
    exit_code = 4
    title = "authentication needed"
    default_code = "AUT001"


class InfeasibleError(BrokerError):
    exit_code = 5
    title = "no feasible offer"
    default_code = "PLN001"


class PolicyError(BrokerError):
    exit_code = 6
    title = "denied by policy"
    default_code = "POL001"


class BudgetError(BrokerError):
    exit_code = 7
    title = "over the price cap or budget"
    default_code = "BUD001"


class PartialError(BrokerError):
    exit_code = 8
    title = "done in part, resources may still be running"
    default_code = "PRT001"


class CapacityError(BrokerError):
    """Definite: no machine was made; this offer is sold out for now."""

    exit_code = 9
    title = "no capacity"
    default_code = "CAP001"
    retryable = True


class QuotaError(CapacityError):
    """Definite: no machine was made; the account's limit for this kind in this region is reached."""

    title = "quota reached"
    default_code = "CAP002"


class NotFoundError(BrokerError):
    exit_code = 10
    title = "not found"
    default_code = "NOT001"


class ConflictError(BrokerError):
    """A guarded write found another version of the row. Nothing of the commit was written."""

    exit_code = 11
    title = "conflict"
    default_code = "CON001"
    retryable = True


class WaitTimeoutError(BrokerError):
    exit_code = 12
    title = "waited too long"
    default_code = "WAI001"


class RequestError(BrokerError):
    """Definite: the provider refused the request as malformed; trying it again cannot help."""

    title = "refused by the provider"
    default_code = "REQ001"


class UnknownOutcomeError(BrokerError):
    """The effect may or may not have happened. Resolve it with the same token; never fail over."""

    title = "outcome unknown"
    default_code = "UNK001"
    retryable = True
