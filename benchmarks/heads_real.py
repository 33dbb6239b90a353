"""Real ordinal data: our heads, weighted inside the training fold, beside five other methods.

For each data set, outer 5-fold cross-validation. Ours is what ``basket combine`` does: every
candidate predicts inner folds of the training fold, the mixture of candidates that makes their
levels most likely is found (a family that does not help gets no weight), each metric's decision
rule is fitted to the same predictions, and the candidates with weight are refitted on the whole
training fold. Nothing looks at the outer test fold before it is scored. Theirs, each with its own
decision: logistic regression, mord.LogisticAT, LightGBM multiclass, LightGBM regression rounded,
and a coral-pytorch network (those that are installed).

Prints mean scores, the paired standard error against the best of theirs *as the test folds have
it* (so the bar is the best of five), the weights, and mean ranks over all cells.

    python benchmarks/heads_real.py [--quick] [--data FOLDER] [--sets NAME[,NAME]]
"""
# bench: cpu

from __future__ import annotations

import argparse
import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from basket import metrics
from basket.heads import make_head
from basket.heads.combine import mixture_weights
from basket.heads.decision import DecisionRules

INNER_FOLDS = 5
#: Small tables have no players to spare: the number of rounds is a candidate, not stopped early.
TREES = {"patience": 0, "learning_rate": 0.05, "feature_fraction": 0.7, "bins": 255}

#: Name -> family, settings, whether columns become splines first.
CANDIDATES: dict[str, tuple[str, dict, bool]] = {
    "ridge": ("ridge", {}, False),
    "cumulative": ("cumulative", {}, False),
    "partial": ("cumulative", {"partial": True}, False),
    "splines": ("cumulative", {}, True),
    "mlp": (
        "mlp",
        {"dropout": 0.2, "learning_rate": 5e-3, "hidden": 64, "batch_size": 128},
        False,
    ),
    "trees 150": (
        "gbdt",
        TREES | {"rounds": 150, "leaves": 5, "min_data_in_leaf": 20, "feature_fraction": 0.5},
        False,
    ),
    "trees 300": ("gbdt", TREES | {"rounds": 300, "leaves": 7, "min_data_in_leaf": 10}, False),
    "trees 600": ("gbdt", TREES | {"rounds": 600, "leaves": 15, "min_data_in_leaf": 10}, False),
    "LightGBM's own settings": (
        "gbdt",
        TREES
        | {"rounds": 100, "leaves": 31, "min_data_in_leaf": 20, "learning_rate": 0.1}
        | {"feature_fraction": 1.0, "row_fraction": 1.0},
        False,
    ),
    "multiclass": (
        "gbdt",
        TREES
        | {"objective": "multiclass", "rounds": 150, "leaves": 15, "min_data_in_leaf": 5}
        | {"feature_fraction": 0.5},
        False,
    ),
}

#: A candidate below this share is left out of the refit.
NO_WEIGHT = 1e-3

Answers = dict[str, np.ndarray]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.genfromtxt(
        (line.replace('"', "") for line in path.read_text().splitlines()),
        delimiter=",", skip_header=1,
    )  # fmt: skip
    # Levels as they occur, from 0.
    return table[:, 1:], np.unique(table[:, 0], return_inverse=True)[1]


def bundled() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return {"diabetes (5 quantiles)": (X, np.searchsorted(np.quantile(y, [0.2, 0.4, 0.6, 0.8]), y))}


def fit(name: str, X: np.ndarray, y: np.ndarray, k: int) -> Any:
    family, params, splines = CANDIDATES[name]
    head = make_head(family, n_levels=k, **params)
    if splines:
        curves = SplineTransformer(n_knots=5, knots="quantile", extrapolation="linear")
        head = make_pipeline(curves, head)
    return head.fit(X, y)


def out_of_fold(name: str, X: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    proba = np.empty((len(y), k))
    inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=1)
    for train, test in inner.split(X, y):
        proba[test] = fit(name, X[train], y[train], k).predict_proba(X[test])
    return proba


def ours(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, k: int) -> tuple[Answers, np.ndarray]:
    """Levels per metric, and the weights of the candidates."""
    held = np.stack([out_of_fold(name, X, y, k) for name in CANDIDATES])[:, :, None]
    weights = mixture_weights(held, y[:, None])
    rules = DecisionRules.fit(np.einsum("m,mnsk->nsk", weights, held), y[:, None])
    proba = np.zeros((len(X_test), 1, k))
    for name, weight in zip(CANDIDATES, weights, strict=True):
        if weight > NO_WEIGHT:
            proba[:, 0] += weight * fit(name, X, y, k).predict_proba(X_test)
    proba /= proba.sum(axis=2, keepdims=True)
    answers = {metric: rules.predict(proba, metric)[:, 0] for metric in metrics.CONFUSION_METRICS}
    return answers, weights


def same(levels: np.ndarray) -> Answers:
    return dict.fromkeys(metrics.CONFUSION_METRICS, levels)


def logistic(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, _: int) -> Answers:
    from sklearn.linear_model import LogisticRegressionCV

    X, X_test = standard(X, X_test)
    return same(LogisticRegressionCV(Cs=6, cv=3, max_iter=2000).fit(X, y).predict(X_test))


def mord_at(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, _: int) -> Answers:
    import mord
    from sklearn.model_selection import GridSearchCV

    X, X_test = standard(X, X_test)
    search = GridSearchCV(mord.LogisticAT(), {"alpha": [0.1, 1.0, 10.0, 100.0]}, cv=3,
                          scoring="neg_mean_absolute_error")  # fmt: skip
    return same(search.fit(X, y).predict(X_test))


def lightgbm_multiclass(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, _: int) -> Answers:
    from lightgbm import LGBMClassifier

    return same(LGBMClassifier(verbosity=-1, n_jobs=1).fit(X, y).predict(X_test))


def lightgbm_rounded(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, k: int) -> Answers:
    from lightgbm import LGBMRegressor

    found = LGBMRegressor(verbosity=-1, n_jobs=1).fit(X, y).predict(X_test)
    return same(np.clip(np.round(found), 0, k - 1).astype(np.int64))


def coral(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, k: int) -> Answers:
    import torch
    from coral_pytorch.dataset import levels_from_labelbatch, proba_to_label
    from coral_pytorch.layers import CoralLayer
    from coral_pytorch.losses import coral_loss

    torch.manual_seed(0)
    features, new = (torch.tensor(part, dtype=torch.float32) for part in standard(X, X_test))
    network = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], 64), torch.nn.ReLU(), CoralLayer(64, k)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    levels = levels_from_labelbatch(torch.tensor(y), k)
    for _ in range(60):
        for batch in torch.split(torch.randperm(len(y)), 64):
            optimizer.zero_grad()
            coral_loss(network(features[batch]), levels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return same(proba_to_label(torch.sigmoid(network(new))).numpy())


def standard(X: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = X.mean(axis=0), X.std(axis=0)
    std = np.where(std > 0, std, 1)
    return (X - mean) / std, (X_test - mean) / std


def score(metric: str, y: np.ndarray, predicted: np.ndarray, k: int) -> float:
    confusion = metrics.confusion_matrices(y, predicted, k)
    return float(metrics.CONFUSION_METRICS[metric](confusion)[0])


Method = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Answers]


def methods() -> dict[str, Method]:
    found: dict[str, Method] = {
        "logistic": logistic,
        "lgbm-multi": lightgbm_multiclass,
        "lgbm-round": lightgbm_rounded,
    }
    for name, package, method in (("mord", "mord", mord_at), ("coral", "coral_pytorch", coral)):
        if importlib.util.find_spec(package):
            found[name] = method
        else:
            print(f"{package} is not installed: left out")
    return found


Results = dict[tuple[str, str], list[float]]


def measure(X: np.ndarray, y: np.ndarray, theirs: dict[str, Method]) -> tuple[Results, np.ndarray]:
    """Score per method, metric and outer fold; weights of our candidates, averaged over folds."""
    k, results, weights = int(y.max()) + 1, {}, []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        answers = {
            name: function(X[train], y[train], X[test], k) for name, function in theirs.items()
        }
        answers["basket"], weight = ours(X[train], y[train], X[test], k)
        weights.append(weight)
        for name, levels in answers.items():
            for metric in metrics.CONFUSION_METRICS:
                value = score(metric, y[test], levels[metric], k)
                results.setdefault((name, metric), []).append(value)
    return results, np.mean(weights, axis=0)


def show(results: Results, names: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Print a row per metric; ranks of the methods, and the metrics in which ours is worse."""
    ranks, worse = [], []
    for metric in metrics.CONFUSION_METRICS:
        sign = 1 if metrics.HIGHER_IS_BETTER[metric] else -1
        mean = np.array([np.mean(results[name, metric]) for name in names])
        # Methods that score the same share their ranks.
        ranks.append(rankdata(-sign * mean))
        best = names[1 + int((sign * mean[1:]).argmax())]
        gained = sign * (np.array(results["basket", metric]) - np.array(results[best, metric]))
        error = gained.std(ddof=1) / np.sqrt(len(gained))
        if gained.mean() < -error:
            worse.append(metric)
        cells = "  ".join(f"{name} {value:.3f}" for name, value in zip(names, mean, strict=True))
        print(
            f"  {metric:9} {cells}   gained over {best}: {gained.mean():+.4f} +- {error:.4f}"
            f"{'  WORSE' if metric in worse else ''}",
            flush=True,
        )
    return ranks, worse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most 400 rows of each set")
    parser.add_argument("--data", default=os.environ.get("BASKET_TEST_DATA", "../shared/data"))
    parser.add_argument("--sets", help="only these data sets, joined by commas")
    options = parser.parse_args()
    # The others' solvers complain where they stop; their settings are what people use.
    warnings.simplefilter("ignore")
    sets = {path.stem: read(path) for path in sorted(Path(options.data, "ordinal").glob("*.csv"))}
    if not sets:
        print(f"{options.data}/ordinal has no data sets: only scikit-learn's own is used")
    sets |= bundled()
    if options.sets:
        sets = {name: sets[name] for name in options.sets.split(",")}
    theirs = methods()
    names = ["basket", *theirs]
    all_ranks: list[np.ndarray] = []
    all_worse: list[str] = []
    for name, (X, y) in sets.items():
        if options.quick:
            kept = np.random.default_rng(0).permutation(len(y))[:400]
            X, y = X[kept], np.unique(y[kept], return_inverse=True)[1]
        start = time.perf_counter()
        results, weights = measure(X, y, theirs)
        seconds = time.perf_counter() - start
        print(f"{name}: {len(y)} x {X.shape[1]}, {y.max() + 1} levels, {seconds:.0f} s")
        ranks, worse = show(results, names)
        chosen = ", ".join(
            f"{candidate} {weight:.2f}"
            for candidate, weight in zip(CANDIDATES, weights, strict=True)
            if weight >= 0.005
        )
        print(f"  weights: {chosen}", flush=True)
        all_ranks += ranks
        all_worse += [f"{name} {metric}" for metric in worse]
    mean_ranks = np.mean(all_ranks, axis=0)
    cells = (f"{name} {rank:.2f}" for name, rank in zip(names, mean_ranks, strict=True))
    print(f"mean ranks over {len(all_ranks)} cells: {'  '.join(cells)}")
    found = ", ".join(all_worse) or "none"
    print(f"cells worse than the best other by more than one paired standard error: {found}")


if __name__ == "__main__":
    main()
