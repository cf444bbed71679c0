"""How long to wait before the next try. Pure."""

from __future__ import annotations

FIRST_S = 0.25
LONGEST_S = 5.0


def pause_s(tries: int, chance: float) -> float:
    """Doubles with each try in vain, up to 5 s; `chance` in 0..1 takes off up to a half."""
    longest: float = min(LONGEST_S, FIRST_S * 2 ** min(tries, 20))
    return longest * (1 - chance / 2)
