"""Sites are nodes that hold the data and may be used; every other node is told why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.documents.federation import Sites
from broker.errors import InfeasibleError, PolicyError
from broker.federation.cohort import choose
from broker.model import Data, Decision, Kind, Offer, Reason, Site
from tests.federation.conftest import cloud_offer, federation, site_offer

FORBIDDEN = Reason(Kind.POLICY, "eu-only", saw="US", wanted="EU")


def allow(offer: Offer) -> Decision:
    return Decision(offer)


def no_us(offer: Offer) -> Decision:
    return Decision(offer, (FORBIDDEN,) if offer.site.country == "US" else ())


def test_all_nodes_with_the_data_take_part_by_name() -> None:
    offers = [site_offer("oslo"), cloud_offer(), site_offer("berlin")]
    cohort = choose(offers, federation(sites=Sites(2)), allow)
    assert [seat.offer.region for seat in cohort.seats] == ["berlin", "oslo"]
    assert cohort.others == ()
    assert cohort.check() is cohort


def test_a_site_brings_the_first_of_the_data_sets_that_it_holds() -> None:
    fed = federation(data=Data("phi", ("mri", "ct")), sites=Sites(1))
    cohort = choose([site_offer("a", datasets=("ct", "mri")), site_offer("b")], fed, allow)
    assert [seat.dataset for seat in cohort.seats] == ["mri", "ct"]


@pytest.mark.parametrize(
    ("offer", "rule", "saw"),
    [
        (site_offer("a", datasets=()), "data.datasets", "no data set"),
        (site_offer("a", datasets=("x", "y")), "data.datasets", "x, y"),
        (site_offer("a", "SE"), "sites.where.country", "SE"),
        (site_offer("a", site=Site()), "sites.where.country", "unknown"),
        (site_offer("a", "NO", available=False), "capacity", "offline or full"),
    ],
)
def test_a_node_that_does_not_fit_the_request_has_a_reason(
    offer: Offer, rule: str, saw: str
) -> None:
    fed = federation(sites=Sites(1, None, frozenset({"NO"})))
    (other,) = choose([offer], fed, allow).others
    assert (other.reasons[0].rule, other.reasons[0].saw) == (rule, saw)


def test_surplus_nodes_are_told_so_and_preferred_ones_come_first() -> None:
    def judge(offer: Offer) -> Decision:
        return Decision(offer, preference=offer.region == "oslo")

    offers = [site_offer(name) for name in ("berlin", "lyon", "oslo")]
    cohort = choose(offers, federation(sites=Sites(1, 2)), judge)
    assert [seat.offer.region for seat in cohort.seats] == ["oslo", "berlin"]
    assert [(one.offer.region, one.reasons[0].rule) for one in cohort.others] == [
        ("lyon", "sites.wanted")
    ]


def test_too_few_sites_because_of_the_policy_are_the_policys_refusal() -> None:
    offers = [site_offer("oslo"), site_offer("boston", "US")]
    with pytest.raises(PolicyError) as caught:
        choose(offers, federation(), no_us).check()
    assert caught.value.message == "1 of at least 2 sites can take part"
    assert caught.value.hint == "boston: eu-only: US, wanted EU"


def test_too_few_sites_anyway_are_infeasible() -> None:
    offers = [site_offer("oslo", datasets=()), site_offer("boston", "US")]
    with pytest.raises(InfeasibleError, match="0 of at least 2"):
        choose(offers, federation(), no_us).check()
    with pytest.raises(InfeasibleError) as caught:
        choose([], federation(), allow).check()
    assert caught.value.hint == "no node is enrolled: `broker edge invite NAME`"


countries = st.sampled_from(["NO", "DE", "US", None])
nodes = st.builds(
    lambda number, country, data, free: site_offer(
        f"s{number}", site=Site(country=country), datasets=data, available=free
    ),
    st.integers(0, 10**6),
    countries,
    st.sampled_from([(), ("ct",), ("mri",), ("mri", "ct")]),
    st.booleans(),
)


@given(st.lists(nodes, max_size=12, unique_by=lambda offer: offer.node_id), st.integers(1, 5))
def test_every_node_is_chosen_or_has_a_reason_and_no_forbidden_one_is_chosen(
    offers: list[Offer], wanted: int
) -> None:
    fed = federation(sites=Sites(1, wanted, frozenset({"NO", "DE", "US"})))
    cohort = choose(offers, fed, no_us)
    chosen = {seat.offer.node_id for seat in cohort.seats}
    refused = {one.offer.node_id for one in cohort.others}
    assert chosen | refused == {offer.node_id for offer in offers}
    assert not chosen & refused
    assert all(one.reasons for one in cohort.others)
    assert len(chosen) <= wanted
    for seat in cohort.seats:
        assert seat.offer.site.country in {"NO", "DE"}
        assert seat.dataset in seat.offer.datasets
        assert seat.offer.available


@given(st.lists(nodes, max_size=8, unique_by=lambda offer: offer.node_id), nodes)
def test_another_node_never_changes_the_verdict_over_the_rest(
    offers: list[Offer], more: Offer
) -> None:
    fed = federation(sites=Sites(1))
    before = {seat.offer for seat in choose(offers, fed, no_us).seats}
    rest = [offer for offer in offers if offer.node_id != more.node_id]
    after = {seat.offer for seat in choose([*rest, more], fed, no_us).seats}
    assert after - {more} == before & set(rest)
