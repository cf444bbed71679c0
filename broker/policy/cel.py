"""Conditions in CEL, the Common Expression Language, over an offer and a demand. Pure.

An expression is checked when a policy is read: its facts exist, its types agree, its result is true
or false, its work is bounded (`cel_text`). It is then asked about every offer.

Numbers of an offer are doubles, and CEL mixes none: `offer.vcpus >= 4.0`. What is not known is not
bound, so a comparison with it is an error, and an error is the answer `None`: neither true nor
false. As everywhere in a policy, unknown is never taken for good; only the value true passes.
`||` and `&&` still answer where the other side decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any, Final

from broker.model import Demand, Offer
from broker.policy.cel_text import (
    MAX_ENTRIES,
    CelError,
    Token,
    check_cost,
    check_readable,
    error_at,
    names,
    tokens,
)
from broker.policy.cel_words import in_words
from broker.policy.facts import kind

__all__ = ["VARIABLES", "CelError", "Expression", "compile_expr"]

Value = str | float | int | list[str] | None


@dataclass(frozen=True, slots=True)
class Variable:
    """A fact with its CEL type. `reads` are the attributes of an offer that decide it."""

    type: str  # "string" | "double" | "int" | "list"
    of: Callable[[Any], Value]
    reads: frozenset[str] = frozenset()


def _number(value: float | Decimal | None) -> float | None:
    if value is None or math.isnan(value):
        return None
    return float(value)


def _list(entries: tuple[str, ...] | frozenset[str]) -> list[str] | None:
    """Unknown when it is longer than what an expression's work was estimated with."""
    return sorted(entries) if len(entries) <= MAX_ENTRIES else None


def _blocs(offer: Offer) -> list[str] | None:
    known = offer.site.blocs or offer.site.country
    return _list(offer.site.blocs) if known else None


def _usd_per_hour(offer: Offer) -> float | None:
    return None if offer.price is None else float(offer.price.usd_per_hour)


def _text(reads: str, of: Callable[[Offer], str | None]) -> Variable:
    return Variable("string", lambda offer: of(offer) or None, frozenset(reads.split()))


def _double(reads: str, of: Callable[[Offer], float | None]) -> Variable:
    return Variable("double", lambda offer: _number(of(offer)), frozenset(reads.split()))


def _said(of: Callable[[Demand], str | None]) -> Variable:
    return Variable("string", lambda demand: of(demand) or "")


# What the offer's chip is follows from the accelerator's name; a price is of one machine.
VARIABLES: Final[dict[str, Variable]] = {
    "offer.cloud": _text("cloud", lambda o: o.cloud),
    "offer.region": _text("region", lambda o: o.region),
    "offer.zone": _text("zone", lambda o: o.zone),
    "offer.instance_type": _text("instance_type", lambda o: o.instance_type),
    "offer.market": _text("market", lambda o: str(o.market)),
    "offer.kind": _text("node_id cloud", kind),
    "offer.accelerator": _text("accelerator", lambda o: o.accelerator or "none"),
    "offer.country": _text("site.country", lambda o: o.site.country),
    "offer.subdivision": _text("site.subdivision", lambda o: o.site.subdivision),
    "offer.operator": _text("site.operator", lambda o: o.site.operator),
    "offer.operator_country": _text("site.operator_country", lambda o: o.site.operator_country),
    "offer.vcpus": _double("vcpus", lambda o: o.vcpus),
    "offer.memory_gib": _double("memory_gib", lambda o: o.memory_gib),
    "offer.accelerator_count": _double("accelerator_count", lambda o: o.accelerator_count),
    "offer.accelerator_memory_gib": _double("accelerator", lambda o: o.chip.memory_gib),
    "offer.bf16_tflops": _double("accelerator", lambda o: o.chip.bf16_tflops),
    "offer.usd_per_hour": _double("price", _usd_per_hour),
    "offer.carbon_g_per_kwh": _double("site.carbon_g_per_kwh", lambda o: o.site.carbon_g_per_kwh),
    "offer.blocs": Variable("list", _blocs, frozenset({"site.blocs", "site.country"})),
    "offer.datasets": Variable("list", lambda o: _list(o.datasets), frozenset({"datasets"})),
    "demand.name": _said(lambda d: d.name),
    "demand.project": _said(lambda d: d.project),
    "demand.role": _said(lambda d: d.role),
    "demand.data_class": _said(lambda d: d.data.data_class),
    "demand.purpose": _said(lambda d: d.data.purpose),
    "demand.nodes": Variable("int", lambda d: d.nodes),
    "demand.duration_h": Variable("double", lambda d: _number(d.duration_h)),
    "demand.budget_usd": Variable("double", lambda d: _number(d.budget_usd)),
    "demand.datasets": Variable("list", lambda d: _list(d.data.datasets)),
}

_Input = tuple[str, bool, Callable[[Any], Value]]  # name, is it of the demand, how it is read


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. `reads` are the offer's attributes that it looks at ("site.country")."""

    text: str
    reads: frozenset[str]
    inputs: tuple[_Input, ...]
    program: Any

    @property
    def demand_only(self) -> bool:
        return not any(not of_demand for _, of_demand, _ in self.inputs)

    def __call__(self, offer: Offer | None, demand: Demand) -> bool | None:
        """True, False, or None where it does not come to either, say because a fact is unknown."""
        bound: dict[str, Value] = {}
        for name, of_demand, read in self.inputs:
            value = read(demand) if of_demand else read(offer) if offer is not None else None
            if value is not None:
                bound[name] = value
        try:
            result = self.program.eval(data=bound).value()
        except (RuntimeError, TypeError, OverflowError):  # a value that CEL cannot hold
            return None
        return result if isinstance(result, bool) else None

    def saw(self, offer: Offer | None, demand: Demand) -> str:
        """The facts that it looks at: `offer.vcpus 2, offer.country unknown`."""
        looked = (
            (name, read(demand) if of_demand else read(offer) if offer is not None else None)
            for name, of_demand, read in self.inputs
        )
        return ", ".join(f"{name} {_shown(value)}" for name, value in looked)


@cache
def compile_expr(text: str) -> Expression:
    """The expression of this text, or CelError with the place of the first thing wrong with it."""
    check_readable(text)
    words = tokens(text)
    check_cost(text, words)
    _check_forms(text, words)
    environment = _environment()
    try:
        program = environment.compile(text)
    except (RuntimeError, TypeError, ValueError) as exc:
        raise in_words(str(exc), text, VARIABLES) from exc
    found = str(program.return_type())
    if found != "BOOL":
        raise CelError(f"an expression is true or false; this one is of type {found.lower()}")
    _check_patterns(text, words)
    used = [name for name in names(words) if name in VARIABLES]
    inputs = tuple((name, name.startswith("demand."), VARIABLES[name].of) for name in used)
    reads = frozenset().union(*(VARIABLES[name].reads for name in used))
    return Expression(text, reads, inputs, program)


@cache
def _environment() -> Any:
    """Loads CEL: only policies that use expressions pay for it."""
    from cel_expr_python import cel

    types = {
        "string": cel.Type.STRING,
        "double": cel.Type.DOUBLE,
        "int": cel.Type.INT,
        "list": cel.Type.List(cel.Type.STRING),
    }
    return cel.NewEnv(variables={name: types[one.type] for name, one in VARIABLES.items()})


def _check_forms(text: str, words: tuple[Token, ...]) -> None:
    """Refuses what compiles and is never meant: a presence test, names in backquotes."""
    for word, following in pairwise(words):
        if word == (word.kind, "has", word.at) and following.text == "(":
            said = "has(...) is not needed: a comparison with an unknown fact is never true"
            raise error_at(text, word.at, said)
        if following.text == "`":
            raise error_at(text, following.at, "names are written without backquotes")


def _check_patterns(text: str, words: tuple[Token, ...]) -> None:
    """A pattern that is written out is compiled now: a broken one would only ever be unknown."""
    for call, _, pattern in zip(words, words[1:], words[2:], strict=False):
        if call.text == "matches" and pattern.kind == "string":
            tried = _environment().compile(f"''.matches({pattern.text})").eval(data={}).value()
            if not isinstance(tried, bool):
                raise error_at(text, pattern.at, str(tried).partition(": ")[2])


def _shown(value: Value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "unknown" if value is None else str(value) or "none"
