"""What belongs to the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# Time says nothing about a law: two shared cores may be slow at any moment.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Record messages anew; read the difference."
    )
