"""The plan of reads: any videos, in any order, from any shards, are what slicing would give."""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from basket.cache import gather as gather_module
from basket.cache.gather import block_bounds, gather, storage_order


class FakeShard:
    def __init__(self, values):
        self.values = values
        self.reads = []

    def features(self, stream, start, stop, *, dim, out=None):
        assert 0 <= start <= stop <= len(self.values)
        self.reads.append((start, stop))
        if out is None:
            return self.values[start:stop].copy()
        assert out.flags.c_contiguous
        out[...] = self.values[start:stop]
        return out


@st.composite
def shards_and_spans(draw):
    shards, spans = [], []
    for number in range(draw(st.integers(1, 3))):
        lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
        starts = np.cumsum([0, *lengths])
        shards.append(np.arange(starts[-1]) + 100 * number)
        spans += [(number, start, n) for start, n in zip(starts, lengths, strict=False)]
    chosen = draw(st.lists(st.sampled_from(spans), max_size=20))
    return shards, np.array(chosen, dtype=np.int64).reshape(-1, 3)


@given(shards_and_spans(), st.sampled_from([2, 8, 1 << 20]), st.sampled_from([4, 16, 1 << 20]))
def test_gathering_equals_slicing(case, chunk_bytes, run_bytes):
    columns, spans = case
    shards = [FakeShard(np.stack([c, -c], axis=1).astype(np.float16)) for c in columns]
    opened = []

    @contextmanager
    def open_shard(number):
        opened.append(number)
        yield shards[number]

    before = gather_module.CHUNK_BYTES, gather_module._RUN_BYTES
    gather_module.CHUNK_BYTES, gather_module._RUN_BYTES = chunk_bytes, run_bytes
    try:
        ragged = gather(spans, stream="pooled", dim=2, dtype=np.float16, open_shard=open_shard)
    finally:
        gather_module.CHUNK_BYTES, gather_module._RUN_BYTES = before
    assert len(ragged) == len(spans)
    for (number, start, length), values in zip(spans.tolist(), ragged, strict=True):
        assert np.array_equal(values, shards[number].values[start : start + length])
    assert len(opened) == len(set(opened))


def test_neighbours_are_one_read_and_far_ones_two():
    shard = FakeShard(np.zeros((1_000_000, 2), np.float16))
    spans = np.array([(0, 10, 5), (0, 15, 5), (0, 20, 1), (0, 900_000, 3)])

    @contextmanager
    def open_shard(number):
        yield shard

    gather(spans[[2, 0, 3, 1]], stream="pooled", dim=2, dtype=np.float16, open_shard=open_shard)
    assert shard.reads == [(10, 21), (900_000, 900_003)]


@given(
    st.lists(st.integers(0, 50), max_size=30),
    st.integers(1, 8),
    st.integers(1, 200),
)
def test_blocks_are_as_large_as_allowed_and_no_larger(lengths, segment_bytes, block_bytes):
    bounds = block_bounds(
        np.array(lengths, dtype=np.int64), segment_bytes=segment_bytes, block_bytes=block_bytes
    )
    assert bounds[0] == 0
    assert bounds[-1] == len(lengths)
    for a, b in pairwise(bounds):
        size = sum(lengths[a:b]) * segment_bytes
        assert b > a
        assert size <= block_bytes or b == a + 1
        if b < len(lengths):
            assert size + lengths[b] * segment_bytes > block_bytes


def test_storage_order_goes_by_shard_and_then_by_row():
    spans = np.array([(1, 0, 2), (0, 7, 1), (0, 2, 5), (1, 2, 2)])
    assert storage_order(spans).tolist() == [2, 1, 0, 3]
