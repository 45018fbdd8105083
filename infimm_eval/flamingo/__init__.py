"""InfiMM natively: EVA-CLIP tower, perceiver resampler, gated cross-attention, causal decoder.

Knows nothing of evaluation.
"""

from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.config import (
    DecoderConfig,
    EvaConfig,
    FlamingoConfig,
    GatedConfig,
    ResamplerConfig,
)
from infimm_eval.flamingo.generation import Generated, generate
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo, gather_pictures
from infimm_eval.flamingo.ranking import Ranked, rank

__all__ = [
    "DecoderConfig",
    "EvaConfig",
    "Flamingo",
    "FlamingoConfig",
    "GatedConfig",
    "Generated",
    "KVCache",
    "Ranked",
    "ResamplerConfig",
    "gather_pictures",
    "generate",
    "load",
    "rank",
    "save_pretrained",
]
