"""Law: a rule is covered when one case sees it decide and another sees it hold back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from broker.model import Finding, Location, Verdict
from broker.policy import Policy, Verb
from broker.policy.cases import Outcome, run_case
from broker.policy.coverage import DECIDES, cover, per_cent
from broker.policy.rules import Carbon, Level, Scope

VERDICTS = st.lists(st.sampled_from(Verdict), max_size=5)


@given(verdicts=VERDICTS)
def test_a_rule_is_covered_when_both_are_seen(
    a_rule: Callable, a_case: Callable, verdicts: list[Verdict]
) -> None:
    rule = a_rule("a", require={"country": ("NO",)})
    outcomes = [Outcome(a_case(), (Finding("a", one), Finding("b", one))) for one in verdicts]
    (found,) = cover([(Policy((rule,)), outcomes)])
    decided = [one in DECIDES for one in verdicts]
    assert found.covered is (True in decided and False in decided)
    assert (found.decided, found.held_back) == (sum(decided), len(decided) - sum(decided))
    assert len(found.missing) == (True not in decided) + (False not in decided)


def test_real_runs_cover_and_one_side_alone_does_not(
    a_rule: Callable, a_case: Callable, an_offer: Callable
) -> None:
    policy = Policy((a_rule("a", require={"country": ("NO",)}),))
    inside = run_case(policy, a_case())
    outside = run_case(policy, a_case(offer=an_offer(country="US")))
    (both,) = cover([(policy, [inside, outside])])
    (one,) = cover([(policy, [inside])])
    assert both.covered
    assert one.missing == ("no case sees it refuse",)


def test_a_rule_that_two_case_files_share_is_one_rule(
    a_rule: Callable, a_case: Callable, an_offer: Callable
) -> None:
    policy = Policy((a_rule("a", require={"country": ("NO",)}),))
    inside = run_case(policy, a_case())
    outside = run_case(policy, a_case(offer=an_offer(country="US")))
    (found,) = cover([(policy, [inside]), (policy, [outside])])
    assert found.covered
    other = Policy((a_rule("a", require={"country": ("NO",)}, location=Location("other.yaml")),))
    nowhere = Policy((a_rule("a", require={"country": ("NO",)}, location=None),))
    assert len(cover([(policy, []), (other, []), (nowhere, [])])) == 3


def test_each_kind_of_rule_is_missed_in_its_own_words(a_rule: Callable) -> None:
    price, cap = Carbon(usd_per_kg=Decimal(1)), Carbon(Decimal(9), usd_per_kg=Decimal(1))
    research = Scope(Level.PROJECT, ("research",))
    rules = (
        a_rule("a", prefer={"country": ("NO",)}),
        a_rule("b", Verb.CARBON, terms=price),
        a_rule("c", Verb.CARBON, terms=cap),
        a_rule("d", Verb.CARBON, terms=price, when={"country": ("NO",)}),
        a_rule("e", Verb.CARBON, terms=price, scope=research),
        a_rule("f", Verb.CARBON, terms=Carbon(max_kg=Decimal(1))),
    )
    found = {one.rule.id: one.missing for one in cover([(Policy(rules), [])])}
    assert found["a"] == ("no case sees it prefer", "no case sees it hold back")
    assert found["b"] == ("no case sees it weigh",)
    assert found["c"] == found["d"] == found["e"] == found["f"]
    assert found["f"] == ("no case sees it refuse", "no case sees it hold back")


def test_the_share_is_rounded_down(a_rule: Callable, a_case: Callable) -> None:
    rules = tuple(a_rule(name, require={"country": ("NO",)}) for name in "abc")
    seen = [
        Outcome(a_case(), tuple(Finding(name, verdict) for name in "ab"))
        for verdict in (Verdict.REFUSES, Verdict.PASSES)
    ]
    assert per_cent(cover([(Policy(rules), seen)])) == 66
    assert per_cent(()) == 100
