"""Everything that answers prompts: from a model's name on the command line to a ``Model``.

Imports only the backend that is asked for, and knows nothing of benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from infimm_eval.errors import UsageError, unknown
from infimm_eval.models import places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infimm_eval.types import Model

BatchSize: TypeAlias = int | Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user chose about how a model runs.  A backend refuses what it cannot honour."""

    device: str = "auto"
    """``auto``: the first accelerator, else the processor."""
    dtype: str = "auto"
    """``auto``: bfloat16 on an accelerator, float32 on a processor."""
    batch_size: BatchSize = "auto"
    revision: str | None = None
    base_url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the backend's own class."""


_BACKENDS = {
    "demo": ("infimm:build_demo", "the small InfiMM that comes with the package"),
    "infimm": ("infimm:build", "a checkpoint in InfiMM's layout: infimm:FOLDER or infimm:HUB_ID"),
    "hf": ("transformers:build", "a model of the transformers library: hf:FOLDER or hf:HUB_ID"),
    "openai": ("openai:build", "any OpenAI-compatible server: openai:NAME with --base-url"),
    "demo-judge": ("demo_judge:build", "the rule-based judge of the demo data"),
    "fake": ("fake:build", "says one thing: fake:WORD, fake:echo, or fake for varied words"),
}


_ALONE = {"demo": "demo", "demo-judge": "demo-judge", "fake": "fake[:WORD]"}
"""Backends that need no name of a model, as they are listed."""


_ENCODES = {"demo", "infimm", "hf"}
"""Backends that encode pictures themselves."""


def available() -> list[tuple[str, str]]:
    """``(spec, what it is)`` of everything ``load`` understands."""
    named = [(_ALONE.get(name, f"{name}:..."), about) for name, (_, about) in _BACKENDS.items()]
    return [*named, ("FOLDER or HUB_ID", "a checkpoint, its kind found from its config.json")]


def load(
    spec: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: BatchSize = "auto",
    revision: str | None = None,
    base_url: str | None = None,
    picture_cache: Path | None = None,
    **options: Any,
) -> Model:
    """Build the model that ``spec`` names; ``available`` lists the forms.

    ``picture_cache``: a folder that keeps encoded pictures for later runs.  ``options`` go to the
    backend's class (``style``, ``host_cache``, ...).  Raises ``UsageError`` for a name or a choice
    that nothing can be done with.
    """
    backend, name = _parse(spec, revision)
    if base_url is not None and backend != "openai":
        raise UsageError(f"--base-url is for openai:NAME; {spec!r} runs on this machine")
    if picture_cache is not None:
        if backend not in _ENCODES:
            raise UsageError(f"--picture-cache is for models that run here; {spec!r} does not")
        options["cache_folder"] = picture_cache
    if isinstance(batch_size, int) and batch_size < 1:
        raise UsageError(f"a batch holds at least 1 request, not {batch_size}")
    module, builder = _BACKENDS[backend][0].split(":")
    build: Callable[[str, Choices], object] = getattr(
        import_module(f"infimm_eval.models.{module}"), builder
    )
    choices = Choices(
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        revision=revision,
        base_url=base_url,
        options=options,
    )
    return cast("Model", build(name, choices))


def _parse(spec: str, revision: str | None) -> tuple[str, str]:
    """Which backend, and what it is to load.

    A built-in name wins over a folder here that happens to have it; ``./demo`` is the folder.
    """
    backend, colon, name = spec.partition(":")
    built_in = backend in _BACKENDS if colon else backend in _ALONE
    if not built_in and (Path(spec).is_dir() or (not colon and "/" in spec)):
        return _kind(spec, revision), spec
    if backend not in _BACKENDS:
        raise unknown("model", backend, [*_BACKENDS, "a checkpoint folder", "a hub id with a /"])
    if bool(name) == (backend in ("demo", "demo-judge")) and backend != "fake":
        raise UsageError(f"model {spec!r}: write {dict(_FORMS)[backend]}")
    return backend, name


_FORMS = (
    ("demo", "demo"),
    ("demo-judge", "demo-judge"),
    ("infimm", "infimm:FOLDER or infimm:HUB_ID"),
    ("hf", "hf:FOLDER or hf:HUB_ID"),
    ("openai", "openai:NAME"),
)


def _kind(place: str, revision: str | None) -> str:
    """InfiMM's layout has a vision tower and a language model under names of its own; a folder that
    says it is one and lacks them is a broken one, not another model."""
    config = places.config(place, revision)
    named = str(config.get("model_type", "")).startswith("infimm")
    return "infimm" if named or {"visual", "language"} <= set(config) else "hf"
