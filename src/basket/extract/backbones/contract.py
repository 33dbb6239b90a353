"""What every backbone must keep, as a test class for whoever adds one.

Needs no test framework at import; pytest collects the methods of a subclass::

    class TestMine(BackboneContract):
        def make_backbone(self):
            return load_backbone("mine", weights="tests/checkpoints/mine")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.extract.backbones.base import Backbone, Clips
from basket.extract.backbones.batching import embed_in_batches

Matrix = npt.NDArray[np.float32]


class BackboneContract:
    """Subclass it and give :meth:`make_backbone`.

    Attributes
    ----------
    tolerance : float
        By how much a value may differ between batches; 0 means bit-identical rows.
    clips_per_test : int
        Random clips that most tests embed.
    """

    tolerance: float = 1e-5
    clips_per_test: int = 5

    def make_backbone(self) -> Backbone:
        """Load the backbone under test; called once per test."""
        raise NotImplementedError

    def make_clips(self, backbone: Backbone) -> Clips:
        """Random clips in its geometry, uint8 ``(clips_per_test, T, H, W, 3)``."""
        spec = backbone.spec
        sides = (spec.geometry.height_px, spec.geometry.width_px)
        shape = (self.clips_per_test, spec.frames, *sides, 3)
        return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)

    def assert_same(self, one: Mapping[str, Matrix], other: Mapping[str, Matrix]) -> None:
        """Equal streams, up to ``tolerance``."""
        assert set(one) == set(other), f"streams {sorted(one)} and {sorted(other)}"
        for name, matrix in one.items():
            np.testing.assert_allclose(
                matrix, other[name], rtol=0, atol=self.tolerance, err_msg=f"stream {name}"
            )

    def test_it_follows_the_protocol_and_its_values_fit_into_json(self) -> None:
        """The specification is complete, and can be stored."""
        backbone = self.make_backbone()
        assert isinstance(backbone, Backbone), "it needs 'spec' and 'embed'"
        spec = backbone.spec
        assert spec.family, "spec.family is empty"
        assert spec.name, "spec.name is empty"
        assert spec.frames > 0, "spec.frames must be positive"
        assert spec.streams, "spec.streams is empty"
        values = dict(spec.preprocessing)
        assert json.loads(json.dumps(values)) == values, "spec.preprocessing is not plain JSON"
        for stream, names in spec.columns.items():
            assert len(set(names)) == len(names), f"columns of {stream} repeat"
            assert len(names) == spec.streams[stream], f"columns of {stream} do not match its width"

    def test_streams_have_the_promised_width_and_fit_into_float16(self) -> None:
        """What comes out is what ``spec.streams`` says, and can be cached."""
        backbone = self.make_backbone()
        clips = self.make_clips(backbone)
        streams = backbone.embed(clips)
        widths = {name: matrix.shape[1] for name, matrix in streams.items()}
        assert widths == dict(backbone.spec.streams), f"got widths {widths}"
        for name, matrix in streams.items():
            assert matrix.dtype == np.float32, f"{name} is {matrix.dtype}"
            assert len(matrix) == len(clips), f"{name} has {len(matrix)} rows"
            assert np.isfinite(matrix.astype(np.float16)).all(), f"{name} overflows float16"

    def test_a_row_depends_on_its_clip_alone(self) -> None:
        """Batch size and order do not matter."""
        backbone = self.make_backbone()
        clips = self.make_clips(backbone)
        whole = backbone.embed(clips)
        for size in (1, 2):
            self.assert_same(whole, embed_in_batches(backbone, clips, size))
        backwards = backbone.embed(clips[::-1])
        self.assert_same(whole, {name: matrix[::-1] for name, matrix in backwards.items()})

    def test_different_clips_get_different_rows(self) -> None:
        """No clip is forgotten, and none is taken for another."""
        backbone = self.make_backbone()
        clips = self.make_clips(backbone)
        for name, matrix in backbone.embed(clips).items():
            assert len(np.unique(matrix, axis=0)) == len(clips), f"{name} repeats rows"

    def test_no_clips_give_no_rows(self) -> None:
        """An empty batch is a batch."""
        backbone = self.make_backbone()
        empty = backbone.embed(self.make_clips(backbone)[:0])
        shapes = {name: matrix.shape for name, matrix in empty.items()}
        assert shapes == {name: (0, width) for name, width in backbone.spec.streams.items()}

    def test_read_only_clips_are_taken_and_left_alone(self) -> None:
        """Clips may lie in shared memory."""
        backbone = self.make_backbone()
        clips = self.make_clips(backbone)
        before = clips.copy()
        clips.setflags(write=False)
        backbone.embed(clips)
        np.testing.assert_array_equal(clips, before)

    def test_clips_of_another_shape_or_type_are_refused(self) -> None:
        """Nothing is resized or converted unrecorded."""
        backbone = self.make_backbone()
        clips = self.make_clips(backbone)
        wrong: list[Any] = [
            clips[0],
            clips[:, 1:],
            clips[:, :, :-1],
            clips[..., :2],
            clips.astype(np.float32),
        ]
        for bad in wrong:
            try:
                backbone.embed(bad)
            except UsageError:
                continue
            raise AssertionError(f"clips of {bad.dtype} {bad.shape} were taken")

    def test_the_specification_is_constant(self) -> None:
        """Embedding changes nothing about the backbone."""
        backbone = self.make_backbone()
        before = replace(backbone.spec)
        backbone.embed(self.make_clips(backbone))
        assert backbone.spec == before, "spec changed"
