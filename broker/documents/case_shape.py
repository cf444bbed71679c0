"""The shape of a case file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from broker.documents import units
from broker.documents.check import Hints
from broker.documents.fields import (
    Blocs,
    CloudName,
    Count,
    Country,
    Hours,
    Label,
    LabelsOrNone,
    Number,
    Place,
    Shape,
    Text,
    TextsOrNone,
    Usd,
    among,
    guarded,
    label,
    listed,
    problem,
    text,
)
from broker.documents.units import UnitError, found
from broker.model import Market

HINTS: Final = Hints(
    tips={
        "class": "did you mean `data_class`?",
        "num_nodes": "did you mean `nodes`?",
        "infra": "write `cloud` and `region`",
        "accelerators": "did you mean `accelerator`?",
        "bloc": "did you mean `blocs`?",
        "price": "did you mean `usd_per_hour`?",
        "rules": "a case names them in `by`",
    }
)
ONE_ASK: Final = "write `offer` alone, or `disrupt` or `shift` (with `offer`: the machine it is on)"
NOT_HERE: Final = (
    "`by` and `prefers` name rules, `weighs` is of an `offer`, `expect_start` of a `shift`"
)


def instant(value: Any) -> datetime:
    """`2026-11-21T12:00:00Z`."""
    tip = "write `2026-11-21T12:00:00Z`"
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError as exc:
        raise UnitError(f"wants a date and time, found {found(value)}", tip=tip) from exc
    if moment.tzinfo is None:
        raise UnitError(f"wants a time with its zone, found {found(value)}", tip=tip)
    return moment.astimezone(UTC)


def day(value: Any) -> date:
    """`2026-11-21`."""
    try:
        return date.fromisoformat(text(value))
    except ValueError as exc:
        tip = "write `2026-11-21`"
        raise UnitError(f"wants a date, found {found(value)}", tip=tip) from exc


def accelerator(value: Any) -> tuple[str, float]:
    """`L4:1`, or `none`."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return "", 0
    named = units.accelerators(value)
    if len(named) != 1:
        raise UnitError("wants one accelerator with its count", tip="write `L4:1`", code="013")
    return named[0]


def held(value: Any) -> tuple[tuple[str, str], ...]:
    """Data sets that a machine holds: names, or names with their classes; "" where none is said."""
    if isinstance(value, dict):
        return tuple((_label(name, name), _label(kind, name)) for name, kind in value.items())
    return tuple((_label(name, at), "") for at, name in enumerate(listed(value)))


def _label(value: Any, at: str | int) -> str:
    try:
        return label(value)
    except UnitError as exc:
        exc.at = (at,)
        raise


def _each(parse: Any) -> Any:
    """A mapping from rule ids to amounts."""

    def run(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise UnitError(f"wants a mapping from rule ids, found {found(value)}", code="004")
        return {rule: _at(parse, amount, rule) for rule, amount in value.items()}

    return run


def _at(parse: Any, value: Any, step: str) -> Any:
    try:
        return parse(value)
    except UnitError as exc:
        exc.at = (step,)
        raise


def _zero_or_more(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnitError(f"wants a whole number of zero or more, found {found(value)}", code="004")
    return value


def _field(parse: Any, **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(guarded(parse)), WithJsonSchema(schema)


Texts = Annotated[tuple[Text, ...], BeforeValidator(guarded(listed))]
Instant = Annotated[datetime, *_field(instant, type="string", format="date-time")]
Day = Annotated[date, *_field(day, type="string", format="date")]
Accelerator = Annotated[
    tuple[str, float], *_field(accelerator, type="string", examples=["L4:1", "none"])
]
Held = Annotated[
    tuple[tuple[str, str], ...],
    *_field(held, type=["string", "array", "object"], examples=[["ehr"], {"ehr": "phi"}]),
]
Amounts = Annotated[dict[str, Decimal], *_field(_each(units.usd), type="object")]
Tally = Annotated[int, *_field(_zero_or_more, type="integer", minimum=0)]
Tallies = Annotated[dict[str, int], *_field(_each(_zero_or_more), type="object")]
MarketName = Annotated[
    str,
    *_field(
        among([one.value for one in Market]), type="string", enum=[one.value for one in Market]
    ),
]
RoleName = Annotated[
    str,
    *_field(
        among(["task", "aggregator", "site"]), type="string", enum=["task", "aggregator", "site"]
    ),
]
Verdict = Annotated[str, *_field(among(["allow", "deny"]), type="string", enum=["allow", "deny"])]


class DemandShape(Shape):
    """The facts of a demand."""

    data_class: Label | None = Field(default=None, description="The class of its data.")
    purpose: Label | None = Field(default=None, description="What the data is used for.")
    datasets: LabelsOrNone = Field(default=(), description="Names of the data sets it reads.")
    project: Label | None = Field(default=None, description="The project it belongs to.")
    role: RoleName = Field(default="task", description="task, aggregator or site.")
    nodes: Count = Field(default=1, description="How many machines.")
    duration: Hours | None = Field(default=None, description="How long it runs.")
    budget: Usd | None = Field(default=None, description="USD that it may cost.")
    start_within: Hours | None = Field(
        default=None, description="How long its start may wait for cleaner power."
    )
    checkpoint: Text | None = Field(
        default=None, description="Where checkpoints rest: cloud/region, or a country."
    )
    bucket: TextsOrNone = Field(
        default=(), description="Where its buckets are: cloud/region, or a country."
    )
    log: Text | None = Field(
        default=None, description="Where its logs rest: cloud/region, or a country."
    )


class DisruptShape(DemandShape):
    at: Instant = Field(description="When the broker would interrupt it.")
    disrupted: Tally = Field(
        default=0, description="How many runs the broker is interrupting already."
    )


class ShiftShape(DemandShape):
    at: Instant = Field(description="When it is asked for.")


class OfferShape(Shape):
    """The facts of an offer. What is left out is unknown, or comes from the broker's tables."""

    cloud: CloudName | None = Field(default=None, description="A cloud such as aws; edge.")
    region: Place | None = Field(default=None, description="The provider's name of the region.")
    zone: Place | None = Field(default=None, description="The provider's name of the zone.")
    node: Place | None = Field(default=None, description="Name of an enrolled edge node.")
    instance_type: Place | None = Field(default=None, description="The provider's name of it.")
    market: MarketName | None = Field(
        default=None, description="Default: owned for a node and local, on-demand otherwise."
    )
    accelerator: Accelerator | None = Field(default=None, description="Name and count, as L4:1.")
    vcpus: Number | None = Field(default=None, description="Virtual CPUs.")
    memory_gib: Number | None = Field(default=None, description="Memory in GiB.")
    usd_per_hour: Usd | None = Field(
        default=None, description="Price of one machine; left out: unknown, and 0 for one's own."
    )
    price_as_of: Day | None = Field(
        default=None, description="The date of the price; default: the day of the case."
    )
    country: Country | None = Field(default=None, description="ISO 3166-1 alpha-2 code.")
    subdivision: Text | None = Field(default=None, description="ISO 3166-2 code, e.g. US-VA.")
    blocs: Blocs | None = Field(default=None, description="Blocs of countries: EU, EEA, ...")
    operator: Text | None = Field(default=None, description="The company that runs the place.")
    operator_country: Country | None = Field(
        default=None, description="Where its legal seat is, or that of its owner."
    )
    carbon_g_per_kwh: Number | None = Field(
        default=None, description="Grams of CO2 per kWh of its electricity."
    )
    accelerator_memory_gib: Number | None = Field(
        default=None, description="Memory of one accelerator."
    )
    bf16_tflops: Number | None = Field(default=None, description="Dense peak of one accelerator.")
    watts: Number | None = Field(default=None, description="Power of one accelerator.")
    datasets: Held = Field(
        default=(), description="Data sets that it holds: names, or names with their classes."
    )
    left: Tally | None = Field(default=None, description="How many machines may still be had.")
    reservation: Text | None = Field(default=None, description="The id of its reservation.")


class StandingShape(Shape):
    """What was given out before, by rule id."""

    now: Instant | None = Field(default=None, description="When the rules are asked.")
    spent: Amounts = Field(default={}, description="USD of this month, by budget rule.")
    machines: Tallies = Field(default={}, description="Open machines, by blast-radius rule.")
    usd_per_hour: Amounts = Field(
        default={}, description="USD per hour of what is open, by blast-radius rule."
    )


class CaseShape(Shape):
    name: Text = Field(description="A sentence that says what is right; unique in the file.")
    demand: DemandShape | None = Field(default=None, description="What is asked for.")
    offer: OfferShape | None = Field(default=None, description="Where it would go.")
    disrupt: DisruptShape | None = Field(
        default=None, description="Asks whether the broker may interrupt this work."
    )
    shift: ShiftShape | None = Field(default=None, description="Asks when this work may begin.")
    standing: StandingShape = Field(
        default_factory=StandingShape, description="What was given out before."
    )
    expect: Verdict | None = Field(default=None, description="allow or deny.")
    by: LabelsOrNone | None = Field(
        default=None, description="With deny: exactly these rules refuse."
    )
    prefers: LabelsOrNone | None = Field(
        default=None, description="Exactly these preferences count."
    )
    weighs: Number | None = Field(
        default=None, description="What carbon adds in the ranking, USD per hour."
    )
    expect_start: Instant | None = Field(default=None, description="When it may begin.")

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        moved = [one for one in ("disrupt", "shift") if one in self.model_fields_set]
        if len(moved) > 1 or not (moved or self.offer):
            raise problem(UnitError("asks nothing, or two things", tip=ONE_ASK, code="020"))
        if moved and self.demand:
            words = f"says `demand` beside `{moved[0]}`"
            tip = f"what the demand says stands in `{moved[0]}`"
            raise problem(UnitError(words, tip=tip, code="020"))
        return self

    @model_validator(mode="after")
    def _expects_what_it_asks(self) -> Self:
        said = self.model_fields_set
        expected = said & {"expect", "prefers", "weighs", "expect_start"}
        if not expected:
            tip = "write `expect: allow` or `expect: deny`"
            raise problem(UnitError("expects nothing", tip=tip, code="021"))
        if "by" in said and self.expect != "deny":
            tip = "`by` names the rules that refuse: write `expect: deny`"
            raise problem(UnitError("says `by` without `expect: deny`", tip=tip, code="021"))
        wrong = expected & self._no_answers()
        if wrong:
            words = f"cannot answer `{min(wrong)}`"
            raise problem(UnitError(words, tip=NOT_HERE, code="021"))
        return self

    def _no_answers(self) -> set[str]:
        if self.disrupt:
            return {"prefers", "weighs", "expect_start"}
        return {"expect", "prefers", "weighs"} if self.shift else {"expect_start"}


class CasesShape(Shape):
    policies: Texts = Field(description="Policy files, relative to this one; all of them apply.")
    cases: list[CaseShape] = Field(description="The cases.")
