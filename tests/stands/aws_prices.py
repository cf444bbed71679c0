"""AWS's price list, spot prices and instance types behind botocore's own service model: level C.

A request is read by moto's parser, checked by botocore's validator, and written again by botocore's
serializer: a parameter that the model does not know would be missing then. Answers are checked and
written by the model too. What an operation answers is our reading of the documentation.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import botocore.session
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from moto.core.model import ServiceModel
from moto.core.parse import EC2QueryParser
from moto.core.serialize import EC2Serializer
from werkzeug.datastructures import MultiDict

from tests.stands.price_faults import Answer, Asked, PriceServer

JSON = "application/x-amz-json-1.1"


@functools.cache
def model(service: str) -> ServiceModel:
    loader = botocore.session.get_session().get_component("data_loader")
    return ServiceModel(loader.load_service_model(service, "service-2"), service)


def product(name: str, region: str, usd: str | None, **attributes: str) -> str:
    """One product of the price list, as it comes: JSON in a string."""
    currency = attributes.pop("currency", "USD")
    terms = {} if usd is None else {"OnDemand": {"SKU.JRTCKXETXF": _term(usd, currency)}}
    facts = {
        "instanceType": name,
        "regionCode": region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "vcpu": "2",
        "memory": "8 GiB",
        **attributes,
    }
    body = {
        "product": {"productFamily": "Compute Instance", "attributes": facts, "sku": "SKU"},
        "serviceCode": "AmazonEC2",
        "terms": terms,
        "version": "20261120",
        "publicationDate": "2026-11-20T00:00:00Z",
    }
    return json.dumps(body)


def _term(usd: str, currency: str) -> dict[str, Any]:
    return {
        "priceDimensions": {
            "SKU.JRTCKXETXF.6YS6EN2CT7": {
                "unit": "Hrs",
                "endRange": "Inf",
                "beginRange": "0",
                "pricePerUnit": {currency: usd},
                "description": "per On Demand Linux Instance Hour",
            }
        },
        "effectiveDate": "2022-01-01T00:00:00Z",
        "offerTermCode": "JRTCKXETXF",
    }


def spot(name: str, zone: str, usd: str, day: int = 1) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "InstanceType": name,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": usd,
        "Timestamp": datetime(2026, 11, day, tzinfo=UTC),
    }


def machine(
    name: str, vcpus: int, gib: float, gpu: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "InstanceType": name,
        "VCpuInfo": {"DefaultVCpus": vcpus},
        "MemoryInfo": {"SizeInMiB": int(gib * 1024)},
    }
    return {**found, "GpuInfo": {"Gpus": [dict(gpu)]}} if gpu else found


@dataclass
class AwsPrices:
    """`spot`, `zones`: by region. `machines` are described in every region."""

    products: list[str]
    spot: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    zones: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # region -> type -> zones
    machines: list[dict[str, Any]] = field(default_factory=list)
    regions: tuple[str, ...] = ("eu-north-1",)
    page: int = 2

    def server(self) -> PriceServer:
        self.http = PriceServer(self._respond)
        return self.http

    def _respond(self, asked: Asked) -> Answer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        if "authorization" not in headers:
            return _ec2_error(403, "MissingAuthenticationToken", "who are you?")
        region = headers["authorization"].split("/")[2]
        if target := headers.get("x-amz-target"):
            return self._priced(target.rpartition(".")[2], asked.body)
        form = dict(parse_qsl(asked.body.decode(), keep_blank_values=True))
        return self._ec2(form["Action"], form, region)

    def _priced(self, action: str, body: bytes) -> Answer:
        if action != "GetProducts":
            raise NotImplementedError(f"pricing {action}")
        operation = model("pricing").operation_model(action)
        asked = json.loads(body)
        _valid(asked, operation.input_shape)
        wanted = {one["Field"]: one["Value"] for one in asked.get("Filters", ())}
        assert asked["ServiceCode"] == "AmazonEC2"
        found = [text for text in self.products if _meets(text, wanted)]
        answer = self._paged("GetProducts", "PriceList", found, asked)
        if isinstance(answer, Answer):
            return answer
        result = {"FormatVersion": "aws_v1", **answer}
        _valid(result, operation.output_shape)
        return Answer(200, json.dumps(result).encode(), JSON)

    def _ec2(self, action: str, form: dict[str, str], region: str) -> Answer:
        makers: dict[str, Callable[[dict[str, Any], str], dict[str, Any] | Answer]] = {
            "DescribeRegions": self._describe_regions,
            "DescribeSpotPriceHistory": self._describe_spot,
            "DescribeInstanceTypes": self._describe_types,
            "DescribeInstanceTypeOfferings": self._describe_offerings,
        }
        if action not in makers:
            raise NotImplementedError(f"ec2 {action}")
        operation = model("ec2").operation_model(action)
        answer = makers[action](_parsed(operation, form), region)
        if isinstance(answer, Answer):
            return answer
        _valid(answer, operation.output_shape)
        made = EC2Serializer(operation).serialize(answer)
        return Answer(200, made["body"].encode(), "text/xml")

    def _describe_regions(self, asked: dict[str, Any], region: str) -> dict[str, Any]:
        del asked, region
        return {"Regions": [{"RegionName": name} for name in self.regions]}

    def _describe_spot(self, asked: dict[str, Any], region: str) -> dict[str, Any] | Answer:
        assert asked["ProductDescriptions"] == ["Linux/UNIX"]
        assert asked["StartTime"], "without a start the history is that of 90 days"
        found = self.spot.get(region, [])
        return self._paged("DescribeSpotPriceHistory", "SpotPriceHistory", found, asked)

    def _describe_types(self, asked: dict[str, Any], region: str) -> dict[str, Any] | Answer:
        del region
        (wanted,) = asked["Filters"]
        assert wanted["Name"] == "instance-type"
        assert len(wanted["Values"]) <= 200
        found = [one for one in self.machines if one["InstanceType"] in wanted["Values"]]
        return self._paged("DescribeInstanceTypes", "InstanceTypes", found, asked)

    def _describe_offerings(self, asked: dict[str, Any], region: str) -> dict[str, Any] | Answer:
        assert asked["LocationType"] == "availability-zone"
        found = [
            {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}
            for name, zones in self.zones.get(region, {}).items()
            for zone in zones
        ]
        return self._paged("DescribeInstanceTypeOfferings", "InstanceTypeOfferings", found, asked)

    def _paged(
        self, action: str, key: str, found: list[Any], asked: Mapping[str, Any]
    ) -> dict[str, Any] | Answer:
        faults, start = self.http.faults, int(asked.get("NextToken") or 0)
        number = start // self.page + 1
        self.http.asked[f"{action} page {number}"] += 1
        if faults.fail_page and number >= faults.fail_page and action == "GetProducts":
            return Answer(faults.fail_status, faults.fail_body, JSON)
        if faults.empty:
            return {key: []}
        items = found[start : start + self.page]
        endless = faults.endless and action == "GetProducts"
        if endless and not items:
            items = found[: self.page]
        more = start + self.page < len(found) or endless
        token = {"NextToken": str(start + self.page)} if more else {}
        return {key: items, **token}


def _meets(text: str, wanted: Mapping[str, str]) -> bool:
    attributes = json.loads(text)["product"]["attributes"]
    return all(attributes.get(name) == value for name, value in wanted.items())


def _parsed(operation: Any, form: dict[str, str]) -> dict[str, Any]:
    """The parameters by the model; botocore must write them just as they came."""
    found = EC2QueryParser(operation).parse({"values": MultiDict(form)})
    _valid(found, operation.input_shape)
    again = create_serializer("ec2").serialize_to_request(found, operation)["body"]
    assert set(again) == set(form), f"not in the model: {set(again) ^ set(form)}"
    return found


def _valid(value: Any, shape: Any) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()


def _ec2_error(status: int, code: str, words: str) -> Answer:
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{words}</Message></Error></Errors>"
        "<RequestID>x</RequestID></Response>"
    )
    return Answer(status, body.encode(), "text/xml")
