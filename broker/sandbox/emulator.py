"""moto, and the only place that knows its inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ACCOUNT = "123456789012"
TERMINATED = 48
# Without these moto launches any shape from any image; with CORS any web page could talk to it.
# (Its check of key pairs refuses a launch that names none, so that one stays off.)
SWITCHES = {
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_DISABLE_GLOBAL_CORS": "1",
}


@dataclass(frozen=True, slots=True)
class Emulated:
    """An instance as moto has it."""

    id: str
    region: str
    instance_type: str
    zone: str
    terminated: bool


class Emulator:
    """One moto in this process. Make it before anything else imports moto."""

    def __init__(self) -> None:
        os.environ.update(SWITCHES)  # moto reads them when it is imported
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.app: WSGIApplication = DomainDispatcherApplication(create_backend_app)

    def all(self) -> list[Emulated]:
        """Every instance of every region, the terminated ones too."""
        return [
            Emulated(
                id=item.id,
                region=region,
                instance_type=item.instance_type,
                zone=item.placement.zone or "",
                terminated=item.state_code == TERMINATED,
            )
            for region, item in _instances()
        ]

    def living(self) -> list[Emulated]:
        return [item for item in self.all() if not item.terminated]

    def end(self, instance_id: str, code: str, message: str) -> bool:
        """Terminate from within, with EC2's words for why; False when it does not live."""
        for _, item in _instances():
            if item.id == instance_id and item.state_code != TERMINATED:
                item.terminate()
                item._reason = message  # noqa: SLF001 - moto has no other way to say why
                item.state_reason.code = code
                item.state_reason.message = f"{code}: {message}"
                return True
        return False


def _instances() -> Iterator[tuple[str, Any]]:
    from moto.ec2.models import ec2_backends

    for region, backend in list(ec2_backends[ACCOUNT].items()):
        for item in list(backend.all_instances()):
            yield region, item
