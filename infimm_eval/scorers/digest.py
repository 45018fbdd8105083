"""Digest of a scorer: twelve hex digits that change when its behaviour on fixed cases does.

A scorer without cases is known by the source of its modules.  Starts no Java and asks no judge;
what a digest is good for (to refuse a comparison, say) is not its business.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.scorers import learn, score
from infimm_eval.types import (
    Content,
    CorpusFunction,
    Decoding,
    Prompt,
    Record,
    Rubric,
    Score,
    Scorer,
    Scoring,
)

VERDICTS = ("1", "0.5", " 0.3 because", "1.5", "-1", "nan", "", " Z", "A", "B. red", "good")
"""What a judge may have said: every rubric is asked how it reads each of them."""

_READ = 12
"""So many cases are enough to see how a rubric reads verdicts."""

_known: dict[int, tuple[Scorer, str]] = {}
"""Those made so far, by the identity of their scorer."""


def digest(scorer: Scorer) -> str:
    """The digest of a scorer as it is in this process, in some five milliseconds the first time.

    Never read from a file: what is compared is what scored.
    """
    if id(scorer) not in _known:
        _known[id(scorer)] = scorer, _digest(scorer)
    return _known[id(scorer)][1]


def behaviour(scorer: Scorer, records: Sequence[Record]) -> Any:
    """What a scorer makes of records, as a JSON value: scores and corpus figures, or the prompts
    of a rubric and its readings."""
    function = scorer.function
    if isinstance(function, Rubric):
        return _rubric(function, records)
    if isinstance(function, CorpusFunction) and function.probe is not None:
        found = function.probe(records)
    else:
        found = score(scorer, records, learn(scorer, [record.sample for record in records]))
    return _scoring(found) if isinstance(found, Scoring) else found


def _digest(scorer: Scorer) -> str:
    if scorer.cases is None:
        return source(scorer.function)
    try:
        shown = behaviour(scorer, list(scorer.cases()))
    except UsageError:  # a package that it takes is not installed
        return source(scorer.function)
    return _hash([json.dumps(shown, sort_keys=True)])


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


# ---- behaviour as JSON


def _rubric(rubric: Rubric, records: Sequence[Record]) -> Any:
    return {
        "decoding": _changed(rubric.decoding),
        "tries": rubric.tries,
        "heat": rubric.heat,
        "asks": [[_prompt(rubric.ask(record, n)) for n in (0, 1)] for record in records],
        "settles": [found and _score(found) for found in map(rubric.settled, records)],
        "reads": [
            [_score(rubric.read(record, said)) for said in VERDICTS] for record in records[:_READ]
        ],
    }


def _changed(decoding: Decoding) -> dict[str, Any]:
    """What is not as it is for everybody: a field that is new one day changes no digest."""
    given = ((field, getattr(decoding, field.name)) for field in fields(decoding))
    return {field.name: value for field, value in given if value != field.default}


def _scoring(scoring: Scoring) -> Any:
    return {"scores": [_score(one) for one in scoring.scores], "corpus": _figures(scoring.corpus)}


def _score(score: Score) -> Any:
    return [_figure(score.value), score.read_as, score.parsed, _figures(score.parts)]


def _figures(values: Mapping[str, float]) -> dict[str, str | None]:
    return {name: _figure(value) for name, value in values.items()}


def _figure(value: float | None) -> str | None:
    """Twelve digits: logarithms differ in the last ones from one machine to another."""
    return None if value is None else f"{float(value):.12g}"


def _prompt(prompt: Prompt) -> Any:
    turns = [[turn.role, _content(turn.content)] for turn in prompt.turns]
    return [prompt.style, prompt.system, turns]


def _content(content: Content) -> list[Any]:
    return [part if isinstance(part, str) else {"picture": part.name} for part in content]


# ---- where it is written


def source(*functions: object) -> str:
    """A hash of the modules that define functions, with their neighbours of the same package, and
    of what they were put together from."""
    files = {file for f in functions for name in _modules(f) for file in _package(name)}
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(files)]
    return _hash([*(_called(piece) for f in functions for piece in _pieces(f)), *texts])


def _package(module: str) -> list[Path]:
    """The files of a module's package, or its own where it is of none; none of a notebook's."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file():
        return []
    folder = Path(file).parent
    return [*folder.glob("*.py")] if (folder / "__init__.py").is_file() else [Path(file)]


def _modules(function: object) -> set[str]:
    """Where it was written: the modules of its pieces, without Python's own and ``types``."""
    pieces = _pieces(function)
    named = (piece if isinstance(piece, FunctionType) else type(piece) for piece in pieces)
    found = {kind.__module__ for kind in named} - {Scorer.__module__}
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}


def _pieces(value: object, depth: int = 0) -> Iterator[object]:
    """A function and what is bound to it: closures, defaults, what it wraps; values by field."""
    yield value
    inside: Iterable[object] = ()
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        inside = [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    elif isinstance(value, MethodType):
        inside = [value.__func__, value.__self__]
    elif isinstance(value, partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif is_dataclass(value) and not isinstance(value, type):
        inside = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, list | tuple):
        inside = value
    elif isinstance(value, Mapping):
        inside = [*value.keys(), *value.values()]
    elif (wrapped := getattr(value, "__wrapped__", None)) is not None:
        inside = [wrapped]
    if depth < _DEEPEST:
        for part in inside:
            yield from _pieces(part, depth + 1)


_DEEPEST = 8
"""Values that hold each other end here."""


def _called(piece: object) -> str:
    """What a piece is, without where it lies in memory."""
    if isinstance(piece, FunctionType):
        name = f"{piece.__module__}.{piece.__qualname__}"
        return name if _package(piece.__module__) else name + _code(piece)
    said = repr(piece)
    return said if " at 0x" not in said else f"{type(piece).__module__}.{type(piece).__qualname__}"


def _code(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # it was typed in, or made by a program
        return _bytecode(function.__code__)


def _bytecode(code: CodeType) -> str:
    held = (_bytecode(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts)
    return " ".join([code.co_code.hex(), *code.co_names, *held])


def _constant(value: object) -> str:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
