"""Cloud Billing's catalog behind Google's own discovery document: level C.

The document says which methods there are, their parameters and what their answers are made of; each
request and each answer is checked against it. What the SKUs' descriptions say is our reading.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.stands.price_faults import Answer, Asked, PriceServer

COMMON = {"alt", "$alt", "key", "prettyPrint", "fields", "quotaUser", "$.xgafv"}


@functools.cache
def contract() -> dict[str, Any]:
    spec = importlib.util.find_spec("googleapiclient")
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parent / "discovery_cache" / "documents"
    loaded: dict[str, Any] = json.loads((folder / "cloudbilling.v1.json").read_text())
    return loaded


def methods() -> dict[str, dict[str, Any]]:
    services = contract()["resources"]["services"]
    return {**services["methods"], "skus.list": services["resources"]["skus"]["methods"]["list"]}


def sku(description: str, usd: str, *regions: str, **other: Any) -> dict[str, Any]:
    """A SKU as the API writes it: an hour of something, with the free tier that some have."""
    whole, _, part = usd.partition(".")
    money = {
        "currencyCode": other.pop("currency", "USD"),
        "units": whole,
        "nanos": int(f"{part:0<9}"),
    }
    free = {**money, "units": "0", "nanos": 0}
    market = "Preemptible" if "Preemptible" in description else "OnDemand"
    unit = "GiBy.h" if " Ram " in description else "h"
    tiers = [{"startUsageAmount": 0, "unitPrice": money}]
    if other.pop("free_tier", False):
        tiers = [
            {"startUsageAmount": 0, "unitPrice": free},
            {"startUsageAmount": 1, "unitPrice": money},
        ]
    number = f"{abs(hash(description)) % 16**4:04X}"
    return {
        "name": f"services/6F81-5844-456A/skus/{number}-0000-0000",
        "skuId": f"{number}-0000-0000",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": other.pop("group", "CPU"),
            "usageType": other.pop("usage", market),
        },
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "summary": "",
                "pricingExpression": {
                    "usageUnit": other.pop("unit", unit),
                    "displayQuantity": 1,
                    "tieredRates": tiers,
                },
                "currencyConversionRate": 1,
                "effectiveTime": "2026-01-01T00:00:00Z",
            }
        ],
        "serviceProviderName": "Google",
        **other,
    }


@dataclass
class GcpBilling:
    skus: list[dict[str, Any]]
    page: int = 4

    def server(self) -> PriceServer:
        self.http = PriceServer(self._respond)
        return self.http

    def _respond(self, asked: Asked) -> Answer:
        url = urlsplit(asked.path)
        name, method = _method(asked.method, url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        _check_query(method, query)
        if name != "skus.list":
            raise NotImplementedError(name)
        faults, start = self.http.faults, int(query.get("pageToken") or 0)
        number = start // self.page + 1
        self.http.asked[f"page {number}"] += 1
        if faults.fail_page and number >= faults.fail_page:
            return Answer(faults.fail_status, faults.fail_body)
        found = [] if faults.empty else self.skus
        items = found[start : start + self.page] or (found[: self.page] if faults.endless else [])
        more = start + self.page < len(found) or faults.endless
        body = {"skus": items, "nextPageToken": str(start + self.page) if more else ""}
        problems = list(flaws(body, {"$ref": method["response"]["$ref"]}))
        assert not problems, problems
        return Answer(200, json.dumps(body).encode())


def _method(verb: str, path: str) -> tuple[str, dict[str, Any]]:
    for name, method in methods().items():
        template = re.sub(r"\{\w+\}", "[^/]+", method["flatPath"])
        if verb == method["httpMethod"] and re.fullmatch(f"/{template}", path):
            return name, method
    raise NotImplementedError(f"{verb} {path}")


def _check_query(method: Mapping[str, Any], query: Mapping[str, str]) -> None:
    known = {name: one for name, one in method["parameters"].items() if one["location"] == "query"}
    strangers = set(query) - set(known) - COMMON
    assert not strangers, f"unknown parameters {strangers}"
    for name, value in query.items():
        if known.get(name, {}).get("type") == "integer":
            assert value.lstrip("-").isdigit(), f"{name}={value}"


def flaws(value: Any, schema: Mapping[str, Any], at: str = "$") -> list[str]:
    """What of a JSON value the discovery schema does not allow."""
    if "$ref" in schema:
        schema = contract()["schemas"][schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{at} is no object"]
        known = schema.get("properties", {})
        strange = [f"{at}.{name} is not in the contract" for name in set(value) - set(known)]
        inside = (
            flaws(value[name], known[name], f"{at}.{name}") for name in value if name in known
        )
        return [*strange, *(flaw for found in inside for flaw in found)]
    if kind == "array":
        if not isinstance(value, list):
            return [f"{at} is no list"]
        return [
            flaw
            for number, one in enumerate(value)
            for flaw in flaws(one, schema["items"], f"{at}[{number}]")
        ]
    wanted: dict[str | None, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    good = isinstance(value, wanted[kind])
    if good and "enum" in schema:
        good = value in schema["enum"]
    return [] if good else [f"{at} is {value!r}, not {kind}"]
