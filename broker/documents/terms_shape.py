"""The shapes of the verbs that have terms of their own: residency, spot, carbon, budget, ..."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import ConfigDict, Field, model_validator

from broker.documents import clock
from broker.documents.fields import (
    MANY,
    Blocs,
    Count,
    Countries,
    Exact,
    Flag,
    Hours,
    PerCent,
    Shape,
    Subdivisions,
    Usd,
    one_of,
    problem,
    word,
)
from broker.documents.units import UnitError
from broker.model import Artefact
from broker.policy.rules import Window

ArtefactName = Annotated[str, *one_of(*(one.value for one in Artefact))]
Artefacts = Annotated[tuple[ArtefactName, ...], MANY]
Daily = Annotated[tuple[int, int], *word(clock.daily, clock.DAILY_SCHEMA, "22:00-06:00")]
WindowOfWeek = Annotated[
    Window,
    *word(clock.weekly, clock.WEEKLY_SCHEMA, "Mon-Fri 20:00-06:00", "Sat-Sun 00:00-24:00"),
]
Zone = Annotated[str, *word(clock.zone, clock.ZONE_SCHEMA, "Europe/Oslo", "UTC")]
Dailies = Annotated[tuple[Daily, ...], MANY]
Windows = Annotated[tuple[WindowOfWeek, ...], MANY]
PerCents = Annotated[tuple[PerCent, ...], MANY]


def at_least_one_of(*names: str) -> dict[str, Any]:
    """As JSON Schema."""
    return {"anyOf": [{"required": [name]} for name in names]}


class TermsShape(Shape):
    """Says nothing when none of `asks` is in it, which is an error."""

    asks: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set & set(self.asks):
            names = " or ".join(f"`{name}`" for name in self.asks)
            raise problem(UnitError("says nothing", tip=f"give {names}"))
        return self


_PLACES: Final = ("country", "bloc", "subdivision", "operator_country")


class ResidencyShape(TermsShape):
    asks = _PLACES
    model_config = ConfigDict(json_schema_extra=at_least_one_of(*_PLACES))

    country: Countries | None = Field(
        default=None, description="ISO 3166-1 alpha-2 codes of the countries that are inside."
    )
    bloc: Blocs | None = Field(
        default=None, description="Blocs whose countries are inside: EU, EEA, ..."
    )
    subdivision: Subdivisions | None = Field(
        default=None, description="ISO 3166-2 codes of parts of countries that are inside."
    )
    operator_country: Countries | None = Field(
        default=None,
        description="Where the legal seat of whoever runs the place must be as well.",
    )
    of: Artefacts = Field(
        default=tuple(one.value for one in Artefact),
        description="What is bound: machine, aggregator, bucket, checkpoint, log; default: all.",
    )


class SpotShape(TermsShape):
    asks = ("allow", "max_duration", "needs_checkpoint", "max_preemptions")
    model_config = ConfigDict(json_schema_extra=at_least_one_of(*asks))

    allow: Flag | None = Field(default=None, description="false: no spot machine at all.")
    max_duration: Hours | None = Field(
        default=None, description="Spot only for a demand that states at most this duration."
    )
    needs_checkpoint: Flag | None = Field(
        default=None, description="Spot only for a demand that states a checkpoint."
    )
    max_preemptions: Count | None = Field(
        default=None, description="After so many preemptions a lease is no longer put on spot."
    )


class ShiftShape(Shape):
    within: Hours = Field(description="How long a start may wait at most.")
    hours: Dailies = Field(description="Hours of the day in UTC in which to start.")


class CarbonShape(TermsShape):
    asks = ("max_g_per_kwh", "max_kg", "usd_per_kg", "shift")
    model_config = ConfigDict(json_schema_extra=at_least_one_of(*asks))

    max_g_per_kwh: Exact | None = Field(
        default=None, description="Grams of CO2 per kWh that the region's electricity may have."
    )
    max_kg: Exact | None = Field(
        default=None, description="Kilograms of CO2 that the whole run may cause, as estimated."
    )
    usd_per_kg: Usd | None = Field(
        default=None,
        description="What a kilogram of CO2 weighs in the ranking, in USD; it is never paid.",
    )
    shift: ShiftShape | None = Field(
        default=None, description="Wait for cleaner hours, if the demand allows it too."
    )


class BudgetShape(Shape):
    usd_per_month: Usd = Field(
        description="USD that the demands of one project may cost in a calendar month (UTC)."
    )
    warn_at: PerCents | None = Field(
        default=None, description="Per cent of the budget at which to warn."
    )


class DisruptionShape(TermsShape):
    asks = ("allow", "max_at_once")
    model_config = ConfigDict(json_schema_extra=at_least_one_of(*asks))

    allow: Windows | None = Field(
        default=None,
        description="When the broker may interrupt running work; default: at any time.",
    )
    timezone: Zone = Field(default="UTC", description="Whose hours those are; default: UTC.")
    max_at_once: Count | None = Field(
        default=None, description="How many running leases it may interrupt at once."
    )


class BlastRadiusShape(TermsShape):
    asks = ("max_nodes_per_run", "max_machines", "max_usd_per_hour")
    model_config = ConfigDict(json_schema_extra=at_least_one_of(*asks))

    max_nodes_per_run: Count | None = Field(
        default=None, description="Machines that one run may start."
    )
    max_machines: Count | None = Field(
        default=None, description="Machines that a project may have open at once."
    )
    max_usd_per_hour: Usd | None = Field(
        default=None, description="USD per hour that all open machines of a project may cost."
    )
