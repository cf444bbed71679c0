"""The bodies that agents send. Unknown fields are ignored: an agent may be the newer one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from broker.model import Capacity, Dataset, OrderState

Name = Annotated[str, Field(min_length=1, max_length=200)]
Label = Annotated[str, Field(max_length=1000)]  # room for a public key
Amount = Annotated[float, Field(ge=0, le=1e9)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Enrol(_Body):
    token: Annotated[str, Field(max_length=200)]
    csr_pem: str


class Renew(_Body):
    csr_pem: str


class CapacityBody(_Body):
    vcpus: Amount = 0
    memory_gib: Amount = 0
    disk_gib: Amount = 0
    accelerator: Name | None = None
    accelerator_count: Amount = 0

    def value(self) -> Capacity:
        return Capacity(**self.model_dump())


class DatasetBody(_Body):
    name: Name
    rows: Annotated[int, Field(ge=0)] = 0
    schema_hash: Annotated[str, Field(max_length=200)] = ""
    data_class: Name | None = None

    def value(self) -> Dataset:
        return Dataset(**self.model_dump())


class Beat(_Body):
    """A heartbeat; what is None was not said and stays as it was."""

    capacity: CapacityBody | None = None
    datasets: Annotated[list[DatasetBody], Field(max_length=1000)] | None = None
    labels: Annotated[dict[Name, Label], Field(max_length=64)] | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]_-]{0,255}$")] | None = None
    running: Annotated[list[Id], Field(max_length=1000)] = []


class ReportBody(_Body):
    state: OrderState
    exit_code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    detail: str = ""
    data: dict[str, Any] = {}


class EventItem(BaseModel):
    """A structured record; everything beside `kind` and `message` is kept as it came."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,40}$")]
    message: Annotated[str, Field(max_length=1000)] = ""


class Events(_Body):
    seq0: Annotated[int, Field(ge=0, lt=10**8)]
    items: Annotated[list[EventItem], Field(max_length=256)]
