"""The audit is a chain: nothing can be changed, moved or taken out of it unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.flower.audit import Chain, broken_at


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "audit.jsonl"
    chain = Chain(path)
    for number in range(4):
        chain.append({"node": f"nd_{number}", "up": number})
    chain.close()
    assert chain.lines == 4
    return path, chain.head


def test_an_untouched_chain_holds(chain: tuple[Path, str]) -> None:
    path, head = chain
    assert broken_at(path, head) is None


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0].replace('"up":0', '"up":9'), *lines[1:]], 2),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: lines[:-1], 4),
        (lambda lines: [*lines[:2], "not json", lines[3]], 3),
        (lambda lines: [*lines[:2], "[]", lines[3]], 3),
        (lambda lines: [*lines, lines[-1]], 5),
        (lambda lines: [], 1),
    ],
)
def test_any_change_shows_where_it_is(chain, damage, line) -> None:
    path, head = chain
    lines = damage(path.read_text().splitlines())
    path.write_text("".join(f"{one}\n" for one in lines))
    assert broken_at(path, head) == line


def test_the_last_line_is_guarded_by_the_reported_head(chain: tuple[Path, str]) -> None:
    path, head = chain
    text = path.read_text()
    path.write_text(text.replace('"up":3', '"up":0'))
    assert broken_at(path, head) == 5
