"""Frozen models that turn clips into embeddings: one file per family."""

from basket.extract.backbones.base import (
    Backbone,
    BackboneSpec,
    Clips,
    FrameGeometry,
    Streams,
    check_clips,
)
from basket.extract.backbones.batching import BatchSize, auto_batch_size, embed_in_batches
from basket.extract.backbones.catalogue import (
    ALIASES,
    BACKBONES,
    CATALOGUE,
    Checkpoint,
    resolve,
)
from basket.extract.backbones.describe import loaded_details, model_details, model_table
from basket.extract.backbones.loading import load_backbone, weights_by_model
from basket.extract.backbones.streams import streams_for

__all__ = [
    "ALIASES",
    "BACKBONES",
    "CATALOGUE",
    "Backbone",
    "BackboneSpec",
    "BatchSize",
    "Checkpoint",
    "Clips",
    "FrameGeometry",
    "Streams",
    "auto_batch_size",
    "check_clips",
    "embed_in_batches",
    "load_backbone",
    "loaded_details",
    "model_details",
    "model_table",
    "resolve",
    "streams_for",
    "weights_by_model",
]
