"""Names of availability zones.

Catalogs name a zone by its id (`use1-az2`, the same place for every account) or by its name
(`us-east-1b`, a different place for each account); EC2 takes the name.
"""

from __future__ import annotations

from broker.errors import RequestError
from providers.aws_session import AwsSession, Memo


class Zones:
    def __init__(self, session: AwsSession) -> None:
        self._session = session
        self._known = Memo()

    def name_of(self, region: str, zone: str | None) -> str | None:
        """The name for a zone in this account; None for "anywhere". RequestError: no such zone."""
        if zone is None or zone == region:
            return None
        if zone.startswith(region):
            return zone
        names = self._known.get(region, lambda: self._look_up(region))
        if zone not in names:
            raise RequestError(f"{region} has no zone {zone} for this account")
        return names[zone]

    def _look_up(self, region: str) -> dict[str, str]:
        reply = self._session.ec2(region).describe_availability_zones()
        return {item["ZoneId"]: item["ZoneName"] for item in reply["AvailabilityZones"]}
