"""A case file is read with the places of everything, or refused with all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from broker.documents.cases import NOW, Suite, Tables, load_cases
from broker.documents.codes import CODES
from broker.errors import DocumentError
from broker.model import Artefact, Chip, Market, Site
from broker.policy.cases import Ask

OSLO = Site("NO", frozenset({"EEA"}), 30.0, "grid", subdivision="NO-03", operator="Fjord")
TABLES = Tables(
    site=lambda cloud, region: OSLO if (cloud, region) == ("aws", "oslo") else Site(),
    country=lambda code: Site(code, frozenset({"EU"}), 100.0) if code == "SE" else Site(),
    place=lambda text: OSLO if text == "aws/oslo" else Site(),
    chip=lambda name: Chip(24, 121, 72) if name == "L4" else Chip(),
)
POLICY = """\
policy: p
rules:
  - id: stays
    require: {country: [NO]}
  - id: monthly
    budget: {usd_per_month: 500}
  - id: small
    blast_radius: {max_machines: 4}
"""
HEAD = "policies: policy.yaml\ncases:\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Suite]:
    """`load("- name: ...")`: the cases below the head, in a folder with a policy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)

    def read(cases: str, head: str = HEAD) -> Suite:
        (tmp_path / "cases.yaml").write_text(head + cases)
        return load_cases(Path("cases.yaml"), TABLES)

    return read


@pytest.fixture
def problems(load: Callable[..., Suite]) -> Callable[..., list[str]]:
    def find(cases: str, head: str = HEAD) -> list[str]:
        with pytest.raises(DocumentError) as caught:
            load(cases, head)
        assert {one.code for one in caught.value.diagnostics} <= CODES.keys()
        return [
            f"{one.code} {one.location.line}: {one.message}" for one in caught.value.diagnostics
        ]

    return find


def test_what_a_case_says_is_what_is_asked(load: Callable[..., Suite]) -> None:
    (case,) = load(
        "  - name: all of it\n"
        "    demand: {data_class: PHI, purpose: care, project: x, role: site, nodes: 2,\n"
        "             duration: 6h, budget: 12usd, datasets: [ehr], start_within: 8h,\n"
        "             checkpoint: aws/oslo, bucket: [aws/oslo, nowhere/1], log: DE}\n"
        "    offer: {cloud: aws@lab, region: oslo, zone: oslo-a, market: spot, accelerator: 'L4:2',\n"
        "            vcpus: 4, memory_gib: 16, usd_per_hour: 1.2, price_as_of: 2026-11-01,\n"
        "            instance_type: g6.xlarge, carbon_g_per_kwh: 12, operator_country: SE,\n"
        "            watts: 80, datasets: {ehr: phi}, left: 3, reservation: cr-1}\n"
        "    standing: {now: '2026-11-21T12:00:00Z', spent: {monthly: 450usd}, machines: {small: 3},\n"
        "               usd_per_hour: {small: 10}}\n"
        "    expect: deny\n"
        "    by: [stays]\n"
        "    prefers: []\n"
        "    weighs: 0.020\n"
    ).cases
    demand, offer = case.demand, case.offer
    assert (demand.data.data_class, demand.data.purpose, demand.data.datasets) == (
        "phi",
        "care",
        ("ehr",),
    )
    assert (demand.project, demand.role, demand.nodes) == ("x", "site", 2)
    assert (demand.duration_h, demand.budget_usd, demand.start_within_h) == (6, 12, 8)
    assert [(one.kind, one.place, one.site.country) for one in demand.storage] == [
        (Artefact.BUCKET, "aws/oslo", "NO"),
        (Artefact.BUCKET, "nowhere/1", None),
        (Artefact.CHECKPOINT, "aws/oslo", "NO"),
        (Artefact.LOG, "DE", None),
    ]
    assert (offer.cloud, offer.market, offer.accelerator, offer.accelerator_count) == (
        "aws@lab",
        Market.SPOT,
        "L4",
        2,
    )
    assert offer.price
    assert (offer.price.usd_per_hour, offer.price.as_of) == (Decimal("1.2"), "2026-11-01")
    assert (offer.site.country, offer.site.carbon_g_per_kwh, offer.site.operator_country) == (
        "NO",
        12,
        "SE",
    )
    assert offer.chip == Chip(24, 121, 80)
    assert (offer.datasets, offer.classes) == (("ehr",), (("ehr", "phi"),))
    assert (offer.left, offer.reservation) == (3, "cr-1")
    assert case.given.now == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert case.given.spent == {"monthly": 450}
    assert (case.given.machines, case.given.usd_per_hour) == ({"small": 3}, {"small": 10})
    assert (case.expected.by, case.expected.prefers) == (frozenset({"stays"}), frozenset())
    assert str(case.expected.weighs) == "0.020"
    assert (case.ask, case.location.line) == (Ask.OFFER, 3)


def test_what_is_not_said_is_unknown_and_ones_own_is_free(load: Callable[..., Suite]) -> None:
    node, cloud, moved = load(
        "  - {name: a, offer: {node: oslo-01, country: SE}, expect: allow}\n"
        "  - {name: b, offer: {cloud: aws, region: nowhere-1, accelerator: none}, expect: deny}\n"
        "  - {name: c, offer: {cloud: aws, region: oslo, country: SE}, expect: deny}\n"
    ).cases
    assert (node.offer.cloud, node.offer.node_id, node.offer.market) == (
        "edge",
        "oslo-01",
        Market.OWNED,
    )
    assert node.offer.price
    assert (node.offer.price.usd_per_hour, node.offer.price.as_of) == (0, NOW.date().isoformat())
    assert (node.offer.site.country, node.offer.site.blocs) == ("SE", {"EU"})
    assert (cloud.offer.site, cloud.offer.price, cloud.offer.accelerator) == (Site(), None, None)
    assert cloud.offer.market is Market.ON_DEMAND
    assert (moved.offer.site.operator, moved.offer.site.carbon_g_per_kwh) == (None, 100)


def test_moments_of_work_are_asked_for_too(load: Callable[..., Suite]) -> None:
    stop, start = load(
        "  - {name: a, disrupt: {at: '2026-11-20T10:00:00+01:00', project: x, disrupted: 1},\n"
        "     offer: {node: oslo-01}, expect: deny, by: [stays]}\n"
        "  - {name: b, shift: {at: '2026-11-20T10:00:00Z', start_within: 12h},\n"
        "     expect_start: '2026-11-20T22:00:00Z'}\n"
    ).cases
    assert (stop.ask, stop.given.disrupted, stop.demand.project) == (Ask.DISRUPT, 1, "x")
    assert stop.given.now == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert (start.ask, start.expected.start) == (Ask.SHIFT, datetime(2026, 11, 20, 22, tzinfo=UTC))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("{name: a, expect: allow}", "CAS020 3: `cases[0]` asks nothing, or two things"),
        (
            "{name: a, disrupt: {at: '2026-11-20T10:00:00Z'}, demand: {}, expect: allow}",
            "CAS020 3: `cases[0]` says `demand` beside `disrupt`",
        ),
        ("{name: a, offer: {}}", "CAS021 3: `cases[0]` expects nothing"),
        (
            "{name: a, offer: {}, expect: allow, by: [stays]}",
            "CAS021 3: `cases[0]` says `by` without `expect: deny`",
        ),
        (
            "{name: a, offer: {}, expect_start: '2026-11-20T10:00:00Z'}",
            "CAS021 3: `cases[0]` cannot answer `expect_start`",
        ),
        (
            "{name: a, shift: {at: '2026-11-20T10:00:00Z'}, expect: allow}",
            "CAS021 3: `cases[0]` cannot answer `expect`",
        ),
        (
            "{name: a, disrupt: {at: '2026-11-20T10:00:00Z'}, weighs: 1}",
            "CAS021 3: `cases[0]` cannot answer `weighs`",
        ),
        (
            "{name: a, offer: {}, expect: deny, by: [stay]}",
            "CAS022 3: the policies have no such rule `stay`",
        ),
        (
            "{name: a, offer: {}, expect: deny, standing: {spent: {small: 4}}}",
            "CAS022 3: the policies have no such rule `small`",
        ),
        ("{name: a, offer: {datasets: {a: B C}}, expect: deny}", "CAS005 3:"),
        ("{name: a, offer: {datasets: ['B C']}, expect: deny}", "CAS005 3:"),
        ("{name: a, offer: {accelerator: [L4, T4]}, expect: deny}", "CAS013 3:"),
        ("{name: a, offer: {price_as_of: soon}, expect: deny}", "CAS005 3:"),
        ("{name: a, offer: {left: -1}, expect: deny}", "CAS004 3:"),
        ("{name: a, offer: {}, standing: {spent: 4}, expect: deny}", "CAS004 3:"),
        ("{name: a, offer: {}, standing: {spent: {monthly: 4eur}}, expect: deny}", "CAS012 3:"),
        ("{name: a, offer: {}, standing: {now: 2026-11-20}, expect: deny}", "CAS005 3:"),
        ("{name: a, offer: {}, standing: {now: noon}, expect: deny}", "CAS005 3:"),
        ("{name: a, offer: {}, expect: perhaps}", "CAS005 3:"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(
    problems: Callable[..., list[str]], case: str, said: str
) -> None:
    (found,) = problems(f"  - {case}\n")
    assert found.startswith(said)


def test_every_problem_is_told_at_once(problems: Callable[..., list[str]]) -> None:
    found = problems(
        "  - {name: a, offer: {clod: aws}, expect: deny}\n"
        "  - {name: a, offer: {vcpus: many}, expect: deny}\n"
    )
    assert [one.partition(":")[0] for one in found] == ["CAS002 3", "CAS004 4"]
    twice = problems(2 * "  - {name: a, offer: {}, expect: deny, by: [x]}\n")
    assert [one.partition(":")[0] for one in twice] == ["CAS022 3", "CAS023 4", "CAS022 4"]


def test_a_wrong_policy_is_told_as_such(problems: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("policy: p\nrulez: []\n")
    case = "  - {name: a, offer: {}, expect: deny}\n"
    assert problems(case, "policies: [bad.yaml, gone.yaml]\ncases:\n") == [
        "POL002 2: unknown field `rulez`",
        "DOC002 1: there is no file gone.yaml",
    ]
