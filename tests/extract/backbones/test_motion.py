"""The descriptor without weights: what it sees, what it must not see."""

import hashlib

import numpy as np
import pytest

from basket.errors import UsageError
from basket.extract.backbones import load_backbone
from basket.extract.backbones.motion import DIRECTIONS, Motion


@pytest.fixture(scope="module")
def motion():
    return Motion(streams=("pooled", "colour"))


def scroll(dx, dy, seed=0):
    """A smooth picture that moves by (dx, dy) pixels a frame."""
    y, x = np.mgrid[0:72, 0:128].astype(float)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    frames = [
        np.stack([127 + 100 * np.sin((x - t * dx) / 9 + (y - t * dy) / 7 + p) for p in phase], -1)
        for t in range(16)
    ]
    return np.stack(frames).astype(np.uint8)


def bar(dx, dy):
    """A bright square on black, moving by (dx, dy) pixels a frame from the middle."""
    clip = np.zeros((16, 72, 128, 3), dtype=np.uint8)
    for t in range(16):
        top, left = 30 + t * dy, 58 + t * dx
        clip[t, top : top + 10, left : left + 10] = 255
    return clip


def columns(motion, clip, prefix):
    row = motion.embed(clip[None])["pooled"][0]
    return {
        name: value
        for name, value in zip(motion.spec.columns["pooled"], row, strict=True)
        if name.startswith(prefix)
    }


def total_by_direction(motion, clip):
    shares = columns(motion, clip, "direction.third")
    return {
        way: sum(value**2 for name, value in shares.items() if name.endswith(f".{way}"))
        for way in DIRECTIONS
    }


def test_columns_are_named_and_the_whole_frame_is_seen(motion):
    spec = motion.spec
    assert spec.streams == {"pooled": 459, "colour": 36}
    assert spec.columns["pooled"][-36:] == spec.columns["colour"]
    assert spec.fixed_geometry and spec.geometry.crop == "squash"
    assert spec.weights_sha256 == "" and not spec.random_weights


def test_a_still_clip_has_no_motion(motion):
    clip = np.repeat(scroll(0, 0)[:1], 16, axis=0)
    assert set(columns(motion, clip, "energy").values()) == {0.0}
    assert set(columns(motion, clip, "direction").values()) == {0.0}
    assert max(columns(motion, clip, "edge").values()) > 0.1


def test_compression_noise_is_no_motion(motion):
    clip = np.repeat(scroll(0, 0)[:1], 16, axis=0).astype(int)
    noise = np.random.default_rng(0).integers(-2, 3, clip.shape)
    noisy = np.clip(clip + noise, 0, 255).astype(np.uint8)
    assert max(columns(motion, noisy, "energy").values()) == 0.0


@pytest.mark.parametrize(
    ("step", "way"),
    [
        ((3, 0), "right"),
        ((-3, 0), "left"),
        ((0, 2), "down"),
        ((0, -2), "up"),
    ],
)
def test_the_direction_of_motion_is_told(motion, step, way):
    found = total_by_direction(motion, bar(*step))
    assert max(found, key=found.get) == way


def test_mirroring_the_clip_mirrors_the_directions(motion):
    clip = scroll(2, 1)
    here = total_by_direction(motion, clip)
    mirrored = total_by_direction(motion, clip[:, :, ::-1])
    for way in DIRECTIONS:
        swapped = way.replace("right", "?").replace("left", "right").replace("?", "left")
        assert mirrored[swapped] == pytest.approx(here[way], rel=0.05, abs=1e-4)
    assert here != mirrored


def test_energy_is_where_and_when_things_move(motion):
    clip = np.zeros((16, 72, 128, 3), dtype=np.uint8)
    clip[12:, 2:10, 2:14] = 255  # one change, top left, in the last third
    energy = columns(motion, clip, "energy")
    assert energy["energy.max.r0c0"] > 0.5
    assert energy["energy.third2.r0c0"] > 0 == energy["energy.third0.r0c0"]
    assert energy["energy.step11"] > 0 == energy["energy.step10"]
    assert energy["energy.mean.r5c7"] == 0


def test_the_colour_stream_ignores_motion_and_order(motion):
    clip = scroll(3, 1)
    shuffled = clip[np.random.default_rng(0).permutation(16)]
    one, other = motion.embed(clip[None]), motion.embed(shuffled[None])
    np.testing.assert_array_equal(one["colour"], other["colour"])
    assert (one["pooled"] != other["pooled"]).any()


def test_colours_are_means_of_coarse_cells(motion):
    clip = np.zeros((16, 72, 128, 3), dtype=np.uint8)
    clip[:, :24, 32:64] = (255, 51, 0)
    row = motion.embed(clip[None])["colour"][0]
    expected = np.zeros((3, 4, 3))
    expected[0, 1] = (1, 0.2, 0)
    np.testing.assert_allclose(row, expected.ravel(), atol=1e-6)


def test_the_largest_possible_changes_stay_within_one(motion):
    flicker = np.zeros((16, 72, 128, 3), dtype=np.uint8)
    flicker[::2] = 255
    checks = flicker.copy()
    checks[:, ::2, ::3] = 255 - checks[:, ::2, ::3]
    noise = np.random.default_rng(0).integers(0, 2, flicker.shape, dtype=np.uint8) * 255
    values = motion.embed(np.stack([flicker, checks, noise]))["pooled"]
    assert values.min() >= 0 and values.max() <= 1
    assert values.max() > 0.99


def test_numbers_are_the_same_as_ever(motion):
    """Whole-number counting: these bits hold on every machine; a change needs a new VERSION."""
    picture = np.random.default_rng(0).integers(0, 256, (72, 192, 3), dtype=np.uint8)
    clip = np.stack([picture[:, 3 * t : 3 * t + 128] for t in range(16)])
    row = motion.embed(clip[None])["pooled"][0]
    assert hashlib.sha256(row.astype("<f4").tobytes()).hexdigest()[:16] == "664857bf282e6266"


def test_streams_can_be_chosen():
    assert list(Motion(streams=("colour",)).spec.streams) == ["colour"]
    with pytest.raises(UsageError, match="layers:-1"):
        load_backbone("motion", streams=("layers:-1",))
    with pytest.raises(UsageError, match="none"):
        load_backbone("motion", streams=())


@pytest.mark.parametrize("option", ["weights", "revision"])
def test_weights_for_motion_are_a_mistake(option):
    with pytest.raises(UsageError, match=f"leave out --{option}"):
        load_backbone("motion", **{option: "somewhere/else"})


def test_device_and_precision_do_not_apply():
    assert load_backbone("motion", device="cuda", precision="bf16").spec.family == "motion"


def test_the_palette_knows_colours_but_no_places_and_no_times():
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (1, 16, 72, 128, 3)).astype(np.uint8)
    shuffled = rng.permutation(clip.reshape(-1, 3)).reshape(clip.shape)
    motion = load_backbone("motion", streams=("palette",))
    palette = motion.embed(clip)["palette"]
    assert palette.shape == (1, 64)
    assert palette.sum() == pytest.approx(1.0)
    assert np.array_equal(palette, motion.embed(shuffled)["palette"])
    assert not np.array_equal(palette, motion.embed(255 - clip // 2)["palette"])
