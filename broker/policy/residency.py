"""Where a run's machines and what it stores may be. Pure.

A rule binds the machines of a demand by its role, and each bucket, checkpoint and log that the
demand names: what is stored out of place speaks against every offer. A place is inside when its
country, one of its blocs or its subdivision is named; what is not known does not make it inside.
"""

from __future__ import annotations

from typing import Final

from broker.model import Artefact, Location, Site, Storage
from broker.policy.conditions import Condition, Question, always
from broker.policy.facts import PLACED, placed
from broker.policy.rules import Residency, Rule

_Fields = tuple[str, ...]
_PLACE: Final = ("country", "bloc", "subdivision")
_OPERATOR: Final = ("operator_country",)
_READS: Final = {
    "country": ("site.country",),
    "bloc": ("site.blocs", "site.country"),
    "subdivision": ("site.subdivision",),
    "operator_country": ("site.operator_country",),
}


def conditions(rule: Rule, terms: Residency, asked: Question) -> tuple[Condition, ...]:
    """Those of the machine, then those of each thing stored."""
    machine = Artefact.AGGREGATOR if asked.demand.role == "aggregator" else Artefact.MACHINE
    found = [_of_machine(rule, terms, one) for one in _asked(terms) if machine in terms.of]
    bound = [stored for stored in asked.demand.storage if stored.kind in terms.of]
    found += [_of_stored(rule, stored, one) for stored in bound for one in _asked(terms)]
    return tuple(found)


def inside(terms: Residency, site: Site) -> bool | None:
    """Whether the site may hold what the terms bind; None where too little is known of it."""
    held = [_inside(terms, names, site) for names, _ in _asked(terms)]
    return False if False in held else None if None in held else True


def _asked(terms: Residency) -> list[tuple[_Fields, str]]:
    """What is asked: the facts of which one must be among those named, and that in words."""
    named = _named(terms)
    found = []
    for fields in (_PLACE, _OPERATOR):
        said = tuple(name for name in fields if named[name])
        words = " or ".join(f"{name} in [{', '.join(named[name])}]" for name in said)
        if said:
            found.append((said, words))
    return found


def _named(terms: Residency) -> dict[str, tuple[str, ...]]:
    return {
        "country": terms.countries,
        "bloc": terms.blocs,
        "subdivision": terms.subdivisions,
        "operator_country": terms.operator_countries,
    }


def _of_machine(rule: Rule, terms: Residency, asked: tuple[_Fields, str]) -> Condition:
    fields, wanted = asked
    reads = sorted({path for name in fields for path in _READS[name]})
    return Condition(
        (*reads, *PLACED),
        lambda offer: _inside(terms, fields, offer.site),
        lambda offer: _saw(fields, offer.site),
        wanted,
        _at(rule, fields),
        placed,
    )


def _of_stored(rule: Rule, stored: Storage, asked: tuple[_Fields, str]) -> Condition:
    fields, wanted = asked
    assert isinstance(rule.terms, Residency), rule.id
    what = f"{stored.kind} {stored.uri}".rstrip()
    saw = f"{what} in {stored.place or 'an unknown place'}: {_saw(fields, stored.site)}"
    return always(
        _inside(rule.terms, fields, stored.site),
        (saw, f"{stored.kind}: {wanted}"),
        stored.location or _at(rule, fields),
        source=stored.site.place_source or stored.site.source,
    )


def _inside(terms: Residency, fields: _Fields, site: Site) -> bool | None:
    """Whether one of these facts is among those named."""
    named, is_among = _named(terms), []
    for name in fields:
        known = _known(name, site)
        is_among.append(None if known is None else not known.isdisjoint(named[name]))
    return True if True in is_among else None if None in is_among else False


def _known(name: str, site: Site) -> frozenset[str] | None:
    """The site's words for a fact; None where it is not known."""
    if name == "bloc":
        return site.blocs if site.blocs or site.country else None
    word = getattr(site, name)
    return frozenset({word}) if word else None


def _saw(fields: _Fields, site: Site) -> str:
    return ", ".join(f"{name} {_shown(_known(name, site))}" for name in fields)


def _shown(known: frozenset[str] | None) -> str:
    if known is None:
        return "unknown"
    return " and ".join(sorted(known)) or "none"


def _at(rule: Rule, fields: _Fields) -> Location | None:
    """The first of these lines that the rule has, else its own."""
    found = (rule.locations[name] for name in fields if name in rule.locations)
    return next(found, rule.location)
