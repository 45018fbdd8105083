"""Adapters: a folder that holds what was trained beside a model, opened on that model with peft.

Knows peft's files; which models there are is not its business.
"""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.misfits import require_fit
from infimm_eval.flamingo.shards import shapes, weight_files
from infimm_eval.models.transformers.checkpoint import (
    misfits,
    naming,
    open_processor,
    opening,
    require_finite_weights,
)
from infimm_eval.models.transformers.generate import library

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_log = logging.getLogger(__name__)


def require_peft(folder: Path) -> None:
    """UsageError where nothing can open the folder's adapter."""
    if find_spec("peft") is None:
        raise UsageError(
            f"{folder} holds an adapter, which peft opens: pip install 'infimm-eval[peft]'"
        )


def put_on(model: Any, folder: Path) -> None:
    """Puts the folder's adapter into the layers of its base, as it was trained: nothing is merged,
    and so nothing is rounded.  UsageError where its tensors are not those that the base takes."""
    with naming(folder):
        files = weight_files(folder, WEIGHTS)
        for path in files:
            shapes(path, any_dtype=True)
        with opening(folder):
            info = model.load_adapter(str(folder), ignore_mismatched_sizes=True)
        found = misfits(info.to_dict())
        untouched = {name for name in found["missing"] if _adds_nothing(model, name)}
        found["missing"] = [name for name in found["missing"] if name not in untouched]
        require_fit(files, found, "the base that it is for")
        require_finite_weights(model)
    if untouched:
        _log.warning("%s holds nothing for %d tensors of its layers", folder, len(untouched))


def _adds_nothing(model: Any, name: str) -> bool:
    """Whether a layer that the adapter's file leaves out is what the base makes of it: its second
    factor was left out too, and starts as zeros."""
    factor = re.sub(r"\.lora_A\.", ".lora_B.", name)
    return ".lora_B." in factor and not model.get_parameter(factor).any()


def open_adapted_processor(folder: Path, base: Path) -> Any:
    """The adapter's own, where it was saved with one; else the base's, with the tokenizer and the
    chat template that were saved with the adapter."""
    if any((folder / f"{kind}_config.json").is_file() for kind in ("processor", "preprocessor")):
        return open_processor(folder)
    processor = open_processor(base)
    if (folder / "tokenizer_config.json").is_file():
        with opening(folder):
            tokenizer = library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        processor.tokenizer = tokenizer
        processor.chat_template = tokenizer.chat_template or processor.chat_template
    return processor
