"""The page says what the JSON says, asks nothing of the network, and escapes what it is given."""

import json
import re
from importlib import resources

import numpy as np
import pytest
from markupsafe import Markup

from basket.console.scores import evaluation_tables
from basket.errors import RunError, UsageError
from basket.evaluate import EvaluationReport, FeatureIdentity, assemble_report
from basket.evaluate.protocol import PUBLISHED
from basket.metrics import HIGHER_IS_BETTER

HOSTILE = "<script>alert(1)</script>"
RANDOM = FeatureIdentity(
    "videomae/tiny", digest="cd34" * 16, weights_sha256="ef56" * 16, random_weights=True
)


@pytest.fixture(scope="module")
def report(test_set, run_report):
    splits = {"test": test_set(seed=1), "cross_season": test_set(seed=2, n=40)}
    splits["test"].left_out = {f"18-19/NBA/{n}_18_19.mp4": "no video stream" for n in (901, 902)}
    runs = [
        run_report("motion-ridge", splits=splits, train_players={"NBA/3"}, simulated=True),
        run_report("motion-gbdt", splits=splits, head="gbdt"),
        run_report("tiny-ridge", splits={"test": splits["test"]}, features=RANDOM),
    ]
    return assemble_report(
        runs,
        skills=splits["test"].skills,
        n_levels=5,
        primary="motion-gbdt",
        primary_reason="the best validation accuracy",
        created="2025-11-22 17:30",
        notes=["A note of the caller."],
    )


@pytest.fixture(scope="module")
def page(report, parse):
    return parse(report.to_html())


def external_references(html, page):
    """Whatever could make a browser leave the file."""
    found = re.findall(r"""(?:url\(|@import)[^;]*""", html)
    for tag, attributes in page.tags:
        if tag in {"script", "link", "iframe", "object", "embed", "base", "form"}:
            found.append(tag)
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            if not attributes.get(name, "#").startswith(("#", "data:")):
                found.append(attributes[name])
        found += [name for name in attributes if name.startswith("on")]
    return found


def test_json_restores_an_equal_report(report):
    text = report.to_json()
    again = EvaluationReport.from_json(text)
    assert again == report
    assert again.to_json() == text


def test_undefined_scores_survive_json(test_set, run_report):
    matrix = test_set()
    matrix.Y[:, 0] = -1
    report = assemble_report(
        [run_report(splits={"test": matrix})], skills=matrix.skills, n_levels=5
    )
    document = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert document["runs"][0]["splits"]["test"]["metrics"]["qwk"]["per_skill"][0] is None
    again = EvaluationReport.from_json(report.to_json())
    assert again.to_json() == report.to_json()
    assert again.primary_run.splits["test"].metrics["qwk"].n_undefined == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "basket-report", "version": 1}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(RunError):
        EvaluationReport.from_json(text)


def test_another_version_is_refused(report):
    text = report.to_json().replace('"version": 2', '"version": 99', 1)
    with pytest.raises(RunError, match="version 99"):
        EvaluationReport.from_json(text)


def test_every_mean_on_the_page_is_the_one_in_the_json(report, page):
    document = json.loads(report.to_json())
    runs = {run["description"]["name"]: run for run in document["runs"]}
    cells = page.with_attribute("data-run")
    assert len(cells) == 5 * 3  # five pairs of run and test set, three metrics
    for cell in cells:
        scores = runs[cell["data-run"]]["splits"][cell["data-split"]]
        assert float(cell["data-value"]) == scores["metrics"][cell["data-metric"]]["mean"]
    primary = runs["motion-gbdt"]["splits"]["test"]["metrics"]
    for cell in page.with_attribute("data-headline"):
        assert float(cell["data-value"]) == primary[cell["data-headline"]]["mean"]


def test_every_skill_on_the_page_is_the_one_in_the_json(report, page):
    document = json.loads(report.to_json())
    run = next(r for r in document["runs"] if r["description"]["name"] == report.primary)
    scores = run["splits"]["test"]
    cells = [cell for cell in page.with_attribute("data-skill") if "data-metric" in cell]
    assert len(cells) == 20 * 3
    for cell in cells:
        index = report.skills.index(cell["data-skill"])
        found = scores["metrics"][cell["data-metric"]]
        assert float(cell["data-value"]) == found["per_skill"][index]
        assert float(cell["data-prior"]) == found["prior_per_skill"][index]


def test_written_values_are_the_values(report, page):
    """What a reader sees, not only the attributes."""
    scores = report.primary_run.splits["test"]
    assert f"{scores.metrics['accuracy'].mean * 100:.1f}%" in page.text
    for value in scores.metrics["accuracy"].per_skill:
        assert f"{value * 100:.1f}%" in page.text
    for value in scores.metrics["mae"].per_skill:
        assert f"{value:.2f}" in page.text


def test_confusion_matrices_are_complete_and_inverted_where_low_is_good(report, page):
    counts, skill = {}, None
    order = []
    for tag, attributes in page.tags:
        if tag == "table":
            skill = attributes.get("data-confusion")
        if skill and "data-count" in attributes:
            cell = (int(attributes["data-true"]), int(attributes["data-predicted"]))
            counts[skill, *cell] = int(attributes["data-count"])
            if skill == "Defensive Consistency":
                order.append(cell)
    confusion = report.primary_run.splits["test"].confusion
    assert counts == {
        (name, true, predicted): confusion[index][true][predicted]
        for index, name in enumerate(report.skills)
        for true in range(5)
        for predicted in range(5)
    }
    assert (order[0], order[-1]) == ((4, 4), (0, 0))


def test_the_page_leaves_the_machine_for_nothing(report, page):
    html = report.to_html()
    assert external_references(html, page) == []
    assert not re.search(r"https?://|//cdn", html)
    policy = next(a for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_the_check_for_external_references_can_fail(parse):
    html = "<img src='//x/y.png'><a href='https://x'>x</a><b onclick='x()'></b><style>@import 'x'"
    assert len(external_references(html, parse(html))) == 4


def test_charts_have_text_and_tables_have_captions(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table")
    graphics = [a for _, a in page.tags if a.get("class") == "track" and "aria-hidden" in a]
    # Every drawn bar stands in a cell that carries its value in writing.
    assert len(graphics) == 20 * 3 + 5
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert len(drawings) == 4
    assert all(a["role"] == "img" and "promised" in a["aria-label"] for a in drawings)
    assert tags.count("img") == 0


def test_left_out_videos_are_counted_and_listed(report, page):
    listed = [cell["data-left-out"] for cell in page.with_attribute("data-left-out")]
    assert sorted(listed) == ["18-19/NBA/901_18_19.mp4", "18-19/NBA/902_18_19.mp4"]
    assert page.with_attribute("data-left-out-count")[0]["data-left-out-count"] == "2"
    assert "2 labelled videos were left out" in page.text
    assert page.text.count("no video stream") == 2
    assert "901\\_18\\_19.mp4" in report.to_markdown()


def test_a_leak_is_said_and_no_leak_is_not(report, page, test_set, run_report, parse):
    assert len(page.with_attribute("data-leak")) == 2
    assert "1 of 20 players in cross season were in training too (2 videos)" in page.text
    clean = test_set()
    other = assemble_report([run_report(splits={"test": clean})], skills=clean.skills, n_levels=5)
    assert "in training too" not in other.to_html()
    assert "never saw in training" in other.to_html()


def test_unknown_training_players_are_said(test_set, run_report):
    matrix = test_set()
    run = run_report(splits={"test": matrix}, train_players=None)
    text = assemble_report([run], skills=matrix.skills, n_levels=5).to_html()
    assert "Whether players in test were in training is not known" in text
    assert "never saw in training" not in text


def test_simulated_players_and_random_weights_stand_across_the_page(report, page):
    assert "Simulated players" in page.text
    assert "videomae/tiny was never trained" in page.text
    assert page.text.index("Simulated players") < page.text.index("evaluation report")
    assert "Simulated players" in report.to_markdown()


def test_a_terminal_and_a_notebook_say_so_too_whichever_run_it_is(report):
    """The random weights are those of the last run, the simulated players of the first."""
    terminal = [each for each in evaluation_tables(report) if isinstance(each, str)]
    for text in ("\n".join(terminal), report._repr_html_()):
        assert "Simulated players" in text
        assert "videomae/tiny was never trained" in text


def test_summary_names_run_choice_and_notes(page):
    assert "the head gbdt on motion features" in page.text
    assert "It was chosen for the best validation accuracy." in page.text
    assert "A note of the caller." in page.text


def test_the_verdict_follows_the_interval(test_set, run_report):
    """Better than the prior only if the whole interval is."""

    def verdict(signal):
        matrix = test_set(signal=signal, n=100, players=50)
        report = assemble_report(
            [run_report(splits={"test": matrix})], skills=matrix.skills, n_levels=5
        )
        scores = report.primary_run.splits["test"].metrics["accuracy"]
        return report.to_markdown(), scores.interval, scores.prior_mean

    text, interval, prior = verdict(5.0)
    assert interval.low > prior
    assert "whole interval lies above that baseline" in text
    text, interval, prior = verdict(0.0)
    assert interval.low < prior < interval.high
    assert "no skill has been shown" in text
    text, interval, prior = verdict(-3.0)
    assert interval.high < prior
    assert "worse than knowing nothing" in text


def test_hostile_names_are_escaped_everywhere(test_set, run_report, parse):
    matrix = test_set(skills=(HOSTILE, "Steals"))
    matrix.left_out = {HOSTILE + ".mp4": HOSTILE}
    features = FeatureIdentity(HOSTILE, digest=HOSTILE, details={HOSTILE: HOSTILE})
    run = run_report(HOSTILE, splits={HOSTILE: matrix}, head=HOSTILE, features=features)
    other = run_report("other", splits={HOSTILE: matrix}, head="'\"><img src=x onerror=alert(1)>")
    report = assemble_report(
        [run, other],
        skills=matrix.skills,
        n_levels=5,
        title=HOSTILE,
        primary_reason=HOSTILE,
        notes=[HOSTILE],
    )
    html = report.to_html(sections=[(HOSTILE, HOSTILE)])
    page = parse(html)
    assert "<script" not in html
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img"})
    assert external_references(html, page) == []
    assert HOSTILE in page.text
    assert "<script" not in report.to_markdown().replace("\\<script", "")


def test_sections_are_trusted_only_as_markup(report, parse):
    html = report.to_html(sections=[("One", Markup("<em id='mine'>x</em>")), ("Two", "<em>y</em>")])
    page = parse(html)
    assert [tag for tag, _ in page.tags].count("em") == 1
    assert "<em>y</em>" in page.text
    assert ("a", {"href": "#section-2"}) in page.tags


def test_a_set_without_videos_is_reported(test_set, run_report, parse):
    empty = test_set(n=0)
    empty.left_out = {"a.mp4": "empty file"}
    report = assemble_report([run_report(splits={"test": empty})], skills=empty.skills, n_levels=5)
    page = parse(report.to_html())
    assert "No video of test set “test” could be scored: 1 video left out." in page.text
    assert "NaN" not in page.text
    assert "nan" not in report.to_markdown()
    assert EvaluationReport.from_json(report.to_json()).to_json() == report.to_json()


def test_one_foreign_skill_of_three_levels_is_reported(test_set, run_report, parse):
    matrix = test_set(skills=("backhand",), n_levels=3)
    report = assemble_report(
        [run_report(splits={"serves": matrix})], skills=("backhand",), n_levels=3
    )
    page = parse(report.to_html())
    assert report.main_split == "serves"
    assert len(page.with_attribute("data-count")) == 9
    assert "chance 33%" in page.text


def test_results_have_a_row_per_run_and_test_set(report):
    rows = report.results()
    assert len(rows) == 5
    assert rows[0].keys() == {"run", "features", "head", "split", *HIGHER_IS_BETTER}
    assert {row["features"] for row in rows} == {"motion", "videomae/tiny"}


def test_runs_of_equal_name_stay_apart(test_set, run_report):
    matrix = test_set()
    runs = [run_report("run", splits={"test": matrix}) for _ in range(3)]
    report = assemble_report(runs, skills=matrix.skills, n_levels=5)
    assert [run.description.name for run in report.runs] == ["run", "run (2)", "run (3)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary": "nobody"}, "no run is called 'nobody'; there are motion-ridge"),
        ({"n_levels": 4}, "20 skills of 5 levels, the report has 20 of 4"),
        ({"skills": ("Steals",)}, "the report has 1 of 5"),
    ],
)
def test_reports_that_make_no_sense_are_refused(test_set, run_report, changes, message):
    matrix = test_set()
    run = run_report(splits={"test": matrix})
    with pytest.raises(UsageError, match=message):
        assemble_report([run], **({"skills": matrix.skills, "n_levels": 5} | changes))


def test_no_run_is_refused():
    with pytest.raises(UsageError, match="at least one run"):
        assemble_report([], skills=("Steals",), n_levels=5)


def test_write_leaves_page_and_twins(report, tmp_path):
    report.write(tmp_path / "new" / "report.html")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    assert EvaluationReport.from_json((tmp_path / "new" / "report.json").read_text()) == report


def test_markdown_has_the_numbers(report):
    text = report.to_markdown()
    scores = report.primary_run.splits["test"].metrics
    assert f"{scores['accuracy'].mean * 100:.1f}%" in text
    assert f"{scores['mae'].mean:.2f}" in text
    assert all(name in text for name in report.skills)


@pytest.fixture(scope="module")
def full(test_set, run_report, fake_run):
    """Two runs of one test set with slices, published scores, lost videos and a comparison."""
    from basket.evaluate.answers import answers_of
    from basket.evaluate.compare import compare_answers

    matrices = [test_set(seed=1, n=90), test_set(seed=1, n=90, signal=6)]
    matrices[0].left_out = {"18-19/NBA/901_18_19.mp4": "no video stream"}
    runs = []
    for name, matrix in zip(("a", "b"), matrices, strict=True):
        settings = {
            "lost": np.full((3, 20), 4),
            "references": PUBLISHED,
            "meta": {"gender": dict.fromkeys(matrix.ids[:40], "women")},
        }
        runs.append(run_report(name, splits={"test": matrix}, **settings))
    answers = [[answers_of(fake_run(matrix.skills), matrix)] for matrix in matrices]
    compared = compare_answers(*answers, names=("a", "b"), n_replicates=100)
    return assemble_report(runs, skills=matrices[0].skills, n_levels=5, comparisons=[compared])


def test_the_full_report_survives_json(full):
    again = EvaluationReport.from_json(full.to_json())
    assert again == full
    assert again.to_html() == full.to_html()


def test_every_further_number_on_the_page_is_the_one_in_the_json(full, parse):
    html = full.to_html()
    page, document = parse(html), json.loads(full.to_json())
    assert external_references(html, page) == []
    scores = document["runs"][0]["splits"]["test"]
    slices = {f"{part['column']}={part['value']}": part for part in scores["slices"]}
    cells = page.with_attribute("data-slice")
    assert len(cells) == 2 * 3
    for cell in cells:
        found = slices[cell["data-slice"]]["metrics"][cell["data-slice-metric"]]
        assert float(cell["data-value"]) == found["value"]
    bins = [(c["threshold"], *part) for c in scores["calibration"] for part in c["bins"]]
    shown = page.with_attribute("data-calibration")
    assert [
        (
            int(c["data-calibration"]),
            *(float(c[f"data-{k}"]) for k in ("promised", "found", "cells")),
        )
        for c in shown
    ] == bins
    groups = page.with_attribute("data-group")
    assert len(groups) == len(HIGHER_IS_BETTER) * 5
    worst = [cell["data-worst"] for cell in page.with_attribute("data-worst")]
    assert [float(text) for text in worst] == [
        scores["metrics"][name]["worst_mean"] for name in ("accuracy", "mae", "qwk")
    ]
    differences = document["comparisons"][0]["metrics"]
    cells = page.with_attribute("data-compared")
    assert len(cells) == 21 * 3
    for name in ("accuracy", "mae", "qwk"):
        values = [c["data-value"] for c in cells if c["data-compared-metric"] == name]
        expected = [differences[name]["mean"], *differences[name]["per_skill"]]
        assert [float(v) for v in values] == [one["first"] - one["second"] for one in expected]


def test_published_scores_are_named_with_their_source(full, parse):
    page = parse(full.to_html())
    shown = page.with_attribute("data-reference")
    assert [float(one["data-value"]) for one in shown] == [0.2, 0.285, 0.72]
    assert page.text.count("arXiv 2503.20781") >= 2
    assert "Published mean accuracies" in full.to_markdown()


def test_the_summary_says_what_can_be_told_apart(full):
    text = full.to_markdown()
    assert "b is better than a (test)" in text
    assert "of 20 skills differ" in text
    assert "answered with the farthest level" in text


def test_no_published_scores_elsewhere(report):
    assert "human experts" not in report.to_html()


def luminance(colour):
    """Relative luminance of ``#rrggbb`` (WCAG 2.1)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    """By the 4.5 to 1 that WCAG asks of small print."""
    css = (resources.files("basket.evaluate") / "templates/theme.css.j2").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in css.split("@media", 1)
    )
    colours = light if scheme == "light" else light | dark
    pairs = [
        *((text, ground) for text in ("ink", "soft", "accent") for ground in ("paper", "card")),
        ("bar-ink", "card"),
        ("warn-ink", "warn"),
        *((f"s{step}-ink", f"s{step}") for step in range(1, 6)),
    ]
    for text, ground in pairs:
        darker, lighter = sorted(luminance(colours[name]) for name in (text, ground))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)
