"""Videos to features: segments, decoders, backbones and the pipeline between them."""
