"""What a layout is: how one family of checkpoints is laid out, as a value.

Knows no family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.files import write_json
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.section import Section
from infimm_eval.flamingo.shards import weight_files
from infimm_eval.flamingo.templates import ChatFormats

PAD = "<PAD>"
"""What the original codes add to a tokenizer that has no token for padding."""

C = TypeVar("C", bound=Section)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """What a caller says of a checkpoint that its files do not.  None: nothing."""

    resampler_heads: int | None = None
    language_model: str | None = None
    """A folder or a hub id."""
    vision_tower: str | None = None
    """A folder, a file of weights or a hub id."""
    tokenizer: str | None = None
    """A folder or a hub id."""
    cross_attn_every_n_layers: int | None = None
    extra_weights: str | None = None
    """A file whose tensors come before all others."""
    otter_cache: Literal["kept", "original"] | None = None
    """Whether an answer's tokens see pictures ("kept"), or what Otter's own code makes of its
    config's `use_cache`: where that is true, they do not ("original")."""

    def __post_init__(self) -> None:
        """UsageError for what nothing can be made of."""
        if self.otter_cache not in (None, "kept", "original"):
            raise unknown("otter_cache", str(self.otter_cache), ["kept", "original"])
        for name in ("resampler_heads", "cross_attn_every_n_layers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it counts from 1")

    def require(self, takes: frozenset[str], layout: str) -> None:
        """UsageError for the first thing said that a layout does not take."""
        for f in fields(self):
            if getattr(self, f.name) is not None and f.name not in takes:
                known = ", ".join(sorted(takes)) or "none"
                raise UsageError(
                    f"{f.name} is not for checkpoints in the layout {layout!r}, which take {known}"
                )


NOTHING = Told()


@dataclass(frozen=True)
class Source:
    """Weight files under one set of names.

    `keys` maps parameters to their keys; None is the layout's own map.  `of` is a regular
    expression for the parameters that may be in it.  Tables of the keys that match `cut` may have
    more rows than the model, those that match `grown` fewer.  `within` is where a training run's
    file keeps the state dict.  `beside` is what its keys are compared with, in words.
    """

    files: tuple[Path, ...]
    keys: KeyMap | None = None
    of: str = ""
    cut: str = "(?!)"
    grown: str = "(?!)"
    within: str | None = None
    beside: str = "config.json"

    def holds(self, name: str) -> bool:
        """Whether a parameter may be in it."""
        return re.search(self.of, name) is not None

    def fits(self, key: str, found: Shape, wanted: Shape) -> bool:
        """Whether a tensor of that shape serves."""
        if found == wanted:
            return True
        if found[1:] != wanted[1:] or len(found) != len(wanted) or not found:
            return False
        return re.search(self.cut if found[0] > wanted[0] else self.grown, key) is not None


@dataclass(frozen=True)
class Parts:
    """Where the parts of a checkpoint lie.

    `description` is what `Layout.read` reads.  Of a parameter that several `sources` hold, the
    first one's numbers count.  `tokenizer` gives a folder, fetched if need be; `places` are all
    folders and files that the model is made of.
    """

    description: Mapping[str, Any]
    sources: tuple[Source, ...]
    tokenizer: Callable[[], Path]
    places: tuple[Path, ...]


def in_one_folder(folder: Path, given: Mapping[str, Any], told: Told) -> Parts:
    """Everything in the checkpoint's own folder, under the layout's own names."""
    files = tuple(weight_files(folder)) if (folder / "config.json").is_file() else ()
    return Parts(given, (Source(files),), lambda: folder, (folder,))


def _as_it_is(config: C, shapes: Mapping[str, Shape], told: Told) -> C:
    return config


def _nothing(config: Any) -> dict[str, Tensor]:
    return {}


def _none(given: Mapping[str, Any]) -> tuple[str, ...]:
    return ()


def _usual_pictures(given: Mapping[str, Any]) -> Pictures:
    return Pictures()


def stored(state: Mapping[str, Tensor], keys: KeyMap) -> Iterator[tuple[str, Tensor]]:
    """Parameters by name -> as a checkpoint holds them, by key."""
    for name, tensor in state.items():
        match keys.keys(name):
            case (key,):
                yield key, tensor
            case parts:
                yield from zip(parts, tensor.chunk(len(parts)), strict=True)


def save_in_one_folder(model: Flamingo, folder: Path, keys: KeyMap) -> None:
    """`config.json` and `model.safetensors`.  A dtype that the config states is the model's own
    now, whatever it was loaded from."""
    from safetensors.torch import save_file

    config = model.config.to_dict()
    for key in {"dtype", "torch_dtype"} & config.keys():
        config[key] = str(model.dtype).removeprefix("torch.")
    write_json(folder / "config.json", config)
    state = {k: t.detach().contiguous() for k, t in stored(model.state_dict(), keys)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@dataclass(frozen=True)
class Layout(Generic[C]):
    """One family's checkpoints.

    `claims` says whether a parsed config.json is of this layout, `read` makes a configuration of
    it (UsageError where it describes what is not built here) and `build` a model with random
    weights, whose `config.to_dict()` is the file again.  `keys` maps parameters to the weights'
    keys, and may depend on the configuration; `chat` says how conversations are written.

    `about` is a line for people, `prompt_format` the name of the format that the published models
    were evaluated with.

    `find` says where the parts of a checkpoint lie, given its folder, its config.json and what
    the caller told, of which it honours `takes`.  `complete` adds to the configuration what the
    file leaves to the shapes of the weights (by key) and to the caller.  `computed` gives the
    parameters, by name, that a checkpoint may leave out all together, with their values.  `marks`
    are the special tokens that the original code adds to the tokenizer, in its order, `PAD` behind
    them where there is none for padding; `pictures` says how a picture becomes pixels (these two
    for layouts whose checkpoints are not one folder that says it all), and `save` writes a model
    under the original's keys.
    """

    claims: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], C]
    build: Callable[[C], Flamingo]
    keys: KeyMap | Callable[[C], KeyMap]
    chat: ChatFormats
    about: str = "a family from outside the package"
    prompt_format: str = "infimm"
    takes: frozenset[str] = frozenset({"resampler_heads"})
    find: Callable[[Path, Mapping[str, Any], Told], Parts] = in_one_folder
    complete: Callable[[C, Mapping[str, Shape], Told], C] = _as_it_is
    computed: Callable[[C], Mapping[str, Tensor]] = _nothing
    marks: Callable[[Mapping[str, Any]], tuple[str, ...]] = _none
    pictures: Callable[[Mapping[str, Any]], Pictures] = _usual_pictures
    save: Callable[[Flamingo, Path, KeyMap], None] = save_in_one_folder

    @property
    def in_one_folder(self) -> bool:
        """Whether a checkpoint is one folder, tokenizer included."""
        return self.find is in_one_folder

    def key_map(self, config: C) -> KeyMap:
        """Parameters to keys, for models of that configuration."""
        return self.keys if isinstance(self.keys, KeyMap) else self.keys(config)
