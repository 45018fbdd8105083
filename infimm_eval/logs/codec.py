"""Values of a log to text and back, and the key that names an answer.  Knows no database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields, replace
from hashlib import sha256
from itertools import islice
from typing import Any, Generic, Literal, TypeVar

from infimm_eval.logs.frames import unfold
from infimm_eval.logs.values import Cell, Entry, NamedImage
from infimm_eval.types import (
    Answer,
    Content,
    Decoding,
    Document,
    Prompt,
    Request,
    Sample,
    Score,
    Turn,
    Unit,
)

T = TypeVar("T")

_UNITS_AT_ONCE = 1024
_KEPT = 8192
"""Texts of values that are kept, two for each of the examples that prompts keep."""


def request_key(asker: str, sample_id: str, request: Request, prompt: str) -> str:
    """Names an answer by all that can change it: who is asked and how (``asker``, see below), the
    sample, the prompt with its pictures (as ``dump_prompt`` writes it), the search, the options."""
    never = (f"never {text}" for text in request.decoding.banned)
    asked = (asker, sample_id, prompt, _search(request.decoding), *never, *request.options)
    return sha256("\0".join(asked).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def asker(kind: Literal["generate", "rank"], settings: Mapping[str, Any]) -> str:
    """Names a model by its settings, and what is wanted of it."""
    known = json.dumps(settings, sort_keys=True, default=str)
    return f"{kind}/{sha256(known.encode()).hexdigest()[:32]}"


def dump_sample(sample: Sample) -> str:
    """A sample as JSON; what is empty is left out, pictures are names."""
    body = {
        "id": sample.id,
        "images": [[i.key, i.name] for i in sample.images],
        "question": _parts(sample.question),
        "target": sample.target,
        "references": sample.references,
        "options": [_parts(option) for option in sample.options],
        "hint": sample.hint,
        "group": sample.group,
        "tags": dict(sample.tags),
    }
    return _text({k: v for k, v in body.items() if v})


def load_samples(texts: Iterable[str]) -> Iterator[Sample]:
    """Many at once: one call of the parser for all takes half the time of one for each."""
    return map(_sample, json.loads(f"[{','.join(texts)}]"))


def _sample(body: Mapping[str, Any]) -> Sample:
    return Sample(
        id=body["id"],
        images=tuple([NamedImage(name, key) for key, name in body.get("images", ())]),
        question=_content(body.get("question", ())),
        target=body.get("target", ""),
        references=tuple(body.get("references", ())),
        options=tuple(map(_content, body.get("options", ()))),
        hint=body.get("hint", ""),
        group=body.get("group", ""),
        tags=body.get("tags", {}),
    )


def dump_prompt(prompt: Prompt) -> str:
    """A prompt as JSON, pictures by key and name; the usual document's parts are not written out,
    since they were not in earlier versions."""
    turns = ",".join([*map(_example, prompt.turns[:-1]), *map(_turn, prompt.turns[-1:])])
    document = f",{_text(astuple(prompt.document))}" if prompt.document != _USUAL else ""
    head = _text([prompt.style, prompt.system]).removesuffix("]")
    return f"{head},[{turns}]{document}]"


def _turn(turn: Turn) -> str:
    return _text([turn.role, *_parts(turn.content)])


class _Once(Generic[T]):
    """The text of values that come again and again as one object, such as the turns of an example
    in a thousand prompts.  Told apart by who they are, which takes no time, not by what they
    hold; some thousands are kept."""

    def __init__(self, text: Callable[[T], str]) -> None:
        self._text = text
        self._known: dict[int, tuple[T, str]] = {}

    def __call__(self, value: T) -> str:
        if (known := self._known.get(id(value))) is not None:
            return known[1]
        if len(self._known) == _KEPT:
            self._known.clear()
        text = self._text(value)
        self._known[id(value)] = value, text  # alive, so that no other can have its id
        return text


_example = _Once(_turn)
_search: _Once[Decoding] = _Once(repr)
_USUAL = Document()


def dump_ids(ids: Sequence[str]) -> str:
    """Ids of shots as JSON."""
    return _text(ids)


# made once: json.dumps would make an encoder for every call that is not of its defaults
_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _parts(content: Content) -> list[str | list[str]]:
    return [part if isinstance(part, str) else [part.key, part.name] for part in content]


def _content(parts: Iterable[str | list[str]]) -> Content:
    return tuple([p if isinstance(p, str) else NamedImage(p[1], p[0]) for p in parts])


def dump_answer(answer: Answer) -> tuple[str, str, str | None, str | None]:
    """Text, finish, log-likelihoods and notes, as the columns of an answer."""
    text = answer.text.encode("utf-8", "replace").decode()  # no byte stands for half a pair
    logliks = json.dumps(answer.logliks) if answer.logliks else None
    notes = _notes(dict(answer.notes)) if answer.notes else None
    return text, answer.finish, logliks, notes


_notes = json.JSONEncoder(default=str).encode


def load_answer(row: Sequence[Any]) -> Answer | None:
    """An answer from its columns; ``None`` from the empty ones of an outer join."""
    key, text, finish, logliks, notes = row
    if key is None:
        return None
    scores = tuple(json.loads(logliks)) if logliks else ()
    return Answer("", text, finish, scores, json.loads(notes) if notes else {})


def load_entry(row: Sequence[Any]) -> Entry:
    """An entry from its columns, those of its score and its answer behind them."""
    position, sample, prompt, shot_ids, said, value, read_as, parsed, parts, frame, *answer = row
    body = json.loads(prompt)
    asked, pictures = _readable(*body)
    scored = read_as is not None
    return Entry(
        position=position,
        sample=next(load_samples([sample])),
        prompt=asked,
        pictures=pictures,
        read=unfold(frame, _words(*body)) if frame else (),
        shot_ids=tuple(json.loads(shot_ids)),
        answer=load_answer(answer),
        said=said,
        score=Score(value, read_as, bool(parsed), json.loads(parts)) if scored else None,
    )


def _words(style: str, system: str, turns: Sequence[Any], *_: Any) -> list[str]:
    """The prompt's own words, as ``frames`` numbers them."""
    return [system, *(part for _, *parts in turns for part in parts if isinstance(part, str))]


def _readable(
    style: str, system: str, turns: Sequence[Any], *document: Any
) -> tuple[str, tuple[tuple[str, str], ...]]:
    between = Document(*document[0]) if document else Document()
    pictures = tuple(
        (part[0], part[1]) for _, *parts in turns for part in parts if not isinstance(part, str)
    )
    lines = (
        [f"[system] {system}\n"] if system and style == "instruct" else [system] if system else []
    )
    for role, *parts in turns:
        text = "".join(p if isinstance(p, str) else f"[picture: {p[1]}]" for p in parts)
        if style == "instruct":
            lines.append(f"[{role}] {text}\n")
        else:
            after = between.after_answer if role == "assistant" else between.before_answer
            lines.append(f"{text}{after}")
    return "".join(lines), pictures


def dump_cell(cell: Cell) -> str:
    """``others`` is left out: it depends on what else the folder holds."""
    body = {f.name: getattr(cell, f.name) for f in fields(cell) if f.name != "others"}
    return json.dumps(body, ensure_ascii=False)


def load_cell(body: str) -> Cell:
    """Raises ``ValueError``, ``TypeError`` or ``KeyError`` on a damaged row."""
    values = json.loads(body)
    if values["ci95"] is not None:
        values["ci95"] = tuple(values["ci95"])
    return Cell(**values)


def load_cell_of_schema_1(body: str) -> Cell:
    """A cell of the first schema: its scorer was recorded by name alone, as ``ruler``, and counts
    as that scorer's version 1; all else that it did not know has the usual value."""
    cell = load_cell(body)
    protocol = dict(cell.settings.get("protocol", {}))
    if "ruler" in protocol:
        protocol["scorer"] = {"name": protocol.pop("ruler"), "version": 1, "digest": None}
    support = protocol.get("support") if cell.shots else None
    return replace(cell, support=support, settings={**cell.settings, "protocol": protocol})


def dump_learned(value: Any) -> bytes:
    """What a scorer learned of a split, a JSON value, compressed."""
    return zlib.compress(_text(value).encode("utf-8", "surrogatepass"), 1)


def load_learned(packed: bytes) -> Any:
    """Raises ``ValueError`` or ``zlib.error`` on a damaged row."""
    return json.loads(zlib.decompress(packed))


def dump_units(units: Iterable[Unit]) -> bytes:
    """A JSON list, compressed piece by piece: as text it would be several times as large."""
    pack, packed, before = zlib.compressobj(1), [], "["
    rows = ([u.id, u.cluster, u.value, u.weight, u.stratum] for u in units)
    while some := list(islice(rows, _UNITS_AT_ONCE)):
        text = before + _text(some)[1:-1]
        packed.append(pack.compress(text.encode("utf-8", "surrogatepass")))
        before = ","
    packed += [pack.compress(b"[]" if before == "[" else b"]"), pack.flush()]
    return b"".join(packed)


def load_units(packed: bytes) -> list[Unit]:
    """Raises ``ValueError``, ``TypeError`` or ``zlib.error`` on a damaged row."""
    return [Unit(*row) for row in json.loads(zlib.decompress(packed))]
