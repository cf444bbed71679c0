"""The shape of a policy file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from broker.diagnostics import suggest
from broker.documents import patterns
from broker.documents.check import Hints
from broker.documents.fields import (
    LABEL,
    MANY,
    TYPE,
    Blocs,
    CloudNames,
    Countries,
    Days,
    Exact,
    Flag,
    Labels,
    Name,
    Names,
    Places,
    Shape,
    Subdivisions,
    Text,
    Texts,
    Usd,
    guarded,
    label,
    one_of,
    problem,
    word,
)
from broker.documents.terms_shape import (
    BlastRadiusShape,
    BudgetShape,
    CarbonShape,
    DisruptionShape,
    ResidencyShape,
    SpotShape,
)
from broker.documents.units import UnitError, found
from broker.model import Market
from broker.policy.rules import Verb

VERBS: Final = tuple(verb.value for verb in Verb)
RESERVED: Final = ("budget", "data-class", "purpose")
ORGANISATION: Final = "organisation"
IN_REQUIRE: Final = "a cap stands in `require`, `prefer` or `limits`"
IN_WHEN: Final = "what the demand says stands in `when`"
IN_RULES: Final = "a verb stands in a rule: `rules: [{id: ..., require: ...}]`"
HINTS: Final = Hints(
    tips={
        "provider": "did you mean `cloud`?",
        "max_usd_per_hour": IN_REQUIRE,
        "max_usd_per_accelerator_hour": IN_REQUIRE,
        "max_carbon_g_per_kwh": IN_REQUIRE,
        "max_price_age": IN_REQUIRE,
        "budget_usd": "it stands in `limits`; a task's own is its `budget`",
        "data_class": IN_WHEN,
        "project": IN_WHEN,
        "role": IN_WHEN,
        "purpose": IN_WHEN,
        "unless": 'write the condition in `when`, turned round: `expr: "!(...)"`',
        "class": "did you mean `data_class`?",
        "duration": "did you mean `max_duration`?",
        "usd_per_hour": "did you mean `max_usd_per_hour`?",
        **dict.fromkeys(VERBS, IN_RULES),
    }
)


def rule_id(value: Any) -> str:
    given = label(value)
    if given in RESERVED or given.startswith("limits."):
        raise UnitError(f"wants a name of your own: `{given}` is one of the broker's")
    return given


_TAKEN: Final = "|".join(
    [*(f"{patterns.any_case(one)}$" for one in RESERVED), patterns.any_case("limits.")]
)
RuleId = Annotated[str, *word(rule_id, f"^(?!{_TAKEN}){patterns.LABEL[1:]}")]
MarketName = Annotated[str, *one_of(*(market.value for market in Market))]
KindName = Annotated[str, *one_of("cloud", "edge", "local")]
RoleName = Annotated[str, *one_of("task", "aggregator", "site")]
Markets = Annotated[tuple[MarketName, ...], MANY]
Kinds = Annotated[tuple[KindName, ...], MANY]
Roles = Annotated[tuple[RoleName, ...], MANY]


def class_name(value: str) -> str:
    """Of a data class, as tasks name it: the case of its letters does not matter."""
    given = value.lower()
    if not LABEL.fullmatch(given):
        raise UnitError("wants a name of letters, digits, dots and dashes")
    return given


ClassName = Annotated[
    str,
    PlainValidator(guarded(class_name)),
    WithJsonSchema({"type": "string", "pattern": patterns.LABEL}),
]


class FactsShape(Shape):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    accelerator: Labels | None = Field(
        default=None, description="Names; `none` is a machine without one."
    )
    bloc: Blocs | None = Field(default=None, description="Blocs of countries: EU, EEA, ...")
    cloud: CloudNames | None = Field(
        default=None, description="`aws` is every cloud of that catalog, `aws@lab` that one alone."
    )
    country: Countries | None = Field(default=None, description="ISO 3166-1 alpha-2 codes.")
    expr: Text | None = Field(
        default=None, description="A condition in CEL over `offer` and `demand`."
    )
    holds_data: Flag | None = Field(
        default=None, description="Whether the machine holds the data sets that the demand names."
    )
    instance_type: Places | None = Field(
        default=None, description="The provider's names of machines."
    )
    kind: Kinds | None = Field(default=None, description="cloud, edge or local.")
    market: Markets | None = Field(default=None, description="on-demand, spot, reserved or owned.")
    operator: Texts | None = Field(
        default=None, description="Companies that run the place, spelt as in the table of regions."
    )
    operator_country: Countries | None = Field(
        default=None, description="Countries of the operator's legal seat."
    )
    region: Places | None = Field(default=None, description="The provider's names of regions.")
    subdivision: Subdivisions | None = Field(
        default=None, description="ISO 3166-2 codes of parts of countries, such as US-VA."
    )
    zone: Places | None = Field(default=None, description="The provider's names of zones.")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set and not isinstance(self, WhenShape):
            raise problem(
                UnitError("says nothing", tip="name at least one fact, such as `country`")
            )
        return self


class WhenShape(FactsShape):
    model_config = ConfigDict(json_schema_extra={})

    data_class: Labels | None = Field(
        default=None, description="Classes of data, as tasks name them; descendants count too."
    )
    project: Names | None = Field(default=None, description="Projects, as tasks name them.")
    purpose: Labels | None = Field(default=None, description="What the data is used for.")
    role: Roles | None = Field(default=None, description="task, aggregator or site.")


class CapsShape(FactsShape):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    max_carbon_g_per_kwh: Exact | None = Field(
        default=None, description="Grams of CO2 per kWh of the region's electricity."
    )
    max_price_age: Days | None = Field(default=None, description="How old the price may be: `30d`.")
    max_usd_per_accelerator_hour: Usd | None = Field(
        default=None, description="USD per hour of one accelerator; fails where there is none."
    )
    max_usd_per_hour: Usd | None = Field(
        default=None, description="USD per hour of all nodes of the demand together."
    )


def exactly_one(named: Sequence[str]) -> str:
    """What to say of a rule with these verbs."""
    return f"wants exactly one of {', '.join(VERBS)}, found {' and '.join(named) or 'none'}"


class RuleShape(Shape):
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [verb]} for verb in VERBS]})

    id: RuleId = Field(description="Names the rule in every message; unique in all policy files.")
    when: WhenShape = Field(
        default_factory=WhenShape, description="Where the rule applies; empty: always."
    )
    require: CapsShape | None = Field(default=None, description="All of this must hold.")
    deny: FactsShape | None = Field(default=None, description="Refused where all of this holds.")
    prefer: CapsShape | None = Field(
        default=None, description="Counts in favour where all of this holds."
    )
    residency: ResidencyShape | None = Field(
        default=None, description="Where data may be, and under whose law."
    )
    spot: SpotShape | None = Field(
        default=None, description="When a machine may be one that the cloud can take back."
    )
    carbon: CarbonShape | None = Field(
        default=None, description="Caps on emissions, their weight in the ranking, cleaner hours."
    )
    budget: BudgetShape | None = Field(
        default=None, description="What each project may spend in a month."
    )
    disruption: DisruptionShape | None = Field(
        default=None, description="When and how much running work may be interrupted."
    )
    blast_radius: BlastRadiusShape | None = Field(
        default=None, description="How much one mistake can start."
    )
    why: Text | None = Field(default=None, description="The reason, shown with every refusal.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        named = [verb for verb in VERBS if verb in self.model_fields_set]
        if len(named) != 1:
            raise problem(UnitError(exactly_one(named), code="021"))
        return self


class LimitsShape(Shape):
    max_usd_per_hour: Usd | None = Field(
        default=None, description="USD per hour that all nodes of one demand may cost together."
    )
    max_usd_per_accelerator_hour: Usd | None = Field(
        default=None, description="USD per hour that one accelerator may cost."
    )
    budget_usd: Usd | None = Field(default=None, description="USD that one run may cost.")
    max_price_age: Days | None = Field(
        default=None, description="How old the price of an offer may be: `30d`."
    )


class ScopeShape(Shape):
    """`organisation`, or whom else the rules of the file bind."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["project"]}, {"required": ["site"]}],
            "dependencies": {"datasets": ["site"]},
        }
    )

    project: Names | None = Field(default=None, description="The demands of these projects.")
    site: Names | None = Field(default=None, description="The offers of these edge nodes.")
    datasets: Labels | None = Field(
        default=None, description="The site's data sets: every demand that names one is bound too."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _one_level(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, str):
            return cls._word(value)
        made = handler(value)
        named = [name for name in ("project", "site") if name in made.model_fields_set]
        if len(named) != 1:
            words = f"wants either `project` or `site`, found {' and '.join(named) or 'neither'}"
            tip = None if named else "`scope: organisation` binds every demand"
            raise problem(UnitError(words, tip=tip))
        if made.datasets is not None and made.site is None:
            raise problem(UnitError("has `datasets`, which only a `site` owns", at=("datasets",)))
        return made

    @classmethod
    def _word(cls, value: str) -> Self:
        if value != ORGANISATION:
            tip = suggest(value, [ORGANISATION, "{project: [NAME]}", "{site: [NAME]}"])
            words = f"wants organisation, a project or a site, found {found(value)}"
            raise problem(UnitError(words, tip=tip, code=TYPE))
        return cls.model_construct()


class _OrWord:
    """Adds the word to the schema of a mapping."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": [ORGANISATION]}, handler(schema)]}


class ClassShape(Shape):
    parents: Labels | None = Field(
        default=None, alias="is", description="Classes whose rules hold for this one too."
    )
    purposes: Labels | None = Field(
        default=None, description="A demand for such data must state one of these purposes."
    )


class PolicyShape(Shape):
    policy: Name = Field(description="Name of the policy.")
    description: Text | None = Field(default=None, description="What the policy is for.")
    scope: Annotated[ScopeShape, _OrWord()] = Field(
        default_factory=ScopeShape.model_construct,
        description="Whom the rules bind; default: organisation, every demand.",
    )
    classes: dict[ClassName, ClassShape] = Field(default={}, description="Classes of data.")
    rules: list[RuleShape] = Field(default=[], description="The rules; all of them apply.")
    limits: LimitsShape = Field(default_factory=LimitsShape, description="Caps for every demand.")
