"""The HTTPS server that agents dial; `docs/agent-protocol.md` has what they say to each other."""

from __future__ import annotations

from broker.gateway.server import Gateway, Settings

__all__ = ["Gateway", "Settings"]
