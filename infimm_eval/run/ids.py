"""Ids of another kind: file names, padded numbers, floats, a picture's id for a question's.

Predictions are matched to questions where that is one to one, and left alone where it is not.
Knows ids and groups; no benchmark and no file format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from infimm_eval.errors import named, shown
from infimm_eval.types import Sample


def matched(
    answers: Mapping[str, str], samples: Sequence[Sample], note: Callable[[str], None]
) -> Mapping[str, str]:
    """The answers under the samples' ids, where every one of them finds a sample of its own by
    one reading of both; else as they are.  ``note`` is told what was matched."""
    known = {sample.id for sample in samples}
    if not answers or answers.keys() <= known:
        return answers
    for said, read in _READINGS.items():
        if found := _one_to_one(answers, ((sample.id, sample.id) for sample in samples), read):
            return _renamed(answers, found, said, note)
    for read in _READINGS.values():
        groups = ((sample.group, sample.id) for sample in samples if sample.group)
        if found := _one_to_one(answers, groups, read):
            return _renamed(answers, found, "the picture's for the question's", note)
    return answers


def few(ids: Iterable[str]) -> str:
    """The first ids, for a message."""
    return ", ".join(map(named, islice(ids, 3)))


def _one_to_one(
    answers: Iterable[str], names: Iterable[tuple[str, str]], read: Callable[[str], str]
) -> dict[str, str]:
    """From an answer's key to a sample's id, or nothing where two would share one."""
    ids: dict[str, str] = {}
    for name, id in names:
        if ids.setdefault(read(name), id) != id:
            return {}
    found = {key: ids.get(read(key), "") for key in answers}
    return found if "" not in found.values() and len({*found.values()}) == len(found) else {}


def _renamed(
    answers: Mapping[str, str], found: Mapping[str, str], said: str, note: Callable[[str], None]
) -> Mapping[str, str]:
    key = next(key for key in found if key != found[key])
    note(f"ids are matched by {said}: {shown(key)} is question {shown(found[key])}")
    return {found[key]: text for key, text in answers.items()}


_NUMBER = re.compile(r"0*([0-9]+)(?:\.0*)?")
_PICTURE = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp)$", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"([0-9]+)$")


def _number(key: str) -> str:
    """``0123`` and ``123.0`` as ``123``."""
    found = _NUMBER.fullmatch(key.strip())
    return found[1] if found else key.strip()


def _stem(key: str) -> str:
    """The name of a picture's file, without its folder and its extension; a number as one."""
    name = key.strip().replace("\\", "/").rpartition("/")[2] if _PICTURE.search(key) else key
    return _number(_PICTURE.sub("", name))


def _ending(key: str) -> str:
    """The number that ends the name of a picture's file."""
    found = _LAST_NUMBER.search(stem := _stem(key))
    return _number(found[1]) if found else stem


_READINGS: Mapping[str, Callable[[str], str]] = {
    "number": _number,
    "file name": _stem,
    "the number in the file name": _ending,
}
"""From the nearest to the farthest."""
