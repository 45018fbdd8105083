"""From a folder to a model of the transformers library whose every weight is the folder's.

Knows files and names of tensors; runs nothing that a checkpoint brings along, and fills in nothing
that it lacks.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.meta import without_weights
from infimm_eval.flamingo.misfits import require_finite, require_fit, require_layers
from infimm_eval.flamingo.shards import shapes, weight_files
from infimm_eval.models.shared import checkpoints
from infimm_eval.models.shared.batch_limiter import lacks_memory, too_large
from infimm_eval.models.shared.refusals import ASTRAY, one_line
from infimm_eval.models.transformers.generate import library

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""In the library's order: what is looked at is what is loaded."""

WRAPPERS = (r"^(?:(?:module|base_model\.model|_orig_mod)\.)+", r"(?<=\.)_orig_mod\.")
"""What trainers put around a model stays in the names of its tensors (DDP, peft, torch.compile)."""

_SLACK = 2**27
"""Numbers that a model may have beyond twice those of its weights, so that what is missing is named
rather than counted: no more than half a gigabyte."""

_log = logging.getLogger(__name__)


def open_processor(folder: Path) -> Any:
    """The folder's processor; UsageError where it has none that takes pictures and text."""
    with opening(folder):
        processor = library.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    require_processor(processor, f"{folder} should hold a processor")
    return processor


def require_processor(processor: Any, what: str) -> None:
    """UsageError, which begins with ``what`` should be one, for no processor of pictures and
    text."""
    if not (hasattr(processor, "tokenizer") and hasattr(processor, "image_processor")):
        raise UsageError(
            f"{what}, which has a tokenizer and an image processor "
            f"(AutoProcessor.from_pretrained), not {type(processor).__name__!r}"
        )


def open_model(
    folder: Path, device: torch.device, dtype: torch.dtype, placement: Mapping[str, Any]
) -> tuple[Any, dict[str, str]]:
    """The folder's model in ``dtype`` on ``device``, or where ``placement`` tells the library to
    put it, and what should be known of it: what was left out of its tensors' names.

    UsageError for a folder of another kind of model, for files that are cut off, stand-ins or no
    plain weights, for tensors missing, unexpected or of another shape, and for weights that are no
    finite numbers.
    """
    given = checkpoints.config(str(folder))
    _require_known(folder, given)
    files = weight_files(folder, WEIGHTS)
    found = {path: shapes(path, any_dtype=True) for path in files}
    keys = [key for table in found.values() for key in table]
    with naming(folder):
        require_layers(given, keys)
        _require_numbers(folder, given, found)
        wrapping, renamed = _unwrapped(keys)
        model, info = _loaded(folder, dtype, renamed, placement)
        require_fit(files, misfits(info))
        if not placement:
            with opening(folder):
                model = model.to(device)
        require_finite_weights(model)
    if not wrapping:
        return model, {}
    _log.warning("%s: the names of its tensors are read without %r", folder, wrapping)
    return model, {"tensor_names_without": wrapping}


def misfits(info: Mapping[str, Any]) -> dict[str, list[str]]:
    """The library's report on what it loaded, in the words of ``require_fit``."""
    return {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": sorted(
            f"{name} is {tuple(stored)}, not {tuple(wanted)}"
            for name, stored, wanted in info["mismatched_keys"]
        ),
    }


def require_finite_weights(model: Any) -> None:
    """UsageError for NaN or infinity anywhere in the model, but for what waits on disk until it is
    wanted (``--device-map``)."""
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            continue
        if tensor.is_floating_point() and tensor.element_size() > 1:
            require_finite(tensor, tensor, name)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """A ``UsageError`` says whose it is."""
    try:
        yield
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(folder) in message else f"{folder}: {message}") from None


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """What the library says of a folder that it cannot open, in one line; it reports nothing else,
    and asks nobody whether a checkpoint's code may run.

    A checkpoint's files can lead it astray in any way: there is no list of its errors.
    """
    dynamic, told = library.dynamic_module_utils, library.utils.logging.get_verbosity()
    patience = dynamic.TIME_OUT_REMOTE_CODE
    dynamic.TIME_OUT_REMOTE_CODE = 0
    library.utils.logging.set_verbosity_error()
    try:
        yield
    except Exception as error:
        if isinstance(error, RuntimeError) and lacks_memory(error):
            raise too_large(str(folder), error) from error
        # The library's words on code that is not run are instructions to run it.
        said = "" if "trust_remote_code" in str(error) else one_line(error)
        why = "; ".join(filter(None, [said, own_code(folder)]))
        raise UsageError(f"{folder} cannot be loaded by transformers: {why}") from error
    finally:
        library.utils.logging.set_verbosity(told)
        dynamic.TIME_OUT_REMOTE_CODE = patience


def own_code(folder: Path) -> str:
    """What a checkpoint wants that is its own Python, in words; empty where it wants none."""
    for file in filter(Path.is_file, sorted(folder.glob("*config.json"))):
        try:
            wanted = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        code = wanted.get("auto_map") if isinstance(wanted, dict) else None
        if code:
            names = ", ".join(map(str, code.values())) if isinstance(code, dict) else str(code)
            return (
                f"auto_map in {file.name} names Python of its own ({names[:200]}), which is never "
                "run; a checkpoint of a class that transformers has can be opened"
            )
    return ""


def _require_known(folder: Path, given: Mapping[str, Any]) -> None:
    kind = given.get("model_type")
    known = library.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if not (isinstance(kind, str) and kind in known):
        lacking = (
            f"{folder} is a {kind!r} model; transformers {library.__version__} has no model of "
            "that type that reads pictures and writes text"
        )
        raise UsageError("; ".join(filter(None, [lacking, own_code(folder)])))
    for section in (given, *(part for part in given.values() if isinstance(part, dict))):
        for name in ("attn_implementation", "_attn_implementation"):
            if "/" in str(section.get(name)):
                raise UsageError(
                    f"{folder}: {name} in config.json names a kernel from the hub "
                    f"({section[name]}), which is never fetched; leave it out"
                )


def _require_numbers(
    folder: Path, given: Mapping[str, Any], found: Mapping[Path, Mapping[str, tuple[int, ...]]]
) -> None:
    """UsageError for a configuration of a far larger model than the weights are: the library would
    make up what is missing before it tells."""
    if "quantization_config" in given:  # whose weights are packed
        return
    with opening(folder):
        config = library.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        try:
            with without_weights():
                model = library.AutoModelForImageTextToText.from_config(config)
        except ASTRAY:  # what cannot be built is told of where it is loaded
            return
    wanted = sum(weight.numel() for weight in model.parameters())
    stored = sum(math.prod(shape) for table in found.values() for shape in table.values())
    if wanted > 2 * stored + _SLACK:
        raise UsageError(
            f"config.json describes a model of {wanted:,} numbers, and the weights have {stored:,}"
        )


def _unwrapped(keys: Collection[str]) -> tuple[str, dict[str, str]]:
    """What trainers left in the keys, and how to take it off; nothing where two keys would become
    one."""
    wrapping = Counter(found for key in keys for w in WRAPPERS for found in re.findall(w, key))
    plain = {re.sub("|".join(WRAPPERS), "", key) for key in keys}
    if not wrapping or len(plain) < len(keys):
        return "", {}
    return wrapping.most_common(1)[0][0], dict.fromkeys(WRAPPERS, "")


def _loaded(
    folder: Path, dtype: torch.dtype, renamed: Mapping[str, str], placement: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The library's model and its report, of a folder without the adapter that may lie in it: the
    library would open that on its own, or, without peft, pass over it."""
    with opening(folder), TemporaryDirectory() as scratch:
        place = folder
        if (folder / checkpoints.ADAPTER).exists():
            place = Path(scratch)
            for file in folder.iterdir():
                if not file.name.startswith("adapter_"):
                    (place / file.name).symlink_to(file.absolute())
        model, info = library.AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            trust_remote_code=False,
            key_mapping=dict(renamed) or None,
            ignore_mismatched_sizes=True,  # they are told of in the report
            output_loading_info=True,
            **placement,
        )
        return model, info
