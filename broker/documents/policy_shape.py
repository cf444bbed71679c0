"""The shape of a policy file."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from broker.documents.check import Hints
from broker.documents.fields import (
    Blocs,
    CloudNames,
    Countries,
    Flag,
    Labels,
    Name,
    Number,
    Places,
    Shape,
    Text,
    Usd,
    among,
    guarded,
    label,
    listed,
    problem,
)
from broker.documents.units import UnitError
from broker.model import Market
from broker.policy.rules import Verb

VERBS: Final = tuple(verb.value for verb in Verb)
RESERVED: Final = ("budget", "data-class")
IN_REQUIRE: Final = "a cap stands in `require`, `prefer` or `limits`"
IN_WHEN: Final = "what the demand says stands in `when`"
HINTS: Final = Hints(
    tips={
        "provider": "did you mean `cloud`?",
        "max_usd_per_hour": IN_REQUIRE,
        "max_carbon_g_per_kwh": IN_REQUIRE,
        "budget_usd": "it stands in `limits`; a task's own is its `budget`",
        "data_class": IN_WHEN,
        "role": IN_WHEN,
        "purpose": IN_WHEN,
    }
)


def rule_id(value: Any) -> str:
    given = label(value)
    if given in RESERVED or given.startswith("limits."):
        raise UnitError(f"wants a name of your own: `{given}` is one of the broker's")
    return given


def _one_of(*choices: str) -> tuple[PlainValidator, WithJsonSchema]:
    schema = {"type": "string", "enum": list(choices)}
    return PlainValidator(guarded(among(choices))), WithJsonSchema(schema)


_MANY = BeforeValidator(guarded(listed))
RuleId = Annotated[str, PlainValidator(guarded(rule_id)), WithJsonSchema({"type": "string"})]
MarketName = Annotated[str, *_one_of(*(market.value for market in Market))]
KindName = Annotated[str, *_one_of("cloud", "edge", "local")]
RoleName = Annotated[str, *_one_of("task", "aggregator", "site")]
Markets = Annotated[tuple[MarketName, ...], _MANY]
Kinds = Annotated[tuple[KindName, ...], _MANY]
Roles = Annotated[tuple[RoleName, ...], _MANY]


class FactsShape(Shape):
    accelerator: Labels | None = Field(
        default=None, description="Names; `none` is a machine without one."
    )
    bloc: Blocs | None = Field(default=None, description="Blocs of countries: EU, EEA, ...")
    cloud: CloudNames | None = Field(
        default=None, description="`aws` is every cloud of that catalog, `aws@lab` that one alone."
    )
    country: Countries | None = Field(default=None, description="ISO 3166-1 alpha-2 codes.")
    holds_data: Flag | None = Field(
        default=None, description="Whether the machine holds the data sets that the demand names."
    )
    instance_type: Places | None = Field(
        default=None, description="The provider's names of machines."
    )
    kind: Kinds | None = Field(default=None, description="cloud, edge or local.")
    market: Markets | None = Field(default=None, description="spot, on-demand or owned.")
    region: Places | None = Field(default=None, description="The provider's names of regions.")
    zone: Places | None = Field(default=None, description="The provider's names of zones.")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set and not isinstance(self, WhenShape):
            raise problem(
                UnitError("says nothing", tip="name at least one fact, such as `country`")
            )
        return self


class WhenShape(FactsShape):
    data_class: Labels | None = Field(
        default=None, description="Classes of data, as tasks name them."
    )
    purpose: Labels | None = Field(default=None, description="What the data is used for.")
    role: Roles | None = Field(default=None, description="task, aggregator or site.")


class CapsShape(FactsShape):
    max_usd_per_hour: Usd | None = Field(
        default=None, description="USD per hour of all nodes of the demand together."
    )
    max_carbon_g_per_kwh: Number | None = Field(
        default=None, description="Grams of CO2 per kWh of the region's electricity."
    )


class RuleShape(Shape):
    id: RuleId = Field(description="Names the rule in every message; unique in all policy files.")
    when: WhenShape = Field(
        default_factory=WhenShape, description="Where the rule applies; empty: always."
    )
    require: CapsShape | None = Field(default=None, description="All of this must hold.")
    deny: FactsShape | None = Field(default=None, description="Refused where all of this holds.")
    prefer: CapsShape | None = Field(
        default=None, description="Counts in favour where all of this holds."
    )
    why: Text | None = Field(default=None, description="The reason, shown with every refusal.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        named = [verb for verb in VERBS if verb in self.model_fields_set]
        if len(named) != 1:
            count = " and ".join(named) or "none"
            words = f"wants exactly one of {', '.join(VERBS)}, found {count}"
            raise problem(UnitError(words, code="021"))
        return self


class LimitsShape(Shape):
    max_usd_per_hour: Usd | None = Field(
        default=None, description="USD per hour that all nodes of one demand may cost together."
    )
    budget_usd: Usd | None = Field(default=None, description="USD that one run may cost.")


class PolicyShape(Shape):
    policy: Name = Field(description="Name of the policy.")
    rules: list[RuleShape] = Field(default=[], description="The rules; all of them apply.")
    limits: LimitsShape = Field(default_factory=LimitsShape, description="Caps for every demand.")
