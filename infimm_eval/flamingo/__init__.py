"""InfiMM natively: EVA-CLIP tower, perceiver resampler, gated cross-attention, causal decoder.

Knows nothing of evaluation.
"""

from infimm_eval.flamingo.config import DecoderConfig, EvaConfig, FlamingoConfig
from infimm_eval.flamingo.model import Flamingo

__all__ = ["DecoderConfig", "EvaConfig", "Flamingo", "FlamingoConfig"]
