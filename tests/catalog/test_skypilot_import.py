"""The law: an import replaces a provider whole or not at all, keeps what it cannot price as
unknown and counts it, and takes nothing from an archive but the text of the expected files."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from broker.catalog import Catalog
from broker.catalog.skypilot import MAX_BYTES
from broker.errors import UsageError
from broker.model import Market, Resources

HEADER = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region"
)
ZONED = f"{HEADER},AvailabilityZone"
GOOD = f"""{ZONED}
m5.large,,,2.0,8.0,,0.096,0.031,us-east-1,use1-az1
m5.large,,,2.0,8.0,,0.096,0.033,us-east-1,use1-az2
p4d.24xlarge,A100,8.0,96.0,1152.0,"{{'x': 1, 'y': 2}}",0.0,,us-east-1,use1-az1
"""
DAY = 1_735_689_600  # 2025-01-01


@pytest.fixture
def folder(tmp_path: Path):
    """`folder(aws=..., gcp=...)`: a folder in SkyPilot's layout."""

    def make(**files: str) -> Path:
        for provider, text in files.items():
            file = tmp_path / "catalogs" / provider / "vms.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            os.utime(file, (DAY, DAY))
        return tmp_path / "catalogs"

    return make


@pytest.fixture
def archive(tmp_path: Path):
    """`archive({"aws/vms.csv": text})`: a .tgz of these members."""

    def make(members: dict[str, str], *more: tarfile.TarInfo) -> Path:
        path = tmp_path / "catalogs.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(text.encode()), DAY
                tar.addfile(info, io.BytesIO(text.encode()))
            for info in more:
                tar.addfile(info)
        return path

    return make


def offers(catalog: Catalog, provider: str = "aws"):
    return catalog.search(Resources(cloud=provider))


def test_a_line_becomes_an_offer_on_each_market_dated_by_its_file(own, folder) -> None:
    report = own.import_skypilot(folder(aws=GOOD))
    (imported,) = report.imported
    assert (imported.provider, imported.offers, imported.unpriced) == ("aws", 6, 2)
    assert imported.as_of == "2025-01-01"
    assert report.failed == {}
    found = offers(own)
    assert [offer.key for offer in found] == [
        "aws/use1-az1/m5.large/spot",
        "aws/use1-az2/m5.large/spot",
        "aws/use1-az1/m5.large/on-demand",
        "aws/use1-az2/m5.large/on-demand",
        "aws/use1-az1/p4d.24xlarge/on-demand",
        "aws/use1-az1/p4d.24xlarge/spot",
    ]
    first = found[0]
    assert first.price is not None
    assert (str(first.price.usd_per_hour), first.price.as_of) == ("0.031", "2025-01-01")
    assert first.price.source == "SkyPilot catalog aws/vms.csv"
    assert (first.vcpus, first.memory_gib, first.region) == (2.0, 8.0, "us-east-1")
    assert first.site.country == "US"
    assert (found[-1].accelerator, found[-1].accelerator_count) == ("A100", 8.0)
    assert found[-1].price is None


def test_prices_that_are_none_are_counted_by_their_flaw(own, folder) -> None:
    report = own.import_skypilot(folder(aws=GOOD))
    assert report.warnings == (
        "aws: 1 prices are 0 or negative: kept as unknown",
        "aws: 1 prices are missing: kept as unknown",
    )


def test_a_provider_that_is_not_in_the_import_stays(own, folder) -> None:
    before = len(offers(own, "azure"))
    own.import_skypilot(folder(aws=GOOD))
    assert len(offers(own, "azure")) == before
    origins = {one.provider: one.origin for one in own.status().providers}
    assert origins == {"aws": "import", "azure": "snapshot", "gcp": "snapshot"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ZONED.replace("SpotPrice,", ""), "missing column SpotPrice"),
        ("", "missing columns InstanceType"),
        (ZONED, "no offers"),
        (GOOD + "m5.xlarge,,,four,16,,1,1,us-east-1,a\n", "vms.csv:5:1: not a catalog line: vCPUs"),
        (GOOD + "m5.xlarge,,,-4,16,,1,1,us-east-1,a\n", "not an amount"),
        (GOOD + "m5.xlarge,,,4,16,,1,1,,a\n", "Region is empty"),
        (GOOD + "m5.xlarge,,,4\n", ":5:1"),
    ],
)
def test_a_broken_provider_keeps_its_last_good_offers_and_says_why(
    text: str, words: str, own, folder
) -> None:
    own.import_skypilot(folder(aws=GOOD))
    before = offers(own)
    report = own.import_skypilot(folder(aws=text, azure=HEADER + "\nB1,,,1,1,,0.01,0.01,eastus\n"))
    assert list(report.failed) == ["aws"]
    assert words in report.failed["aws"]
    assert "aws/vms.csv" in report.failed["aws"]
    assert offers(own) == before
    assert [one.provider for one in report.imported] == ["azure"]
    assert [offer.zone for offer in offers(own, "azure")] == [None, None]


def test_an_import_over_an_import_replaces_all_of_it(own, folder) -> None:
    own.import_skypilot(folder(aws=GOOD))
    own.import_skypilot(folder(aws=f"{ZONED}\nt3.nano,,,2,0.5,,0.005,0.001,us-east-1,a\n"))
    assert {offer.instance_type for offer in offers(own)} == {"t3.nano"}


def test_several_lines_for_one_machine_and_zone_are_all_kept(own, folder) -> None:
    line = "m5.large,,,2.0,8.0,,0.1,0.03,us-east-1,a\n"
    own.import_skypilot(folder(aws=f"{ZONED}\n{line}{line}"))
    assert len(offers(own)) == 4


def test_blank_lines_and_a_byte_order_mark_do_no_harm(own, folder) -> None:
    own.import_skypilot(folder(aws=f"\ufeff{GOOD}\n\n"))
    assert len(offers(own)) == 6


def test_gcp_accelerators_come_out_in_their_machines(own, folder) -> None:
    text = f"""{ZONED}
a2-highgpu-1g,,,12,85,,0.7,0.2,us-central1,us-central1-a
,A100,1,,,,2.9,1.1,us-central1,us-central1-a
"""
    own.import_skypilot(folder(gcp=text))
    found = offers(own, "gcp")
    assert [(one.instance_type, one.accelerator, one.market) for one in found] == [
        ("a2-highgpu-1g", "A100", Market.SPOT),
        ("a2-highgpu-1g", "A100", Market.ON_DEMAND),
    ]
    assert [str(one.price.usd_per_hour) for one in found] == ["1.3", "3.6"]


def test_an_archive_is_read_like_a_folder(own, archive) -> None:
    report = own.import_skypilot(archive({"v7/aws/vms.csv": GOOD, "./azure/vms.csv": GOOD}))
    assert [one.provider for one in report.imported] == ["aws", "azure"]
    assert report.imported[0].as_of == "2025-01-01"


def test_only_plain_files_with_the_expected_name_are_read_and_nothing_is_unpacked(
    own, archive, tmp_path
) -> None:
    link = tarfile.TarInfo("gcp/vms.csv")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    before = sorted(path.name for path in tmp_path.iterdir())
    names = ["aws/vms.csv", "../evil/vms.csv", "/abs/vms.csv", "AWS/vms.csv", "aws/other.csv"]
    report = own.import_skypilot(archive(dict.fromkeys(names, GOOD), link))
    assert [one.provider for one in report.imported] == ["aws"]
    assert report.failed == {}
    after = sorted(path.name for path in tmp_path.iterdir() if path.name != "catalog.db.lock")
    assert after == sorted([*before, "catalogs.tgz"])


def test_a_member_that_is_too_large_is_refused_unread(own, tmp_path) -> None:
    path = tmp_path / "bomb.tgz"
    huge = tarfile.TarInfo("aws/vms.csv")
    huge.size = MAX_BYTES + 1
    path.write_bytes(huge.tobuf())
    os.truncate(path, MAX_BYTES + 10_240)  # sparse: the bytes are holes
    report = own.import_skypilot(path)
    assert "too large" in report.failed["aws"]


def test_a_truncated_archive_is_reported_and_nothing_of_it_is_used(own, archive) -> None:
    before = own.status()
    path = archive({"aws/vms.csv": GOOD, "azure/vms.csv": GOOD * 3000})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match="cannot read"):
        own.import_skypilot(path)
    assert own.status() == before


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"no archive")])
def test_what_holds_no_catalog_is_a_usage_error(make, own, tmp_path) -> None:
    make(tmp_path / "thing")
    with pytest.raises(UsageError):
        own.import_skypilot(tmp_path / "thing")


def test_what_is_not_there_is_a_usage_error(own, tmp_path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        own.import_skypilot(tmp_path / "nothing")


def test_the_sample_is_imported_whole(sample) -> None:
    counts = {one.provider: one for one in sample.status().providers}
    assert counts["aws"].offers == 2 * 64_394
    assert counts["azure"].offers == 2 * 8_498
    assert counts["aws"].unpriced == 165 + 165 + 508
    assert counts["gcp"].unpriced == 0
