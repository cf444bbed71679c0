"""What a sandboxed EC2 really holds, asked with a bare client that shares nothing with ours."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import boto3

from broker.sandbox.starter import Sandbox
from providers import machines


@dataclass(frozen=True, slots=True)
class Held:
    """An instance as the emulator lists it, and whether its process runs."""

    id: str  # region/i-...
    token: str
    lease: str
    listed_alive: bool
    runs: bool


def client(sandbox: Sandbox, region: str, service: str = "ec2") -> Any:
    return _client(sandbox.endpoint, region, service)


@functools.cache
def _client(endpoint: str, region: str, service: str) -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def inventory(sandbox: Sandbox, owner: str, *regions: str) -> list[Held]:
    """Every instance that carries this owner's tag, dead ones too."""
    return [
        _held(sandbox, region, item)
        for region in regions
        for page in client(sandbox, region)
        .get_paginator("describe_instances")
        .paginate(Filters=[{"Name": "tag:fedbroker:owner", "Values": [owner]}])
        for reservation in page["Reservations"]
        for item in reservation["Instances"]
    ]


def _held(sandbox: Sandbox, region: str, item: dict[str, Any]) -> Held:
    tags = _tags(item)
    return Held(
        id=f"{region}/{item['InstanceId']}",
        token=tags.get("fedbroker:attempt", ""),
        lease=tags.get("fedbroker:lease", ""),
        listed_alive=item["State"]["Name"] not in {"terminated", "shutting-down"},
        runs=machines.alive(sandbox.machine(item["InstanceId"])),
    )


def _tags(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", ())}
