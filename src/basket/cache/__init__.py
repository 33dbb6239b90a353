"""Features at rest: immutable HDF5 shards, published atomically, named by their bytes."""

from basket.cache.exchange import export
from basket.cache.feature_set import FeatureSet
from basket.cache.features import RaggedFeatures, VideoFeatures, VideoRow
from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.foreign import import_features
from basket.cache.foreign_spec import ForeignSpec, read_foreign_spec
from basket.cache.overview import cache_overview, overview_of
from basket.cache.packing import pack
from basket.cache.pooled import PooledCache
from basket.cache.provenance import content_hash, mixing_sentence
from basket.cache.repairs import repair
from basket.cache.store import FeatureCache, open_cache
from basket.cache.verification import verify
from basket.cache.writer import ShardWriter

__all__ = [
    "FeatureCache",
    "FeatureSet",
    "FeatureSetSpec",
    "ForeignSpec",
    "PooledCache",
    "RaggedFeatures",
    "ShardWriter",
    "VideoFeatures",
    "VideoRow",
    "cache_overview",
    "content_hash",
    "export",
    "import_features",
    "mixing_sentence",
    "open_cache",
    "overview_of",
    "pack",
    "read_foreign_spec",
    "repair",
    "verify",
]
