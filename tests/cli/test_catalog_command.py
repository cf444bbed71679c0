"""An import that is refused says why and keeps the last good offers; one document per failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.catalog import snapshot
from tests.stands.azure_retail import AzureRetail, meter
from tests.stands.price_faults import serving

GOOD = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region\n"
    "Standard_A1,,,1.0,2,,0.03,0.01,westeurope\n"
)


def test_a_refused_import_keeps_what_was_there(broker: Callable, tmp_path: Path) -> None:
    before = broker("catalog", "status", "-o", "json").json["data"]
    (tmp_path / "new" / "aws").mkdir(parents=True)
    (tmp_path / "new" / "aws" / "vms.csv").write_text("rubbish\n")
    done = broker("catalog", "import", str(tmp_path / "new"), "-o", "json")
    assert (done.code, done.json["error"]["code"]) == (2, "CAT009")
    assert broker("catalog", "status", "-o", "json").json["data"] == before


def test_an_import_that_is_refused_in_part_says_which(broker: Callable, tmp_path: Path) -> None:
    for provider, text in (("aws", "rubbish\n"), ("azure", GOOD)):
        (tmp_path / "new" / provider).mkdir(parents=True)
        (tmp_path / "new" / provider / "vms.csv").write_text(text)
    done = broker("catalog", "import", str(tmp_path / "new"))
    assert done.code == 8
    assert "azure replaced" in done.err
    origins = {
        one["provider"]: one["origin"]
        for one in broker("catalog", "status", "-o", "json").json["data"]
    }
    assert (origins["azure"], origins["aws"]) == ("import", "snapshot")


def test_what_was_imported_is_what_is_listed(broker: Callable, tmp_path: Path) -> None:
    (tmp_path / "new" / "azure").mkdir(parents=True)
    (tmp_path / "new" / "azure" / "vms.csv").write_text(GOOD)
    assert broker("catalog", "import", str(tmp_path / "new")).code == 0
    found = broker("offers", "--cloud", "azure", "-o", "json").json["data"]
    assert {(one["instance_type"], one["market"], one["usd_per_hour"]) for one in found} == {
        ("Standard_A1", "spot", 0.01),
        ("Standard_A1", "on-demand", 0.03),
    }
    names = broker("offers", "--cloud", "azure", "-o", "name").out.split()
    assert names[0] == "azure/westeurope/Standard_A1/spot"


def test_an_unknown_accelerator_is_not_found(broker: Callable) -> None:
    done = broker("offers", "--gpu", "A1OO")
    assert done.code == 10
    assert "no offer has a `A1OO`" in done.err


@pytest.fixture
def azure(home: Path) -> Iterator[AzureRetail]:
    """A home whose Azure is a server on this computer with all that the bundled catalog has there."""
    rows = snapshot.load()["azure"]
    stand = AzureRetail(
        [
            meter(row.instance_type, row.region, row.micros / 1_000_000)
            for row in rows
            if row.market == "on-demand" and row.micros
        ],
        page=1000,
    )
    with serving(stand.server()):
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.yaml").write_text(
            f"clouds:\n  azure: {{provider: azure, endpoint: '{stand.http.url}'}}\n"
        )
        yield stand


def statuses(broker: Callable, *more: str) -> dict[str, dict]:
    found = broker("catalog", "status", "-o", "json", *more).json["data"]
    return {one["provider"]: one for one in found}


def test_a_refresh_dates_the_prices_of_today(broker: Callable, azure: AzureRetail) -> None:
    before = statuses(broker)["azure"]
    assert (before["origin"], before["stale"]) == ("snapshot", before["offers"])
    done = broker("catalog", "refresh", "-o", "json")
    assert done.code == 0, done.err
    (found,) = done.json["data"]
    assert (found["provider"], found["result"], found["age_d"]) == ("azure", "published", 0)
    after = statuses(broker)["azure"]
    assert (after["origin"], after["stale"], after["age_d"]) == ("live", 0, 0)
    assert after["sources"] == ["Azure Retail Prices API"]
    assert statuses(broker)["aws"]["origin"] == "snapshot"


def test_a_refresh_that_fails_keeps_the_last_good_and_says_why(
    broker: Callable, azure: AzureRetail
) -> None:
    before = statuses(broker)
    azure.http.faults.fail_page, azure.http.faults.fail_status = 2, 400
    done = broker("catalog", "refresh")
    assert done.code == 1
    assert "kept" in done.out
    assert "azure: HTTP 400" in done.err
    assert "backend is tired" in done.err
    assert "kept the last good one of 2025-03-02" in done.err
    assert statuses(broker) == before


def test_a_refresh_of_some_leaves_with_eight_and_one_document(
    broker: Callable, azure: AzureRetail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = broker("catalog", "refresh", "--cloud", "azure", "--cloud", "aws", "-o", "json")
    error = done.json["error"]
    assert (done.code, error["code"]) == (8, "CAT018")
    assert "azure published" in error["detail"]
    alone = broker("catalog", "refresh", "--cloud", "aws")
    assert alone.code == 4
    assert "aws " in alone.err
    assert "last good one" in alone.err


def test_a_shrunken_list_is_published_on_demand_only(broker: Callable, azure: AzureRetail) -> None:
    del azure.items[100:]
    done = broker("catalog", "refresh", "--cloud", "azure")
    assert done.code == 1
    assert "of its offers since 2025-03-02" in done.err
    assert "--accept-shrink" in done.err
    assert broker("catalog", "refresh", "--cloud", "azure", "--accept-shrink").code == 0
    assert statuses(broker)["azure"]["offers"] == 100


def test_a_refresh_of_nobody_says_whom_one_can_ask(broker: Callable) -> None:
    none = broker("catalog", "refresh")
    assert (none.code, "needs no account" in none.err) == (2, True)
    unknown = broker("catalog", "refresh", "--cloud", "azur")
    assert unknown.code == 2
    assert "azure" in unknown.err


def test_two_clouds_with_one_providers_prices_are_not_both_asked(
    broker: Callable, azure: AzureRetail
) -> None:
    done = broker("catalog", "refresh", "--cloud", "azure", "--cloud", "azure@lab")
    assert done.code == 2


def test_stale_is_what_the_user_says(broker: Callable) -> None:
    assert statuses(broker, "--max-age", "520w")["azure"]["stale"] == 0
    assert statuses(broker, "--max-age", "1d")["azure"]["stale"] > 0
    assert broker("catalog", "status", "--max-age", "old").code == 2
    table = broker("catalog", "status")
    assert "AGE" in table.out
    assert "STALE" in table.out


@pytest.mark.parametrize("form", ["csv", "jsonl", "skypilot"])
def test_what_is_exported_can_be_imported(form: str, broker: Callable, tmp_path: Path) -> None:
    before = statuses(broker)["gcp"]
    target = str(tmp_path / "out")
    done = broker("catalog", "export", "--format", form, "--provider", "gcp", target)
    assert done.code == 0, done.err
    assert broker("catalog", "import", target).code == 0
    after = statuses(broker)["gcp"]
    assert (after["offers"], after["unpriced"]) == (before["offers"], before["unpriced"])
    assert after["origin"] == "import"
    assert after["as_of"] == before["as_of"]


def test_an_unknown_form_or_provider_is_refused(broker: Callable, tmp_path: Path) -> None:
    assert broker("catalog", "export", "--format", "xml", str(tmp_path / "o")).code == 2
    assert broker("catalog", "export", "--provider", "asw", str(tmp_path / "o")).code == 10
    assert not (tmp_path / "o").exists()
