"""GCP's price files list an accelerator apart from the machine it sits in; here they are joined.

An offer is a whole machine: host price plus accelerator price, and unknown when either is.

- A100, A100-80GB, L4, H100, H100-MEGA, H200, B200, GB200, RTXPRO6000 come built into one machine
  family. L4:1 fits five machines: each is an offer. Such hosts are never offered bare: Google does
  not rent them so.
- T4, P4, V100, P100, K80 attach to N1 machines within limits of vCPUs and memory per count of
  accelerators (compute/docs/gpus, general-purpose N1). Every N1 machine within the limits is an
  offer, so that the cheapest that satisfies `cpus` and `memory` is among them.
- A TPU slice is priced whole and named by its accelerator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from broker.catalog.listing import Listing

_BUILT_IN: dict[str, dict[int, tuple[str, ...]]] = {
    "A100": {
        **{n: (f"a2-highgpu-{n}g",) for n in (1, 2, 4, 8)},
        16: ("a2-megagpu-16g",),
    },
    "A100-80GB": {n: (f"a2-ultragpu-{n}g",) for n in (1, 2, 4, 8)},
    "H100": {n: (f"a3-highgpu-{n}g",) for n in (1, 2, 4, 8)},
    "H100-MEGA": {8: ("a3-megagpu-8g",)},
    "H200": {8: ("a3-ultragpu-8g",)},
    "B200": {8: ("a4-highgpu-8g",)},
    "GB200": {4: ("a4x-highgpu-4g",)},
    "RTXPRO6000": {n: (f"g4-standard-{48 * n}",) for n in (1, 2, 4, 8)},
    "L4": {
        1: tuple(f"g2-standard-{n}" for n in (4, 8, 12, 16, 32)),
        2: ("g2-standard-24",),
        4: ("g2-standard-48",),
        8: ("g2-standard-96",),
    },
}
# accelerator -> count -> the most vCPUs and GiB of the N1 machine it may be attached to
_ATTACHED: dict[str, dict[int, tuple[int, int]]] = {
    "T4": {1: (48, 312), 2: (48, 312), 4: (96, 624)},
    "P4": {1: (24, 156), 2: (48, 312), 4: (96, 624)},
    "V100": {1: (12, 78), 2: (24, 156), 4: (48, 312), 8: (96, 624)},
    "P100": {1: (16, 104), 2: (32, 208), 4: (64, 208)},
    "K80": {1: (8, 52), 2: (16, 104), 4: (32, 208), 8: (64, 416)},
}
_ATTACHABLE_FAMILY = "n1-"
_BUILT_IN_FAMILIES = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-")

_Place = tuple[str, str | None]


def join(listings: Iterable[Listing]) -> list[Listing]:
    """Whole machines: bare hosts and accelerators alone are gone, everything else stays."""
    machines: list[Listing] = []
    accelerators: list[Listing] = []
    for listing in listings:
        alone = listing.accelerator and not _names_machine(listing)
        (accelerators if alone else machines).append(listing)
    hosts = _by_place(machines)
    joined = [whole for part in accelerators for whole in _whole(part, hosts)]
    return [host for host in machines if not _needs_accelerator(host)] + joined


def _names_machine(listing: Listing) -> bool:
    return listing.instance_type not in ("", "TPU-VM")


def _needs_accelerator(host: Listing) -> bool:
    return host.accelerator is None and host.instance_type.startswith(_BUILT_IN_FAMILIES)


def _by_place(machines: Iterable[Listing]) -> dict[_Place, dict[str, Listing]]:
    hosts: dict[_Place, dict[str, Listing]] = defaultdict(dict)
    for machine in machines:
        if machine.accelerator is None:
            hosts[machine.region, machine.zone][machine.instance_type] = machine
    return hosts


def _whole(part: Listing, hosts: dict[_Place, dict[str, Listing]]) -> Iterator[Listing]:
    """The machines that this accelerator can be rented in; without a host, one of unknown price."""
    accelerator = part.accelerator or ""
    if accelerator.startswith("tpu-"):
        yield part._replace(instance_type=accelerator)
        return
    here = hosts.get((part.region, part.zone), {})
    for name in _host_names(accelerator, part.accelerator_count, here):
        yield _sum(part, here[name]) if name in here else _unpriced(part, name)


def _host_names(accelerator: str, count: float, here: dict[str, Listing]) -> tuple[str, ...]:
    """Types of host; one empty name when the accelerator has none that we know of."""
    built_in = _BUILT_IN.get(accelerator, {}).get(int(count), ())
    if built_in:
        return tuple(name for name in built_in if name in here) or built_in[:1]
    limits = _ATTACHED.get(accelerator, {}).get(int(count))
    if limits is None:
        return ("",)
    return tuple(name for name, host in here.items() if _attachable(host, limits)) or ("",)


def _attachable(host: Listing, limits: tuple[int, int]) -> bool:
    if not host.instance_type.startswith(_ATTACHABLE_FAMILY):
        return False
    vcpus, memory_gib = limits
    return (host.vcpus or 0) <= vcpus and (host.memory_gib or 0) <= memory_gib


def _sum(part: Listing, host: Listing) -> Listing:
    return part._replace(
        instance_type=host.instance_type,
        vcpus=host.vcpus,
        memory_gib=host.memory_gib,
        on_demand=_plus(part.on_demand, host.on_demand),
        spot=_plus(part.spot, host.spot),
    )


def _unpriced(part: Listing, name: str) -> Listing:
    return part._replace(instance_type=name, vcpus=None, memory_gib=None, on_demand=None, spot=None)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
