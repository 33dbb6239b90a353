"""An estimate looks at the real files, and counts each of them once."""

import av

from basket.extract.backbones import load_backbone
from basket.extract.decoding import Source
from basket.extract.dry_run import estimate
from basket.extract.planning import plan_jobs
from basket.extract.segments import SegmentPlan


def test_a_file_that_opens_but_does_not_decode_is_one_unreadable_video(tmp_path, make_video):
    whole = make_video(tmp_path / "whole.mp4", frames=40)
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        for packet in list(container.demux(video=0))[5:30]:
            content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    (tmp_path / "damaged.mp4").write_bytes(content)
    sources = [Source(name, tmp_path / name) for name in ("damaged.mp4", "whole.mp4")]
    motion, plan = load_backbone("motion"), SegmentPlan(window_s=1.0)
    jobs, _ = plan_jobs(sources, [motion], [], plan=plan, retry_failed=False)
    cost = estimate(
        jobs,
        already_there=0,
        backbones=[motion],
        plan=plan,
        cache=tmp_path / "cache",
        decoder="pyav",
        workers=1,
        device="cpu",
    )
    assert (cost.videos, cost.sampled, cost.unreadable) == (2, 2, 1)
    assert cost.segments == 4
