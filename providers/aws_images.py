"""Which machine image to start: the configured one, or the newest public one for the shape."""

from __future__ import annotations

from dataclasses import dataclass

from broker.errors import RequestError
from broker.model import Offer
from providers.aws_errors import translate
from providers.aws_session import AwsSession, Memo

# Public SSM parameters that AWS keeps at the newest AMI id; {arch} is x86_64 or arm64.
GPU_FAMILY = "base-oss-nvidia-driver-gpu-amazon-linux-2023"
GPU_IMAGE = f"/aws/service/deeplearning/ami/{{arch}}/{GPU_FAMILY}/latest/ami-id"
PLAIN_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}"


@dataclass(frozen=True, slots=True)
class Shape:
    arch: str
    gpu: bool


class Images:
    """Found once in a region and kept, so that asking again with a token asks for the same one."""

    def __init__(self, session: AwsSession, configured: str | None) -> None:
        self._session = session
        self._configured = configured
        self._known = Memo()

    def find(self, offer: Offer) -> str:
        """An AMI id. RequestError: no image is published for this shape in this region."""
        if self._configured and not self._configured.startswith("/"):
            return self._configured
        names = (self._configured,) if self._configured else self._public(offer)
        for name in names:
            if image := self._known.get((offer.region, name), lambda: self._read(offer, name)):  # noqa: B023 - called at once
                return image
        raise RequestError(f"{offer.region} has no image {' or '.join(names)}")

    def _public(self, offer: Offer) -> tuple[str, ...]:
        key = (offer.region, offer.instance_type, "shape")
        shape = self._known.get(key, lambda: self._shape(offer))
        names = (GPU_IMAGE, PLAIN_IMAGE) if shape.gpu else (PLAIN_IMAGE,)
        return tuple(name.format(arch=shape.arch) for name in names)

    def _shape(self, offer: Offer) -> Shape:
        ec2 = self._session.ec2(offer.region)
        reply = ec2.describe_instance_types(InstanceTypes=[offer.instance_type])  # type: ignore[list-item] # newer types than the stubs know
        found = reply["InstanceTypes"][0]
        archs = found["ProcessorInfo"]["SupportedArchitectures"]
        return Shape("x86_64" if "x86_64" in archs else "arm64", gpu="GpuInfo" in found)

    def _read(self, offer: Offer, name: str) -> str | None:
        """The parameter's value; None when there is no such parameter."""
        try:
            reply = self._session.ssm(offer.region).get_parameter(Name=name)
        except Exception as exc:
            error = translate(exc, f"{offer.cloud}: read {name}")
            if isinstance(error, RequestError):
                return None
            raise error from exc
        return reply["Parameter"]["Value"]
