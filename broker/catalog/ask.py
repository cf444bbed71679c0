"""A demand as SQL over one offer's row: what becomes of it, as one number.

Only what differs inside a pool is asked here: instance type, vCPUs, memory, price. The number says
where the row ends, and mirrors `broker.place.match` and `broker.place.limits` exactly:

    >= 0   refused by the request: `encode_request` of the check and the alternative
    -1     fits, price unknown
    -2     fits, priced, within the task's own limits
    -3     over the budget
    <= -10 over the price cap of alternative `-10 - outcome`

`survey` asks the same row for everything at once: which conditions fail, and the step of its price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from broker.catalog.rows import MICRO
from broker.model import AtLeast, Demand, Resources
from broker.place.limits import loosest_first, node_limit
from broker.place.match import CHECKS, SHARED_CHECKS

UNPRICED = -1
GOOD = -2
OVER_BUDGET = -3
OVER_CAP = -10

_FIRST_SHAPE_CHECK = len(SHARED_CHECKS)


@dataclass(frozen=True, slots=True)
class Ask:
    """The SQL expression for the outcome, its parameters by name, and the steps of price.

    A price is on step 0 up to the first bound, on step 1 up to the second, and so on.
    """

    outcome: str
    parameters: dict[str, object]
    bounds: tuple[int, ...] = ()  # micro-units, ascending

    @property
    def step(self) -> str:
        """The SQL expression for the step."""
        return _steps(self.bounds)


@dataclass(frozen=True, slots=True)
class Survey:
    """SQL for all that fails in a row: `failed` is a text with `1` for each condition that does.

    `conditions[alternative]` maps a check, by its place in `CHECKS`, to a place in that text. The
    step is `UNPRICED` where the price is not known, else as in `Ask`. Rows that differ in `columns`
    are counted apart.
    """

    failed: str
    conditions: tuple[dict[int, int], ...]
    parameters: dict[str, object]
    bounds: tuple[int, ...]
    columns: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        return f"CASE WHEN micros IS NULL THEN {UNPRICED} ELSE {_steps(self.bounds)} END"

    def above(self, bound: int, step: int) -> bool:
        """Whether a price on this step is above one of the bounds."""
        return step > self.bounds.index(bound)


def survey(
    demand: Demand, bounds: Iterable[Decimal | Fraction] = (), columns: tuple[str, ...] = ()
) -> Survey:
    """For every row of the catalog. The task's own cap and budget are among the bounds."""
    parameters: dict[str, object] = {}
    placed: dict[tuple[str, object], int] = {}  # alternatives often ask for the same
    failed: list[str] = []
    conditions = []
    for at, resources in enumerate(demand.alternatives):
        own: dict[str, object] = {}
        mine: dict[int, int] = {}
        for check, sql in enumerate(_conditions(resources, f"a{at}", own), _FIRST_SHAPE_CHECK):
            if sql is None:
                continue
            comparison, _, name = sql.partition(":")
            key = (comparison, own[name])
            if key not in placed:
                placed[key] = len(failed)
                parameters[name] = own[name]
                failed.append(f"CASE WHEN {sql} THEN '0' ELSE '1' END")
            mine[check] = placed[key]
        conditions.append(mine)
    limits = [one.max_usd_per_hour for one in demand.alternatives]
    named = [one for one in (*limits, node_limit(demand)) if one is not None]
    text = " || ".join(failed) or "''"
    return Survey(text, tuple(conditions), parameters, steps([*bounds, *named]), columns)


def steps(bounds: Iterable[Decimal | Fraction]) -> tuple[int, ...]:
    """Bounds in USD an hour as whole micro-units: a price is above one just when it was before."""
    return tuple(sorted({micros(usd) for usd in bounds}))


def ask(demand: Demand, alive: Sequence[int], bounds: tuple[int, ...] = ()) -> Ask:
    """For rows of pools whose shared facts suit exactly the alternatives `alive` (by index).

    A demand without alternatives takes every row; then `alive` is empty.
    """
    if not alive:
        unpriced = f"CASE WHEN micros IS NULL THEN {UNPRICED} ELSE {_budget(demand)} END"
        return Ask(unpriced, {}, bounds)
    parameters: dict[str, object] = {}
    depths = {at: _depth(demand.alternatives, at, parameters) for at in alive}
    caps = [at for at in loosest_first(demand.alternatives) if at in depths]
    furthest = f"max({', '.join(depths.values())})" if len(depths) > 1 else depths[alive[0]]
    whole = len(CHECKS) * len(demand.alternatives)
    afford = " ".join(f"WHEN {depths[at]} >= {whole} THEN {_afford(demand, at)}" for at in caps)
    outcome = (
        f"CASE WHEN {furthest} < {whole} THEN {furthest}"
        f" WHEN micros IS NULL THEN {UNPRICED} {afford} END"
    )
    return Ask(outcome, parameters, bounds)


def encode_request(check: int, alternative: int, alternatives: int) -> int:
    """Deeper is greater, and of equally deep ones the first alternative is."""
    return check * alternatives + (alternatives - 1 - alternative)


def _depth(alternatives: Sequence[Resources], at: int, parameters: dict[str, object]) -> str:
    conditions = _conditions(alternatives[at], f"a{at}", parameters)
    lines = [
        f"WHEN NOT coalesce({sql}, 0) THEN {encode_request(check, at, len(alternatives))}"
        for check, sql in enumerate(conditions, _FIRST_SHAPE_CHECK)
        if sql
    ]
    whole = encode_request(len(CHECKS), at, len(alternatives))
    return f"(CASE {' '.join(lines)} ELSE {whole} END)" if lines else str(whole)


def _conditions(
    resources: Resources, name: str, parameters: dict[str, object]
) -> tuple[str | None, ...]:
    """One condition per shape check, in their order; None where nothing is asked."""
    if resources.instance_type is not None:
        parameters[f"{name}_type"] = resources.instance_type
    return (
        f"instance_type = :{name}_type" if resources.instance_type is not None else None,
        _amount("vcpus", resources.cpus, f"{name}_vcpus", parameters),
        _amount("memory_gib", resources.memory_gib, f"{name}_memory", parameters),
    )


def _amount(
    column: str, wanted: AtLeast | None, name: str, parameters: dict[str, object]
) -> str | None:
    if wanted is None:
        return None
    parameters[name] = float(wanted.amount)
    return f"{column} {'>=' if wanted.or_more else '='} :{name}"


def _afford(demand: Demand, at: int) -> str:
    cap = demand.alternatives[at].max_usd_per_hour
    if cap is None:
        return _budget(demand)
    over = f"micros > {micros(cap)}"
    return f"CASE WHEN {over} THEN {OVER_CAP - at} ELSE {_budget(demand)} END"


def _budget(demand: Demand) -> str:
    limit = node_limit(demand)
    if limit is None:
        return str(GOOD)
    return f"CASE WHEN micros > {micros(limit)} THEN {OVER_BUDGET} ELSE {GOOD} END"


def _steps(bounds: Sequence[int]) -> str:
    if not bounds:
        return "0"
    lines = " ".join(f"WHEN micros <= {top} THEN {at}" for at, top in enumerate(bounds))
    return f"CASE {lines} ELSE {len(bounds)} END"


def micros(usd: Decimal | Fraction) -> int:
    """The most whole micro-units that are not above this."""
    return floor(Fraction(usd) * MICRO)
