"""The simulated data set: layout, labels, resuming, and what may not leak into it."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from basket.dataset.skills import SKILLS
from basket.demo import court, roster
from basket.demo.court import DemoDataset, simulate_dataset
from basket.demo.reel import FPS
from basket.demo.scenery import HEIGHT_PX, WIDTH_PX
from basket.errors import UsageError

PLAYERS, SECONDS = 10, 5.0


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    root = tmp_path_factory.mktemp("demo")
    return simulate_dataset(root, players=PLAYERS, seconds=SECONDS, seed=3, workers=1)


def test_label_files_have_baskets_layout_and_header(demo: DemoDataset) -> None:
    assert set(demo.splits) == set(roster.SPLITS)
    for split, path in demo.splits.items():
        main = f"BASKET/{split}.csv" if split in ("train", "val", "test") else f"{split}/test.csv"
        assert path == demo.root / "BASKET_Labels" / main
        header, *body = rows(path)
        assert header == ["path", *(skill.name for skill in SKILLS)]
        assert body
        for name, *levels in body:
            assert len(levels) == len(SKILLS)
            assert {int(level) for level in levels} <= set(range(5))
            season, _, file = name.split("/")
            assert file.endswith(f"_{season.replace('-', '_')}.mp4")
            assert (demo.root / name).is_file()


def test_every_reel_is_labelled_once_and_counted(demo: DemoDataset) -> None:
    labelled = [row[0] for path in demo.splits.values() for row in rows(path)[1:]]
    filmed = [str(path.relative_to(demo.root)) for path in demo.root.rglob("*.mp4")]
    assert sorted(labelled) == sorted(filmed)
    assert len(labelled) == demo.n_videos
    assert sum(len(rows(demo.splits[s])) - 1 for s in ("train", "val", "test")) == PLAYERS


def test_the_number_of_workers_changes_no_byte(demo: DemoDataset, tmp_path: Path) -> None:
    simulate_dataset(tmp_path, players=PLAYERS, seconds=SECONDS, seed=3, workers=2)
    assert digests(tmp_path) == digests(demo.root)


def test_another_seed_gives_other_labels_and_reels() -> None:
    seasons = [[reel.season.statistics for reel in played(PLAYERS, seed=seed)] for seed in (3, 4)]
    assert not np.allclose(seasons[0], seasons[1])


def test_resuming_films_only_what_is_missing_and_restores_the_same_bytes(
    demo: DemoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(demo.root)
    lost, *_ = sorted(demo.root.rglob("*.mp4"))
    lost.unlink()
    demo.splits["val"].unlink()
    filmed: list[Path] = []

    def film(job: court.ReelJob) -> Path:
        filmed.append(job.path)
        return court_render_reel(job)

    court_render_reel = court.render_reel
    monkeypatch.setattr(court, "render_reel", film)
    progress: list[tuple[int, int]] = []
    simulate_dataset(
        demo.root,
        players=PLAYERS,
        seconds=SECONDS,
        seed=3,
        workers=1,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert filmed == [lost]
    assert digests(demo.root) == before
    assert progress == [(demo.n_videos - 1, demo.n_videos), (demo.n_videos, demo.n_videos)]


@pytest.mark.parametrize(
    ("change", "named"), [({"seed": 4}, "seed 3"), ({"players": 11}, "players 10")]
)
def test_another_configuration_in_the_same_folder_is_refused(
    demo: DemoDataset, change: dict[str, int], named: str
) -> None:
    before = digests(demo.root)
    asked = {"players": PLAYERS, "seed": 3, **change}
    with pytest.raises(UsageError, match=named):
        simulate_dataset(demo.root, seconds=SECONDS, workers=1, **asked)
    assert digests(demo.root) == before


def test_impossible_requests_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    with pytest.raises(UsageError, match="Too few players to split: 9"):
        simulate_dataset(root, players=9)
    with pytest.raises(UsageError, match="5 seconds"):
        simulate_dataset(root, seconds=float("nan"))
    with pytest.raises(UsageError, match="workers"):
        simulate_dataset(root, workers=0)
    assert not root.exists()


def test_reels_are_h264_of_the_promised_length(demo: DemoDataset) -> None:
    for path in sorted(demo.root.rglob("*.mp4"))[:3]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert (stream.width, stream.height) == (WIDTH_PX, HEIGHT_PX)
            assert stream.average_rate == FPS
            times = [frame.time for frame in container.decode(stream)]
        assert len(times) == round(SECONDS * FPS)
        assert np.allclose(np.diff(times), 1 / FPS)


def test_moments_tile_every_reel(demo: DemoDataset) -> None:
    known = json.loads(demo.moments.read_text())
    labelled = [row[0] for path in demo.splits.values() for row in rows(path)[1:]]
    assert sorted(known) == sorted(labelled)
    for moments in known.values():
        edges = [(moment["start_s"], moment["end_s"]) for moment in moments]
        assert edges[0][0] == 0
        assert edges[-1][1] == SECONDS
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
        assert all(a < b for a, b in edges)
        for moment in moments:
            assert moment["skills"]
            assert set(moment["skills"]) <= {skill.name for skill in SKILLS}
            assert set(moment["skills"].values()) <= {-1, 1}


def played(players: int, *, seed: int = 0) -> list[court._Reel]:
    people, films, _ = np.random.SeedSequence(seed).spawn(3)
    return court._play(
        Path("nowhere"), roster.deal(players), seconds=30.0, people=people, films=films
    )


def test_some_players_return_for_a_second_season() -> None:
    reels = played(60)
    by_player: dict[int, list[court._Reel]] = {}
    for reel in reels:
        by_player.setdefault(reel.slot.player, []).append(reel)
    twice = [pair for pair in by_player.values() if len(pair) == 2]
    assert twice
    for first, second in twice:
        assert {first.slot.season, second.slot.season} == set(roster.SEASONS)
        assert first.slot.league == second.slot.league
        assert not np.array_equal(first.season.statistics, second.season.statistics)


def test_training_levels_are_balanced_within_each_league() -> None:
    reels = played(240)
    cuts = court._cuts(reels, seed=np.random.SeedSequence(1), seconds=30.0)
    for league in roster.LEAGUES:
        levels = np.array(
            [
                court.leagues.levels(reel.season.statistics, cuts[league])
                for reel in reels
                if (reel.slot.split, reel.slot.league) == ("train", league)
            ]
        )
        shares = np.stack([(levels == k).mean(axis=0) for k in range(5)])
        assert shares.min() > 0.08
        assert shares.max() < 0.34
        assert np.allclose(shares.mean(axis=1), 0.2, atol=0.04)


def test_a_league_without_training_players_is_cut_at_an_unfilmed_cohort() -> None:
    reels = played(240)
    cuts = court._cuts(reels, seed=np.random.SeedSequence(1), seconds=30.0)
    levels = np.array(
        [
            court.leagues.levels(reel.season.statistics, cuts[roster.UNSEEN_LEAGUE])
            for reel in reels
            if reel.slot.league == roster.UNSEEN_LEAGUE
        ]
    )
    shares = np.array([(levels == k).mean() for k in range(5)])
    assert shares.min() > 0.1


def test_every_reel_shows_as_much_of_each_basket() -> None:
    shares = {
        sum(p.event.kind in court.leagues.OFFENCE for p in reel.job.possessions)
        for reel in played(30)
    }
    assert len(shares) == 1
    assert {sum(p.frames for p in reel.job.possessions) for reel in played(30)} == {30 * FPS}


def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from basket.demo.court import simulate_dataset\n"
        "if __name__ == '__main__':\n"
        "    simulate_dataset(Path(sys.argv[1]), players=40, seconds=20.0, workers=2,\n"
        "                     on_progress=lambda done, total: print(done, flush=True))\n"
    )
    script = tmp_path / "film.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "d")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() in (b"", b"0"):
        assert process.poll() is None
    workers = children_of(process.pid)
    assert workers
    process.kill()
    process.wait()
    process.stdout.close()
    deadline_s = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline_s, "a worker outlives its parent"
        time.sleep(0.1)


def children_of(pid):
    """Process ids of the children; Linux only, as the test is."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        pytest.skip("needs /proc to look at processes")
    return [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
    ]
