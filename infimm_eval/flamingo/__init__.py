"""Models of the Flamingo family natively: a vision tower, a perceiver resampler and gated
cross-attention blocks in a causal decoder, composed by the layout of a checkpoint.

Beside the parts (`towers`, `resampler`, `gated`, `decoders`; what they must offer: `protocols`)
stand what is done with them (`kv_cache`, `prefill`, `generation`, `ranking`, `cuda_graphs`), the
checkpoints they come from (`layouts`, `key_map`, `checkpoint`) and the text and pictures that go in
(`processor`, `tokenizer`, `templates`, `pictures`).  A family is one value of `LAYOUTS`.

Knows nothing of evaluation.
"""

from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.decoding import Generated, GenerationConfig
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.layouts import LAYOUTS, Layout, build
from infimm_eval.flamingo.layouts.layout import Told
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
    "Told",
    "Tower",
    "build",
    "gather_pictures",
    "generate",
    "load",
    "rank",
    "save_pretrained",
]
