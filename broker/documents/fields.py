"""The types of fields in our files: what each takes, and what it says about anything else.

Every scalar is parsed by a function of its own, so that a message names the field, what was found
and what is wanted; and so that an empty value (`budget:`) is never taken for an absent one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic.annotated_handlers import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from broker.diagnostics import suggest
from broker.documents import patterns, units
from broker.documents.units import UnitError, found
from broker.model import AtLeast

TYPE: Final = "004"  # numbers in `codes.SHARED`
VALUE: Final = "005"
INFRA: Final = "015"
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,40}")
LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
CLOUD: Final = re.compile(r"[a-z][a-z0-9-]{0,40}(?:@[a-z0-9][a-z0-9-]{0,40})?")
PLACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
COUNTRY: Final = re.compile(r"[A-Z]{2}")
SUBDIVISION: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")
URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+")
MISTAKEN_COUNTRIES: Final = {"UK": "GB", "EU": "bloc: EU"}
MAX_WORDS: Final = 500


class Shape(BaseModel):
    """A mapping in one of our files. Unknown fields are errors.

    A shape that is only part of others is never built by itself: that halves the time to start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


def guarded(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser whose `UnitError` becomes one problem of a shape check."""

    def run(value: Any) -> Any:
        try:
            return parse(value)
        except UnitError as exc:
            raise problem(exc) from exc

    return run


def problem(exc: UnitError) -> PydanticCustomError:
    """In the form in which a shape check carries it: the code as the type, the words as a fact."""
    facts = {"words": exc.words, "tip": exc.tip, "at": exc.at}
    return PydanticCustomError(exc.code, "{words}", facts)


def text(value: Any) -> str:
    if not isinstance(value, str):
        tip = "put it in quotes" if isinstance(value, bool | int | float) else None
        raise UnitError(f"wants text, found {found(value)}", tip=tip, code=TYPE)
    if not value.strip():
        raise UnitError("is empty", tip="leave the field out, or fill it")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnitError(f"wants true or false, found {found(value)}", code=TYPE)
    return value


def count(value: Any) -> int:
    whole_one = _whole(value, "a whole number")
    if not 0 < whole_one <= units.MAX_AMOUNT:
        raise UnitError(f"wants a whole number above zero, found {found(value)}")
    return whole_one


def _whole(value: Any, wanted: str) -> int:
    """`2.0` is a whole number too, as JSON Schema has it."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise UnitError(f"wants {wanted}, found {found(value)}", code=TYPE)
    return int(value)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnitError(f"wants a number, found {found(value)}", code=TYPE)
    if not 0 <= value <= units.MAX_AMOUNT:
        raise UnitError(f"wants a number of zero or more, found {found(value)}")
    return float(value)


def seconds(value: Any) -> float:
    if number(value) == 0:
        raise UnitError("wants a number above zero, found the number 0")
    return float(value)


def port(value: Any) -> int:
    whole_one = _whole(value, "a port number")
    if not 0 <= whole_one <= 65535:
        raise UnitError(f"wants a port from 0 (any) to 65535, found {found(value)}")
    return whole_one


def per_cent(value: Any) -> int:
    whole_one = _whole(value, "a whole number of per cent")
    if not 0 < whole_one <= 100:
        raise UnitError(f"wants per cent from 1 to 100, found {found(value)}")
    return whole_one


def decimal(value: Any) -> Decimal:
    """A number that stays as exact as it is written."""
    number(value)
    return Decimal(str(value))


def name(value: Any) -> str:
    """A name that may become part of a host name, a tag and a file name."""
    given = text(value)
    if not NAME.fullmatch(given):
        words = f"wants lower-case letters, digits and dashes, at most 41, found {found(value)}"
        raise UnitError(words, tip=f"try `{slug(given)}`")
    return given


def slug(words: str) -> str:
    """The nearest usable name."""
    plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"n-{plain}")[:41].strip("-")


def label(value: Any) -> str:
    """A word that rules compare, such as a data class: the case of its letters does not matter."""
    return _matching(LABEL, text(value).lower(), "letters, digits, dots, dashes", value)


def place(value: Any) -> str:
    return _matching(PLACE, text(value), "letters, digits, dots, dashes", value)


def cloud(value: Any) -> str:
    """`aws`, or `aws@sandbox`: a catalog, and which configured cloud that uses it."""
    return _matching(CLOUD, text(value).lower(), "a cloud such as `aws` or `aws@sandbox`", value)


def country(value: Any) -> str:
    """ISO 3166-1 alpha-2, in any case."""
    code = text(value).upper()
    tip = f"use `{MISTAKEN_COUNTRIES[code]}`" if code in MISTAKEN_COUNTRIES else None
    if tip or not COUNTRY.fullmatch(code):
        raise UnitError(
            f"wants a two-letter country code such as NO, found {found(value)}", tip=tip
        )
    return code


def subdivision(value: Any) -> str:
    """ISO 3166-2, in any case."""
    code = text(value).upper()
    if not SUBDIVISION.fullmatch(code):
        words = f"wants a code of ISO 3166-2 such as US-VA, found {found(value)}"
        tip = "a whole country stands in `country`" if COUNTRY.fullmatch(code) else None
        raise UnitError(words, tip=tip)
    return code


def uri(value: Any) -> str:
    given = text(value)
    if not URI.fullmatch(given):
        tip = "write `s3://bucket/path`, `gs://bucket/path` or another URI with its scheme"
        raise UnitError(f"wants a URI, found {found(value)}", tip=tip)
    return given


def bloc(value: Any) -> str:
    return label(value).upper()


def among(choices: Sequence[str]) -> Callable[[Any], str]:
    """A parser that takes one of these words."""

    def parse(value: Any) -> str:
        given = text(value).lower()
        if given not in choices:
            words = f"wants one of {', '.join(choices)}, found {found(value)}"
            raise UnitError(words, tip=_near(given, choices))
        return given

    return parse


def infra(value: Any) -> tuple[str | None, str | None, str | None]:
    """`cloud/region/zone`, shortened from the right; `*` is any."""
    given = text(value).strip()
    parts = [part.strip() for part in given.split("/")]
    shapes = (CLOUD, PLACE, PLACE)
    fits = len(parts) <= len(shapes) and all(
        part == "*" or shape.fullmatch(part) for part, shape in zip(parts, shapes, strict=False)
    )
    if not fits:
        tip = "write `aws`, `aws/eu-north-1`, `aws/eu-north-1/eu-north-1a`, `edge/NODE` or `*`"
        raise UnitError(f"wants cloud/region/zone, found {found(value)}", tip=tip, code=INFRA)
    named = [None if part == "*" else part for part in parts] + [None, None]
    return named[0], named[1], named[2]


def listed(value: Any) -> tuple[Any, ...]:
    """A list, or one value that stands for a list of one."""
    items = listed_or_none(value)
    if not items:
        raise UnitError("wants at least one value, found an empty list")
    return items


def listed_or_none(value: Any) -> tuple[Any, ...]:
    """As `listed`; the empty list too."""
    items = tuple(value) if isinstance(value, list) else (value,)
    if len(items) > MAX_WORDS:
        raise UnitError(f"wants at most {MAX_WORDS} values, found {len(items)}")
    return items


def scalar(value: Any) -> bool | int | float | str:
    if not isinstance(value, bool | int | float | str):
        raise UnitError(f"wants text, a number, true or false, found {found(value)}", code=TYPE)
    return value


def _matching(pattern: re.Pattern[str], given: str, wanted: str, value: Any) -> str:
    if not pattern.fullmatch(given):
        raise UnitError(f"wants {wanted}, found {found(value)}")
    return given


def _near(given: str, choices: Sequence[str]) -> str | None:
    tip = suggest(given, choices)
    return tip if tip and tip.startswith("did you mean") else None


def field(parse: Callable[[Any], Any], **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    """How a field is parsed, and the same as JSON Schema: both must give one verdict."""
    return PlainValidator(guarded(parse)), WithJsonSchema(schema)


def word(parse: Callable[[Any], Any], pattern: str, *examples: str) -> tuple[Any, ...]:
    shown = {"examples": list(examples)} if examples else {}
    return field(parse, type="string", pattern=pattern, **shown)


def one_of(*choices: str) -> tuple[PlainValidator, WithJsonSchema]:
    """One of these words, in any case; an editor offers them as they are written here."""
    in_any_case = {"type": "string", "pattern": patterns.any_of(choices)}
    return field(among(choices), anyOf=[{"type": "string", "enum": list(choices)}, in_any_case])


class Many:
    """A list, or one value that stands for a list of one; `least` is how many there must be."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        parse = guarded(listed if self._least else listed_or_none)
        return core_schema.no_info_before_validator_function(parse, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = {**handler(schema), "minItems": self._least, "maxItems": MAX_WORDS}
        return {"anyOf": [several["items"], several]}


MANY: Final = Many(1)
ANY: Final = Many(0)

Text = Annotated[str, *word(text, patterns.TEXT)]
Name = Annotated[str, *word(name, f"^{NAME.pattern}$")]
Label = Annotated[str, *word(label, patterns.LABEL)]
Place = Annotated[str, *word(place, f"^{PLACE.pattern}$")]
CloudName = Annotated[str, *word(cloud, patterns.CLOUD, "aws", "aws@sandbox")]
Country = Annotated[str, *word(country, patterns.COUNTRY, "NO")]
Subdivision = Annotated[str, *word(subdivision, patterns.SUBDIVISION, "US-VA")]
Bloc = Annotated[str, *word(bloc, patterns.LABEL, "EEA")]
Uri = Annotated[str, *word(uri, f"^{URI.pattern}$", "s3://bucket/path")]
Flag = Annotated[bool, *field(flag, type="boolean")]
Count = Annotated[int, *field(count, type="integer", minimum=1, maximum=units.MAX_AMOUNT)]
PerCent = Annotated[int, *field(per_cent, type="integer", minimum=1, maximum=100)]
Number = Annotated[float, *field(number, type="number", minimum=0, maximum=units.MAX_AMOUNT)]
Exact = Annotated[Decimal, *field(decimal, type="number", minimum=0, maximum=units.MAX_AMOUNT)]
Seconds = Annotated[
    float, *field(seconds, type="number", exclusiveMinimum=0, maximum=units.MAX_AMOUNT)
]
Port = Annotated[int, *field(port, type="integer", minimum=0, maximum=65535)]
Hours = Annotated[Decimal, *word(units.hours, patterns.HOURS, "6h", "90m", "1d")]
Days = Annotated[Decimal, *word(units.days, patterns.HOURS, "30d", "12h")]
Usd = Annotated[Decimal, *field(units.usd, **patterns.USD)]
Amount = Annotated[AtLeast, *field(units.at_least, **patterns.AMOUNT)]
Infra = Annotated[
    tuple[str | None, str | None, str | None],
    *word(infra, patterns.INFRA, "aws", "aws/eu-north-1", "edge/oslo-01"),
]
Scalar = Annotated[bool | int | float | str, *field(scalar, type=["boolean", "number", "string"])]
Names = Annotated[tuple[Name, ...], MANY]
Labels = Annotated[tuple[Label, ...], MANY]
LabelsOrNone = Annotated[tuple[Label, ...], ANY]
Places = Annotated[tuple[Place, ...], MANY]
PlacesOrNone = Annotated[tuple[Place, ...], ANY]
CloudNames = Annotated[tuple[CloudName, ...], MANY]
Countries = Annotated[tuple[Country, ...], MANY]
Subdivisions = Annotated[tuple[Subdivision, ...], MANY]
Blocs = Annotated[tuple[Bloc, ...], MANY]
Texts = Annotated[tuple[Text, ...], MANY]
TextsOrNone = Annotated[tuple[Text, ...], ANY]
