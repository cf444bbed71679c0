"""Law: what lies outside machines, and what is paid for already, arrives with its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from broker.documents.config import Config, Reservation, load_config
from broker.documents.federation import aggregator_demand, load_federation, site_demand
from broker.documents.storage import storage_place
from broker.documents.task import load_task
from broker.documents.units import UnitError
from broker.model import DEFAULT_PROJECT, Artefact, Location, Storage

Files = Callable[..., Path]
Problems = Callable[..., list[str]]


def test_buckets_and_the_checkpoint_are_storage_of_the_demand(a_file: Files) -> None:
    demand = load_task(
        a_file(
            """\
            run: x
            project: research
            start_within: 8h
            data:
              bucket:
                - {uri: gs://in, place: gcp/europe-west3}
                - {uri: s3://out, place: no}
            checkpoint: {uri: s3://b/p, place: aws@lab/eu-north-1}
            """
        )
    ).demand
    assert (demand.project, demand.start_within_h, demand.has_checkpoint) == (
        "research",
        Decimal(8),
        True,
    )
    at = [Location("file.yaml", 6, 29, 16), Location("file.yaml", 7, 30, 2)]
    assert demand.storage == (
        Storage(Artefact.BUCKET, "gcp/europe-west3", "gs://in", location=at[0]),
        Storage(Artefact.BUCKET, "NO", "s3://out", location=at[1]),
        Storage(
            Artefact.CHECKPOINT,
            "aws@lab/eu-north-1",
            "s3://b/p",
            location=Location("file.yaml", 8, 36, 18),
        ),
    )
    assert {"project", "start_within", "checkpoint", "data.bucket"} <= demand.locations.keys()


def test_one_bucket_needs_no_list(a_file: Files) -> None:
    path = a_file("run: x\ndata: {bucket: {uri: s3://b, place: SE}}\n")
    (one,) = load_task(path).demand.storage
    assert (one.kind, one.place, str(one.location)) == (Artefact.BUCKET, "SE", "file.yaml:2:37")


def test_a_task_that_names_nothing_has_the_default_project(a_file: Files) -> None:
    demand = load_task(a_file("run: x\n")).demand
    assert (demand.project, demand.storage, demand.start_within_h) == (DEFAULT_PROJECT, (), None)
    assert "project" not in demand.locations


def test_both_demands_of_a_federation_carry_project_and_checkpoint(a_file: Files) -> None:
    path = a_file(
        """\
        app: .
        rounds: 1
        project: research
        data: {datasets: bc}
        sites: {min: 2}
        checkpoint: {uri: s3://b, place: aws/eu-north-1}
        """
    )
    fed = load_federation(path)
    for demand in (aggregator_demand(fed), site_demand(fed)):
        assert demand.project == "research"
        assert [one.kind for one in demand.storage] == [Artefact.CHECKPOINT]
        assert str(demand.storage[0].location) == "file.yaml:6:34"


@pytest.mark.parametrize("place", ["NO", "aws/eu-north-1", "azure@lab/x", "gcp/europe-west3"])
def test_a_place_is_a_region_or_a_country(place: str) -> None:
    assert storage_place(place) == place


@pytest.mark.parametrize(
    ("place", "tip"),
    [
        ("asw/eu-north-1", "did you mean `aws`?"),
        ("edge/oslo-01", "known: aws, azure, gcp"),
        ("aws", "write `aws/eu-north-1`"),
        ("aws/", "write `aws/eu-north-1`"),
        ("aws/a/b", "write `aws/eu-north-1`"),
        ("UK", "use `GB`"),
        ("Norway", "write `aws/eu-north-1`"),
    ],
)
def test_another_place_is_refused_with_a_tip(place: str, tip: str) -> None:
    with pytest.raises(UnitError) as refused:
        storage_place(place)
    assert (refused.value.tip or "").startswith(tip)


def test_a_configuration_names_project_country_ledger_and_age(a_file: Files) -> None:
    config = load_config(
        a_file("project: lab\ncountry: no\nledger: postgresql://a@b/c\ncatalog: {max_age: 7d}\n")
    )
    assert (config.project, config.country, config.ledger, config.max_price_age_d) == (
        "lab",
        "NO",
        "postgresql://a@b/c",
        Decimal(7),
    )
    assert Config().max_price_age_d == Decimal(30)
    assert (Config().project, Config().country, Config().ledger) == (DEFAULT_PROJECT, None, None)


def test_a_reservation_arrives_with_the_region_of_its_zone(a_file: Files) -> None:
    config = load_config(
        a_file(
            """\
            clouds:
              aws:
                provider: aws
                reservations:
                  - {id: cr-1, instance_type: p4d.24xlarge, zone: us-east-1a, count: 2, until: 2027-01-31}
              gcp:
                provider: gcp
                reservations:
                  - {id: r-2, instance_type: a2, zone: europe-west3-b, count: 1, usd_per_hour: 0.5}
                  - {id: r-3, instance_type: a2, region: europe-west4, count: 1}
            """
        )
    )
    assert config.clouds["aws"].reservations == (
        Reservation(
            "cr-1",
            "p4d.24xlarge",
            "us-east-1",
            "us-east-1a",
            2,
            Decimal(0),
            date(2027, 1, 31),
            Location("file.yaml", 5, 14, 4),
        ),
    )
    found = [(one.region, one.zone, one.usd_per_hour) for one in config.clouds["gcp"].reservations]
    assert found == [
        ("europe-west3", "europe-west3-b", Decimal("0.5")),
        ("europe-west4", None, Decimal(0)),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "CFG022 1:41 `clouds.aws.reservations[0]` says not where it is"),
        (", zone: use1-az1", "CFG022 1:41 `clouds.aws.reservations[0]` does not say its region"),
        (
            ", zone: us-east-1a, until: soon",
            "CFG005 1:101 `clouds.aws.reservations[0].until` wants a date",
        ),
    ],
)
def test_a_reservation_without_its_place_is_refused(
    a_file: Files, problems: Problems, text: str, found: str
) -> None:
    entry = f"{{id: r, instance_type: m, count: 1{text}}}"
    path = a_file(f"clouds: {{aws: {{provider: aws, reservations: [{entry}]}}}}\n")
    assert [one[: len(found)] for one in problems(load_config, path)] == [
        found.replace("1:41", "1:46").replace("1:101", "1:107")
    ]


def test_a_reservation_counts_once(a_file: Files, problems: Problems) -> None:
    one = "{id: r, instance_type: m, region: x, count: 1}"
    text = f"clouds: {{aws: {{provider: aws, reservations: [{one}, {one}]}}, local: {{provider: local}}}}"
    (found,) = problems(load_config, a_file(text))
    assert found.endswith("reservation `r` stands twice, first on line 1")
