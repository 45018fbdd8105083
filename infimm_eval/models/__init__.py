"""Everything that answers prompts: from a model's name on the command line to a ``Model``.

Imports only the backend that is asked for, and knows nothing of benchmarks.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from infimm_eval.data.reading import is_folder
from infimm_eval.errors import UsageError, unknown
from infimm_eval.models.options import Backend, BatchSize, ModelOptions
from infimm_eval.models.plugins import adopt
from infimm_eval.models.plugins import build as build_own
from infimm_eval.plugins import from_entry_point, importable, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infimm_eval.models.live import LiveModel
    from infimm_eval.types import Model, RankingModel, Style

__all__ = [
    "BACKENDS",
    "DEMOS",
    "Backend",
    "BatchSize",
    "ModelOptions",
    "adopt",
    "available",
    "backend",
    "known_settings",
    "load",
    "load_ahead",
    "require_rank",
    "stands_in",
    "wrap",
]

GROUP = "infimm_eval.models"
"""Entry points of this group are backends of installed packages, or models of one's own."""

_OWN_FILE = re.compile(r"\.py(:\w+)?$")

_HERE = frozenset({"device", "dtype", "batch_size", "picture_cache"})
_NOTHING_TO_CHOOSE = frozenset({"device", "dtype", "batch_size"})
"""Honoured by those that compute nothing: they do as they are told on every device."""

BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            name="demo",
            form="demo",
            about="the small InfiMM that comes with the package, after pretraining",
            build="infimm_eval.models.flamingo.build:build_demo",
            takes=_HERE,
            known="infimm_eval.models.flamingo.build:known_of_demo",
        ),
        Backend(
            name="demo-chat",
            form="demo-chat",
            about="the same after instruction tuning: spoken to in turns",
            build="infimm_eval.models.flamingo.build:build_demo_chat",
            takes=_HERE,
            known="infimm_eval.models.flamingo.build:known_of_demo_chat",
        ),
        Backend(
            name="infimm",
            form="infimm:FOLDER or infimm:HUB_ID",
            about="a checkpoint of the Flamingo family: infimm:FOLDER or infimm:HUB_ID",
            build="infimm_eval.models.flamingo.build:build",
            takes=_HERE | {"revision"},
            known="infimm_eval.models.flamingo.build:known",
            ahead="infimm_eval.models.flamingo.build:build_ahead",
        ),
        Backend(
            name="hf",
            form="hf:FOLDER or hf:HUB_ID",
            about="a model of the transformers library: hf:FOLDER or hf:HUB_ID",
            build="infimm_eval.models.transformers.build:build",
            takes=_HERE | {"revision", "device_map", "quantization"},
            known="infimm_eval.models.transformers.build:known",
        ),
        Backend(
            name="openai",
            form="openai:NAME",
            about="any OpenAI-compatible server: openai:NAME with --base-url",
            build="infimm_eval.models.openai.build:build",
            takes=frozenset({"base_url", "batch_size"}),
            computes=False,
        ),
        Backend(
            name="demo-judge",
            form="demo-judge",
            about="the rule-based judge of the demo data",
            build="infimm_eval.models.demo_judge:build",
            takes=_NOTHING_TO_CHOOSE,
            computes=False,
        ),
        Backend(
            name="fake",
            form="fake[:WORD]",
            about="says one thing: fake:WORD, fake:echo, or fake for varied words",
            build="infimm_eval.models.fake:build",
            takes=_NOTHING_TO_CHOOSE,
            computes=False,
            known="infimm_eval.models.fake:known",
        ),
    )
}
"""The built-in kinds of model, by name: one more is one value here, or an entry point."""

DEMOS = ("demo", "demo-chat")
"""Those that know the demo data alone, and are asked about it unless other data is named."""


def available() -> list[tuple[str, str]]:
    """``(spec, what it is)`` of everything ``load`` understands; the layouts of the Flamingo family
    come after the backend that reads them."""
    from infimm_eval.flamingo.layouts import LAYOUTS  # brings torch

    layouts = [(f"  layout {name}", layout.about) for name, layout in LAYOUTS.items()]
    points = installed(GROUP).items()
    return [
        *(
            line
            for backend in BACKENDS.values()
            for line in (
                (backend.listed, backend.about),
                *(layouts if backend.name == "infimm" else ()),
            )
        ),
        *((name, f"of an installed package: {point.value}") for name, point in points),
        ("FOLDER or HUB_ID", "a checkpoint, its kind found from its config.json"),
        ("./file.py[:NAME]", "a model of your own: its MODEL, or what it calls NAME"),
        ("package.module:NAME", "a model of your own, from a module that can be imported"),
    ]


def load(spec: str, options: ModelOptions | None = None, /, **chosen: Any) -> Model:
    """Build the model that ``spec`` names; ``available`` lists the forms.

    ``chosen`` are the fields of ``ModelOptions`` (``device``, ``dtype``, ``batch_size``,
    ``revision``, ``base_url``, ``picture_cache``) and the backend's own options (``style``,
    ``host_cache``, ...), or are all of that in ``options``.  Raises ``UsageError`` for a name or a
    choice that nothing can be done with.
    """
    if options is None:
        options = ModelOptions.of(**chosen)
    elif chosen:
        raise TypeError("give ModelOptions or keyword arguments, not both")
    return _opener(spec, options.revision)(options)


def load_ahead(spec: str, options: ModelOptions, standing: Model | None) -> Callable[[], Model]:
    """Does of ``load`` now what takes long, beside a model that may still be answering.

    What is returned does the rest when ``standing`` has given its last answer, and may make the
    model in its memory, as ``stands_in`` tells: the old one is then nothing to be asked any more.
    """
    found = backend(spec, options.revision)
    if found is not None and found[0].ahead is not None:
        return found[0].open_ahead(found[1], options, standing)
    model = load(spec, options)
    return lambda: model


def stands_in(model: Model) -> bool:
    """Whether another one may be made in its memory."""
    return callable(getattr(model, "hand_over", None))


def known_settings(spec: str, options: ModelOptions) -> Mapping[str, Any]:
    """What can be known of a model's settings without loading it; UsageError as ``load``'s."""
    found = backend(spec, options.revision)
    return {} if found is None else found[0].settings(found[1], options)


def backend(spec: str, revision: str | None = None) -> tuple[Backend, str] | None:
    """The kind of model that ``spec`` names, and the name within it; ``None`` for a model of one's
    own.  UsageError for a name that nobody knows.

    A built-in name wins over a folder here that happens to have it; ``./demo`` is the folder.
    """
    head, colon, name = spec.partition(":")
    if head in BACKENDS and (colon or BACKENDS[head].stands_alone):
        return BACKENDS[head], name
    if is_folder(Path(spec)):
        return BACKENDS[_kind(spec, revision)], spec
    if _OWN_FILE.search(spec):
        return None
    if not colon and "/" in spec:
        return BACKENDS[_kind(spec, revision)], spec
    points = installed(GROUP)
    if head in points:
        offered = from_entry_point(points[head])
        return (offered, name) if isinstance(offered, Backend) else None
    if re.fullmatch(r"[\w.]+:\w+", spec) and ("." in head or importable(head)):
        return None
    raise unknown("model", head, [*BACKENDS, *points, "a checkpoint folder", "a hub id with a /"])


def require_rank(model: Model) -> RankingModel:
    """The model; UsageError for one that cannot score options by their log-likelihood."""
    if not callable(getattr(model, "rank", None)):
        raise UsageError(
            f"{model.name} has no rank(requests) to score options with; use --choice generate"
        )
    return cast("RankingModel", model)


def wrap(
    module: Any, processor: Any, *, name: str | None = None, style: Style | None = None, **own: Any
) -> LiveModel:
    """A module in memory, with its processor, as a ``Model``; the module is left as it was found.

    ``module`` is a model of the transformers library that reads pictures and writes text, or a
    ``flamingo.Flamingo``; ``own`` are the backend's options (``batch_size``, ``host_cache``, ...).
    See ``LiveModel`` for what it costs and when its weights are looked at.
    """
    from infimm_eval.models import live

    return live.wrap(module, processor, name=name, style=style, own=own)


def _opener(spec: str, revision: str | None) -> Callable[[ModelOptions], Model]:
    """What makes the model that ``spec`` names."""
    found = backend(spec, revision)
    if found is not None:
        return partial(found[0].open, found[1])
    point = None if _OWN_FILE.search(spec) else installed(GROUP).get(spec.partition(":")[0])
    return partial(build_own, spec if point is None else f"{point.module}:{point.attr}")


def _kind(place: str, revision: str | None) -> str:
    """The backend of a checkpoint: that of Flamingos where one of their layouts claims it."""
    from infimm_eval.flamingo.layouts import find_layout, is_published, layout_at
    from infimm_eval.models.shared import checkpoints

    if layout_at(Path(place)) or is_published(place):
        return "infimm"
    return "infimm" if find_layout(checkpoints.config(place, revision)) else "hf"
