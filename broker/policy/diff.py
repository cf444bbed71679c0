"""What changes from one policy to another: the rules, and what they let through. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from broker.model import Decision, Demand, Location, Offer
from broker.policy.rules import DataClass, Policy
from broker.policy.written import Written, class_fields, rule_fields

Judging = Callable[[Offer], Decision]


class What(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One rule or class that came or went, or one field of it that is another now.

    `location` is in the new files; in the old ones for what is gone from them.
    """

    what: What
    subject: str  # "rule phi-stays", "class phi"
    field: str = ""
    before: str = ""
    after: str = ""
    location: Location | None = None


def changes(old: Policy, new: Policy) -> tuple[Change, ...]:
    """In the order of the new files; what was removed stands last."""
    before, after = dict(_subjects(old)), dict(_subjects(new))
    found: list[Change] = []
    for subject, fields in after.items():
        found += _changed(subject, before.get(subject), fields)
    for subject, fields in before.items():
        if subject not in after:
            found.append(Change(What.REMOVED, subject, before=_all(fields), location=_at(fields)))
    return tuple(found)


def _subjects(policy: Policy) -> Iterator[tuple[str, Mapping[str, Written]]]:
    for one in _merged(policy.classes):
        yield f"class {one.name}", class_fields(one)
    seen: Counter[str] = Counter()
    for rule in policy.rules:  # every file may have limits of its own, whose ids are the same
        seen[rule.id] += 1
        again = f" #{seen[rule.id]}" if seen[rule.id] > 1 else ""
        yield f"rule {rule.id}{again}", rule_fields(rule)


def _merged(classes: Iterable[DataClass]) -> Iterable[DataClass]:
    """A class that several files speak of is told of once, as the last says it."""
    return {one.name: one for one in classes}.values()


def _changed(
    subject: str, before: Mapping[str, Written] | None, after: Mapping[str, Written]
) -> Iterator[Change]:
    if before is None:
        yield Change(What.ADDED, subject, after=_all(after), location=_at(after))
        return
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        if (old and old.words) != (new and new.words):
            where = new.location if new else _at(after)
            words = (old.words if old else "", new.words if new else "")
            yield Change(What.CHANGED, subject, name, *words, location=where)


def _all(fields: Mapping[str, Written]) -> str:
    return ", ".join(f"{name} {one.words}" for name, one in fields.items() if name != "why")


def _at(fields: Mapping[str, Written]) -> Location | None:
    """Where the rule begins: the place of its first field."""
    return next((one.location for one in fields.values() if one.location), None)


@dataclass(slots=True)
class Effect:
    """What the change does to the offers that fit one demand. Filled by `compare`."""

    demand: Demand
    before: int = 0  # allowed
    after: int = 0
    refused: int = 0  # allowed before, refused after
    admitted: int = 0  # refused before, allowed after
    cheapest_before: Offer | None = None
    cheapest_after: Offer | None = None
    by: dict[str, int] = field(default_factory=dict)  # of the refused: by which rules

    @property
    def changed(self) -> bool:
        return bool(self.refused or self.admitted)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One demand under both policies. `fits`: whether an offer is what the demand asks for."""

    effect: Effect
    before: Judging
    after: Judging
    fits: Callable[[Offer], bool]


def compare(comparisons: Iterable[Comparison], offers: Iterable[Offer]) -> None:
    """Count over the offers, once for all the demands."""
    every = tuple(comparisons)
    for offer in offers:
        for one in every:
            if one.fits(offer):
                _count(one.effect, one.before(offer), one.after(offer))


def _count(effect: Effect, before: Decision, after: Decision) -> None:
    if before.allowed:
        effect.before += 1
        effect.cheapest_before = _cheaper(effect.cheapest_before, before.offer)
    if after.allowed:
        effect.after += 1
        effect.cheapest_after = _cheaper(effect.cheapest_after, after.offer)
    if before.allowed and not after.allowed:
        effect.refused += 1
        for rule in {reason.rule for reason in after.reasons}:
            effect.by[rule] = effect.by.get(rule, 0) + 1
    effect.admitted += after.allowed and not before.allowed


def _cheaper(one: Offer | None, other: Offer) -> Offer | None:
    """The one with the lower price; one of unknown price is no help."""
    if other.price is None:
        return one
    return other if one is None or _order(other) < _order(one) else one


def _order(offer: Offer) -> tuple[Decimal, str]:
    assert offer.price is not None, offer.key
    return offer.price.usd_per_hour, offer.key
