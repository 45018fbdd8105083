"""The layouts of checkpoints that can be read, by name, and how one is found from a config.json.

Knows nothing of what is in a layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.layouts.layout import Layout
from infimm_eval.flamingo.model import Flamingo

__all__ = ["LAYOUTS", "Layout", "build", "find_layout", "layout_of"]

LAYOUTS: dict[str, Layout[Any]] = {"infimm": infimm.LAYOUT}
"""Another family is one more value here; code outside the package may put it in, too."""


def find_layout(config: Mapping[str, Any]) -> Layout[Any] | None:
    """The layout that claims a parsed config.json, the one that came last first."""
    return next((one for one in reversed(LAYOUTS.values()) if one.claims(config)), None)


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
