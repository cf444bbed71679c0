"""The policy language once more, without memory, order or words: how many reasons each rule has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isnan
from typing import Any

from broker.model import Demand, Market, Offer, Site
from broker.policy import Clause, Policy, Rule, Standing, Verb
from broker.policy.rules import BlastRadius, Budget, Carbon, Level, Residency, Spot


@dataclass
class World:
    """One demand under one policy, as the ledger stands."""

    policy: Policy
    demand: Demand
    standing: Standing

    def lineage(self) -> set[str]:
        found = {self.demand.data.data_class} - {None}
        for _ in self.policy.classes:
            for one in self.policy.classes:
                found |= set(one.parents) if one.name in found else set()
        return found  # type: ignore[return-value]

    def judged(self, offer: Offer) -> tuple[Counter[str], int, bool]:
        """Reasons by rule, preferences earned, and whether anything weighs."""
        against = self._own(offer)
        earned, weighs = 0, False
        for rule in self.policy.rules:
            if not self.applies(rule, offer):
                continue
            if rule.verb is Verb.PREFER:
                earned += all(self.truth(one, offer) is True for one in rule.clauses)
            elif rule.verb is Verb.DENY:
                against[rule.id] += False not in [self.truth(one, offer) for one in rule.clauses]
            elif rule.verb is Verb.REQUIRE:
                against[rule.id] += sum(
                    not self.truth(one, offer)
                    for one in rule.clauses
                    if one.field != "max_usd_per_accelerator_hour" or offer.accelerator_count
                )
            else:
                against[rule.id] += sum(not held for held in self._terms(rule, offer))
                weighs |= isinstance(rule.terms, Carbon) and bool(rule.terms.usd_per_kg)
        return +against, earned, weighs

    def applies(self, rule: Rule, offer: Offer) -> bool:
        scope, demand = rule.scope, self.demand
        if scope.level is Level.PROJECT and demand.project not in scope.names:
            return False
        mine = set(scope.datasets) & set(demand.data.datasets)
        if scope.level is Level.SITE and not mine and offer.node not in scope.names:
            return False
        unknown_is = rule.verb is not Verb.PREFER
        held = [self.truth(one, offer) for one in rule.when]
        return all(unknown_is if one is None else one for one in held)

    def covering(self, site: str | None = None, dataset: str = "") -> bool:
        for rule in self.policy.rules:
            scope, named = rule.scope, set(self.demand.data.datasets)
            reached = {
                Level.ORGANISATION: True,
                Level.PROJECT: self.demand.project in scope.names,
                Level.SITE: bool(named & set(scope.datasets)),
            }[scope.level]
            owner = site is None or (str(scope) == site and dataset in scope.datasets)
            says = rule.verb in (Verb.REQUIRE, Verb.DENY, Verb.RESIDENCY)
            words = [set(one.wanted) for one in rule.when if one.field == "data_class"]  # type: ignore[arg-type]
            if reached and owner and says and any(one & self.lineage() for one in words):
                return True
        return False

    def _own(self, offer: Offer) -> Counter[str]:
        """What the broker asks without any rule."""
        against: Counter[str] = Counter()
        demand = self.demand
        if demand.data.data_class:
            against["data-class"] += not self.covering()
            owners = {
                (str(rule.scope), name)
                for rule in self.policy.rules
                for name in rule.scope.datasets
                if name in demand.data.datasets
            }
            against["data-class"] += sum(not self.covering(*one) for one in owners)
        for one in self.policy.classes:
            if one.name in self.lineage() and one.purposes is not None:
                against["purpose"] += demand.data.purpose not in one.purposes
        named = [kind for name, kind in offer.classes if name in demand.data.datasets]
        against["data-class"] += any(kind not in self.lineage() for kind in named)
        if demand.budget_usd is not None:
            against["budget"] += not self._affords(demand.budget_usd, offer)
        return against

    def hourly(self, offer: Offer) -> Decimal | None:
        if offer.price is None or offer.price.currency != "USD":
            return None
        return offer.price.usd_per_hour * self.demand.nodes

    def _affords(self, budget: Decimal, offer: Offer) -> bool:
        hourly, hours = self.hourly(offer), self.demand.duration_h
        return hourly is not None and (hours is None or hourly * hours <= budget)

    def _terms(self, rule: Rule, offer: Offer) -> list[bool | None]:
        """Whether each thing that the terms want is so."""
        terms, demand = rule.terms, self.demand
        if isinstance(terms, Residency):
            machine = "aggregator" if demand.role == "aggregator" else "machine"
            sites = [offer.site] if machine in terms.of else []
            sites += [one.site for one in demand.storage if one.kind in terms.of]
            return [held for site in sites for held in within(terms, site)]
        if isinstance(terms, Spot):
            return self._spot(terms, offer)
        if isinstance(terms, Carbon):
            return self._carbon(terms, offer)
        if isinstance(terms, Budget):
            return [self._left(rule, terms, offer)]
        if isinstance(terms, BlastRadius):
            return self._blast(rule, terms, offer)
        return []

    def _spot(self, terms: Spot, offer: Offer) -> list[bool | None]:
        if offer.market is not Market.SPOT:
            return []
        hours = self.demand.duration_h
        stored = {str(one.kind) for one in self.demand.storage}
        return [
            terms.allow is not False,
            terms.max_duration_h is None or (hours is not None and hours <= terms.max_duration_h),
            "checkpoint" in stored or not terms.needs_checkpoint,
        ]

    def _carbon(self, terms: Carbon, offer: Offer) -> list[bool | None]:
        grams, hours = offer.site.carbon_g_per_kwh, self.demand.duration_h
        known = grams is not None and not isnan(grams)
        shape = offer.vcpus is not None and offer.memory_gib is not None
        chip = offer.accelerator is None or offer.chip.watts is not None
        found: list[bool | None] = []
        if terms.max_g_per_kwh is not None:
            found.append(known and grams <= terms.max_g_per_kwh)  # type: ignore[operator]
        if terms.max_kg is not None:
            if not (known and shape and chip and hours is not None):
                return [*found, None]
            watts = offer.vcpus * 4 + offer.memory_gib * 0.4  # type: ignore[operator]
            watts += (offer.chip.watts or 0) * offer.accelerator_count
            kg = watts * 1.2 / 1000 * grams / 1000 * float(hours) * self.demand.nodes  # type: ignore[operator,arg-type]
            found.append(kg <= terms.max_kg)
        return found

    def _left(self, rule: Rule, terms: Budget, offer: Offer) -> bool:
        month = "2026-01" if self.standing.now else "open"
        account = f"{rule.id}/{self.demand.project}/{month}/usd"
        left = max(self.standing.left_usd.get(account, terms.usd_per_month), Decimal(0))
        own, hours, hourly = self.demand.budget_usd, self.demand.duration_h, self.hourly(offer)
        if own is not None and own <= left:
            return True
        if hours is None:
            return hourly == 0
        return hourly is not None and hourly * hours <= left

    def _blast(self, rule: Rule, terms: BlastRadius, offer: Offer) -> list[bool | None]:
        account = f"{rule.id}/{self.demand.project}/open/"
        machines = self.standing.machines.get(f"{account}machines", 0) + self.demand.nodes
        already = self.standing.usd_per_hour.get(f"{account}usd_per_hour", Decimal(0))
        hourly, most = self.hourly(offer), terms.max_usd_per_hour
        return [
            terms.max_nodes_per_run is None or self.demand.nodes <= terms.max_nodes_per_run,
            terms.max_machines is None or machines <= terms.max_machines,
            most is None or (hourly is not None and hourly <= max(most - already, Decimal(0))),
        ]

    def truth(self, clause: Clause, offer: Offer) -> bool | None:
        """What the docstring of `broker.policy.facts` says, once more."""
        site, wanted, demand = offer.site, clause.wanted, self.demand
        if clause.field == "expr":
            return self._expression(str(wanted), offer)
        named = demand.data.datasets
        kind = "local" if offer.cloud.split("@")[0] == "local" else "cloud"
        kind = "edge" if offer.node_id or offer.cloud == "edge" else kind
        carbon = site.carbon_g_per_kwh
        held = [name in offer.datasets for name in named]
        hourly, count = self.hourly(offer), Decimal(str(offer.accelerator_count))
        hours = demand.duration_h
        table: dict[str, Any] = (
            {
                "data_class": bool(self.lineage() & set(wanted)),
                "project": demand.project in wanted,
                "purpose": demand.data.purpose in wanted,
                "role": demand.role in wanted,
                "country": site.country and site.country in wanted,
                "bloc": bool(site.blocs & set(wanted)) if site.blocs or site.country else None,
                "subdivision": site.subdivision and site.subdivision in wanted,
                "operator": site.operator and site.operator in wanted,
                "operator_country": site.operator_country and site.operator_country in wanted,
                "cloud": offer.cloud in wanted or offer.cloud.split("@")[0] in wanted,
                "region": offer.region and offer.region in wanted,
                "zone": offer.zone and offer.zone in wanted,
                "market": offer.market.value in wanted,
                "kind": kind in wanted,
                "accelerator": (offer.accelerator or "none").lower() in wanted,
                "instance_type": offer.instance_type and offer.instance_type in wanted,
            }
            if isinstance(wanted, tuple)
            else {
                "holds_data": (any if demand.role == "site" else all)(held) is wanted
                if named
                else None,
                "max_carbon_g_per_kwh": None
                if carbon is None or isnan(carbon)
                else carbon <= wanted,
                "max_usd_per_hour": None if hourly is None else hourly <= wanted,
                "max_usd_per_accelerator_hour": None
                if hourly is None or not count
                else hourly <= wanted * count * demand.nodes,
                "max_price_age": self._is_recent(offer, wanted),
                "budget_usd": None if hourly is None else hours is None or hourly * hours <= wanted,
            }
        )
        found = table[clause.field]
        return None if found in (None, "") else bool(found)

    def _is_recent(self, offer: Offer, most: Any) -> bool | None:
        if offer.price is None or not offer.price.as_of or self.standing.now is None:
            return None
        since = datetime.fromisoformat(offer.price.as_of)
        return (self.standing.now - since.replace(tzinfo=since.tzinfo or UTC)).days <= most

    def _expression(self, text: str, offer: Offer) -> bool | None:
        demand, price = self.demand, offer.price
        if text == "offer.vcpus >= 4.0":
            return None if offer.vcpus is None else offer.vcpus >= 4
        if text == 'offer.country == "NO"':
            return None if offer.site.country is None else offer.site.country == "NO"
        if text == "offer.usd_per_hour < 2.0":
            return None if price is None else price.usd_per_hour < 2
        if text == "demand.nodes > 1":
            return demand.nodes > 1
        assert text == "demand.duration_h <= 2.0"
        return None if demand.duration_h is None else demand.duration_h <= 2


def within(terms: Residency, site: Site) -> list[bool | None]:
    """Place and operator, each where the terms ask for it."""
    found: list[bool | None] = []
    if terms.countries or terms.blocs or terms.subdivisions:
        found.append(
            site.country in terms.countries
            or bool(site.blocs & set(terms.blocs))
            or site.subdivision in terms.subdivisions
        )
    if terms.operator_countries:
        found.append(site.operator_country in terms.operator_countries)
    return found
