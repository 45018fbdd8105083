"""Models of the Flamingo family natively: a vision tower, a perceiver resampler and gated
cross-attention blocks in a causal decoder, composed by the layout of a checkpoint.

Knows nothing of evaluation.
"""

from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.decoding import Generated, GenerationConfig
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.layouts import LAYOUTS, Layout, build
from infimm_eval.flamingo.model import Flamingo, SpecialTokens, gather_pictures
from infimm_eval.flamingo.protocols import Decoder, Tower
from infimm_eval.flamingo.ranking import Ranked, rank

__all__ = [
    "LAYOUTS",
    "Decoder",
    "Flamingo",
    "Generated",
    "GenerationConfig",
    "KVCache",
    "Layout",
    "Ranked",
    "SpecialTokens",
    "Tower",
    "build",
    "gather_pictures",
    "generate",
    "load",
    "rank",
    "save_pretrained",
]
