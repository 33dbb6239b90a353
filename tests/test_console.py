"""How results, progress and errors look: on a terminal, in a pipe, as JSON."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.text import Text

from basket import cli
from basket.cli import options
from basket.console import Output, print_error
from basket.console.extraction import (
    estimate_lines,
    extraction_progress,
    extraction_tables,
)
from basket.console.labels import label_tables
from basket.console.machine import model_tables
from basket.console.output import SafeConsole
from basket.console.prediction import prediction_tables
from basket.console.tables import plain_table, reasons_table
from basket.console.words import duration
from basket.dataset.overview import LabelOverview, TableOverview
from basket.errors import UNPRINTABLE, IntegrityError
from basket.extract.dry_run import Estimate
from basket.extract.summary import ExtractionSummary, Progress


def shown(*parts, width=100):
    """What a person reads, without colours, on one line."""
    console = Console(file=StringIO(), width=width)
    for part in parts:
        console.print(part)
    return " ".join(console.file.getvalue().split())


@pytest.fixture
def terminal():
    """An output whose errors go to a terminal that is remembered."""
    output = Output()
    output.err = Console(file=StringIO(), force_terminal=True, width=100)
    return output


def test_progress_on_a_terminal_is_one_line_that_goes_away(terminal):
    with terminal.progress("Extracting") as report:
        report(3, 12, "7 clips/s")
    written = terminal.err.file.getvalue()
    assert "3/12" in written
    assert "7 clips/s" in written
    assert written.endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize("width", [80, 140])
def test_progress_keeps_counts_and_times_whole(width):
    output = Output()
    output.err = Console(file=StringIO(), force_terminal=True, width=width)
    now = Progress(1234, 32232, 7, 99999, 9999.0, 100.0, {"decode": 1.0})
    with output.progress("Extracting") as report:
        extraction_progress(report)(now)
    lines = [plain(line) for line in output.err.file.getvalue().splitlines()]
    (shown,) = {line.strip() for line in lines if "Extracting" in line and "1234" in line}
    assert shown.startswith("Extracting")
    assert "1234/32232 videos, 7 failed" in " ".join(shown.split())
    assert " left " in shown
    assert len(shown) <= width
    assert ("━" in shown) == (width == 140)


def plain(text):
    """Without what steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


def test_sentences_are_broken_between_words_on_a_terminal_and_not_at_all_in_a_pipe(capsys):
    sentence = "one two three four five six seven eight nine ten " * 4
    output = Output()
    output.err = Console(file=StringIO(), force_terminal=True, width=40)
    output.note(sentence)
    lines = [plain(line) for line in output.err.file.getvalue().splitlines()]
    assert len(lines) > 1
    assert {word for line in lines for word in line.split()} == set(sentence.split())
    Output().note(sentence)
    assert capsys.readouterr().err.count("\n") == 1


def test_the_title_of_a_narrow_table_stays_on_one_line():
    table = plain_table("ridge on val: 3 videos, 3 players (prior in brackets)")
    table.add_column("s")
    table.add_row("x")
    console = Console(file=StringIO(), width=80)
    console.print(table)
    assert "3 players (prior in brackets)\n" in console.file.getvalue()


def test_a_stage_on_a_terminal_is_named_while_it_lasts(terminal):
    with terminal.working("Fitting") as stage:
        stage("reading [train]")
    assert "Fitting: reading [train]" in terminal.err.file.getvalue()


def test_progress_in_a_pipe_is_plain_lines_now_and_then(capsys, monkeypatch):
    moments = iter([0.0, 1.0, 10.0])
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr("basket.console.output.time", clock)
    with Output().progress("Packing") as report:
        report(1, 4, "")
        report(2, 4, "")
    said = capsys.readouterr()
    assert said.out == ""
    assert " ".join(said.err.split()) == "Packing: 2 of 4, 10 s left"


def test_quiet_leaves_results_warnings_and_errors(capsys):
    output = Output(quiet=True)
    with output.progress("Packing") as report, output.working("Fitting") as stage:
        report(1, 2, "")
        stage("reading")
    output.note("chosen: ridge")
    output.warn("look [here]")
    output.result({}, "the result")
    said = capsys.readouterr()
    assert said.out == "the result\n"
    assert said.err == "look [here]\n"


def test_json_is_one_document_whatever_would_be_shown(capsys):
    Output(json_mode=True).result({"path": Path("x"), "name": "é"}, "a table")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"path": "x", "name": "é"}
    assert "é" in said.out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (7385, "2 h 03 min")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_long_lists_of_reasons_are_cut_and_say_so():
    text = shown(reasons_table("Failed", {f"v{n}": "it is [odd]" for n in range(25)}))
    assert "v19" in text
    assert "v20" not in text
    assert "and 5 more --json lists them all" in text
    assert "it is [odd]" in text


TABLE = TableOverview(
    path=Path("a.csv"),
    videos=3,
    players=2,
    seasons=(),
    leagues=(),
    skills=("Steals", "Fouls"),
    level_counts=((1, 2), (0, 0)),
    missing_labels=(0, 3),
    duplicates=(),
    missing_files=None,
)


def test_labels_without_videos_or_levels_show_what_is_unknown():
    text = shown(*label_tables(LabelOverview(None, (TABLE,), {})))
    assert "name their folder with --video-root" in text
    assert "a.csv 3 2 - - ? 0" in text
    assert "Steals 33 67 0" in text
    assert "Fouls - - 3" in text


def test_label_files_are_told_apart_on_a_narrow_terminal():
    folder = Path("a-long-name-of-a-folder/BASKET_Labels")
    files = ["BASKET/train.csv", "BASKET/val.csv", "cross_season_and_league/test.csv"]
    tables = tuple(replace(TABLE, path=folder / file) for file in files)
    text = shown(*label_tables(LabelOverview(Path(), tables, {})), width=80)
    assert f"Label files in {folder}" in text
    assert all(f"{file} 3 2" in text for file in files)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (((3, 2, 0), (1, 1, 0)), "No label is above 1: where that is the best level"),
        (((0, 3, 2), (0, 1, 1)), "No label is below 1: levels count from 0, so subtract 1"),
        (((3, 2, 0), (0, 1, 1)), ""),
    ],
)
def test_a_scale_whose_ends_nobody_has_is_remarked_on(counts, said):
    """Words and charts would call the best of four levels good, not excellent."""
    text = shown(*label_tables(LabelOverview(None, (replace(TABLE, level_counts=counts),), {})))
    assert said in text
    assert ("No label is" in text) == bool(said)


def test_labels_that_share_nobody_say_so():
    other = replace(TABLE, path=Path("b.csv"), missing_files=("x.mp4",))
    text = shown(*label_tables(LabelOverview(Path(), (TABLE, other), {})))
    assert "1 file of b.csv missing, empty, or a link out of the video root: x.mp4" in text
    assert "No player is in two of these files." in text


def test_strange_reels_are_explained_once_and_named_after_that():
    run = SimpleNamespace(
        skills=("Steals", "Defensive Consistency"),
        n_levels=3,
        config={"simulated": False, "random_weights": False},
    )
    reel = SimpleNamespace(
        video_id="a.mp4",
        duration_s=40.0,
        n_segments=1,
        levels=np.array([2, 0]),
        proba=np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]),
        note="",
        beyond=2,
    )
    found = SimpleNamespace(run=run, videos=[reel], failed={}, calibration=None)
    text = shown(*prediction_tables(found), width=80)
    assert "a.mp4 (40 s, 1 segment)" in text
    assert "Steals 2 level 2 (0 to 2) 0.10 0.20 0.70" in text
    assert "Defensive Consistency * 0 level 0 (0 to 2)" in text
    assert "* 0 is the best level" in text
    assert "For 2 of 2 skills the prediction lies beyond all players" in text
    found.videos = [reel, reel]
    text = shown(*prediction_tables(found), width=80)
    assert text.count("Unlike any reel it was checked on: 2 skills beyond all players") == 2
    assert "the prediction lies beyond" not in text


def test_an_extraction_tells_failures_and_files_to_look_at():
    summary = ExtractionSummary(
        feature_sets={"motion": "motion.dense.1"},
        done=3,
        already_there=2,
        failed={"b.mp4": "it is empty"},
        notes={"c.mp4": "truncated: it ends early"},
        clips=30,
        video_s=120.0,
        elapsed_s=4.0,
        seconds={},
        batch_sizes={},
    )
    text = shown(*extraction_tables(summary, Path("cache")))
    assert "motion -> cache/motion.dense.1" in text
    assert "3 videos extracted, 2 there already, 1 failed; 30 clips" in text
    assert "2 min 00 s of video in 4 s (30x real time)" in text
    assert "look at these video reason c.mp4 truncated" in text
    assert "Not extracted video reason b.mp4 it is empty" in text


def test_an_estimate_warns_of_a_disk_that_is_too_small():
    fields = dict.fromkeys(Estimate.__dataclass_fields__, 1)
    cost = Estimate(**{**fields, "cache_bytes": 9 << 30, "free_bytes": 1 << 30, "unreadable": 2})
    text = shown(*estimate_lines(cost))
    assert "2 of them unreadable" in text
    assert "not enough" in text


def test_all_facts_of_a_model_are_lines_and_empty_ones_are_left_out():
    row = {"name": "x", "streams": {"pooled": 768}, "mean": [0.5, 0.25], "alias": "", "notes": None}
    row["decoding"] = {"crop": {"kind": "center", "px": 224}}
    text = shown(*model_tables([row], whole=True))
    assert "pooled: 768" in text
    assert "0.5, 0.25" in text
    assert "crop: kind: center; px: 224" in text
    assert "alias" not in text


# How a command ends


@pytest.fixture
def failing(monkeypatch):
    """A command line whose every command raises the given error."""
    import typer.main

    def use(error):
        class Command:
            def main(self, *_arguments, **_options):
                raise error

        monkeypatch.setattr(typer.main, "get_command", lambda _app: Command())

    return use


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (IntegrityError("shard x is [damaged]"), 4, "error: shard x is [damaged]"),
        (KeyboardInterrupt(), 75, "what was finished is kept"),
        (typer.Abort(), 75, "Stopped."),
        (typer.Exit(3), 3, ""),
    ],
)
def test_every_end_has_its_code_and_no_traceback(failing, capsys, error, code, said):
    options.remember_verbose(True)  # a command before this one was told to be verbose
    failing(error)
    assert cli.run([]) == code
    err = " ".join(capsys.readouterr().err.split())
    assert said in err
    assert "Traceback" not in err


def test_a_mistake_of_ours_is_not_hidden(failing):
    failing(ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        cli.run([])


def test_a_reader_who_has_enough_of_a_pipe_is_no_error():
    code = (
        "import os, sys; from basket.cli import run\n"
        "r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
        "sys.exit(run(['models', '--json']))"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


HOSTILE = "a\x1b[2J\x9b31m\u202eb\u2028c\x7f"


def test_nothing_that_others_wrote_drives_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    output = Output()
    output.note(HOSTILE)
    output.warn(HOSTILE)
    table = plain_table()
    table.add_column("name")
    table.add_row(HOSTILE)
    output.result({}, table, HOSTILE, Text(HOSTILE))
    with output.working("at") as stage:
        stage(HOSTILE)
    with output.progress("work") as report:
        monkeypatch.setattr("basket.console.output._PLAIN_PROGRESS_S", 0.0)
        report(1, 2, HOSTILE)
    print_error(HOSTILE)
    Output(json_mode=True).result({"name": HOSTILE})
    said = "".join(capsys.readouterr())
    assert not [each for each in said if UNPRINTABLE.match(each) and each != "\n"]
    assert said.count("[2J") == 9
    assert "\\x1b[2J" in said
    assert json.loads(said[said.index("{") : said.index("}") + 1]) == {"name": HOSTILE}


def test_a_terminal_is_still_driven_by_ourselves():
    screen = SafeConsole(file=StringIO(), force_terminal=True, width=40, highlight=False)
    screen.print(f"[red]{HOSTILE}[/]")
    assert screen.file.getvalue().startswith("\x1b[31ma\\x1b[2J")
