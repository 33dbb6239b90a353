"""Segment arithmetic against hand-written tables, and its invariants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basket.errors import UsageError
from basket.extract.segments import DEFAULT_WINDOW_S, Segment, SegmentPlan, frame_times

PLANS = st.builds(
    SegmentPlan,
    count=st.none() | st.integers(1, 40),
    window_s=st.floats(0.05, 30),
)


@pytest.mark.parametrize(
    ("duration_s", "starts"),
    [
        (0.0, []),
        (0.5, [0.0]),
        (2.0, [0.0]),
        (2.9, [0.0]),  # the tail is shorter than half a window
        (3.0, [0.0, 2.0]),  # exactly half a window is kept
        (4.0, [0.0, 2.0]),
        (7.1, [0.0, 2.0, 4.0, 6.0]),
    ],
)
def test_dense(duration_s, starts):
    plan = SegmentPlan(window_s=2.0)
    assert [segment.start_s for segment in plan.segments(duration_s)] == starts


@pytest.mark.parametrize(
    ("duration_s", "starts"),
    [
        (1.0, [0.0, 0.0, 0.0]),
        (2.0, [0.0, 0.0, 0.0]),
        (6.0, [0.0, 2.0, 4.0]),
        (3.0, [0.0, 0.5, 1.0]),
    ],
)
def test_uniform(duration_s, starts):
    plan = SegmentPlan(count=3, window_s=2.0)
    assert [segment.start_s for segment in plan.segments(duration_s)] == starts


def starts(segments):
    return [segment.start_s for segment in segments]


@pytest.mark.parametrize(
    ("keyframes_s", "expected"),
    [
        ([0.0, 1.9, 4.5, 6.2], [0.0, 1.9, 4.5, 6.2]),
        ([0.0, 5.0], [0.0, 0.0, 5.0, 5.0]),  # neighbours may become the same segment
        ([0.0, 1.0, 3.0], [0.0, 1.0, 3.0, 3.0]),  # the earlier of two as near
        ([0.0], [0.0, 0.0, 0.0, 0.0]),
        ([], [0.0, 0.0, 0.0, 0.0]),
        ([0.0, 7.5], [0.0, 0.0, 0.0, 0.0]),  # less than half a window would be left
        ([0.0, 7.0], [0.0, 0.0, 7.0, 7.0]),
    ],
)
def test_aligned_starts_are_the_nearest_key_frames(keyframes_s, expected):
    plan = SegmentPlan(window_s=2.0, align="keyframe")
    segments = plan.segments(8.0, keyframes_s=keyframes_s)
    assert starts(segments) == expected
    assert all(segment.end_s == segment.start_s + 2.0 for segment in segments)


@given(PLANS, st.floats(0.01, 2000), st.lists(st.floats(0.01, 2000), max_size=50))
def test_alignment_keeps_number_and_order(plan, duration_s, keyframes_s):
    keyframes_s = np.array([0.0, *sorted(keyframes_s)])
    aligned = SegmentPlan(plan.count, plan.window_s, align="keyframe")
    moved = np.array(starts(aligned.segments(duration_s, keyframes_s=keyframes_s)))
    planned = plan.planned_starts_s(duration_s)
    assert len(moved) == len(planned)
    assert (np.diff(moved) >= 0).all()
    assert np.isin(moved, keyframes_s).all()
    usable = keyframes_s[keyframes_s <= max(0.0, duration_s - plan.window_s / 2)]
    nearest = np.abs(planned[:, None] - usable).min(axis=1)
    assert np.abs(planned - moved) == pytest.approx(nearest)


def test_an_aligned_plan_does_without_key_frames_in_no_silence():
    with pytest.raises(ValueError, match="keyframes_s"):
        SegmentPlan(align="keyframe").segments(10.0)


def test_an_exact_plan_does_not_move():
    plan = SegmentPlan(window_s=2.0)
    assert plan.segments(7.1, keyframes_s=[0.0, 3.0]) == plan.segments(7.1)


def test_the_default_window_is_64_frames_at_30_fps():
    assert DEFAULT_WINDOW_S * 30 == 64
    assert len(SegmentPlan().segments(540.0)) == 253  # a nine-minute reel


@given(PLANS, st.floats(0.01, 2000))
def test_segments_start_inside_the_video_and_rise(plan, duration_s):
    segments = plan.segments(duration_s)
    starts = np.array([segment.start_s for segment in segments])
    assert len(segments) == (plan.count or len(segments)) >= 1
    assert (np.diff(starts) >= 0).all()
    assert starts[0] == 0
    assert starts[-1] < duration_s
    assert all(s.end_s - s.start_s == pytest.approx(plan.window_s) for s in segments)


@given(PLANS, st.sampled_from(["center", "squash", "three"]), st.sampled_from([(1,), (1, 2, 4)]))
def test_plans_survive_json(plan, crop, scales):
    plan = SegmentPlan(plan.count, plan.window_s, crop=crop, scales=scales)
    assert SegmentPlan.from_json(plan.to_json()) == plan


def test_different_plans_have_different_names():
    plans = [
        SegmentPlan(),
        SegmentPlan(count=32),
        SegmentPlan(window_s=4.0),
        SegmentPlan(crop="squash"),
        SegmentPlan(scales=(1, 2)),
        SegmentPlan(align="keyframe"),
    ]
    assert len({plan.name for plan in plans}) == len(plans)


def test_longer_windows_share_the_centre_and_are_shifted_to_fit():
    segment = Segment(4.0, 6.0)
    assert frame_times(segment, 2, duration_s=100, scale=2).tolist() == [3.0, 5.0]
    assert frame_times(Segment(0.0, 2.0), 2, duration_s=100, scale=2).tolist() == [0.0, 2.0]
    assert frame_times(Segment(8.0, 10.0), 2, duration_s=10, scale=2).tolist() == [6.0, 8.0]
    # A window longer than the video begins with it.
    assert frame_times(Segment(0.0, 2.0), 2, duration_s=3, scale=2).tolist() == [0.0, 2.0]


def test_backbones_with_different_frame_counts_see_the_same_span():
    sixteen = frame_times(Segment(2.0, 4.0), 16, duration_s=60)
    eight = frame_times(Segment(2.0, 4.0), 8, duration_s=60)
    assert np.array_equal(sixteen[::2], eight)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"window_s": 0.0},
        {"window_s": float("nan")},
        {"scales": ()},
        {"scales": (1, 1)},
    ],
)
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(UsageError):
        SegmentPlan(**wrong)
