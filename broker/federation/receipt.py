"""What a federation was: who took part, what was learnt, what crossed which border, what it cost.

Pure: the same rows give the same receipt, and its JSON has a stable order. Bytes are those of the
listener's audit at the aggregator: bodies that a site sent (`bytes_up`) and got (`bytes_down`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from broker.model import Event, Lease, Order, Run

FORMAT = 1
ROUND = "fed.round"
_OWN_KEYS = {"kind", "round", "sites", "aggregated", "seconds", "failed", "seq", "node_id"}


def receipt(
    run: Run, leases: Sequence[Lease], orders: Sequence[Order], events: Iterable[Event]
) -> dict[str, Any]:
    """Plain JSON. `orders` oldest first; all arguments are those of the run."""
    links = [order for order in orders if order.kind == "superlink"]
    last = links[-1] if links else None
    outcome = run.outcome or run.state
    return {
        "format": FORMAT,
        "run": {"id": run.id, "name": run.name, "state": str(outcome), "reason": run.reason},
        "began": run.created_at.isoformat(),
        "ended": None if run.ended_at is None else run.ended_at.isoformat(),
        "app": _app(run),
        "sites": _sites(run, last),
        "not_chosen": [_not_chosen(item) for item in run.spec.get("not_chosen", ())],
        "rounds": _rounds(last, events),
        "metrics": run.result.get("result", {}).get("metrics", {}),
        "usd": _usd(run, leases),
        "machines": [_machine(lease) for lease in leases],
        "policies": list(run.plan.get("policies", ())),
        "aggregators": len(links),
        "audit": run.result.get("audit", {}),
        "artifacts": [
            {key: item[key] for key in ("name", "bytes", "sha256")}
            for item in run.result.get("artifacts", ())
        ],
        "plan": run.plan,
    }


def to_text(value: dict[str, Any]) -> str:
    """The JSON of a receipt, the same bytes for the same receipt."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def render(value: dict[str, Any]) -> str:
    """For people, one screen."""
    run = value["run"]
    why = f" ({run['reason']})" if run["reason"] else ""
    return "\n".join(
        [
            f"{run['name']}  {run['state']}{why}  {run['id']}",
            "",
            *_table(
                ("site", "country", "rows", "bytes up", "bytes down"),
                [_site_cells(site) for site in value["sites"]],
            ),
            "",
            *_table(
                ("round", "sites", "aggregated", "seconds", "metrics"),
                [_round_cells(item) for item in value["rounds"]],
            ),
            "",
            *(f"{name} {_words(found)}" for name, found in sorted(value["metrics"].items())),
            *(f"machine {_machine_words(item)}" for item in value["machines"]),
            *(f"not chosen {item['name']}: {item['why']}" for item in value["not_chosen"]),
            f"policies {', '.join(value['policies']) or 'none'}",
            f"cost {value['usd']} USD",
        ]
    )


# ------------------------------------------------------------------------------------------- parts


def _app(run: Run) -> dict[str, Any]:
    app = run.spec["app"]
    return {"name": app["name"], "sha256": app["sha256"], "run_config": run.spec["run_config"]}


def _sites(run: Run, link: Order | None) -> list[dict[str, Any]]:
    """Sites of the last epoch, by name."""
    traffic = run.result.get("traffic", {})
    members = () if link is None else link.spec["sites"]
    found = [
        {
            "node_id": site["node_id"],
            "name": site["name"],
            "country": site["country"],
            "dataset": site["dataset"],
            "rows": site["rows"],
            "bytes_up": traffic.get(site["node_id"], {}).get("bytes_up", 0),
            "bytes_down": traffic.get(site["node_id"], {}).get("bytes_down", 0),
        }
        for site in members
    ]
    return sorted(found, key=lambda site: (str(site["name"]), str(site["node_id"])))


def _not_chosen(decision: dict[str, Any]) -> dict[str, Any]:
    reason = decision["reasons"][0]
    return {
        "name": decision["offer"]["region"],
        "node_id": decision["offer"]["node_id"],
        "rule": reason["rule"],
        "why": f"{reason['rule']}: {reason['saw']}, wanted {reason['wanted']}",
    }


def _rounds(link: Order | None, events: Iterable[Event]) -> list[dict[str, Any]]:
    """Rounds of the last epoch, in order; what an earlier aggregator learnt was lost with it."""
    own = [one for one in events if one.kind == ROUND and link and one.subject == link.id]
    lines = [
        {
            "round": one.data.get("round"),
            "sites": one.data.get("sites", []),
            "aggregated": bool(one.data.get("aggregated")),
            "seconds": one.data.get("seconds"),
            "failed": one.data.get("failed", {}),
            "metrics": {
                key: found
                for key, found in sorted(one.data.items())
                if key not in _OWN_KEYS and isinstance(found, int | float)
            },
        }
        for one in sorted(own, key=lambda event: event.id)
    ]
    return sorted(lines, key=lambda line: line["round"] or 0)


def _usd(run: Run, leases: Sequence[Lease]) -> str:
    known = run.result.get("usd_spent")
    return str(known if known is not None else sum((one.usd_spent for one in leases), Decimal(0)))


def _machine(lease: Lease) -> dict[str, Any]:
    offer = lease.attempt.offer if lease.attempt else lease.candidates[0]
    return {
        "role": lease.role,
        "rank": lease.rank,
        "offer": offer.key,
        "cloud": offer.cloud,
        "country": offer.site.country,
        "usd": str(lease.usd_spent),
        "preemptions": lease.preemptions,
    }


# -------------------------------------------------------------------------------------------- text


def _site_cells(site: dict[str, Any]) -> tuple[str, ...]:
    rows = "?" if site["rows"] is None else str(site["rows"])
    up, down = f"{site['bytes_up']:,}", f"{site['bytes_down']:,}"
    return (site["name"], site["country"] or "?", rows, up, down)


def _round_cells(item: dict[str, Any]) -> tuple[str, ...]:
    aggregated = "yes" if item["aggregated"] else "no"
    metrics = " ".join(f"{key} {found:.4g}" for key, found in item["metrics"].items())
    return (
        str(item["round"]),
        ", ".join(item["sites"]),
        aggregated,
        f"{item['seconds'] or 0:.1f}",
        metrics,
    )


def _machine_words(item: dict[str, Any]) -> str:
    return f"{item['role']} {item['offer']} {item['usd']} USD"


def _words(found: object) -> str:
    if isinstance(found, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in sorted(found.items()))
    return f"{found:.4g}" if isinstance(found, float) else str(found)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
