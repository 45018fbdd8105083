"""Where a model's weights are put, and in how many bits: what the library is told as it loads them.

Knows the packages that this takes; opens no file.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from infimm_eval.errors import UsageError, unknown
from infimm_eval.models.options import ModelOptions
from infimm_eval.models.transformers.generate import library


def placement(options: ModelOptions, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments for ``from_pretrained``; empty where the whole model goes to ``device`` as it is.

    UsageError where a package is missing, or a device was chosen for a model on all of them.
    """
    if options.device_map is None and options.quantization is None:
        return {}
    if options.device_map and options.device != "auto":
        raise UsageError(
            f"--device-map {options.device_map} takes all accelerators; leave out --device"
        )
    chosen = "--device-map" if options.device_map else "--quantization"
    _require("accelerate", chosen)
    spread = options.device_map or {"": device}
    if options.quantization is None:
        return {"device_map": spread}
    _require("bitsandbytes", "--quantization")
    config: dict[str, dict[str, Any]] = {
        "4bit": {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype},
        "8bit": {"load_in_8bit": True},
    }
    if options.quantization not in config:
        raise unknown("quantization", str(options.quantization), config)
    packed = library.BitsAndBytesConfig(**config[options.quantization])
    return {"device_map": spread, "quantization_config": packed}


def _require(package: str, option: str) -> None:
    if find_spec(package) is None:
        raise UsageError(f"{option} needs {package}: pip install 'infimm-eval[{package}]'")
