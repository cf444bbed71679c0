"""Law: who may decide over data decides first, and data goes nowhere that no rule speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.model import Data, Demand, Kind, Location, Offer, Reason, Verdict
from broker.policy import Clause, Judge, Policy, Rule, Verb
from broker.policy.classes import covers
from broker.policy.rules import Budget, DataClass, Level, Residency, Scope

Offers = Callable[..., Offer]
Demands = Callable[..., Demand]
OWNER = Scope(Level.SITE, ("oslo-01",), ("ehr",))
NODE = Scope(Level.SITE, ("oslo-01",))
RESEARCH = Scope(Level.PROJECT, ("research",))
HERE = Location("org.yaml", 9, 9)
PHI = DataClass("phi", ("personal",))


def rule(name: str, country: str, scope: Scope = Scope(), *when: Clause) -> Rule:  # noqa: B008 - frozen
    clause = Clause("country", (country,))
    return Rule(name, Verb.REQUIRE, (clause,), when, scope=scope, location=HERE)


def about(data_class: str) -> Clause:
    return Clause("data_class", (data_class,))


def against(rules: Policy, demand: Demand, offer: Offer) -> list[str]:
    return [one.rule for one in Judge(rules, demand)(offer).reasons]


def test_a_projects_rules_bind_its_demands_alone(an_offer: Offers, a_demand: Demands) -> None:
    rules = Policy((rule("r", "SE", RESEARCH),))
    assert against(rules, a_demand(project="research"), an_offer()) == ["r"]
    assert against(rules, a_demand(), an_offer()) == []
    idle = Judge(rules, a_demand()).trace(an_offer()).findings[0]
    assert (idle.verdict, idle.saw, idle.wanted, idle.scope) == (
        Verdict.IDLE,
        "project default",
        "project research",
        "project research",
    )


def test_an_owners_rules_bind_its_nodes_and_who_names_its_data(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = Policy((rule("r", "SE", OWNER),))
    at_home = an_offer(node="oslo-01")
    assert against(rules, a_demand(), at_home) == ["r"]
    assert against(rules, a_demand(), an_offer()) == []
    assert against(rules, a_demand(data=Data(datasets=("ehr",))), an_offer()) == ["r"]
    assert against(rules, a_demand(data=Data(datasets=("mri",))), an_offer()) == []
    assert Judge(rules, a_demand()).facts >= {"node"}
    idle = [
        Judge(rules, a_demand()).trace(offer).findings[0]
        for offer in (an_offer(), an_offer(node="bergen"))
    ]
    assert [(one.verdict, one.saw, one.wanted) for one in idle] == [
        (Verdict.IDLE, "no enrolled node", "at site oslo-01"),
        (Verdict.IDLE, "node bergen", "at site oslo-01"),
    ]


def test_an_owner_of_data_without_nodes_binds_only_who_names_it(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = Policy((rule("r", "SE", Scope(Level.SITE, (), ("ehr",))),))
    assert against(rules, a_demand(), an_offer()) == []
    assert "node" not in Judge(rules, a_demand()).facts
    idle = Judge(rules, a_demand()).trace(an_offer()).findings[0]
    assert (idle.saw, idle.wanted) == ("data sets [none]", "data sets of site")


def test_the_owner_speaks_first_then_the_broker_then_the_organisation(
    an_offer: Offers, a_demand: Demands
) -> None:
    capped = Rule("cap", Verb.RESIDENCY, terms=Residency(("SE",)), scope=OWNER)
    rules = Policy(
        (rule("project", "SE", RESEARCH), rule("organisation", "SE"), capped), classes=(PHI,)
    )
    demand = a_demand(project="research", data=Data("phi", ("ehr",)))
    expected = ["data-class", "cap", "data-class", "organisation", "project"]
    assert against(rules, demand, an_offer()) == expected
    traced = Judge(rules, demand).trace(an_offer())
    refused = [one.rule for one in traced.findings if one.verdict is Verdict.REFUSES]
    assert refused == expected
    assert [one.scope for one in traced.findings] == [
        "site oslo-01",
        "site oslo-01",
        "",
        "",
        "organisation",
        "project research",
    ]


def test_rules_about_a_class_hold_for_its_descendants(an_offer: Offers, a_demand: Demands) -> None:
    rules = Policy((rule("r", "SE", Scope(), about("personal")),), classes=(PHI,))
    assert against(rules, a_demand(data=Data("phi")), an_offer()) == ["r"]
    assert against(rules, a_demand(data=Data("personal")), an_offer()) == ["r"]
    assert against(rules, a_demand(data=Data("open")), an_offer()) == ["data-class"]
    assert [one.id for one in covers(rules, a_demand(data=Data("phi")))] == ["r"]
    assert covers(rules, a_demand()) == ()


@pytest.mark.parametrize(
    ("covering", "demand", "covered"),
    [
        (rule("r", "NO", Scope(), about("phi")), {}, True),
        (rule("r", "NO", Scope(), about("open")), {}, False),
        (rule("r", "NO", Scope()), {}, False),
        (rule("r", "NO", RESEARCH, about("phi")), {}, False),
        (rule("r", "NO", RESEARCH, about("phi")), {"project": "research"}, True),
        (rule("r", "NO", NODE, about("phi")), {}, False),
        (Rule("r", Verb.RESIDENCY, (), (about("phi"),), terms=Residency(("NO",))), {}, True),
        (Rule("r", Verb.PREFER, (Clause("country", ("NO",)),), (about("phi"),)), {}, False),
        (Rule("r", Verb.BUDGET, (), (about("phi"),), terms=Budget(9)), {}, False),  # type: ignore[arg-type]
    ],
)
def test_only_rules_that_bind_the_data_cover_its_class(
    a_demand: Demands, covering: Rule, demand: dict[str, Any], covered: bool
) -> None:
    found = covers(Policy((covering,)), a_demand(data=Data("phi"), **demand))
    assert bool(found) is covered


def test_an_owners_data_needs_the_owners_own_rule(an_offer: Offers, a_demand: Demands) -> None:
    where = Location("task.yaml", 7, 10)
    demand = a_demand(data=Data("phi", ("ehr", "mri")), locations={"data.class": where})
    everybody = rule("org", "NO", Scope(), about("phi"))
    silent = Policy((everybody, rule("owner", "NO", OWNER)))
    (reason,) = Judge(silent, demand)(an_offer()).reasons
    assert reason == Reason(
        Kind.POLICY,
        "data-class",
        "no rule of site oslo-01 covers data class phi of ehr",
        "a rule of site oslo-01 with `when: {data_class: [phi]}`",
        where,
    )
    spoken = Policy((everybody, rule("owner", "NO", OWNER, about("phi"))))
    traced = Judge(spoken, demand).trace(an_offer())
    assert traced.allowed
    assert [(one.rule, one.saw) for one in traced.findings if one.rule == "data-class"] == [
        ("data-class", "data class phi of ehr is covered by owner"),
        ("data-class", "data class phi is covered by owner, org"),
        ("data-class", "no named data of another class"),
    ]
    another = rule("other", "NO", Scope(Level.SITE, ("bergen",), ("ehr",)), about("phi"))
    assert against(
        Policy((everybody, rule("owner", "NO", OWNER), another)), demand, an_offer()
    ) == ["data-class"]


def test_a_demand_states_a_purpose_of_its_class_and_of_every_ancestor(
    an_offer: Offers, a_demand: Demands
) -> None:
    line = Location("org.yaml", 3, 3)
    classes = (
        DataClass("phi", ("personal",), ("care", "research"), line),
        DataClass("personal", (), ("care", "billing")),
        DataClass("open", (), ()),
    )
    rules = Policy((rule("r", "NO", Scope(), about("personal")),), classes=classes)

    def refused(purpose: str | None, **more: Any) -> list[Reason]:
        demand = a_demand(data=Data("phi", purpose=purpose), **more)
        return list(Judge(rules, demand)(an_offer()).reasons)

    assert refused("care") == []
    (reason,) = refused("research")
    assert (reason.rule, reason.saw, reason.wanted) == (
        "purpose",
        "purpose research",
        "purpose in [care, billing] for data class personal",
    )
    one, two = refused(None)
    assert (one.saw, one.location, two.location) == ("purpose not stated", line, None)
    where = Location("task.yaml", 8, 3)
    assert refused(None, locations={"data.purpose": where})[0].location == where


def test_named_data_of_a_class_that_is_not_stated_is_refused(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = Policy((rule("r", "NO", Scope(), about("personal"), about("phi")),), classes=(PHI,))
    where = Location("task.yaml", 6, 3)
    holder = an_offer(classes=(("ehr", "phi"), ("notes", "secret")))
    demand = a_demand(data=Data("personal", ("ehr",)), locations={"data.datasets": where})
    assert against(rules, a_demand(data=Data("phi", ("ehr",))), holder) == []
    assert against(rules, a_demand(data=Data("phi", ("mri",))), holder) == []
    (reason,) = Judge(rules, demand)(holder).reasons
    assert (reason.rule, reason.saw, reason.location) == (
        "data-class",
        "ehr is of data class phi",
        where,
    )
    assert reason.wanted == "a demand that states the class of the data it names"
    assert against(Policy(), a_demand(data=Data(datasets=("ehr",))), holder) == ["data-class"]
    assert against(Policy(), a_demand(), holder) == []
