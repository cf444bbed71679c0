"""The specs of Flower's two kinds of orders, checked before anything starts. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import RequestError
from edge.flower.control import Scalar
from edge.flower.rules import Member, members_of
from edge.flower.tunnel import Far, far_of
from edge.runner import Identity

NAP_S = 0.5
NAPS = (0.1, 3.0)  # no shorter, no longer
FAB_LIMIT = 10 * 1024 * 1024  # what a SuperLink takes


@dataclass(frozen=True, slots=True)
class Federation:
    """What an aggregator is to carry. `fab` is the app's bundle, its hash already compared."""

    fab: bytes
    config: Mapping[str, Scalar]
    rounds: int
    min_sites: int
    members: Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Seat:
    """What a site is to take part in, with the file that it brings and keeps."""

    far: Far
    dataset: str
    file: Path
    key: Path
    nap_s: float = NAP_S


def federation_of(spec: Mapping[str, Any]) -> Federation:
    """RequestError: the bundle is not the one that was ordered, or the numbers make no sense."""
    try:
        app = spec["app"]
        rounds, least = int(spec["rounds"]), int(spec["min_sites"])
        members = members_of(spec["sites"])
        config = dict(spec.get("run_config") or {})
    except (KeyError, TypeError, ValueError) as exc:
        raise RequestError(f"not a superlink order: {exc!r}") from exc
    if rounds < 1 or not 1 <= least <= len(members):
        raise RequestError(f"{rounds} rounds with at least {least} of {len(members)} sites")
    return Federation(_bundle(app), config, rounds, least, members)


def _bundle(app: Mapping[str, Any]) -> bytes:
    try:
        fab = base64.b64decode(app["fab_b64"], validate=True)
    except (KeyError, TypeError, binascii.Error) as exc:
        raise RequestError(f"no app bundle: {exc!r}") from exc
    if len(fab) > FAB_LIMIT:
        raise RequestError(f"app bundle of {len(fab)} bytes, at most {FAB_LIMIT} are taken")
    if hashlib.sha256(fab).hexdigest() != app.get("sha256"):
        raise RequestError("the app bundle does not match its sha256")
    return fab


def seat_of(spec: Mapping[str, Any], identity: Identity) -> Seat:
    """Paths come from the node alone. RequestError: it has no such data set, or no Flower key."""
    try:
        dataset = str(spec["dataset"])
        far = far_of(str(spec["aggregator"]), str(spec["aggregator_name"]))
        nap_s = min(max(float(spec.get("nap_s", NAP_S)), NAPS[0]), NAPS[1])
    except (KeyError, TypeError, ValueError) as exc:
        raise RequestError(f"not a supernode order: {exc!r}") from exc
    file = identity.datasets.get(dataset)
    if file is None or not file.exists():
        raise RequestError(f"this node does not hold `{dataset}`")
    if identity.flower_key is None:
        raise RequestError("this node has no Flower key")
    return Seat(far, dataset, file, identity.flower_key, nap_s)
