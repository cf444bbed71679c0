"""Azure's Retail Prices API as its public page describes it: level D, a schema of our own reading.

Every answer is checked against the schema before it is sent, every request against the parameters
and the `$filter` grammar that the page names. What it cannot prove: that Azure keeps to its page.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jsonschema

from tests.stands.price_faults import Answer, Asked, PriceServer

ITEM: dict[str, Any] = {
    "type": "object",
    "required": [
        "currencyCode",
        "tierMinimumUnits",
        "retailPrice",
        "unitPrice",
        "armRegionName",
        "location",
        "effectiveStartDate",
        "meterId",
        "meterName",
        "productId",
        "skuId",
        "productName",
        "skuName",
        "serviceName",
        "serviceId",
        "serviceFamily",
        "unitOfMeasure",
        "type",
        "isPrimaryMeterRegion",
        "armSkuName",
    ],
    "properties": {
        "currencyCode": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "tierMinimumUnits": {"type": "number"},
        "retailPrice": {"type": "number"},
        "unitPrice": {"type": "number"},
        "effectiveStartDate": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "type": {"enum": ["Consumption", "DevTestConsumption", "Reservation"]},
        "isPrimaryMeterRegion": {"type": "boolean"},
        "reservationTerm": {"enum": ["1 Year", "3 Years", "5 Years"]},
        "savingsPlan": {"type": "array"},
    },
    "additionalProperties": {"type": "string"},
}
PAGE: dict[str, Any] = {
    "type": "object",
    "required": [
        "BillingCurrency",
        "CustomerEntityId",
        "CustomerEntityType",
        "Items",
        "NextPageLink",
        "Count",
    ],
    "properties": {
        "Items": {"type": "array", "items": ITEM, "maxItems": 1000},
        "NextPageLink": {"type": ["string", "null"]},
        "Count": {"type": "integer"},
    },
}
PARAMETERS = {"api-version", "currencyCode", "$filter", "$skip", "meterRegion"}
FIELDS = {
    "armRegionName",
    "location",
    "meterId",
    "meterName",
    "productId",
    "skuId",
    "productName",
    "skuName",
    "serviceName",
    "serviceId",
    "serviceFamily",
    "priceType",
    "armSkuName",
}
CONDITION = re.compile(r"(\w+) eq '((?:[^']|'')*)'")


def meter(size: str, region: str, usd: float, **other: Any) -> dict[str, Any]:
    """A meter of a machine, as the API writes it."""
    words = size.removeprefix("Standard_").replace("_", " ")
    kind = other.pop("kind", "")
    name = f"{words} {kind}".strip()
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": usd,
        "unitPrice": usd,
        "armRegionName": region,
        "location": region.upper(),
        "effectiveStartDate": "2025-01-01T00:00:00Z",
        "meterId": "00000000-0000-0000-0000-000000000000",
        "meterName": name,
        "productId": "DZH318Z0BQ4W",
        "skuId": "DZH318Z0BQ4W/00BQ",
        "productName": "Virtual Machines Series",
        "skuName": name,
        "serviceName": "Virtual Machines",
        "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": size,
        **other,
    }


@dataclass
class AzureRetail:
    """`items` are all the meters there are; `link` replaces the link to the next page."""

    items: list[dict[str, Any]]
    page: int = 2
    link: str | None = None
    redirect: str | None = None

    def server(self) -> PriceServer:
        self.http = PriceServer(self._respond)
        return self.http

    def _respond(self, asked: Asked) -> Answer:
        url = urlsplit(asked.path)
        if asked.method != "GET" or url.path != "/api/retail/prices":
            raise NotImplementedError(f"{asked.method} {url.path}")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert set(query) <= PARAMETERS, f"unknown parameters {set(query) - PARAMETERS}"
        wanted = _conditions(query.get("$filter", ""))
        faults, skip = self.http.faults, int(query.get("$skip", 0))
        number = skip // self.page + 1
        self.http.asked[f"page {number}"] += 1
        if self.redirect:
            return Answer(302, b"", headers=(("Location", self.redirect),))
        if faults.fail_page and number >= faults.fail_page:
            return Answer(faults.fail_status, faults.fail_body, headers=faults.fail_headers)
        found = [] if faults.empty else [one for one in self.items if _meets(one, wanted)]
        items = found[skip : skip + self.page]
        more = skip + self.page < len(found) or faults.endless
        link = self._link(url.query, skip + self.page) if more else None
        body = {
            "BillingCurrency": query.get("currencyCode", "'USD'").strip("'"),
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": items or (found[: self.page] if faults.endless else []),
            "NextPageLink": link,
            "Count": len(items),
        }
        jsonschema.validate(body, PAGE)
        return Answer(200, json.dumps(body).encode())

    def _link(self, query: str, skip: int) -> str:
        if self.link:
            return self.link
        rest = "&".join(part for part in query.split("&") if not part.startswith("$skip"))
        return f"{self.http.url}/api/retail/prices?{rest}&{quote('$')}skip={skip}".replace(
            "%24", "$"
        )


def _conditions(text: str) -> dict[str, str]:
    if not text:
        return {}
    found = {}
    for part in text.split(" and "):
        match = CONDITION.fullmatch(part)
        assert match, f"not a filter: {part}"
        assert match[1] in FIELDS, f"cannot filter by {match[1]}"
        found[match[1]] = match[2].replace("''", "'")
    return found


def _meets(item: dict[str, Any], wanted: dict[str, str]) -> bool:
    """Values are compared as they are written: case matters since 2023-01-01-preview."""
    return all(
        item["type" if field == "priceType" else field] == value for field, value in wanted.items()
    )
