"""From a checkpoint that transformers' Auto classes load to a model that answers prompts.

Knows where files lie and what was chosen; reads no prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.models.shared import checkpoints
from infimm_eval.models.shared.devices import device_of, dtype_of
from infimm_eval.models.transformers.adapters import open_adapted_processor, put_on, require_peft
from infimm_eval.models.transformers.checkpoint import (
    open_model,
    open_processor,
    require_processor,
)
from infimm_eval.models.transformers.engine import EngineOptions
from infimm_eval.models.transformers.generate import library
from infimm_eval.models.transformers.model import TransformersModel
from infimm_eval.models.transformers.placement import placement
from infimm_eval.types import Style


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions(EngineOptions):
    """What may be chosen of a checkpoint beside how the work is arranged."""

    style: Style | None = None
    """The style of prompts; the one that the checkpoint comes with a format for, unless given."""
    chat_template_options: Mapping[str, Any] | None = None
    """What the chat template is rendered with (``enable_thinking``, say)."""


def build(name: str, options: ModelOptions) -> TransformersModel:
    """``name``: a folder or a hub id of any image-text-to-text model."""
    folder = checkpoints.folder(name, options.revision)
    device = device_of(options)
    dtype = dtype_of(options, device)
    shared = {"batch_size": options.batch_size, "picture_cache": options.picture_cache}
    own = BuildOptions(**keywords(BuildOptions, {**shared, **options.options}, name))
    library.utils.logging.disable_progress_bar()
    adapted = (folder / checkpoints.ADAPTER).is_file()
    if adapted:
        require_peft(folder)
    base = checkpoints.base(folder)
    model, facts = open_model(base, device, dtype, placement(options, device, dtype))
    if options.quantization:
        facts["quantization"] = options.quantization
    if adapted:
        put_on(model, folder)
        facts["adapter_of"] = base.name
    return TransformersModel(
        model,
        open_processor(base) if base == folder else open_adapted_processor(folder, base),
        name=Path(name).name or name,
        fingerprint=checkpoints.fingerprint(*dict.fromkeys([base, folder])),
        style=own.style,
        facts={**checkpoints.step(folder), **facts},
        options=own,
        template_options=own.chat_template_options,
    )


def known(name: str, options: ModelOptions) -> Mapping[str, Any]:
    """The fingerprint of a checkpoint that lies in a folder here."""
    folder = Path(name)
    if not folder.is_dir():
        return {}
    places = dict.fromkeys([checkpoints.base(folder), folder])
    return {"fingerprint": checkpoints.fingerprint(*places)}


def live(
    processor: Any, name: str, style: Style | None, own: Mapping[str, Any]
) -> Callable[[Any, str], TransformersModel]:
    """What makes a model of one of the library's in memory and the fingerprint of its weights.

    It works with a copy of the processor, whose padding is its trainer's.
    """
    require_processor(processor, "a model of transformers is wrapped with its processor")
    options = EngineOptions(**keywords(EngineOptions, own, "wrap"))

    def build(module: Any, fingerprint: str) -> TransformersModel:
        words = json.dumps(processor.tokenizer.get_vocab(), sort_keys=True)
        return TransformersModel(
            module,
            deepcopy(processor),
            name=name,
            fingerprint=checkpoints.named(fingerprint, words, processor.to_json_string()),
            style=style,
            options=options,
        )

    return build
