"""From the user's words for device and dtype to torch's, or a line on why it cannot be."""

from __future__ import annotations

import torch

from infimm_eval.errors import UsageError, unknown
from infimm_eval.models.options import ModelOptions


def device_of(options: ModelOptions) -> torch.device:
    """``auto`` is the first accelerator that torch finds, else the processor."""
    if options.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(options.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"--device {options.device}: torch cannot use it ({reason})") from error
    return device


def dtype_of(options: ModelOptions, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on an accelerator and float32 on a processor."""
    if options.dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if options.dtype not in known:
        raise unknown("dtype", options.dtype, [*known, "auto"])
    return known[options.dtype]
