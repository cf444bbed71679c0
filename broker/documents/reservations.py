"""Capacity that a cloud has set aside and somebody already pays for, as the configuration says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, model_validator

from broker.diagnostics import Diagnostic
from broker.documents.fields import Count, Place, Shape, Usd, problem, word
from broker.documents.settings import Reservation
from broker.documents.tree import Document
from broker.documents.units import UnitError, found

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_SCHEMA: Final = "^(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$"
_ZONE: Final = re.compile(r"([a-z][a-z0-9-]*[0-9])-?[a-z]")  # us-east-1a, europe-west3-a
_NO_REGION: Final = "022"


def day(value: Any) -> date:
    given = value if isinstance(value, str) else ""
    try:
        if _DATE.fullmatch(given):
            return date.fromisoformat(given)
    except ValueError:  # such as the 30th of February
        pass
    raise UnitError(f"wants a date, found {found(value)}", tip="write `2027-01-31`")


Day = Annotated[date, *word(day, _DATE_SCHEMA, "2027-01-31")]


class ReservationShape(Shape):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["region"], "properties": {"region": {"type": "string"}}},
                {"required": ["zone"], "properties": {"zone": {"pattern": f"^{_ZONE.pattern}$"}}},
            ]
        }
    )

    id: Place = Field(description="The cloud's id of the reservation.")
    instance_type: Place = Field(description="The provider's name of the machines.")
    region: Place | None = Field(
        default=None, description="Where they are; left out, it follows from `zone`."
    )
    zone: Place | None = Field(default=None, description="The zone, where it is bound to one.")
    count: Count = Field(description="How many machines.")
    usd_per_hour: Usd = Field(
        default=Decimal(0), description="USD per hour that using one adds; default: nothing."
    )
    until: Day | None = Field(default=None, description="The last day on which it may be used.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.region is None and self.zone is None:
            tip = "name its `zone` or its `region`"
            raise problem(UnitError("says not where it is", tip=tip, code=_NO_REGION))
        if self.region is None and region_of(self.zone or "") is None:
            words = f"does not say its region, and `{self.zone}` does not tell it"
            raise problem(UnitError(words, tip="name its `region` too", code=_NO_REGION))
        return self


def region_of(zone: str) -> str | None:
    """The region in a zone's name, as AWS and Google Cloud build it."""
    matched = _ZONE.fullmatch(zone)
    return matched[1] if matched else None


def reservations(
    shapes: Sequence[ReservationShape], document: Document, cloud: str
) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(
            id=one.id,
            instance_type=one.instance_type,
            region=one.region or region_of(one.zone or "") or "",
            zone=one.zone,
            count=one.count,
            usd_per_hour=one.usd_per_hour,
            until=one.until,
            location=document.place(["clouds", cloud, "reservations", index, "id"]),
        )
        for index, one in enumerate(shapes)
    )


def repeated(
    shapes: Sequence[ReservationShape], document: Document, cloud: str
) -> list[Diagnostic]:
    """Ids that stand twice: their machines would be counted twice."""
    first: dict[str, int] = {}
    problems = []
    for index, one in enumerate(shapes):
        where = document.place(["clouds", cloud, "reservations", index, "id"])
        if one.id in first:
            words = f"reservation `{one.id}` stands twice, first on line {first[one.id]}"
            problems.append(document.problem("CFG023", words, where, "keep one of them"))
        first.setdefault(one.id, where.line)
    return problems
