"""InfiMM natively: EVA-CLIP tower, perceiver resampler, gated cross-attention, causal decoder.

Knows nothing of evaluation.
"""

from infimm_eval.flamingo.cache import Cache
from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.config import (
    DecoderConfig,
    EvaConfig,
    FlamingoConfig,
    GatedConfig,
    ResamplerConfig,
)
from infimm_eval.flamingo.model import Flamingo

__all__ = [
    "Cache",
    "DecoderConfig",
    "EvaConfig",
    "Flamingo",
    "FlamingoConfig",
    "GatedConfig",
    "ResamplerConfig",
    "load",
    "save_pretrained",
]
