"""Does the evidence point at the moments that decide? Precision@5 against chance and the oracle.

Reels are simulated, so it is known which possession pushes which skill's label up or down. For
every test reel, skill and direction that has such a moment, the five segments with the strongest
effect are taken: precision@5 is the share of them that show a possession of that kind. Random is
what any five segments would reach on average, the oracle what five segments can reach at best. The
control reads the same reels through a network of random weights.

    python benchmarks/evidence.py [--demo DIR] [--players 240] [--seconds 30] [--json]

Without ``--demo`` reels are simulated into the user's cache folder (a few minutes, once).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket import workflows
from basket.cache import FeatureCache
from basket.demo.court import simulate_dataset
from basket.demo.demo import extract_reels
from basket.heads.persist import Run
from basket.heads.sources import sources_of_run
from basket.predict.evidence import explain, method_of

TOP = 5
RUNS: tuple[tuple[str, str, str | None], ...] = (
    ("motion", "ridge", "mean"),
    ("motion", "ridge", "mean+std"),
    ("motion", "cumulative", "mean+std"),
    ("motion", "attention", None),
    ("motion", "gbdt", "mean+std"),
    ("motion", "mlp", "mean+std"),
    ("videomae", "ridge", "mean+std"),
)


def precision(
    effects: npt.NDArray[np.float64], pushes: npt.NDArray[np.int64]
) -> list[tuple[float, float, float]]:
    """Precision@5, chance and oracle per skill and direction that has a moment, of one reel.

    Parameters
    ----------
    effects : ndarray, (S, n_skills)
    pushes : ndarray of {-1, 0, 1}, (S, n_skills)
    """
    found = []
    for sign in (1, -1):
        hits = pushes == sign
        top = np.argsort(-sign * effects, axis=0, kind="stable")[:TOP]
        reached = np.take_along_axis(hits, top, axis=0).mean(axis=0)
        count = hits.sum(axis=0)
        oracle = np.minimum(count, len(top)) / len(top)
        found += [
            (float(reached[skill]), float(count[skill] / len(hits)), float(oracle[skill]))
            for skill in np.flatnonzero(count)
        ]
    return found


def pushes_of(
    moments: Sequence[Mapping[str, Any]],
    start_s: npt.NDArray[np.float64],
    end_s: npt.NDArray[np.float64],
    skills: Sequence[str],
) -> npt.NDArray[np.int64]:
    """What each segment shows: the possession that fills most of it, (S, n_skills)."""
    begins = np.array([moment["start_s"] for moment in moments])
    ends = np.array([moment["end_s"] for moment in moments])
    overlap = np.minimum(end_s[:, None], ends) - np.maximum(start_s[:, None], begins)
    shown = overlap.argmax(axis=1)
    table = np.array([[moment["skills"].get(skill, 0) for skill in skills] for moment in moments])
    return np.asarray(table[shown], dtype=np.int64)


def fitted(folder: Path, root: Path, cache: Path, what: tuple[str, str, str | None]) -> Run:
    features, head, pool = what
    labels = root / "BASKET_Labels" / "BASKET"
    return workflows.fit_head(
        cache=cache,
        features=[features],
        train=labels / "train.csv",
        val=labels / "val.csv",
        video_root=root,
        head=head,
        **({} if pool is None else {"pool": pool}),
        out=folder / f"{features}-{head}-{pool or 'segments'}",
    )


def measure(run: Run, cache: FeatureCache, root: Path) -> dict[str, Any]:
    from basket.dataset import read_labels

    known = json.loads((root / "moments.json").read_text())
    ids = read_labels(root / "BASKET_Labels/BASKET/test.csv", video_root=root).video_ids
    sources = sources_of_run(cache, run)
    videos = [[source.read(name) for source, _ in sources] for name in ids]
    rows = []
    for name, video, each in zip(ids, videos, explain(run, videos), strict=True):
        pushes = pushes_of(known[name], video[0].start_s, video[0].end_s, run.skills)
        rows += precision(each.effects, pushes)
    reached, chance, oracle = np.mean(rows, axis=0).tolist()
    return {
        "features": run.feature_sets[0].spec.backbone,
        "head": run.config["head"],
        "pooling": run.pooling,
        "method": method_of(run),
        "reels": len(ids),
        "questions": len(rows),
        "precision_at_5": round(reached, 3),
        "random": round(chance, 3),
        "oracle": round(oracle, 3),
        "of_what_is_possible": round((reached - chance) / (oracle - chance), 3),
    }


@contextmanager
def quiet_progress(_what: str):  # type: ignore[no-untyped-def]
    yield lambda _done, _total, _details: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", type=Path, help="folder that basket demo left")
    parser.add_argument("--players", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.demo is None:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        home = base / "basket-benchmarks" / f"evidence-{given.players}-{given.seconds:g}s"
        data = simulate_dataset(home / "basket", players=given.players, seconds=given.seconds)
        root = data.root
        cache = extract_reels(home, data, say=lambda _: None, progress=quiet_progress)
    else:
        root, cache = given.demo / "basket", given.demo / "cache"
    opened = workflows.open_cache(cache)
    with tempfile.TemporaryDirectory() as folder:
        runs = [fitted(Path(folder), root, cache, what) for what in RUNS]
        table = [measure(run, opened, root) for run in runs]
    if given.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{table[0]['reels']} test reels, {table[0]['questions']} questions (skill, direction)")
    print(f"{'features':24} {'head':11} {'pooling':9} {'method':10} p@5    random oracle possible")
    for row in table:
        print(
            f"{row['features'][:24]:24} {row['head']:11} {row['pooling']:9} {row['method']:10} "
            f"{row['precision_at_5']:.3f}  {row['random']:.3f}  {row['oracle']:.3f}  "
            f"{row['of_what_is_possible']:.0%}"
        )


if __name__ == "__main__":
    main()
