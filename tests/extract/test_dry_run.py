"""An estimate looks at the real files, and counts each of them once."""

import av
import numpy as np
import pytest

from basket import workflows
from basket.errors import NotThereError
from basket.extract.backbones import BACKBONES, load_backbone
from basket.extract.backbones.base import BackboneSpec, FrameGeometry
from basket.extract.decode import DECODERS
from basket.extract.decoding import Source
from basket.extract.dry_run import estimate
from basket.extract.planning import plan_jobs
from basket.extract.segments import SegmentPlan


def estimated(sources, backbone, folder, *, decoder="pyav"):
    plan = SegmentPlan(window_s=1.0)
    jobs, _ = plan_jobs(sources, [backbone], [None], plan=plan, retry_failed=False)
    return estimate(
        jobs,
        already_there=0,
        failed_before=0,
        backbones=[backbone],
        plan=plan,
        cache=folder / "cache",
        decoder=decoder,
        workers=1,
        device="cpu",
    )


def test_a_file_that_opens_but_does_not_decode_is_one_unreadable_video(tmp_path, make_video):
    whole = make_video(tmp_path / "whole.mp4", frames=40)
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        for packet in list(container.demux(video=0))[5:30]:
            content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    (tmp_path / "damaged.mp4").write_bytes(content)
    sources = [Source(name, tmp_path / name) for name in ("damaged.mp4", "whole.mp4")]
    cost = estimated(sources, load_backbone("motion"), tmp_path)
    assert (cost.videos, cost.sampled, cost.unreadable) == (2, 2, 1)
    assert cost.segments == 4


def test_what_the_run_would_refuse_or_survive_is_unreadable(tmp_path, make_video, monkeypatch):
    motion, opened = load_backbone("motion"), []

    def open_strangely(path, *, threads=1):
        opened.append(path.name)
        raise ZeroDivisionError("a bug of the decoder")

    monkeypatch.setattr(DECODERS, "_third_parties", {"strange": "no.matter:what"})
    monkeypatch.setattr(type(DECODERS), "__getitem__", lambda *_: open_strangely)
    make_video(tmp_path / "a.mp4", frames=10)
    outside = Source("b.mp4", tmp_path / "b.mp4", refused="it leads out of the video root")
    sources = [Source("a.mp4", tmp_path / "a.mp4"), outside]
    cost = estimated(sources, motion, tmp_path, decoder="strange")
    assert (cost.sampled, cost.unreadable) == (2, 2)
    assert opened == ["a.mp4"]


class Brightness:
    """A second backbone, of other clips than motion's."""

    def __init__(self, checkpoint=None, **_options):
        self.spec = BackboneSpec(
            family="brightness",
            name="brightness",
            frames=4,
            geometry=FrameGeometry(16, 16, crop="squash"),
            streams={"pooled": 3},
        )

    def embed(self, clips):
        return {"pooled": clips.mean(axis=(1, 2, 3), dtype=np.float32)}


def test_a_dry_run_counts_what_the_run_would_do_when_one_of_two_models_is_done(
    tmp_path, make_video, monkeypatch
):
    monkeypatch.setattr(BACKBONES, "_third_parties", {"brightness": f"{__name__}:Brightness"})
    folder = tmp_path / "videos"
    folder.mkdir()
    make_video(folder / "a.mp4", frames=40)
    (folder / "empty.mp4").touch()
    what = {"plan": SegmentPlan(window_s=1.0), "cache": tmp_path / "cache"}
    both_models = ["motion", "brightness"]
    workflows.extract_features([folder], models=["motion"], **what)
    alone = workflows.estimate_extraction([folder], models=["motion"], **what)
    assert (alone.videos, alone.already_there, alone.failed_before, alone.clips) == (0, 1, 1, 0)
    both = workflows.estimate_extraction([folder], models=both_models, **what)
    done = workflows.extract_features([folder], models=both_models, **what)
    assert both.videos == 2
    assert both.clips == done.clips > 0
    assert both.frames == 4 * done.clips


def test_a_dry_run_refuses_the_places_that_the_run_would_refuse(tmp_path, make_video):
    video = make_video(tmp_path / "a.mp4", frames=10)
    for place, said in ((tmp_path, "is not a cache and not empty"), (video, "is not a folder")):
        for call in (workflows.extract_features, workflows.estimate_extraction):
            with pytest.raises(NotThereError, match=said):
                call([video], models=["motion"], cache=place)
