"""Real ordinal data: our family and settings, chosen inside the training fold, beside five others.

For each data set, outer 5-fold cross-validation. Ours: every candidate is judged by inner folds of
the training fold, metric by metric, and the best one is refitted. Theirs: logistic regression,
mord.LogisticAT, LightGBM multiclass, LightGBM regression rounded, and a coral-pytorch network
(those that are installed). Prints mean scores, the paired standard error against the best of
theirs, and mean ranks.

    python benchmarks/heads_real.py [--quick] [--data FOLDER]
"""
# bench: cpu

from __future__ import annotations

import argparse
import importlib.util
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from basket import metrics
from basket.heads import make_head
from basket.heads.decision import DecisionRules

CANDIDATES = [
    ("ridge", {}),
    ("cumulative", {}),
    ("cumulative", {"partial": True}),
    ("mlp", {"dropout": 0.2, "learning_rate": 3e-3, "hidden": 64, "epochs": 150}),
    ("gbdt", {"feature_fraction": 0.7}),
    ("gbdt", {"objective": "multiclass", "leaves": 15, "feature_fraction": 0.7}),
    # LightGBM's own defaults, without early stopping: small tables have no players to spare.
    (
        "gbdt",
        {
            "rounds": 100,
            "learning_rate": 0.1,
            "leaves": 31,
            "min_data_in_leaf": 20,
            "feature_fraction": 1.0,
            "row_fraction": 1.0,
            "bins": 255,
            "patience": 0,
        },
    ),
]

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


def out_of_fold(name: str, params: dict, X: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    proba = np.empty((len(y), 1, k))
    for train, test in StratifiedKFold(3, shuffle=True, random_state=1).split(X, y):
        head = make_head(name, n_levels=k, **params).fit(X[train], y[train][:, None])
        proba[test] = head.predict_proba(X[test])
    return proba


def ours(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, k: int) -> Answers:
    """The best candidate per metric, by inner folds of this training fold alone."""
    held = [out_of_fold(name, params, X, y, k) for name, params in CANDIDATES]
    # Averages of the two most likely candidates compete too.
    loss = [-np.log(np.maximum(p[np.arange(len(y)), 0, y], 1e-12)).mean() for p in held]
    first, second = np.argsort(loss)[:2]
    groups = [(index,) for index in range(len(held))] + [(first, second)]
    fitted: dict[int, np.ndarray] = {}
    out = {}
    for metric in metrics.CONFUSION_METRICS:
        values = []
        for group in groups:
            proba = np.mean([held[index] for index in group], axis=0)
            rules = DecisionRules.fit(proba, y[:, None])
            values.append(score(metric, y, rules.predict(proba, metric)[:, 0], k))
        better = max if metrics.HIGHER_IS_BETTER[metric] else min
        group = groups[values.index(better(values))]
        for index in group:
            if index not in fitted:
                name, params = CANDIDATES[index]
                head = make_head(name, n_levels=k, **params).fit(X, y[:, None])
                fitted[index] = head.predict_proba(X_test)
        rules = DecisionRules.fit(np.mean([held[index] for index in group], axis=0), y[:, None])
        proba = np.mean([fitted[index] for index in group], axis=0)
        out[metric] = rules.predict(proba, metric)[:, 0]
    return out


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
        "basket": ours,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 400 rows of each set")
    parser.add_argument("--data", default=os.environ.get("BASKET_TEST_DATA", "../shared/data"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sets = {path.stem: read(path) for path in sorted(Path(options.data, "ordinal").glob("*.csv"))}
    sets |= bundled()
    chosen, ranks, worse = methods(), [], 0
    for name, (X, y) in sets.items():
        if options.quick:
            kept = np.random.default_rng(0).permutation(len(y))[:400]
            X, y = X[kept], np.unique(y[kept], return_inverse=True)[1]
        k = int(y.max()) + 1
        results: dict[tuple[str, str], list[float]] = {}
        for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
            for method, function in chosen.items():
                answers = function(X[train], y[train], X[test], k)
                for metric, predicted in answers.items():
                    results.setdefault((method, metric), []).append(
                        score(metric, y[test], predicted, k)
                    )
        print(f"{name}: {len(y)} x {X.shape[1]}, {k} levels")
        for metric in metrics.CONFUSION_METRICS:
            sign = 1 if metrics.HIGHER_IS_BETTER[metric] else -1
            mean = {method: np.mean(results[method, metric]) for method in chosen}
            order = sorted(chosen, key=lambda method: -sign * mean[method])
            ranks.append([order.index(method) + 1 for method in chosen])
            best = next(method for method in order if method != "basket")
            gained = sign * (np.array(results["basket", metric]) - np.array(results[best, metric]))
            error = gained.std(ddof=1) / np.sqrt(len(gained))
            fails = gained.mean() < -error
            worse += fails
            cells = "  ".join(f"{method} {mean[method]:.3f}" for method in chosen)
            print(
                f"  {metric:9} {cells}   over {best}: {gained.mean():+.3f} +- {error:.3f}"
                f"{'  WORSE' if fails else ''}",
                flush=True,
            )
    print(
        "mean ranks: "
        + "  ".join(
            f"{method} {rank:.2f}"
            for method, rank in zip(chosen, np.mean(ranks, axis=0), strict=True)
        )
    )
    print(f"worse than the best other by more than one standard error: {worse} of {len(ranks)}")


if __name__ == "__main__":
    main()
