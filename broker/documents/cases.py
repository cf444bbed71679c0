"""Case files: what a policy should say of demands and offers, in YAML.

    policies: [policy.yaml]                # relative to this file
    cases:
      - name: health data stays in Norway
        demand: {data_class: phi, purpose: care, nodes: 2, duration: 6h}
        offer: {cloud: gcp, region: us-east1, market: spot, usd_per_hour: 1.2}
        expect: deny
        by: [phi-stays]                    # exactly these rules refuse

`offer` asks whether the demand may go there; `disrupt` (with `at` and the facts of a demand)
whether the broker may interrupt it then; `shift` when it may begin, answered by `expect_start`.
The facts of a place come from the table of regions unless the case gives them; a region that is
not in the table has none. `standing` says what was given out before. Without `standing.now` the
case is asked at `NOW`, and prices are of that day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from broker.diagnostics import Diagnostic, suggest
from broker.documents.case_shape import (
    HINTS,
    CaseShape,
    CasesShape,
    DemandShape,
    DisruptShape,
    OfferShape,
)
from broker.documents.check import check, in_order
from broker.documents.loader import read
from broker.documents.policies import load_policies
from broker.documents.tree import Document
from broker.errors import DocumentError
from broker.model import (
    DEFAULT_PROJECT,
    Artefact,
    Chip,
    Data,
    Demand,
    Market,
    Offer,
    Price,
    Resources,
    Site,
    Storage,
)
from broker.policy.cases import Ask, Case, Expected, Given
from broker.policy.rules import BlastRadius, Budget, Policy

AREA: Final = "CAS"
NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
OWN_RULES: Final = ("budget", "data-class", "purpose")  # reasons of the broker itself
OWNED: Final = ("edge", "local")
SOURCE: Final = "the case"

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """What the broker knows of places and accelerators; empty values where it knows nothing."""

    site: Callable[[str, str], Site]  # catalog and region
    country: Callable[[str], Site]
    place: Callable[[str], Site]  # as a task file writes it
    chip: Callable[[str], Chip]


@dataclass(frozen=True, slots=True)
class Suite:
    """The cases of one file, and the policy that they are about."""

    file: str
    policy: Policy
    cases: tuple[Case, ...]


def load_cases(path: str | os.PathLike[str], tables: Tables) -> Suite:
    """DocumentError: everything that is wrong with the file and with the policies that it names."""
    document = read(path)
    shape = check(document, CasesShape, AREA, hints=HINTS)
    policy = load_policies(document.path.parent / name for name in shape.policies)
    problems = [*_repeated(document, shape), *_strangers(document, shape, policy)]
    if problems:
        raise DocumentError(in_order(problems))
    cases = tuple(_case(document, one, at, tables) for at, one in enumerate(shape.cases))
    return Suite(document.file, policy, cases)


def _repeated(document: Document, shape: CasesShape) -> Iterator[Diagnostic]:
    first: dict[str, int] = {}
    for at, case in enumerate(shape.cases):
        where = document.place(("cases", at, "name"))
        if case.name in first:
            words = f"the name is already used on line {first[case.name]}"
            yield document.problem("CAS023", words, where, "say what is different here")
        first.setdefault(case.name, where.line)


def _strangers(document: Document, shape: CasesShape, policy: Policy) -> Iterator[Diagnostic]:
    """Rule ids that no rule has, or none of the kind that is meant."""
    every = {rule.id for rule in policy.rules}
    budgets = {rule.id for rule in policy.rules if isinstance(rule.terms, Budget)}
    radii = {rule.id for rule in policy.rules if isinstance(rule.terms, BlastRadius)}
    for at, case in enumerate(shape.cases):
        path: Path_ = ("cases", at)
        yield from _listed(document, (*path, "by"), case.by or (), every | {*OWN_RULES})
        yield from _listed(document, (*path, "prefers"), case.prefers or (), every)
        given = (*path, "standing")
        yield from _keyed(document, (*given, "spent"), case.standing.spent, budgets)
        yield from _keyed(document, (*given, "machines"), case.standing.machines, radii)
        yield from _keyed(document, (*given, "usd_per_hour"), case.standing.usd_per_hour, radii)


def _listed(
    document: Document, path: Path_, names: Iterable[str], known: set[str]
) -> Iterator[Diagnostic]:
    for at, name in enumerate(names):
        if name not in known:
            yield _stranger(document, (*path, at), name, known)


def _keyed(
    document: Document, path: Path_, names: Iterable[str], known: set[str]
) -> Iterator[Diagnostic]:
    for name in names:
        if name not in known:
            yield _stranger(document, (*path, name), name, known)


def _stranger(document: Document, path: Path_, name: str, known: set[str]) -> Diagnostic:
    words = f"the policies have no such rule `{name}`"
    return document.problem("CAS022", words, document.key(path), suggest(name, known))


def _case(document: Document, shape: CaseShape, at: int, tables: Tables) -> Case:
    path: Path_ = ("cases", at)
    asked = shape.disrupt or shape.shift or shape.demand or DemandShape()
    given = _given(shape)
    return Case(
        name=shape.name,
        ask=_ask(shape),
        demand=_demand(asked, tables),
        offer=_offer(shape.offer or OfferShape(), given.now, tables),
        given=given,
        expected=_expected(document, shape, path),
        location=document.place((*path, "name")),
    )


def _ask(shape: CaseShape) -> Ask:
    if shape.disrupt:
        return Ask.DISRUPT
    return Ask.SHIFT if shape.shift else Ask.OFFER


def _given(shape: CaseShape) -> Given:
    asked, standing = shape.disrupt or shape.shift, shape.standing
    return Given(
        now=asked.at if asked else standing.now or NOW,
        spent=standing.spent,
        machines={rule: Decimal(count) for rule, count in standing.machines.items()},
        usd_per_hour=standing.usd_per_hour,
        disrupted=asked.disrupted if isinstance(asked, DisruptShape) else 0,
    )


def _expected(document: Document, shape: CaseShape, path: Path_) -> Expected:
    weighs = document.text((*path, "weighs"))
    return Expected(
        allowed=None if shape.expect is None else shape.expect == "allow",
        by=None if shape.by is None else frozenset(shape.by),
        prefers=None if shape.prefers is None else frozenset(shape.prefers),
        weighs=None if shape.weighs is None else Decimal(weighs),
        start=shape.expect_start,
    )


def _demand(shape: DemandShape, tables: Tables) -> Demand:
    return Demand(
        name="the case",
        alternatives=(Resources(),),
        nodes=shape.nodes,
        data=Data(shape.data_class, shape.datasets, shape.purpose),
        role=shape.role,
        duration_h=shape.duration,
        budget_usd=shape.budget,
        project=shape.project or DEFAULT_PROJECT,
        storage=tuple(_storage(shape, tables)),
        start_within_h=shape.start_within,
    )


def _storage(shape: DemandShape, tables: Tables) -> Iterator[Storage]:
    for kind, places in (
        (Artefact.BUCKET, shape.bucket),
        (Artefact.CHECKPOINT, [shape.checkpoint] if shape.checkpoint else []),
        (Artefact.LOG, [shape.log] if shape.log else []),
    ):
        for place in places:
            yield Storage(kind, place, site=tables.place(place))


def _offer(shape: OfferShape, now: datetime, tables: Tables) -> Offer:
    name, count = shape.accelerator or ("", 0.0)
    cloud = shape.cloud or ("edge" if shape.node else "")
    market = Market(shape.market or (Market.OWNED if cloud in OWNED else Market.ON_DEMAND))
    return Offer(
        cloud=cloud,
        region=shape.region or shape.node or "",
        zone=shape.zone,
        instance_type=shape.instance_type or "",
        market=market,
        vcpus=shape.vcpus,
        memory_gib=shape.memory_gib,
        accelerator=name or None,
        accelerator_count=count,
        price=_price(shape, market, now),
        site=_site(shape, cloud, tables),
        node_id=shape.node,
        datasets=tuple(sorted(held for held, _ in shape.datasets)),
        classes=tuple(sorted((held, kind) for held, kind in shape.datasets if kind)),
        node=shape.node or "",
        chip=_chip(shape, name, tables),
        left=shape.left,
        reservation=shape.reservation or "",
    )


def _price(shape: OfferShape, market: Market, now: datetime) -> Price | None:
    free = Decimal(0) if market is Market.OWNED else None
    amount = free if shape.usd_per_hour is None else shape.usd_per_hour
    day = shape.price_as_of or now.date()
    return None if amount is None else Price(amount, day.isoformat(), SOURCE)


def _site(shape: OfferShape, cloud: str, tables: Tables) -> Site:
    """The region's facts; its country's where another country is given; then what the case says."""
    site = tables.site(cloud.partition("@")[0], shape.region or "")
    if shape.country and shape.country != site.country:
        site = replace(tables.country(shape.country), country=shape.country)
    said = {
        "subdivision": shape.subdivision,
        "blocs": None if shape.blocs is None else frozenset(shape.blocs),
        "operator": shape.operator,
        "operator_country": shape.operator_country,
        "carbon_g_per_kwh": shape.carbon_g_per_kwh,
    }
    return replace(site, **{name: fact for name, fact in said.items() if fact is not None})  # type: ignore[arg-type]  # names and types are those of Site


def _chip(shape: OfferShape, name: str, tables: Tables) -> Chip:
    chip = tables.chip(name) if name else Chip()
    said = {
        "memory_gib": shape.accelerator_memory_gib,
        "bf16_tflops": shape.bf16_tflops,
        "watts": shape.watts,
    }
    return replace(chip, **{name: fact for name, fact in said.items() if fact is not None})  # type: ignore[arg-type]  # names and types are those of Chip
