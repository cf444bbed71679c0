"""Law: a policy file gives rules with their places, in order, over all files at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from broker.documents.policies import load_policies
from broker.errors import DocumentError
from broker.policy import Policy, Verb

Files = Callable[..., Path]
Problems = Callable[..., list[str]]
WHOLE = """\
policy: eu-phi
rules:
  - id: phi-stays
    when: {data_class: [PHI], role: [task, site], purpose: care, market: spot}
    require:
      country: [NO, se]
      bloc: eea
      cloud: [aws, aws@lab]
      region: [eu-north-1]
      zone: eu-north-1a
      kind: [edge, cloud]
      accelerator: [A100, none]
      instance_type: p4d.24xlarge
      holds_data: true
      max_usd_per_hour: 3.00
      max_carbon_g_per_kwh: 250.5
    why: Norwegian health data stays in the Nordics.
  - {id: no-azure, deny: {cloud: azure}}
  - {id: green, prefer: {max_carbon_g_per_kwh: 100}}
limits: {max_usd_per_hour: 40, budget_usd: 500usd}
"""


def test_every_clause_arrives_in_order_with_its_place(a_file: Files) -> None:
    policy = load_policies([a_file(WHOLE, "eu.yaml")])
    stays = policy.rules[0]
    assert {one.field: one.wanted for one in stays.when} == {
        "data_class": ("phi",),
        "role": ("task", "site"),
        "purpose": ("care",),
        "market": ("spot",),
    }
    assert [(one.field, one.wanted) for one in stays.clauses] == [
        ("country", ("NO", "SE")),
        ("bloc", ("EEA",)),
        ("cloud", ("aws", "aws@lab")),
        ("region", ("eu-north-1",)),
        ("zone", ("eu-north-1a",)),
        ("kind", ("edge", "cloud")),
        ("accelerator", ("a100", "none")),
        ("instance_type", ("p4d.24xlarge",)),
        ("holds_data", True),
        ("max_usd_per_hour", Decimal(3)),
        ("max_carbon_g_per_kwh", Decimal("250.5")),
    ]
    assert str(stays.clauses[0].location) == "eu.yaml:6:16"
    assert stays.clauses[0].location.span == len("[NO, se]")  # type: ignore[union-attr]
    assert str(stays.location) == "eu.yaml:3:9"
    assert stays.why == "Norwegian health data stays in the Nordics."


def test_limits_are_rules_too(a_file: Files) -> None:
    policy = load_policies([a_file(WHOLE, "eu.yaml")])
    limits = [(one.id, one.verb, one.clauses[0].wanted) for one in policy.rules[3:]]
    assert limits == [
        ("limits.max_usd_per_hour", Verb.REQUIRE, Decimal(40)),
        ("limits.budget_usd", Verb.REQUIRE, Decimal(500)),
    ]
    assert str(policy.rules[4].location) == "eu.yaml:20:44"


def test_files_join_in_the_order_given_each_once(a_file: Files) -> None:
    one = a_file("policy: one\nrules: [{id: a, deny: {cloud: azure}}]\n", "one.yaml")
    two = a_file("policy: two\nrules: [{id: b, deny: {cloud: gcp}}]\n", "two.yaml")
    policy = load_policies([two, one, "./two.yaml"])
    assert policy.names == ("two", "one")
    assert policy.files == ("two.yaml", "one.yaml")
    assert [rule.id for rule in policy.rules] == ["b", "a"]


def test_no_files_are_a_policy_without_rules() -> None:
    assert load_policies([]) == Policy()


def test_a_policy_may_be_limits_alone(a_file: Files) -> None:
    policy = load_policies([a_file("policy: caps\nlimits: {budget_usd: 5}\n")])
    assert [rule.id for rule in policy.rules] == ["limits.budget_usd"]


def test_one_id_in_two_files_is_refused_where_it_stands_again(
    a_file: Files, problems: Problems
) -> None:
    one = a_file("policy: one\nrules:\n  - {id: a, deny: {cloud: azure}}\n", "one.yaml")
    two = a_file("policy: two\nrules:\n  - {id: a, deny: {cloud: gcp}}\n", "two.yaml")
    assert problems(load_policies, [one, two]) == [
        "POL020 3:10 rule id `a` is already used at one.yaml:3"
    ]


def test_the_problems_of_all_files_are_told_together(a_file: Files) -> None:
    one = a_file("policy: one\nrulez: []\n", "one.yaml")
    two = a_file("policy: two\nrules: {}\n", "two.yaml")
    with pytest.raises(DocumentError) as caught:
        load_policies([one, "none.yaml", two])
    found = [(one.location.file, one.code) for one in caught.value.diagnostics]
    assert found == [("one.yaml", "POL002"), ("none.yaml", "DOC002"), ("two.yaml", "POL004")]


@pytest.mark.parametrize("field", ["max_usd_per_hour", "max_carbon_g_per_kwh"])
@pytest.mark.parametrize("block", ["deny", "when"])
def test_a_cap_stands_only_where_it_bounds(
    a_file: Files, problems: Problems, block: str, field: str
) -> None:
    other = "" if block == "deny" else ", deny: {cloud: x}"
    path = a_file(f"policy: p\nrules:\n  - {{id: a, {block}: {{{field}: 3, cloud: x}}{other}}}\n")
    assert [one.split(" ", 2)[2] for one in problems(load_policies, path and [path])] == [
        f"unknown field `{field}`"
    ]


@pytest.mark.parametrize("value", ["-1", "much", "true", "1e9"])
def test_a_carbon_cap_is_a_number(a_file: Files, problems: Problems, value: str) -> None:
    path = a_file(f"policy: p\nrules: [{{id: a, require: {{max_carbon_g_per_kwh: {value}}}}}]\n")
    (found,) = problems(load_policies, [path])
    assert "`rules[0].require.max_carbon_g_per_kwh` wants a number" in found


@pytest.mark.parametrize("name", ["budget", "data-class", "limits.budget_usd", "a b", "''"])
def test_a_rules_id_is_a_name_of_its_own(a_file: Files, problems: Problems, name: str) -> None:
    path = a_file(f"policy: p\nrules: [{{id: {name}, deny: {{cloud: x}}}}]\n")
    (found,) = problems(load_policies, [path])
    assert "`rules[0].id`" in found
