"""What is right by the letter and wrong by the looks of it: warnings over rules that can be read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from broker.diagnostics import Diagnostic
from broker.model import Artefact, Demand, Location, Market, Offer, Resources, Site
from broker.policy import facts
from broker.policy.rules import MONEY, Clause, Level, Policy, Residency, Rule, Verb

MEANINGS: Final = {
    "POL101": "a rule can never apply",
    "POL102": "a name that the broker's tables do not know",
    "POL103": "another rule says as much already",
    "POL104": "no known place meets what a rule wants",
    "POL105": "every known place meets what a rule prefers or denies",
    "POL106": "no rule covers a class of data, so it goes nowhere",
}
ANY: Final = Demand("any", (Resources(),))
OF_PLACES: Final = frozenset(
    {
        "cloud",
        "region",
        "country",
        "bloc",
        "subdivision",
        "operator",
        "operator_country",
        "kind",
        "max_carbon_g_per_kwh",
    }
)
COVERING: Final = frozenset({Verb.REQUIRE, Verb.DENY, Verb.RESIDENCY})
RESIDENT: Final = {
    "country": "countries",
    "bloc": "blocs",
    "subdivision": "subdivisions",
    "operator_country": "operator_countries",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Every word that the tables know, by the field it may stand in."""

    known: Mapping[str, frozenset[str]]
    places: tuple[Offer, ...]


def lint(policy: Policy) -> list[Diagnostic]:
    """By file and line, each with a tip."""
    names = tables()
    found = [*_uncovered(policy), *_repeated(policy)]
    for rule in policy.rules:
        strange = [*_strange(rule, policy, names)]
        found += strange or _places(rule, names)
        found += _idle(rule)
    return sorted(map(_with_line, found), key=lambda one: (one.location.file, one.location.line))


@cache
def tables() -> Names:
    """From the broker's own tables of regions, countries and accelerators."""
    from broker.catalog.accelerators import chips_by_name
    from broker.catalog.regions import country_sites, sites

    regions, countries = sites(), country_sites()
    every = [*regions.values(), *countries.values()]
    known = {
        "cloud": {cloud for cloud, _ in regions} | {"edge", "local"},
        "region": {region for _, region in regions},
        "country": {*countries, *(one.country for one in every if one.country)},
        "bloc": {bloc for one in every for bloc in one.blocs},
        "operator": {one.operator for one in every if one.operator},
        "operator_country": {*countries},
        "accelerator": {name.lower() for name in chips_by_name()} | {"none"},
    }
    known_ones = ((key, site) for key, site in regions.items() if site.country)
    places = [_place(cloud, region, site) for (cloud, region), site in known_ones]
    owned = [_place(cloud, "", site) for site in countries.values() for cloud in ("edge", "local")]
    return Names({field: frozenset(words) for field, words in known.items()}, (*places, *owned))


def _place(cloud: str, region: str, site: Site) -> Offer:
    return Offer(cloud, region, None, "", Market.ON_DEMAND, None, None, site=site)


def _strange(rule: Rule, policy: Policy, names: Names) -> Iterator[Diagnostic]:
    """Words that no table knows; classes that no file defines, where files define some."""
    for clause in (*rule.when, *rule.clauses):
        for word in facts.words(clause):
            if not _is_known(clause.field, word, names):
                yield _stranger(clause.field, word, clause.location or rule.location, names)
    yield from _strange_classes(rule, policy)
    if isinstance(rule.terms, Residency):
        yield from _strange_places(rule, rule.terms, names)


def _strange_classes(rule: Rule, policy: Policy) -> Iterator[Diagnostic]:
    classes = frozenset(one.name for one in policy.classes)
    named = [one for one in rule.when if one.field == "data_class" and classes]
    for clause in named:
        for word in set(facts.words(clause)) - classes:
            tip = _near(word, classes) or "define it under `classes`"
            words = f"no file defines the data class `{word}`"
            yield _warn("POL102", words, clause.location or rule.location, tip)


def _strange_places(rule: Rule, terms: Residency, names: Names) -> Iterator[Diagnostic]:
    for field, attribute in RESIDENT.items():
        for word in getattr(terms, attribute):
            if not _is_known(field, word, names):
                yield _stranger(field, word, rule.locations.get(field, rule.location), names)


def _is_known(field: str, word: str, names: Names) -> bool:
    known = names.known.get(field)
    if field == "subdivision":  # the tables know few of them; of all of them the country
        return word.partition("-")[0] in names.known["country"]
    if known is None or word.partition("@")[0] in known:
        return True
    if field == "region":  # an edge node's name is its region: only what is nearly known is wrong
        return not difflib.get_close_matches(word, known, n=1, cutoff=0.8)
    return field == "accelerator" and word.rpartition("-")[0] in known  # a slice of a TPU


def _stranger(field: str, word: str, where: Location | None, names: Names) -> Diagnostic:
    words = f"no table of the broker knows the {field.replace('_', ' ')} `{word}`"
    return _warn("POL102", words, where, _near(word, names.known.get(field, ())))


def _near(word: str, known: Iterable[str]) -> str | None:
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), sorted(by_lower), n=1)
    return f"did you mean `{by_lower[near[0]]}`?" if near else None


def _idle(rule: Rule) -> Iterator[Diagnostic]:
    """Rules whose `when` and whose verb never meet."""
    terms = rule.terms
    roles = next((facts.words(one) for one in rule.when if one.field == "role"), None)
    if isinstance(terms, Residency) and roles is not None:
        bound = {
            Artefact.AGGREGATOR if role == "aggregator" else Artefact.MACHINE for role in roles
        }
        stored = {Artefact.BUCKET, Artefact.CHECKPOINT, Artefact.LOG}
        if not (bound | stored) & set(terms.of):
            words = f"rule `{rule.id}` can never bind: its `of` has nothing of [{', '.join(roles)}]"
            yield _warn("POL101", words, rule.locations.get("of", rule.location))
    projects = next((facts.words(one) for one in rule.when if one.field == "project"), None)
    ours = rule.scope.names if rule.scope.level is Level.PROJECT else projects
    if projects is not None and not set(projects) & set(ours or ()):
        words = f"rule `{rule.id}` can never apply: its file is for {rule.scope}"
        yield _warn("POL101", words, rule.location)


def _places(rule: Rule, names: Names) -> Iterator[Diagnostic]:
    """What no known place, or every one, makes true."""
    when = [one for one in rule.when if one.field in OF_PLACES]
    if when and not any(_may_meet(when, place) for place in names.places):
        words = f"rule `{rule.id}` can never apply: no known place meets its `when`"
        yield _warn("POL101", words, when[0].location or rule.location)
        return
    wanted = [one for one in rule.clauses if one.field in OF_PLACES]
    if isinstance(rule.terms, Residency):
        yield from _resident(rule, rule.terms, names)
    elif wanted:
        yield from _wanted(rule, wanted, names)


def _wanted(rule: Rule, wanted: list[Clause], names: Names) -> Iterator[Diagnostic]:
    where = wanted[0].location or rule.location
    if not any(_may_meet(wanted, place) for place in names.places):
        words = f"no known place meets what rule `{rule.id}` {_verb(rule)}"
        yield _warn("POL104", words, where)
        return
    tells = rule.verb is not Verb.REQUIRE and len(wanted) == len(rule.clauses)
    if tells and all(_meets(wanted, place) for place in names.places):
        words = f"every known place meets what rule `{rule.id}` {_verb(rule)}"
        yield _warn("POL105", words, where)


def _resident(rule: Rule, terms: Residency, names: Names) -> Iterator[Diagnostic]:
    from broker.policy.residency import inside

    if all(inside(terms, place.site) is False for place in names.places):
        yield _warn("POL104", f"no known place is inside rule `{rule.id}`", rule.location)


def _verb(rule: Rule) -> str:
    return {Verb.REQUIRE: "requires", Verb.DENY: "denies"}.get(rule.verb, "prefers")


def _meets(clauses: Iterable[Clause], place: Offer) -> bool:
    return all(facts.holds(one, place, ANY) for one in clauses)


def _may_meet(clauses: Iterable[Clause], place: Offer) -> bool:
    """What is not known may be so."""
    return all(facts.holds(one, place, ANY) is not False for one in clauses)


def _uncovered(policy: Policy) -> Iterator[Diagnostic]:
    """Classes that no rule names, nor their ancestors; one that others descend from is a base."""
    bases = {parent for one in policy.classes for parent in one.parents}
    covered = {
        word
        for rule in policy.rules
        if rule.verb in COVERING
        for clause in rule.when
        if clause.field == "data_class"
        for word in facts.words(clause)
    }
    for one in policy.classes:
        if one.name not in bases and not policy.lineage(one.name) & covered:
            words = (
                f"no rule covers data class `{one.name}`: every demand that states it is refused"
            )
            tip = f"write a rule with `when: {{data_class: [{one.name}]}}`"
            yield _warn("POL106", words, one.location, tip)


def _repeated(policy: Policy) -> Iterator[Diagnostic]:
    """Rules that say nothing beside an earlier or wider one."""
    comparing = [rule for rule in policy.rules if rule.verb in (Verb.REQUIRE, Verb.DENY)]
    told: set[str] = set()
    for rule in reversed(comparing):
        wider = (
            one for one in comparing if one is not rule and one.id not in told and _says(one, rule)
        )
        if other := next(wider, None):
            told.add(rule.id)
            words = f"rule `{rule.id}` says nothing that `{other.id}` does not say"
            yield _warn("POL103", words, rule.location, f"`{other.id}` stands at {other.location}")


def _says(one: Rule, other: Rule) -> bool:
    """Whether `one` refuses all that `other` refuses, for every demand that `other` binds."""
    if one.verb is not other.verb or one.scope not in (other.scope, _EVERYWHERE):
        return False
    names_class = any(clause.field == "data_class" for clause in other.when)
    if names_class and not any(clause.field == "data_class" for clause in one.when):
        return False  # it covers the class, which the other does not
    if not _narrower(other.when, one.when, _within):
        return False
    if one.verb is Verb.DENY:
        return _narrower(other.clauses, one.clauses, _within)
    return _narrower(one.clauses, other.clauses, _within)


_EVERYWHERE: Final = Rule("", Verb.REQUIRE).scope


def _narrower(
    narrow: Iterable[Clause], wide: Iterable[Clause], within: Callable[[Clause, Clause], bool]
) -> bool:
    """Whether each clause of `wide` has one in `narrow` that asks at least as much."""
    by_field: dict[str, list[Clause]] = {}
    for clause in narrow:
        by_field.setdefault(clause.field, []).append(clause)
    return all(
        any(within(mine, clause) for mine in by_field.get(clause.field, ())) for clause in wide
    )


def _within(narrow: Clause, wide: Clause) -> bool:
    if isinstance(narrow.wanted, tuple) and isinstance(wide.wanted, tuple):
        return set(narrow.wanted) <= set(wide.wanted)
    bounds = narrow.field in MONEY or narrow.field.startswith("max_")
    if bounds and not isinstance(narrow.wanted, str | tuple):
        return narrow.wanted <= wide.wanted  # type: ignore[operator]  # bounds are decimals
    return narrow.wanted == wide.wanted


def _warn(code: str, words: str, where: Location | None, tip: str | None = None) -> Diagnostic:
    return Diagnostic(code, words, where or Location("policy"), tip)


def _with_line(one: Diagnostic) -> Diagnostic:
    """With the text of its line, to show."""
    from broker.documents.tree import source_line

    line = source_line(_lines(one.location.file), one.location)
    return Diagnostic(one.code, one.message, one.location, one.tip, line)


@cache
def _lines(file: str) -> tuple[str, ...]:
    try:
        return tuple(Path(file).read_text(encoding="utf-8").splitlines())
    except OSError:
        return ()
