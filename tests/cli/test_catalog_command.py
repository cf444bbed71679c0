"""An import that is refused says why and keeps the last good offers; one document per failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
