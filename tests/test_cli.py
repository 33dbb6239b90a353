"""The commands as a user meets them: what they print, what they leave, how they end."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from basket.cache import open_cache
from basket.cli import run
from basket.dataset import SKILLS
from basket.errors import BasketError

HEADER = "path," + ",".join(skill.name for skill in SKILLS)


@pytest.fixture(scope="module")
def basket_folder(tmp_path_factory, make_video):
    """Thirty reels in BASKET's layout; the speed of a bar is what the levels follow."""
    root = tmp_path_factory.mktemp("basket")
    rng = np.random.default_rng(0)
    rows = {"train": [], "val": [], "test": []}
    for player in range(30):
        level = player % 5
        split = "train" if player < 18 else "val" if player < 24 else "test"
        name = f"18-19/NBA/{player}_18_19.mp4"
        shift = int(rng.integers(0, 20))

        def picture(index, level=level, shift=shift):
            frame = np.full((48, 64, 3), 60, np.uint8)
            left = (shift + index * (1 + 2 * level)) % 56
            frame[10:40, left : left + 8] = 220
            return frame

        make_video(root / name, frames=24, height=48, width=64, picture=picture)
        rows[split].append(f"{name}," + ",".join([str(level)] * 20))
    labels = root / "BASKET_Labels" / "BASKET"
    labels.mkdir(parents=True)
    for split, lines in rows.items():
        (labels / f"{split}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return root


@pytest.fixture
def here(basket_folder, monkeypatch, tmp_path):
    """In an empty folder, with BASKET_ROOT pointing at the reels."""
    monkeypatch.setenv("BASKET_ROOT", str(basket_folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def extracted(basket_folder, tmp_path_factory):
    """A cache of motion features of all reels."""
    cache = tmp_path_factory.mktemp("cache") / "cache"
    labels = [f"--labels={path}" for path in split_files(basket_folder).values()]
    assert run(["extract", "--model", "motion", "--cache", str(cache), "-q", *labels]) == 0
    return cache


@pytest.fixture(scope="module")
def fitted(basket_folder, extracted, tmp_path_factory):
    """A ridge run on that cache."""
    out = tmp_path_factory.mktemp("runs") / "ridge"
    files = split_files(basket_folder)
    arguments = [f"--{name}={files[name]}" for name in ("train", "val")]
    code = run(["fit-head", "--cache", str(extracted), *arguments, "--out", str(out), "-q"])
    assert code == 0
    return out


def split_files(folder: Path) -> dict[str, Path]:
    labels = folder / "BASKET_Labels" / "BASKET"
    return {split: labels / f"{split}.csv" for split in ("train", "val", "test")}


def error_of(capsys) -> str:
    """Standard error on one line; a traceback would be a failure."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return " ".join(text.split())


def test_bare_commands_in_baskets_layout(here, capsys):
    assert run(["extract", "--model", "motion"]) == 0
    said = capsys.readouterr()
    assert "30 videos extracted" in said.out
    assert "Videos of train, val, test" in said.err
    assert run(["fit-head"]) == 0
    said = capsys.readouterr()
    assert "ridge on val: 6 videos, 6 players" in said.out
    assert "Labels:" in said.err
    (made,) = (here / "runs").iterdir()
    assert run(["evaluate", str(made)]) == 0
    assert "test" in capsys.readouterr().out


def test_the_extraction_resumes_and_says_so(here, extracted, capsys):
    assert run(["extract", "--model", "motion", "--cache", str(extracted)]) == 0
    assert "0 videos extracted, 30 there already" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["extract", "--model", "motion"], ["fit-head"]])
def test_an_empty_folder_is_told_in_one_sentence(tmp_path, monkeypatch, capsys, command):
    monkeypatch.delenv("BASKET_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(command) == 2
    assert "No label files" in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_head_learns_what_is_there_to_learn(fitted, basket_folder, capsys):
    files = split_files(basket_folder)
    assert run(["evaluate", str(fitted), f"--test=test={files['test']}", "--json", "-q"]) == 0
    document = json.loads(capsys.readouterr().out)
    accuracy = document["runs"][0]["splits"]["test"]["metrics"]["accuracy"]
    assert accuracy["mean"] > accuracy["prior_mean"] + 0.3


def test_the_report_is_written_with_its_twins(fitted, basket_folder, here, capsys):
    test = f"--test=test={split_files(basket_folder)['test']}"
    assert run(["evaluate", str(fitted), test, "--report", "r/report.html"]) == 0
    assert {path.name for path in Path("r").iterdir()} == {
        "report.html",
        "report.json",
        "report.md",
    }
    assert "Defensive Consistency" in Path("r/report.html").read_text()


def test_a_reel_is_predicted_as_the_cache_would_have_it(fitted, extracted, basket_folder, capsys):
    from basket.cache import open_cache
    from basket.heads.persist import load_run
    from basket.heads.pooling import pool

    name = "18-19/NBA/27_18_19.mp4"
    assert run(["predict", str(fitted), str(basket_folder / name), "--json", "-q"]) == 0
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    pooled = pool(open_cache(extracted)["motion"].ragged([name], "pooled"), "mean+std")
    expected = load_run(fitted).predict_proba(pooled)[0]
    for skill, proba in zip(SKILLS, expected, strict=True):
        assert video["skills"][skill.name]["probabilities"] == pytest.approx(proba.tolist())
        assert video["skills"][skill.name]["level"] == int(proba.argmax())


def test_a_combined_run_predicts_from_one_pass_over_the_reel(
    fitted, extracted, basket_folder, here, capsys, monkeypatch
):
    from basket.cache import open_cache
    from basket.heads.persist import load_run
    from basket.heads.pooling import pool
    from basket.predict import reel_features

    fit = ["fit-head", "--cache", str(extracted), "--pool", "max", "--out", "max", "-q"]
    assert run(fit) == 0
    assert run(["combine", str(fitted), "max", "--out", "both", "-q"]) == 0
    capsys.readouterr()
    embedded = []
    extract = reel_features.extract

    def remember(sources, **options):
        embedded.append(len(options["backbones"]))
        return extract(sources, **options)

    monkeypatch.setattr(reel_features, "extract", remember)
    name = "18-19/NBA/27_18_19.mp4"
    assert run(["predict", "both", str(basket_folder / name), "--json", "-q"]) == 0
    # Two poolings of one feature set: the reel is decoded and embedded once.
    assert embedded == [1]
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    segments = open_cache(extracted)["motion"].ragged([name], "pooled")
    pooled = np.hstack([pool(segments, "mean+std"), pool(segments, "max")])
    expected = load_run("both").predict_proba(pooled)[0]
    for skill, proba in zip(SKILLS, expected, strict=True):
        assert video["skills"][skill.name]["probabilities"] == pytest.approx(proba.tolist())


def test_the_skill_card_is_one_page(fitted, basket_folder, here, capsys):
    reel = basket_folder / "18-19/NBA/27_18_19.mp4"
    assert run(["predict", str(fitted), str(reel), "--report", "card.html"]) == 0
    assert "27_18_19.mp4" in capsys.readouterr().out
    assert "Free Throw" in Path("card.html").read_text()


def test_unreadable_reels_are_listed_and_end_with_3(fitted, basket_folder, here, capsys):
    Path("bad.mp4").write_bytes(b"not a video" * 20)
    reel = str(basket_folder / "18-19/NBA/27_18_19.mp4")
    assert run(["predict", str(fitted), reel, "bad.mp4"]) == 3
    out = capsys.readouterr().out
    assert "Not predicted" in out
    assert "not a readable video" in out


def test_extraction_lists_failures_and_ends_with_3(here, make_video, capsys):
    make_video(Path("v/good.mp4"), frames=12)
    Path("v/empty.mp4").touch()
    Path("v/notes.txt").touch()
    assert run(["extract", "v", "--model", "motion", "--cache", "c", "--json"]) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["failed"] == {"empty.mp4": "the file is empty"}
    assert document["done"] == 1
    assert "1 files that are no videos are passed over" in said.err


def test_streams_asked_for_one_by_one_are_all_stored(here, make_video, capsys):
    make_video(Path("v/good.mp4"), frames=12)
    asked = ["--streams", "colour", "--streams", "motion=palette,pooled"]
    assert run(["extract", "v", "--model", "motion", "--cache", "c", *asked]) == 0
    (name,) = open_cache("c").feature_sets
    assert set(open_cache("c")[name].spec.streams) == {"colour", "palette", "pooled"}


def test_real_files_are_extracted_with_a_network(here, shared_data, capsys):
    from basket.extract.backbones.random_weights import save_random_videomae

    weights = save_random_videomae(here / "tiny")
    videos = str(shared_data / "videos")
    arguments = ["extract", videos, "--model", "videomae", "--weights", str(weights), "--json"]
    assert run(arguments) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert list(document["failed"]) == ["corrupted.mp4"]
    assert "damaged" in document["failed"]["corrupted.mp4"]
    assert document["done"] == 13
    assert list(document["feature_sets"]) == ["videomae/tiny-random"]
    assert "random weights" in said.err


def test_labels_prints_balance_missing_files_repeats_and_leaks(here, tmp_path, capsys):
    rows = ["18-19/NBA/1_18_19.mp4", "18-19/NBA/2_18_19.mp4", "18-19/NBA/2_18_19.mp4"]
    level = ",".join(["1"] * 20)
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    first.write_text("\n".join([HEADER, *(f"{name},{level}" for name in rows)]) + "\n")
    second.write_text(f"{HEADER}\n19-20/NBA/1_19_20.mp4,{level}\n")
    assert run(["labels", str(first), str(second)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Level balance of one.csv" in out
    assert "1 video repeated in" in out
    assert "Leak: 1 player in both" in out
    assert run(["labels", str(first), str(second), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["shared_players"][0]["players"] == ["NBA/1"]
    assert document["tables"][0]["level_counts"]["Steals"] == [0, 2, 0, 0, 0]


@pytest.mark.parametrize(("n_levels", "first"), [(10, "0"), (101, "0-20"), (1000, "0-199")])
def test_the_level_balance_of_any_scale_fits_a_terminal(
    here, tmp_path, capsys, monkeypatch, n_levels, first
):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [f"{k}.mp4,{k}" for k in range(n_levels)]
    (tmp_path / "a.csv").write_text("\n".join(["path,Usage Percentage", *rows]))
    assert run(["labels", str(tmp_path / "a.csv"), "--levels", str(n_levels)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (shown,) = (line for line in lines if line.startswith("skill"))
    (shares,) = (line.split() for line in lines if line.startswith("Usage Percentage"))
    assert shown.split()[1] == first
    assert sum(map(int, shares[2:-1])) == pytest.approx(100, abs=2)
    assert max(map(len, lines)) <= 80


def test_a_scale_that_cannot_be_stored_is_refused_where_it_is_read(tmp_path, capsys):
    assert run(["labels", str(tmp_path / "none.csv"), "--levels", "40000"]) == 2
    assert "'--levels': Input should be less than or equal to 32768" in error_of(capsys)


TESTED = ["FITTED", "--test", "TEST"]
READ = ["FITTED", "REEL"]
SWEPT = ["--features", "motion", "--head", "prior", "--cache", "CACHE"]
SLURM = ["--array", "2", "--model", "motion"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["extract", "--model", "videomea"], 2, "did you mean 'videomae'"),
        (["extract", "nowhere.mp4", "--model", "motion"], 2, "no file or folder nowhere.mp4"),
        (
            ["extract", "--model", "motion", "--segments", "many"],
            2,
            "--segments must be 'dense' or",
        ),
        (["extract", "--model", "motion", "--segments", "0"], 2, "at least 1"),
        (["extract", "--model", "motion", "--window", "-1"], 2, "--window must be"),
        (["extract", "--model", "motion", "--shard", "4/4"], 2, "counts from 0"),
        (["extract", "--model", "motion", "--shard", "x"], 2, "takes I/N"),
        (["extract", "--model", "motion", "--weights", "videomae=x"], 2, "not among the models"),
        (["extract", "--model", "videomae", "--weights", "nowhere"], 2, "no folder 'nowhere'"),
        (["extract", "--model", "videomae", "--weights", "."], 2, "it has no config.json"),
        (["extract", "--model", "motion", "--device", "gpu"], 2, "--device is auto, cpu"),
        (["extract", "--model", "motion", "--precision", "int8"], 2, "--precision"),
        (["extract", "--model", "motion", "--crop", "round"], 2, "see basket extract --help"),
        (["extract", "--model", "motion", "--video-root", "nowhere"], 2, "no folder nowhere"),
        (["extract", "labels.csv", "--model", "motion"], 2, "--labels labels.csv"),
        (["extract", "x", "--labels", "labels.csv"], 2, "not both"),
        (["extract", "--labels", "a.csv", "b.csv"], 2, "--labels a.csv --labels b.csv"),
        (["extract", "--labels", "labels.csv", "--model", "motion"], 2, "--video-root"),
        (["extract", "--model", "motion", "--streams", "coulour"], 2, "coulour"),
        (["fit-head", "--cache", "nowhere"], 2, "no cache at nowhere"),
        (["fit-head", "--cache", "."], 2, "is not a cache"),
        (["fit-head", "--train", "nowhere.csv"], 2, "no label file nowhere.csv"),
        (["fit-head", "--train", "bad.csv"], 1, "'9' is not a level"),
        (["fit-head", "--out", "."], 2, "exists already"),
        (["fit-head", "--head", "gdbt"], 2, "did you mean 'gbdt'"),
        (["fit-head", "--pool", "maen"], 2, "mean"),
        (["fit-head", "--set", "alpha"], 2, "--set takes KEY=VALUE"),
        (["fit-head", "--set", "penaltis=3"], 2, "penalt"),
        (["fit-head", "--features", "videomae"], 2, "videomae"),
        (["evaluate", "nowhere"], 2, "nowhere is no run folder"),
        (["evaluate", "FITTED", "--test", "nowhere.csv"], 2, "no label file nowhere.csv"),
        (["evaluate", "FITTED", "--test", "bad.csv"], 1, "'9' is not a level"),
        (["evaluate", "FITTED", "--cache", "nowhere"], 2, "no cache at nowhere"),
        (["evaluate", "FITTED", "--meta", "nowhere.csv"], 2, "no file nowhere.csv"),
        (["combine", "FITTED", "FITTED"], 2, "named twice"),
        (["predict", "nowhere", "x.mp4"], 2, "nowhere is no run folder"),
        (["predict", "FITTED", "nowhere.mp4"], 2, "no file or folder nowhere.mp4"),
        (["sweep", "nowhere.yaml"], 2, "no specification nowhere.yaml"),
        (["leaderboard", "nowhere"], 2, "nowhere is no sweep"),
        (["cache", "ls", "--cache", "nowhere"], 2, "no cache at nowhere"),
        (["cache", "export", "motion", "x.parqet", "--cache", "CACHE"], 2, "says no format"),
        (["cache", "import", "nowhere", "--spec", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["labels", "nowhere.csv"], 2, "no label file nowhere.csv"),
        (["labels", "bad.csv"], 1, "'9' is not a level"),
        (["labels", "headless.csv"], 1, "no header line"),
        (["labels", "labels.csv", "--video-root", "nowhere"], 2, "no folder nowhere"),
        (["labels"], 2, "Missing argument"),
        (["models", "nothing"], 2, "basket models"),
        (["demo", "--players", "0"], 2, "Too few players to split: 0"),
        (["demo", "--out", "bad.csv"], 2, "bad.csv is not a folder"),
        (["doctor", "--offline", "--cache", "bad.csv/c"], 2, "bad.csv is not a folder"),
        (["extract", "--model", "motion", "--cache", "bad.csv/c"], 2, "bad.csv is not a folder"),
        (["fit-head", "--out", "bad.csv/run"], 2, "bad.csv is not a folder"),
        (["evaluate", *TESTED, "--report", "bad.csv/r.html"], 2, "bad.csv is not a folder"),
        (["evaluate", *TESTED, "--report", "folder"], 2, "folder is a folder; name a file"),
        (["evaluate", *TESTED, "--report", "."], 2, ". is a folder; name a file"),
        (["predict", *READ, "--report", "bad.csv/r.html"], 2, "bad.csv is not a folder"),
        (["predict", *READ, "--out", "bad.csv/r.csv"], 2, "bad.csv is not a folder"),
        (["sweep", *SWEPT, "--out", "bad.csv"], 2, "bad.csv is not a folder"),
        (["slurm", *SLURM, "--out", "bad.csv/x"], 2, "bad.csv is not a folder"),
        (["slurm", *SLURM, "--out", "folder"], 2, "folder is a folder; name a file"),
        (
            ["cache", "export", "motion", "bad.csv/x.npz", "--cache", "CACHE"],
            2,
            "bad.csv is not a folder",
        ),
        (["extract", "--colour"], 2, "No such option"),
        (["extrct"], 2, "Did you mean 'extract'? See basket --help"),
    ],
)
def test_mistakes_end_in_one_sentence(
    here, basket_folder, extracted, fitted, capsys, arguments, code, sentence
):
    """2 where the request cannot be meant, 1 where what a file holds is wrong."""
    Path("folder").mkdir()
    Path("labels.csv").write_text("path,Steals\nnowhere/1.mp4,1\n")
    Path("bad.csv").write_text("path,Steals\n1.mp4,9\n")
    Path("headless.csv").write_text("1.mp4,1\n")
    if arguments[0] == "fit-head" and "--cache" not in arguments:
        arguments = [*arguments, "--cache", "CACHE"]
    places = {
        "FITTED": str(fitted),
        "CACHE": str(extracted),
        "TEST": str(split_files(basket_folder)["test"]),
        "REEL": str(basket_folder / "18-19/NBA/27_18_19.mp4"),
    }
    arguments = [places.get(each, each) for each in arguments]
    before = set(here.rglob("*"))
    assert run(arguments) == code
    assert sentence in error_of(capsys)
    assert set(here.rglob("*")) == before


def test_label_mistakes_stop_everything_before_it_begins(here, capsys):
    Path("bad.csv").write_text("path,a\n../../etc/x.mp4,1\n")
    assert run(["extract", "--labels", "bad.csv", "--model", "motion"]) == 1
    assert "is not a path below the video root" in error_of(capsys)
    assert not Path("basket-cache").exists()


def test_other_format_versions_are_refused(here, fitted, basket_folder, capsys):
    Path("c").mkdir()
    Path("c/cache.json").write_text('{"format": "basket-cache", "version": 99}')
    assert run(["extract", "--model", "motion", "--cache", "c"]) == 1
    assert "format version 99" in error_of(capsys)
    Path("old").mkdir()
    document = json.loads((fitted / "run.json").read_text())
    Path("old/run.json").write_text(json.dumps({**document, "version": 99}))
    assert run(["evaluate", "old"]) == 1
    assert "version 99" in error_of(capsys)


def test_an_existing_run_is_not_overwritten(here, extracted, fitted, capsys):
    before = (fitted / "run.json").read_bytes()
    assert run(["fit-head", "--cache", str(extracted), "--out", str(fitted)]) == 2
    assert "exists already" in error_of(capsys)
    assert (fitted / "run.json").read_bytes() == before


def test_a_traceback_only_with_verbose(here, capsys):
    assert run(["labels", "nowhere.csv", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device", "x.html"), "x.html: No space left on device;"),
        (OSError("no answer"), "error: no answer;"),
        (TimeoutError(), "error: TimeoutError;"),
    ],
)
def test_what_the_system_refuses_is_a_sentence_and_other_mistakes_are_not(
    here, capsys, monkeypatch, error, sentence
):
    def fails(*_args, **_options):
        raise error

    monkeypatch.setattr("basket.workflows.describe_labels", fails)
    assert run(["labels", "x.csv"]) == 1
    assert sentence in error_of(capsys)
    assert run(["labels", "x.csv", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err
    error = ValueError("a mistake of ours")
    with pytest.raises(ValueError, match="of ours"):
        run(["labels", "x.csv"])


def test_ctrl_c_ends_a_command_with_one_sentence_and_75(here, capsys, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("basket.workflows.describe_labels", interrupted)
    assert run(["labels", "x.csv"]) == 75
    assert "what was finished is kept" in error_of(capsys)


def test_the_version_and_the_module_entry_point():
    shown = subprocess.run(
        [sys.executable, "-m", "basket", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("basket 0.")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from basket.cli import run; run(['--help']);"
        "print([m for m in ('torch', 'transformers', 'h5py', 'sklearn', 'lightgbm', 'av', 'numpy')"
        " if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip().endswith("[]")


def test_help_lists_commands_in_the_order_of_the_work_groups_among_them(capsys):
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert " ".join(line.split()[0] for line in listed) == (
        "labels extract models doctor fit-head combine evaluate predict sweep leaderboard "
        "cache run slurm demo"
    )


def every_command():
    """The words after ``basket`` of each command, those of groups too."""
    from typer.main import get_command

    from basket.cli import app

    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        yield from ([name, each] for each in inner) if inner else [[name]]


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_has_a_help_that_fits_with_an_example_to_copy(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    example = lines[lines.index("  Example:") + 1]
    assert example.startswith(f"    basket {' '.join(command)} ") or " ".join(command) in (
        "demo",
        "cache repair",
    )
    assert max(map(len, lines)) <= 90  # an example is never broken
    assert not any("list[" in line or "int range" in line for line in lines if "--" in line)


@pytest.mark.parametrize("group", [[], ["cache"], ["run"]])
def test_groups_say_whole_sentences_of_their_commands(group, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*group, "--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_scores_stand_beside_what_the_labels_alone_would_give(fitted, basket_folder, capsys):
    test = f"--test=test={split_files(basket_folder)['test']}"
    assert run(["evaluate", str(fitted), test]) == 0
    said = capsys.readouterr().out
    (row,) = [line.split() for line in said.splitlines() if line.startswith("labels alone")]
    assert run(["evaluate", str(fitted), test, "--json", "-q"]) == 0
    scores = json.loads(capsys.readouterr().out)["runs"][0]["splits"]["test"]["metrics"]
    assert row[2:] == [
        "prior",
        f"{100 * scores['accuracy']['prior_mean']:.1f}",
        f"{scores['mae']['prior_mean']:.3f}",
        f"{scores['qwk']['prior_mean']:.3f}",
    ]


def test_a_dry_run_tells_the_cost_and_writes_nothing(here, basket_folder, capsys):
    arguments = ["extract", str(basket_folder / "18-19"), "--model", "motion", "--cache", "c"]
    assert run([*arguments, "--dry-run", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["videos"], cost["already_there"], cost["unreadable"]) == (30, 0, 0)
    assert cost["segments"] == cost["clips"] == 30
    assert cost["frames"] == 30 * 16
    assert cost["cache_bytes"] > 30 * 459 * 2
    assert cost["total_s"] == pytest.approx(cost["decode_s"] + cost["forward_s"])
    assert not Path("c").exists()


def test_a_dry_run_counts_what_is_there(here, extracted, capsys):
    arguments = ["extract", "--model", "motion", "--cache", str(extracted), "--dry-run"]
    assert run(arguments) == 0
    assert "0 videos to extract, 30 already there" in capsys.readouterr().out


def test_models_are_listed_and_described_without_a_network(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    for columns, told in (("", True), ("80", False), ("140", True)):  # a pipe has room for all
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        assert run(["models"]) == 0
        listed = capsys.readouterr().out
        assert "videomae/base-k400 (videomae)" in listed
        assert "motion" in listed
        assert ("MCG-NJU/videomae-base-finetuned-kinetics" in listed) is told
    assert run(["models", "xclip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 8
    assert run(["models", "xclipp"]) == 2
    assert "did you mean 'xclip'" in error_of(capsys)


def test_the_doctor_examines_this_machine(here, capsys):
    assert run(["doctor", "--offline", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["decoder pyav"]["state"] == "ok"
    assert checks["packages"]["state"] == "ok"
    assert "cores may be used" in checks["CPU"]["found"]
    assert all(check["advice"] for check in checks.values() if check["state"] != "ok")
    assert list(here.iterdir()) == []


def test_the_doctor_names_what_will_not_work(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # or a long folder of this test breaks the words
    monkeypatch.setattr("basket.doctor.PACKAGES", ("numpy", "a-package-nobody-has"))
    assert run(["doctor", "--offline"]) == 1
    said = capsys.readouterr()
    assert "pip install a-package-nobody-has" in " ".join(said.out.split())
    assert "cannot run basket" in said.err


def test_the_results_of_the_demo_fit_a_narrow_terminal(capsys, monkeypatch):
    from basket.console import Output
    from basket.console.scores import results_tables

    monkeypatch.setenv("COLUMNS", "80")
    splits = ("test", "cross_season", "cross_league", "cross_season_and_league")
    rows = [
        {"features": features, "head": head, "run": head, "split": split}
        | {"accuracy": 0.123, "mae": 1.234, "qwk": -0.001}
        for features in ("motion", "videomae/tiny-random")
        for head in ("ridge", "cumulative")
        for split in splits
    ]
    Output().result({}, *results_tables(rows))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert sum(line.count("12.3") for line in lines) == len(rows)


def test_runs_of_one_head_are_told_apart_by_their_names(capsys):
    from basket.console import Output
    from basket.console.scores import results_tables

    rows = [
        {"features": "motion", "head": "ridge", "run": run, "split": "test"}
        | {"accuracy": 0.123, "mae": 1.234, "qwk": -0.001}
        for run in ("first", "second")
    ]
    Output().result({}, *results_tables(rows))
    shown = capsys.readouterr().out
    assert "ridge (first)" in shown
    assert "ridge (second)" in shown


def test_fit_head_refuses_what_it_can_before_it_reads_anything(tmp_path):
    import basket

    (tmp_path / "run").mkdir()
    nothing = {"cache": tmp_path / "none", "train": tmp_path / "none.csv"}
    with pytest.raises(BasketError, match="exists already"):
        basket.fit_head(**nothing, out=tmp_path / "run")
    with pytest.raises(BasketError, match="did you mean 'penalties'"):
        basket.fit_head(**nothing, params={"penalty": 3}, out=tmp_path / "new")
