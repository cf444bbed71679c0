"""What every rule and every check of the broker's own says of one offer, one line each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from broker.model import Demand, Finding, Kind, Location, Offer, Reason, Verdict
from broker.policy.binding import Binding, caps_on
from broker.policy.classes import Check
from broker.policy.conditions import Condition
from broker.policy.energy import unknown
from broker.policy.prices import Cap, Prices, at_most, usd
from broker.policy.rules import Verb


@dataclass(frozen=True, slots=True)
class Part:
    """What is said together: checks of the broker's own, rules, caps of the demand itself."""

    checks: tuple[Check, ...] = ()
    rules: tuple[Binding, ...] = ()
    caps: tuple[Cap, ...] = ()

    def checked(self, offer: Offer) -> list[Reason]:
        """What the broker's own checks have against the offer."""
        return [_against(one, offer) for one in self.checks if not one.condition.holds(offer)]


@dataclass(frozen=True, slots=True)
class _Look:
    """What was looked at, what for, where that is written and who says so."""

    saw: str
    wanted: str
    location: Location | None = None
    source: str = ""
    kind: Kind = Kind.POLICY


def findings(parts: Iterable[Part], offer: Offer, demand: Demand) -> tuple[Finding, ...]:
    """Part by part; in each the checks, then the rules in order, then the demand's own caps."""
    return tuple(one for part in parts for one in _of_part(part, offer, demand))


def _of_part(part: Part, offer: Offer, demand: Demand) -> Iterator[Finding]:
    yield from (_of_check(check, offer) for check in part.checks)
    yield from (_of_rule(rule, offer, demand) for rule in part.rules)
    yield from (_of_cap(cap, offer, demand) for cap in part.caps)


def _against(check: Check, offer: Offer) -> Reason:
    look = _seen(check.condition, offer)
    return Reason(look.kind, check.rule, look.saw, look.wanted, look.location, look.source)


def _of_check(check: Check, offer: Offer) -> Finding:
    look = _seen(check.condition, offer)
    verdict = Verdict.PASSES if check.condition.holds(offer) else Verdict.REFUSES
    return Finding(
        check.rule,
        verdict,
        look.saw,
        look.wanted,
        look.kind,
        look.location,
        look.source,
        scope=check.scope,
    )


def _of_cap(cap: Cap, offer: Offer, demand: Demand) -> Finding:
    """A cap that the demand itself names."""
    verdict = Verdict.REFUSES if _broken((cap,), offer, demand) else Verdict.PASSES
    look = _priced(cap, offer, demand)
    return Finding(cap.rule, verdict, look.saw, look.wanted, look.kind, look.location, look.source)


def _of_rule(binding: Binding, offer: Offer, demand: Demand) -> Finding:
    idle = binding.idle(offer)
    if idle is not None:
        return _told(binding, Verdict.IDLE, [_seen(idle, offer)])
    caps = caps_on(binding, offer)
    looks = [_seen(one, offer) for one in binding.wants]
    looks += [_priced(cap, offer, demand) for cap in caps]
    broken = _broken(caps, offer, demand)
    if binding.rule.verb is Verb.PREFER:
        earned = binding.prefers(offer) and not broken
        return _told(binding, Verdict.PREFERS if earned else Verdict.INDIFFERENT, looks)
    against = [*binding.reasons(offer), *broken]
    if against:
        return _told(binding, Verdict.REFUSES, [_of_reason(one) for one in against])
    if binding.weight is not None:
        return _told(binding, Verdict.WEIGHS, [*looks, _weighed(binding, offer)])
    if binding.rule.verb is Verb.DENY:
        looks = [_spared(one, offer) for one in binding.wants if one.holds(offer) is False][:1]
    return _told(binding, Verdict.PASSES, looks)


def _broken(caps: Iterable[Cap], offer: Offer, demand: Demand) -> tuple[Reason, ...]:
    return Prices(caps, (), demand).reasons(offer.price)


def _seen(one: Condition, offer: Offer) -> _Look:
    return _Look(one.saw(offer), one.wanted, one.location, one.source(offer), one.kind)


def _spared(one: Condition, offer: Offer) -> _Look:
    """The condition of a denial that does not hold."""
    return _Look(one.saw(offer), f"not {one.wanted}", one.location, one.source(offer), one.kind)


def _priced(cap: Cap, offer: Offer, demand: Demand) -> _Look:
    saw = Prices((cap,), (), demand).saw(cap, offer.price)
    source = offer.price.source if offer.price else ""
    return _Look(saw, at_most(cap), cap.location, source, cap.kind)


def _of_reason(reason: Reason) -> _Look:
    return _Look(reason.saw, reason.wanted, reason.location, reason.source, reason.kind)


def _weighed(binding: Binding, offer: Offer) -> _Look:
    """What the weight adds, and what was assumed for it."""
    assert binding.weight is not None, binding.rule.id
    missed = unknown(offer)
    assumed = f", {' and '.join(missed)} assumed" if missed else ""
    saw = f"{usd(binding.weight(offer))} $/h for carbon{assumed}"
    return _Look(saw, "less carbon", source=offer.site.source)


def _told(binding: Binding, verdict: Verdict, looks: Sequence[_Look]) -> Finding:
    """Everything that was looked at in one line; place and kind are those of the first."""
    rule = binding.rule
    first = looks[0]
    return Finding(
        rule.id,
        verdict,
        ", ".join(dict.fromkeys(look.saw for look in looks)),
        " and ".join(dict.fromkeys(look.wanted for look in looks if look.wanted)),
        first.kind,
        first.location or rule.location,
        next((look.source for look in looks if look.source), ""),
        rule.why,
        str(rule.scope),
    )
