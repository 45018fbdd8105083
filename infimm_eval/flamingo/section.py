"""Parts of a JSON file as frozen values that know which keys and values they may hold.

Knows nothing of models: a section is the fields that a subclass declares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_type_hints

from infimm_eval.errors import UsageError, unknown


class _Is(NamedTuple):
    """What a field may hold, in words and as a test; stands in the field's annotation."""

    words: str
    holds: Callable[[Any], bool]


def _whole(value: Any, least: float = -math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _above_zero(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf


Size = Annotated[int, _Is("a whole number from 1", lambda v: _whole(v, 1))]
FromZero = Annotated[int, _Is("a whole number from 0", lambda v: _whole(v, 0))]
Number = Annotated[float, _Is("a number above 0", _above_zero)]
Switch = Annotated[bool, _Is("true or false", lambda v: isinstance(v, bool))]
SomeSize = Annotated[
    int | None, _Is("a whole number from 1 or null", lambda v: v is None or _whole(v, 1))
]
SomeNumber = Annotated[
    float | None, _Is("a number above 0 or null", lambda v: v is None or _above_zero(v))
]
SomeId = Annotated[int | None, _Is("a whole number or null", lambda v: v is None or _whole(v))]
SomeIds = Annotated[
    int | list[int] | None,
    _Is(
        "a whole number, a list of them or null",
        lambda v: v is None or all(map(_whole, v if isinstance(v, list) else [v])),
    ),
]


@dataclass(frozen=True)
class Section:
    """A part of the JSON file: known keys are fields, `extra` keeps the part as it was read.

    `to_dict` lays the fields over `extra`, so unknown keys and the order of the file survive,
    and a key that the file left out is written only when its value is not the default.

    UsageError for a field that does not hold what its annotation says and, where `_IGNORED` is
    not None, for a key that is neither a field nor ignored.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False, kw_only=True)

    _PLACE: ClassVar[str] = "the top level"
    _IGNORED: ClassVar[frozenset[str] | None] = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads the part as it stands in a parsed file."""
        known = [f for f in fields(cls) if f.name != "extra"]
        if absent := [f.name for f in known if f.name not in given and _required(f)]:
            raise cls.error(f"lacks {', '.join(absent)}")
        return cls(**{f.name: given[f.name] for f in known if f.name in given}, extra=dict(given))

    def __post_init__(self) -> None:
        if self._IGNORED is not None:
            names = self._IGNORED | {f.name for f in fields(self) if f.name != "extra"}
            for key in self.extra:
                if key not in names:
                    raise unknown(f"key in the {self._PLACE} section of config.json:", key, names)
        wrong = [
            f"{name} {getattr(self, name)!r}, not {rule.words}"
            for name, rule in _rules(type(self))
            if not rule.holds(getattr(self, name))
        ]
        if wrong:
            raise self.error(f"has {'; '.join(wrong)}")

    @classmethod
    def error(cls, what: str) -> UsageError:
        """An error of this part of the file: `what` completes a sentence on it."""
        return UsageError(f"config.json: {cls._PLACE} {what}")

    def to_dict(self) -> dict[str, Any]:
        """The part as it is to be written."""
        out = dict(self.extra)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "extra" and (f.name in out or value != _default(f)):
                out[f.name] = value.to_dict() if isinstance(value, Section) else value
        return out


def _rules(section: type[Section]) -> list[tuple[str, _Is]]:
    hints = get_type_hints(section, include_extras=True)
    return [(name, r) for name, hint in hints.items() for r in getattr(hint, "__metadata__", ())]


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _required(f: Any) -> bool:
    return f.default is MISSING and f.default_factory is MISSING
