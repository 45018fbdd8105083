"""The layouts of checkpoints that can be read, by name, and how one is found from a config.json.

Knows nothing of what is in a layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.files import read_json, read_json_if_there
from infimm_eval.flamingo.layouts import infimm, openflamingo, otter
from infimm_eval.flamingo.layouts.layout import Layout
from infimm_eval.flamingo.model import Flamingo

__all__ = [
    "LAYOUTS",
    "Layout",
    "build",
    "describe",
    "find_layout",
    "is_published",
    "layout_at",
    "layout_of",
    "name_of",
]

LAYOUTS: dict[str, Layout[Any]] = {
    "infimm": infimm.LAYOUT,
    "openflamingo": openflamingo.LAYOUT,
    "otter": otter.LAYOUT,
}
"""Another family is one more value here; code outside the package may put it in, too."""


def find_layout(config: Mapping[str, Any]) -> Layout[Any] | None:
    """The layout that claims a parsed config.json, the one that came last first."""
    return next((one for one in reversed(LAYOUTS.values()) if one.claims(config)), None)


def describe(folder: Path) -> dict[str, Any]:
    """A folder's parsed config.json, which a checkpoint of OpenFlamingo's has not: its stands in.
    UsageError where there is neither."""
    given = read_json_if_there(folder / "config.json")
    if given and find_layout(given):
        return given
    return openflamingo.stand_in(folder) or given or read_json(folder / "config.json")


def layout_at(folder: Path) -> Layout[Any] | None:
    """The layout that claims a folder; None where there is no checkpoint of one."""
    given = read_json_if_there(folder / "config.json")
    return find_layout(given) or find_layout(openflamingo.stand_in(folder) or {})


def is_published(place: str) -> bool:
    """Whether a hub id is of a repository without a config.json that a layout knows by name."""
    return not Path(place).is_dir() and openflamingo.published(place) is not None


def name_of(layout: Layout[Any]) -> str:
    """What it is called in `LAYOUTS`."""
    return next((name for name, known in LAYOUTS.items() if known is layout), "unnamed")


def layout_of(config: Mapping[str, Any]) -> Layout[Any]:
    """The same; UsageError where no layout claims it."""
    if (found := find_layout(config)) is None:
        raise UsageError(
            f"config.json describes a {config.get('model_type', 'nameless')!r} model of no layout "
            f"that is known here ({', '.join(LAYOUTS)})"
        )
    return found


def build(config: Mapping[str, Any]) -> Flamingo:
    """The model that a parsed config.json describes, with random weights."""
    layout = layout_of(config)
    return layout.build(layout.read(config))
