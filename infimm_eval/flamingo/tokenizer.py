"""Text and marks become token ids, in such a way that no text can pass for a mark.

It knows nothing of conversations, pictures or models; it does not repair a tokenizer's file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import tokenizers

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.files import read_json_if_there
from infimm_eval.flamingo.sentencepiece import convert


class Mark(Enum):
    """What stands between the words of a prompt and is not text."""

    BOS = "bos"
    EOS = "eos"
    IMAGE = "image"
    END_OF_CHUNK = "end of chunk"
    ANSWER = "answer"


IMAGE = Mark.IMAGE
END_OF_CHUNK = Mark.END_OF_CHUNK

Piece: TypeAlias = str | Mark
"""A prompt is a sequence of these: text as it is, and marks that text cannot imitate."""


class Tokenizer:
    """A checkpoint's tokenizer, with the names of its marks.

    ``raw`` is tokenizers' own object, made from ``tokenizer.json`` as it stands: transformers 5's
    AutoTokenizer rebuilds it from its class name and then gives other ids where text after a
    special token begins with a space.  Reading is safe in many threads.
    """

    def __init__(
        self,
        raw: tokenizers.Tokenizer,
        *,
        bos: str = "<s>",
        eos: str = "</s>",
        pad: str | None = None,
        image: str = "<image>",
        end_of_chunk: str = "<|endofchunk|>",
        answer: str = "<answer>",
    ) -> None:
        """``pad`` is what fills batches and is never attended; none given, ``eos`` serves."""
        self.raw = raw
        # A tokenizer.json may carry its author's last settings, which would shorten prompts.
        raw.no_truncation()
        raw.no_padding()
        self._names = {
            Mark.BOS: bos,
            Mark.EOS: eos,
            IMAGE: image,
            END_OF_CHUNK: end_of_chunk,
            Mark.ANSWER: answer,
        }
        self._ids = {m: raw.token_to_id(name) for m, name in self._names.items()}
        for mark in (Mark.EOS, IMAGE, END_OF_CHUNK):
            self.id(mark)
        self.eos_id = self.id(Mark.EOS)
        self.pad_id = self.eos_id if pad is None else _known(raw, pad)
        self.opening: tuple[int, ...] = tuple(raw.encode("").ids)
        """What the tokenizer puts before every text: ``<s>``, or nothing."""

        added = raw.get_added_tokens_decoder()
        special = {i: token.content for i, token in added.items() if token.special}
        special |= {i: self._names[m] for m, i in self._ids.items() if i is not None}
        self._spellings = frozenset(special.values())
        self._unknown = raw.token_to_id(getattr(raw.model, "unk_token", None) or "<unk>")
        self._reserved = frozenset(special) - {self._unknown}
        self._blind = copy.deepcopy(raw)
        self._blind.encode_special_tokens = True

    @classmethod
    def load(cls, folder: Path, added: Sequence[str] = (), pad: str | None = None) -> Tokenizer:
        """The tokenizer of a checkpoint folder: ``tokenizer.json``, else ``tokenizer.model``.

        ``tokenizer_config.json`` names bos, eos and pad, ``config.json`` numbers the two marks;
        ``UsageError`` where they disagree with the tokenizer or no tokenizer is there.

        The special tokens ``added``, in this order, and ``pad`` where none is named for padding are
        appended where the vocabulary lacks them, as codes do that share a language model's own.
        """
        settings = read_json_if_there(folder / "tokenizer_config.json")
        file = folder / "tokenizer_config.json"
        if added:  # what such a language model's own files say, wherever it stands
            settings = read_json_if_there(folder / "special_tokens_map.json") | settings
        names = {
            role: _content(settings[f"{role}_token"], f"{role}_token in {file}")
            for role in ("bos", "eos", "pad")
            if settings.get(f"{role}_token") is not None
        }
        raw = _raw(folder, settings)
        raw.add_special_tokens([*added])
        if pad is not None and "pad" not in names:
            raw.add_special_tokens([pad])
            names["pad"] = pad
        if added and raw.token_to_id(names.get("eos", "</s>")) is None:
            names["eos"] = "<|endofchunk|>"  # a tokenizer that names none
        tokenizer = cls(raw, **names)
        numbers = read_json_if_there(folder / "config.json")
        for mark, key in ((IMAGE, "image_token_id"), (END_OF_CHUNK, "eoc_token_id")):
            if numbers.get(key, tokenizer.id(mark)) != tokenizer.id(mark):
                raise UsageError(
                    f"{folder}: config.json has {key} {numbers[key]}, but the tokenizer gives "
                    f"{tokenizer.name(mark)!r} the id {tokenizer.id(mark)}"
                )
        return tokenizer

    def name(self, mark: Mark) -> str:
        """How this tokenizer writes a mark."""
        return self._names[mark]

    def marked(self, text: str) -> Piece:
        """The mark that this tokenizer writes so, where it has one; else the text itself."""
        marks = (mark for mark, name in self._names.items() if name == text)
        return next((mark for mark in marks if self._ids[mark] is not None), text)

    def id(self, mark: Mark) -> int:
        """The mark's id.  UsageError where the tokenizer has none."""
        return _known(self.raw, self._names[mark])

    def encode(self, pieces: Iterable[Piece], *, literal: bool = True) -> list[int]:
        """Ids of ``pieces``, the opening token before them.

        Equal to tokenizing the whole string with its special tokens recognised, except where
        text spells one out (``<image>`` in a question): those characters stay characters, and
        what the vocabulary would still read as a special token becomes the unknown one.  Half a
        surrogate pair, which JSON can hold and UTF-8 cannot, becomes U+FFFD.
        ``literal=False`` is the original's reading, where such text does become the token.
        """
        runs = [
            run
            for is_text, group in groupby(pieces, lambda piece: isinstance(piece, str))
            for run in ([_sound("".join(map(str, group)))] if is_text else group)
        ]
        whole = "".join(run if isinstance(run, str) else self._names[run] for run in runs)
        ids = self.raw.encode(whole, add_special_tokens=False).ids
        if literal and self._is_forged(runs, ids):
            ids = [i for run in runs for i in self._encode_alone(run)]
        return [*self.opening, *ids]

    def spelled(self, pieces: Iterable[Piece]) -> tuple[str, ...]:
        """``pieces`` in letters with the opening token and all marks, cut where pictures stand."""
        texts = ["".join(map(str, map(self.raw.id_to_token, self.opening)))]
        for piece in pieces:
            if piece is IMAGE:
                texts.append("")
            else:
                texts[-1] += piece if isinstance(piece, str) else self._names[piece]
        return tuple(texts)

    def continuation(self, tail: str, text: str) -> list[int]:
        """Ids that ``text`` adds to a prompt whose last text is ``tail``, for ranking.

        They are what follows ``tail`` in the ids of both together.  Where a token would span the
        seam, the prompt's own ids must stay: the text then has the ids it has after a line break.
        """
        for before in (tail, "\n"):
            start, both = self._encode_alone(before), self._encode_alone(before + text)
            added = both[len(start) :]
            if both[: len(start)] == start and (added or not text.strip()):
                return added
        raise UsageError(f"{text!r} cannot be tokenized as the continuation of {tail[-20:]!r}")

    def last_id(self, text: str) -> int | None:
        """The id that ``text`` by itself ends with (SentencePiece puts a space before a line
        break); None for a text that this tokenizer cannot write."""
        return next(reversed(self._encode_alone(text)), None)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ``ids``, special tokens and padding left out."""
        return self.raw.decode(list(ids), skip_special_tokens=True)

    def _is_forged(self, runs: Sequence[Piece], ids: Sequence[int]) -> bool:
        """Whether text spells a special token, or more of them came out than went in."""
        texts = [run for run in runs if isinstance(run, str)]
        if any(spelling in text for text in texts for spelling in self._spellings):
            return True
        meant = [self.id(run) for run in runs if isinstance(run, Mark)]
        return [i for i in ids if i in self._reserved] != meant

    def _encode_alone(self, run: Piece) -> list[int]:
        if isinstance(run, Mark):
            return [self.id(run)]
        ids = self._blind.encode(_sound(run), add_special_tokens=False).ids
        plain = (self._unknown if i in self._reserved else i for i in ids)
        return [i for i in plain if i is not None]


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _raw(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    ready, bare = folder / "tokenizer.json", folder / "tokenizer.model"
    if _is_there(ready):
        try:
            return tokenizers.Tokenizer.from_file(str(ready))
        except Exception as error:  # tokenizers raises nothing more specific
            raise UsageError(f"{ready} is not a tokenizer: {error}") from error
    if _is_there(bare):
        return convert(bare, _added(folder, settings))
    raise UsageError(f"{folder} has neither tokenizer.json nor tokenizer.model")


def _is_there(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(20).startswith(b"version https://git"):
            raise UsageError(f"{path} is a Git-LFS pointer, not the file: run `git lfs pull`")
    return True


def _added(folder: Path, settings: Mapping[str, Any]) -> dict[str, int]:
    """The special tokens with their ids, which stand in one file or the other."""
    where = f"added_tokens_decoder in {folder / 'tokenizer_config.json'}"
    written = settings.get("added_tokens_decoder", {})
    if not isinstance(written, Mapping) or not all(str(i).isdecimal() for i in written):
        raise UsageError(f"{where} should give every id its token")
    added = {_content(token, where): int(i) for i, token in written.items()}
    listed = read_json_if_there(folder / "added_tokens.json")
    if not all(type(i) is int for i in listed.values()):
        raise UsageError(f"{folder / 'added_tokens.json'} should give every token its id")
    return added | listed


def _content(token: Any, where: str) -> str:
    """The text of a token that configuration files write as a string or as an object."""
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise UsageError(f'{where} should be a token or {{"content": a token}}, not {token!r}')
    return text


def _known(raw: tokenizers.Tokenizer, name: str) -> int:
    number = raw.token_to_id(name)
    if number is None:
        raise UsageError(f"the tokenizer has no token {name!r}")
    return number
