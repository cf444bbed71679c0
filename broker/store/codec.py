"""Rows and plans as plain JSON: `broker.codec`, under the name by which the ledger knows it."""

from __future__ import annotations

from broker.codec import from_json, to_json

__all__ = ["from_json", "to_json"]
