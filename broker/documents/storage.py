"""Where data of a run comes to rest outside its machines: buckets and checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from broker.diagnostics import suggest
from broker.documents import patterns
from broker.documents.fields import ANY, PLACE, Shape, Uri, country, text, word
from broker.documents.tree import Document
from broker.documents.units import UnitError, found
from broker.model import Artefact, Storage

CLOUDS: Final = ("aws", "azure", "gcp")
CODE: Final = "016"
_NAMED: Final = rf"(?:{'|'.join(CLOUDS)})(?:@[a-z0-9][a-z0-9-]{{0,40}})?"
_CLOUD: Final = re.compile(_NAMED)
_SCHEMA: Final = rf"{patterns.COUNTRY}|^{_NAMED}/{PLACE.pattern}$"
TIP: Final = "write `aws/eu-north-1`, `gcp/europe-west3` or a country such as `NO`"


def storage_place(value: Any) -> str:
    """`cloud/region` or a country. Whether the region exists, the table of regions says later."""
    given = text(value)
    if len(given) == 2:
        return country(given)
    cloud, slash, region = given.partition("/")  # a third part makes no region
    if slash and not _CLOUD.fullmatch(cloud):
        near = suggest(cloud.partition("@")[0], CLOUDS)
        words = f"wants a place in a cloud that is known, found {found(value)}"
        raise UnitError(words, tip=near, code=CODE)
    if not PLACE.fullmatch(region):
        words = f"wants cloud/region or a country, found {found(value)}"
        raise UnitError(words, tip=TIP, code=CODE)
    return given


StoragePlace = Annotated[str, *word(storage_place, _SCHEMA, "aws/eu-north-1", "NO")]


class PlaceShape(Shape):
    uri: Uri = Field(description="What it is called there: s3://bucket/path, gs://bucket, ...")
    place: StoragePlace = Field(
        description="Where it lies, as rules of residency see it: cloud/region or a country."
    )


BucketsOrNone = Annotated[tuple[PlaceShape, ...], ANY]


def buckets(shapes: Sequence[PlaceShape], document: Document) -> tuple[Storage, ...]:
    """Each with the line of its place, written as one or as a list."""
    return tuple(_buckets(shapes, document))


def checkpoint(shape: PlaceShape | None, document: Document) -> tuple[Storage, ...]:
    return (_storage(Artefact.CHECKPOINT, shape, document, ("checkpoint",)),) if shape else ()


def _buckets(shapes: Sequence[PlaceShape], document: Document) -> Iterator[Storage]:
    path = ("data", "bucket")
    many = document.has(path) and isinstance(document.node(path).value, list)
    for index, shape in enumerate(shapes):
        yield _storage(Artefact.BUCKET, shape, document, (*path, index) if many else path)


def _storage(
    kind: Artefact, shape: PlaceShape, document: Document, path: tuple[str | int, ...]
) -> Storage:
    where = document.place((*path, "place"))
    return Storage(kind, shape.place, shape.uri, location=where)
