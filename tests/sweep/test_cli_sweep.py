"""The commands end to end: flags or a file, tables or one JSON document."""

import json

import pytest
import typer

from basket.cli import app, options
from basket.errors import BasketError, UsageError
from basket.evaluate.answers import answers_of
from basket.evaluate.compare import compare_answers


@pytest.fixture
def run():
    command = typer.main.get_command(app)

    def call(*arguments):
        command.main([str(each) for each in arguments], "basket", standalone_mode=False)

    return call


def test_a_sweep_from_flags_and_its_leaderboard(run, court, tmp_path, capsys):
    files = [
        part
        for name in ("cache", "train", "val", "test")
        for part in (f"--{name}", getattr(court, name))
    ]
    common = ["--out", tmp_path / "sweep", "--features", "good", "--features", "noise", *files]
    run("sweep", *common, "--head", "ridge", "--head", "prior", "--metric", "qwk")
    shown = capsys.readouterr().out
    assert "4 configurations tried, 4 fits made now" in shown
    assert "Test, once, after 4 configurations tried" in shown
    assert "Change of QWK" in shown
    run("sweep", *common, "--head", "ridge", "--head", "prior", "--metric", "qwk", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["n_computed"] == 0
    assert document["chosen"]["features"] == ["good"]
    run("leaderboard", tmp_path / "sweep", "--metric", "mae", "--html", tmp_path / "b.html", "-q")
    assert "by MAE" in capsys.readouterr().out
    assert (tmp_path / "b.html").stat().st_size > 1000
    with pytest.raises(UsageError, match=r"b\.html is not a folder"):
        run("leaderboard", tmp_path / "sweep", "--html", tmp_path / "b.html" / "c.html", "-q")


def test_a_sweep_from_a_file(run, court, tmp_path, capsys):
    spec = tmp_path / "spec.yaml"
    spec.write_text("features: [good]\npool: [mean, max]\nheads: [prior]\n")
    files = ["--cache", court.cache, "--train", court.train, "--val", court.val]
    run("sweep", spec, "--out", tmp_path / "s", *files, "--jobs", "1", "--quiet")
    assert "2 configurations tried" in capsys.readouterr().out
    spec.write_text("features: [good]\npools: [mean, max]\n")
    with pytest.raises(UsageError, match="line 2: unknown key 'pools'"):
        run("sweep", spec, "--out", tmp_path / "s", *files)
    with pytest.raises(BasketError, match="no sweep"):
        run("leaderboard", tmp_path, "--verbose")
    assert options.wants_traceback()


@pytest.mark.parametrize(
    "flag",
    ["--head=ridge", "--set=ridge.folds=3", "--metric=accuracy", "--seeds=1", "--search=grid",
     "--budget=2"],
)  # fmt: skip
def test_flags_beside_a_file_are_refused_even_where_they_say_the_default(run, tmp_path, flag):
    with pytest.raises(UsageError, match=f"not both: {flag.partition('=')[0]} belongs in"):
        run("sweep", tmp_path / "spec.yaml", flag)


def test_a_comparison_is_printed_with_its_sentences(capsys):
    from types import SimpleNamespace

    import numpy as np
    from rich.console import Console

    from basket.console.comparison import comparison_tables
    from basket.heads.decision import DecisionRules

    random = np.random.default_rng(0)
    run_ = SimpleNamespace(
        skills=["Steals"],
        n_levels=5,
        decision=DecisionRules.uncalibrated(1, 5),
        predict_proba=lambda X: X,
    )
    matrix = SimpleNamespace(
        X=random.dirichlet(np.ones(5), size=(30, 1)),
        Y=random.integers(0, 5, (30, 1)),
        groups=[str(row) for row in range(30)],
        ids=[str(row) for row in range(30)],
        skills=["Steals"],
        left_out={},
    )
    answers = [answers_of(run_, matrix)]
    compared = compare_answers(answers, answers, names=("a", "b"), n_replicates=20)
    console = Console(width=200)
    for each in comparison_tables([compared], ["Steals"]):
        console.print(each)
    shown = capsys.readouterr().out
    assert "a minus b on test: 30 videos, 30 players" in shown
    assert "cannot be told apart" in shown
