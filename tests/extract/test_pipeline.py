"""The extraction loop: every video accounted for, resumed exactly, equal to direct computation."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from basket.cache import open_cache, overview_of
from basket.errors import Interrupted, UsageError
from basket.extract.backbones import load_backbone
from basket.extract.backbones.base import BackboneSpec, FrameGeometry
from basket.extract.clips import planned_shapes, read_clips
from basket.extract.decode.pyav import open_pyav
from basket.extract.decoding import Source
from basket.extract.pipeline import extract
from basket.extract.planning import feature_set_spec
from basket.extract.segments import SegmentPlan
from basket.extract.sources import find_sources


@pytest.fixture(scope="module")
def reels(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("reels")
    for index in range(5):
        make_video(folder / f"{index}.mp4", frames=30 + 12 * index)
    (folder / "broken.mp4").write_bytes((folder / "4.mp4").read_bytes()[:700])
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def motion():
    return load_backbone("motion")


def sources(folder, *names):
    return [Source(name, folder / name) for name in names]


@pytest.fixture(autouse=True)
def odd_decoders_can_be_imported(monkeypatch):
    """In this process and, as spawned ones inherit the path, in the workers."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


GOOD = [f"{index}.mp4" for index in range(5)]
PLAN = SegmentPlan(window_s=1.5)


class Counting:
    """A backbone that returns the mean colour of a clip and remembers how often it was called."""

    def __init__(self, value: float = 1.0, frames: int = 4) -> None:
        self.clips = 0
        self.value = value
        self.spec = BackboneSpec(
            family="counting",
            name="counting",
            frames=frames,
            geometry=FrameGeometry(16, 16, "center", shorter_side_px=16),
            streams={"pooled": 3},
            preprocessing={"value": value},
        )

    def embed(self, clips):
        self.clips += len(clips)
        means = clips.astype(np.float64).mean(axis=(1, 2, 3)) / 255
        return {"pooled": (means * self.value).astype(np.float32)}


class Ahead(Counting):
    """On a device: its first batch is done once the second has been handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.second = threading.Event()
        self.overlapped = []

    def begin(self, clips):
        self.begun += 1
        if self.begun == 2:
            self.second.set()
        return SimpleNamespace(result=lambda: self._result(clips))

    def _result(self, clips):
        self.overlapped.append(self.second.wait(10))
        return self.embed(clips)


def test_a_gpu_is_handed_a_batch_while_it_computes_the_one_before(tmp_path, reels):
    ahead = Ahead()
    cache = open_cache(tmp_path / "cache", create=True)
    what = {"plan": PLAN, "cache": cache, "batch_size": 1, "device": "cuda"}
    summary = extract(sources(reels, "3.mp4", "4.mp4"), backbones=[ahead], **what)
    assert (summary.done, ahead.clips) == (2, summary.clips)
    assert all(ahead.overlapped)


def test_every_video_has_a_row_with_its_status_and_reason(tmp_path, reels, motion):
    names = [*GOOD, "broken.mp4", "empty.mp4", "none.mp4"]
    summary = extract(
        sources(reels, *names),
        backbones=[motion],
        plan=PLAN,
        cache=open_cache(tmp_path / "c", create=True),
    )
    features = open_cache(tmp_path / "c")[summary.feature_sets["motion"]]
    assert set(features.video_ids) == set(GOOD)
    assert features.failed == summary.failed
    assert "empty" in summary.failed["empty.mp4"]
    assert "no such file" in summary.failed["none.mp4"]
    assert "not a readable video" in summary.failed["broken.mp4"]
    assert (summary.done, summary.already_there) == (5, 0)
    totals = summary.to_json()
    assert totals["seconds"][totals["bound_by"]] == max(totals["seconds"].values()) > 0
    assert totals["clips_per_s"] == summary.clips / summary.elapsed_s > 0


def test_bad_files_leave_the_features_of_good_ones_alone(tmp_path, reels, motion):
    caches = [open_cache(tmp_path / name, create=True) for name in ("with", "without")]
    for cache, names in zip(caches, (["broken.mp4", *GOOD, "empty.mp4"], GOOD), strict=True):
        extract(sources(reels, *names), backbones=[motion], plan=PLAN, cache=cache)
    first, second = (cache["motion"] for cache in caches)
    for name in GOOD:
        for stream, values in first.read(name).features.items():
            assert np.array_equal(values, second.read(name).features[stream])


def test_features_are_the_backbone_on_the_clips_of_the_plan(tmp_path, reels, motion):
    cache = open_cache(tmp_path / "c", create=True)
    extract(sources(reels, "3.mp4"), backbones=[motion], plan=PLAN, cache=cache, batch_size=2)
    stored = cache["motion"].read("3.mp4")
    with open_pyav(reels / "3.mp4") as video:
        segments = PLAN.segments(video.info.duration_s)
        shapes = planned_shapes(motion.spec, PLAN)
        clips = sorted(read_clips(video, segments, shapes), key=lambda clip: clip.segment)
    direct = motion.embed(np.concatenate([clip.pixels for clip in clips]))["pooled"]
    assert np.array_equal(stored.features["pooled"], direct.astype(np.float16))
    assert stored.start_s.tolist() == [segment.start_s for segment in segments]
    assert stored.end_s - stored.start_s == pytest.approx(np.full(len(segments), 1.5))
    assert stored.frames_valid.tolist()[:-1] == [motion.spec.frames] * (len(segments) - 1)


def test_a_segment_without_a_good_frame_is_not_stored(tmp_path, make_video, motion):
    path = make_video(tmp_path / "a.ts", gop=10, options={"sc_threshold": "0"})
    with av.open(str(path)) as container:
        key = [each.pos for each in container.demux(video=0) if each.is_keyframe][1]
    content = path.read_bytes()
    path.write_bytes(content[: key + 188] + content[key + 2 * 188 :])  # no picture from 1 to 2 s
    cache = open_cache(tmp_path / "c", create=True)
    plan = SegmentPlan(window_s=0.6)
    summary = extract(sources(tmp_path, "a.ts"), backbones=[motion], plan=plan, cache=cache)
    stored = cache["motion"].read("a.ts")
    assert np.round(stored.start_s, 1).tolist() == [0.0, 0.6, 1.8, 2.4, 3.0, 3.6]
    assert len(stored.features["pooled"]) == 6
    frames = motion.spec.frames
    assert stored.frames_valid[[0, 3, 4]].tolist() == [frames] * 3
    assert stored.frames_valid[[1, 2]] / frames == pytest.approx(2 / 3, abs=1 / frames)
    note = "the pictures at 1.00-2.00 s are spoiled and not used: data are missing"
    assert summary.notes == overview_of(cache["motion"]).notes == {"a.ts": note}


def test_running_again_computes_nothing(tmp_path, reels):
    cache = open_cache(tmp_path / "c", create=True)
    first, second = Counting(), Counting()
    extract(sources(reels, *GOOD, "empty.mp4"), backbones=[first], plan=PLAN, cache=cache)
    again = extract(sources(reels, *GOOD, "empty.mp4"), backbones=[second], plan=PLAN, cache=cache)
    assert first.clips > 0
    assert second.clips == 0
    assert (again.done, again.already_there) == (0, 5)
    assert "failed before" in again.failed["empty.mp4"]
    assert again.to_json()["bound_by"] is None


def test_failed_videos_are_tried_again_when_asked(tmp_path, reels, make_video):
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"x" * 100)
    cache = open_cache(tmp_path / "c", create=True)
    arguments = {"backbones": [Counting()], "plan": PLAN, "cache": cache}
    extract(sources(folder, "a.mp4"), **arguments)
    extract(sources(folder, "a.mp4"), retry_failed=True, **arguments)
    assert cache["counting"].row("a.mp4").attempts == 2


def test_a_replaced_file_is_done_again(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", frames=20)
    cache = open_cache(tmp_path / "c", create=True)
    extract(sources(tmp_path, "a.mp4"), backbones=[Counting()], plan=PLAN, cache=cache)
    before = cache["counting"].read("a.mp4")
    make_video(path, frames=60)
    summary = extract(sources(tmp_path, "a.mp4"), backbones=[Counting()], plan=PLAN, cache=cache)
    after = cache["counting"].read("a.mp4")
    assert summary.done == 1
    assert after.n_segments > before.n_segments
    assert cache["counting"].video_ids == ("a.mp4",)
    assert "replace those of another file" in summary.notes["a.mp4"]
    again = extract(sources(tmp_path, "a.mp4"), backbones=[Counting()], plan=PLAN, cache=cache)
    assert (again.already_there, again.notes) == (1, {})


def test_links_to_nowhere_and_out_of_the_root_cost_one_video_each(tmp_path, reels):
    """An unmounted disk must not make its reels vanish, nor one stray link stop all others."""
    folder = tmp_path / "v"
    folder.mkdir()
    shutil.copy(reels / "0.mp4", folder / "good.mp4")
    (folder / "gone.mp4").symlink_to(folder / "unmounted" / "gone.mp4")
    (folder / "out.mp4").symlink_to(reels / "1.mp4")
    labels = tmp_path / "l.csv"
    labels.write_text("path,skill\ngood.mp4,1\ngone.mp4,2\nout.mp4,0\n")
    cache = open_cache(tmp_path / "c", create=True)
    listed = [find_sources([folder]), find_sources(labels=[labels], video_root=folder)]
    for found in listed:
        assert sorted(each.video_id for each in found) == ["gone.mp4", "good.mp4", "out.mp4"]
        summary = extract(found, backbones=[Counting()], plan=PLAN, cache=cache)
        assert "no such file" in summary.failed["gone.mp4"]
        assert "leads out of the video root" in summary.failed["out.mp4"]
        assert cache["counting"].video_ids == ("good.mp4",)


def test_what_has_no_weights_runs_on_the_cpu_wherever_networks_do(tmp_path, reels):
    class Network(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.spec = replace(self.spec, name="network", weights_sha256="0" * 64)

    cache = open_cache(tmp_path / "c", create=True)
    extract(
        sources(reels, "0.mp4"),
        backbones=[Counting(), Network()],
        plan=PLAN,
        cache=cache,
        provenance={"device": "cuda", "precision": "bf16"},
    )
    recorded = {name: cache[name].row("0.mp4").provenance for name in ("counting", "network")}
    assert [recorded["counting"][key] for key in ("device", "precision")] == ["cpu", "fp32"]
    assert [recorded["network"][key] for key in ("device", "precision")] == ["cuda", "bf16"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is text")
def test_a_file_whose_name_is_not_text_costs_itself_alone(tmp_path, reels):
    folder = tmp_path / "reels"
    folder.mkdir()
    (folder / "good.mp4").write_bytes((reels / "0.mp4").read_bytes())
    Path(os.fsdecode(os.fsencode(folder) + b"/Don\xe8i\xe6.mp4")).touch()
    cache = open_cache(tmp_path / "c", create=True)
    summary = extract(find_sources([folder]), backbones=[Counting()], plan=PLAN, cache=cache)
    assert summary.done == 1
    assert "not valid UTF-8" in summary.failed["Don%E8i%E6.mp4"]


def test_another_plan_or_another_identity_is_another_feature_set(tmp_path, reels):
    cache = open_cache(tmp_path / "c", create=True)
    for plan, backbone in [
        (PLAN, Counting()),
        (SegmentPlan(count=2), Counting()),
        (PLAN, Counting(value=0.5)),
    ]:
        extract(sources(reels, "0.mp4"), backbones=[backbone], plan=plan, cache=cache)
    assert len(cache.feature_sets) == 3


def test_several_backbones_share_one_pass_and_their_rows_align(tmp_path, reels, monkeypatch):
    log = tmp_path / "opened.txt"
    monkeypatch.setenv("BASKET_TEST_LOG", str(log))
    cache = open_cache(tmp_path / "c", create=True)
    four, eight = Counting(frames=4), Counting(frames=8)
    summary = extract(
        sources(reels, *GOOD),
        backbones=[four, eight],
        plan=PLAN,
        cache=cache,
        decoder="odd_decoders:open_logged",
    )
    assert sorted(log.read_text().split()) == GOOD
    first, second = (cache[name] for name in cache.feature_sets)
    assert summary.clips == four.clips + eight.clips
    for name in GOOD:
        assert np.array_equal(first.read(name).start_s, second.read(name).start_s)


def test_scales_and_crops_become_streams_and_averages(tmp_path, reels):
    cache = open_cache(tmp_path / "c", create=True)
    plan = SegmentPlan(window_s=1.5, scales=(1, 2), crop="three")
    extract(sources(reels, "4.mp4"), backbones=[Counting()], plan=plan, cache=cache)
    features = cache["counting"].read("4.mp4").features
    assert set(features) == {"pooled", "pooled@2"}
    assert not np.array_equal(features["pooled"], features["pooled@2"])
    spec = cache["counting"].spec
    assert spec.preprocessing["geometry"]["crop"] == "three"


@pytest.mark.parametrize("value", [1e6, 1e-8])
def test_features_beyond_half_precision_are_stored_in_single(tmp_path, reels, value):
    cache = open_cache(tmp_path / "c", create=True)
    what = {"plan": PLAN, "cache": cache}
    extract(sources(reels, "1.mp4"), backbones=[Counting()], **what)
    assert cache["counting"].dtype() is np.float16
    odd = Counting(value=value)
    odd.spec = Counting().spec
    summary = extract(sources(reels, "0.mp4"), backbones=[odd], **what)
    assert (summary.done, summary.failed) == (1, {})
    stored = cache["counting"].read("0.mp4").features["pooled"]
    assert stored.dtype == cache["counting"].dtype() == np.float32
    assert 0 < np.abs(stored).max() < 1.01 * value


def test_features_that_are_not_finite_fail_with_a_reason(tmp_path, reels):
    cache = open_cache(tmp_path / "c", create=True)
    nothing = Counting(value=float("nan"))
    summary = extract(sources(reels, "0.mp4"), backbones=[nothing], plan=PLAN, cache=cache)
    assert "is not finite" in summary.failed["0.mp4"]
    assert cache["counting"].video_ids == ()


def test_a_bug_in_a_backbone_is_not_taken_for_a_bad_video(tmp_path, reels):
    backbone = Counting()
    backbone.embed = lambda clips: 1 / 0
    cache = open_cache(tmp_path / "c", create=True)
    with pytest.raises(ZeroDivisionError):
        extract(sources(reels, "0.mp4"), backbones=[backbone], plan=PLAN, cache=cache)
    assert cache["counting"].failed == {}


def test_a_signal_commits_what_is_finished_and_the_rest_follows(tmp_path, reels):
    cache = open_cache(tmp_path / "c", create=True)

    class Stopping(Counting):
        def embed(self, clips):
            if self.clips > 6:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().embed(clips)

    with pytest.raises(Interrupted, match="run the same command again"):
        extract(
            sources(reels, *GOOD),
            backbones=[Stopping()],
            plan=PLAN,
            cache=cache,
            workers=1,
            batch_size=2,
        )
    kept = cache["counting"].video_ids
    assert 0 < len(kept) < 5
    summary = extract(sources(reels, *GOOD), backbones=[Counting()], plan=PLAN, cache=cache)
    assert summary.already_there == len(kept)
    assert set(cache["counting"].video_ids) == set(GOOD)


KILLED = """
import time
from pathlib import Path
from basket.cache import open_cache
from basket.extract import pipeline
from basket.extract.backbones import load_backbone
from basket.extract.decoding import Source
from basket.extract.segments import SegmentPlan

motion = load_backbone("motion")
class Slow:
    spec = motion.spec
    def embed(self, clips):
        time.sleep(0.02)
        return motion.embed(clips)
folder = Path({folder!r})
names = [f"{{i}}.mp4" for i in range(5)]
print("go", flush=True)
pipeline.extract([Source(n, folder / n) for n in names], backbones=[Slow()],
                 plan=SegmentPlan(window_s=1.5), cache=open_cache({cache!r}, create=True))
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.25])
def test_kill_9_loses_nothing_that_was_committed(tmp_path, reels, motion, delay_s):
    cache = str(tmp_path / "c")
    code = KILLED.format(folder=str(reels), cache=cache)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    process.wait()
    process.stdout.close()
    resumed = open_cache(cache, create=True)
    extract(sources(reels, *GOOD), backbones=[motion], plan=PLAN, cache=resumed)
    straight = open_cache(tmp_path / "straight", create=True)
    extract(sources(reels, *GOOD), backbones=[motion], plan=PLAN, cache=straight)
    assert resumed["motion"].video_ids == straight["motion"].video_ids == tuple(GOOD)
    for name in GOOD:
        ours, theirs = (cache["motion"].read(name) for cache in (resumed, straight))
        assert np.array_equal(ours.features["pooled"], theirs.features["pooled"])


def test_the_identity_is_what_changes_the_numbers(motion):
    spec = feature_set_spec(motion.spec, PLAN)
    assert spec.digest == feature_set_spec(motion.spec, PLAN).digest
    assert spec.digest != feature_set_spec(motion.spec, SegmentPlan()).digest
    assert spec.plan["window_s"] == 1.5
    assert spec.streams == motion.spec.streams


def test_models_that_are_one_and_the_same_are_refused(tmp_path, reels):
    cache = open_cache(tmp_path / "cache", create=True)
    with pytest.raises(UsageError, match=r"Two of the models \(counting, counting\) are one"):
        extract(sources(reels, "0.mp4"), backbones=[Counting(), Counting()], plan=PLAN, cache=cache)
    assert cache.feature_sets == ()


def test_two_checkpoints_of_one_name_are_both_in_the_summary(tmp_path, reels):
    cache = open_cache(tmp_path / "cache", create=True)
    summary = extract(
        sources(reels, "0.mp4"), backbones=[Counting(1.0), Counting(2.0)], plan=PLAN, cache=cache
    )
    assert sorted(summary.feature_sets.values()) == list(cache.feature_sets)
    assert summary.batch_sizes.keys() == summary.feature_sets.keys()


def test_which_of_several_gpus_it_was_is_no_mixture(tmp_path, reels):
    cache = open_cache(tmp_path / "cache", create=True)
    said = []
    for name, device in (("0.mp4", "cuda:0"), ("1.mp4", "cuda:3")):
        extract(
            sources(reels, name),
            backbones=[Counting()],
            plan=PLAN,
            cache=cache,
            device=device,
            say=said.append,
        )
    assert said == []


@pytest.mark.skipif(sys.platform == "win32", reason="no file there is called so")
@pytest.mark.parametrize(
    ("name", "row", "why"),
    [
        ("a\nb.mp4", "a%0Ab.mp4", "a control character"),
        ("a\\b.mp4", "a%5Cb.mp4", "a backslash"),
    ],
)
def test_a_file_whose_name_cannot_be_an_id_costs_itself_alone(tmp_path, reels, name, row, why):
    folder = tmp_path / "reels"
    folder.mkdir()
    for each in ("good.mp4", name):
        (folder / each).write_bytes((reels / "0.mp4").read_bytes())
    cache = open_cache(tmp_path / "c", create=True)
    summary = extract(find_sources([folder]), backbones=[Counting()], plan=PLAN, cache=cache)
    assert summary.done == 1
    assert why in summary.failed[row]


@pytest.mark.skipif(sys.platform == "win32", reason="no file there is called so")
def test_a_file_that_no_row_can_be_called_after_is_told_before_anything_is_decoded(tmp_path):
    (tmp_path / "C:a.mp4").touch()
    with pytest.raises(UsageError, match="cannot be the id of a video: it is an absolute path"):
        find_sources([tmp_path])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_before_the_weights_are_loaded_is_an_interruption(
    tmp_path, reels, monkeypatch, name
):
    (tmp_path / "warned.py").write_text(
        "import os, signal, time\n"
        "def load(*_args, **_options):\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    command = [sys.executable, "-m", "basket", "extract", str(reels / "0.mp4")]
    command += ["--model", "warned:load", "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 75, done.stderr
    assert "run the same command again" in done.stderr


def test_videos_that_are_made_again_for_damage_are_told(tmp_path, reels):
    cache = open_cache(tmp_path / "cache", create=True)
    said = []
    what = {"backbones": [Counting()], "plan": PLAN, "cache": cache, "say": said.append}
    extract(sources(reels, "0.mp4"), **what)
    (shard,) = (tmp_path / "cache").glob("*/shards/*.h5")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert said == []
    assert extract(sources(reels, "0.mp4"), **what).done == 1
    (sentence,) = said
    assert "has damaged shards (1): their videos are made again" in sentence
    # Nothing of the damage is missed any more: it is no news.
    extract(sources(reels, "0.mp4", "1.mp4"), **what)
    assert len(said) == 1


def test_a_file_that_must_not_be_opened_is_not_hashed_either(tmp_path, reels, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "basket.extract.source_hash._hash_of_file", lambda path: hashed.append(path.name) or "0"
    )
    refused = Source("1.mp4", reels / "1.mp4", refused="it leads out of the video root")
    cache = open_cache(tmp_path / "cache", create=True)
    what = {"backbones": [Counting()], "plan": PLAN, "cache": cache, "hash_sources": True}
    extract([*sources(reels, "0.mp4"), refused], **what)
    assert hashed == ["0.mp4"]


def test_features_that_could_not_be_stored_replace_none(tmp_path, reels):
    video = tmp_path / "a.mp4"
    shutil.copy(reels / "0.mp4", video)
    cache = open_cache(tmp_path / "cache", create=True)
    what = {"plan": PLAN, "cache": cache}
    extract([Source("a.mp4", video)], backbones=[Counting()], **what)
    os.utime(video, (1, 1))
    infinite = Counting()
    infinite.value = np.inf
    summary = extract([Source("a.mp4", video)], backbones=[infinite], **what)
    assert "not finite" in summary.failed["a.mp4"]
    assert summary.notes == {}
