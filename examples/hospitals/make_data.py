"""Three hospitals out of scikit-learn's breast cancer data, unequal in size and in patients.

    python make_data.py FOLDER         writes oslo.npz, berlin.npz, lyon.npz and test.npz there
    python make_data.py --held-out     writes the app's public held-out quarter anew

A quarter of the 569 rows is held out, belongs to no hospital and is public. Of the rest, Oslo sees
mostly healthy patients, Berlin and Lyon mostly ill ones, and every row lies in one place only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

SEED = 7
HELD_OUT_ROWS = 143
MALIGNANT, BENIGN = 0, 1
SITES = {"oslo": (5, 130), "berlin": (45, 12), "lyon": (100, 10)}  # malignant, benign
APP_FILE = Path(__file__).parent / "app" / "hospitals" / "held_out.json"

Rows = tuple[np.ndarray, np.ndarray]


def split(seed: int = SEED) -> tuple[dict[str, Rows], Rows]:
    """Each site's rows, and the held-out ones. The same for the same seed, on any machine."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.RandomState(seed).permutation(len(y))
    held_out, rest = order[:HELD_OUT_ROWS], order[HELD_OUT_ROWS:]
    ill, healthy = rest[y[rest] == MALIGNANT], rest[y[rest] == BENIGN]
    sites: dict[str, Rows] = {}
    for name, (many, few) in SITES.items():
        mine, ill = np.concatenate([ill[:many], healthy[:few]]), ill[many:]
        healthy = healthy[few:]
        sites[name] = (x[mine], y[mine])
    return sites, (x[held_out], y[held_out])


def main(arguments: list[str]) -> None:
    sites, (x, y) = split()
    if arguments == ["--held-out"]:
        rows = json.dumps({"x": x.tolist(), "y": y.tolist()}).replace("], [", "],\n[")
        APP_FILE.write_text(rows + "\n", encoding="utf-8")
        return
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (site_x, site_y) in {**sites, "test": (x, y)}.items():
        np.savez(folder / f"{name}.npz", x=site_x, y=site_y)
        print(f"{name}: {len(site_y)} rows, {int((site_y == MALIGNANT).sum())} malignant")


if __name__ == "__main__":
    main(sys.argv[1:])
