"""Federated training as a run: sites are chosen, one machine aggregates, the rows stay at home."""

from broker.federation.steps import advance

__all__ = ["advance"]
