"""InfiMM behind transformers' Auto classes, so that the model card's quick start runs as printed.

    from infimm_eval.flamingo import hf
    hf.register()          # instead of trust_remote_code=True

It knows the names that checkpoints go by; what is done under them stands in the modules beside it.
"""

from __future__ import annotations

from typing import ClassVar

from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, PreTrainedConfig

from infimm_eval.flamingo.hf.model import InfiMM
from infimm_eval.flamingo.hf.processor import InfiMMProcessor

__all__ = ["InfiMM", "InfiMMConfig", "InfiMMProcessor", "register"]


class InfiMMConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The original config.json, as it stands: ``visual`` and ``language`` stay dictionaries."""

    model_type: ClassVar[str] = "infimm"


_NAMES = {
    "infimm": "InfiMM",
    "infimm-demo": "InfiMM",
    "infimm-zephyr": "InfiMMZephyr",
    "infimm-vicuna": "InfiMMVicuna",
    "infimm-vicuna13b": "InfiMMVicuna",
    "infimm-llama": "InfiMMLlama",
    "infimm-llama13b": "InfiMMLlama",
}
"""How a config.json may call its model, and how the names of that model's own classes begin.

``infimm-zephyr`` stands in the published file, ``infimm`` in the class that wrote it; what the two
13B models call themselves was not seen.
"""

# transformers knows a configuration by its class, a processor by its class's name.
_CONFIGS = {"infimm": InfiMMConfig} | {
    kind: type(f"{kind.title().replace('-', '')}Config", (InfiMMConfig,), {"model_type": kind})
    for kind in _NAMES
    if kind != "infimm"
}
_PROCESSORS = {"InfiMM": InfiMMProcessor} | {
    name: type(f"{name}Processor", (InfiMMProcessor,), {})
    for name in _NAMES.values()
    if name != "InfiMM"
}
# Pickle, which takes them to other processes, looks for classes here.
globals().update({made.__name__: made for made in (*_CONFIGS.values(), *_PROCESSORS.values())})


def register() -> None:
    """Let AutoConfig, AutoModelForCausalLM and AutoProcessor open InfiMM checkpoints.

    Calling it twice does no harm.
    """
    for kind, name in _NAMES.items():
        config, processor = _CONFIGS[kind], _PROCESSORS[name]
        AutoConfig.register(kind, config, exist_ok=True)
        AutoModelForCausalLM.register(config, InfiMM, exist_ok=True)
        AutoProcessor.register(config, processor, exist_ok=True)  # type: ignore[no-untyped-call]
