"""A request as the transformers backend works on it: written, its pictures read, its row weighed.

Knows lengths and a model's shapes; computes nothing with a model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from PIL import Image as Pillow
from torch import Tensor

from infimm_eval.flamingo.pictures import PictureError
from infimm_eval.models.shared.beginnings import Prefix
from infimm_eval.models.transformers.pictures import decoded
from infimm_eval.models.transformers.prompts import Pieces, PromptFormatter
from infimm_eval.types import Image, Prompt, Request


@dataclass(slots=True, eq=False)
class Tokens:
    """A prompt by itself, as its model reads it from a KV cache.

    ``positions`` are (A, T), with an axis more than one where a model turns by several.  ``rows``
    are the digests of what its tower is given, in order; ``features`` (layers, V, D) come once
    they are encoded, and it is ``ready``.  ``shared`` is that of its ``beginnings`` which is read
    once for several prompts.
    """

    ids: list[int]
    positions: Tensor
    rows: Sequence[str] = ()
    features: list[Tensor] = field(default_factory=list)
    ready: bool = False
    beginnings: tuple[Prefix, ...] = ()
    shared: Prefix | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One prompt with its pictures, and the digests of their files.  ``spelled`` is the prompt in
    letters, once it is known to fit; ``tokens`` where it may be read from a KV cache, or ``whole``
    where its model can only read it whole; the ``options`` to rank in ids."""

    request: Request
    prompt: Prompt
    written: Pieces
    shown: list[Pillow.Image]
    digests: list[str]
    spelled: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    arrival: int = 0
    tokens: Tokens | None = None
    whole: bool = False
    options: Sequence[Sequence[int]] = ()

    @property
    def cost(self) -> int:
        """Letters, and what about as many picture elements stand for."""
        if self.tokens is not None:
            return 3 * len(self.tokens.ids)
        return sum(len(p) if isinstance(p, str) else 0 for p in self.written) + sum(
            picture.width * picture.height // 400 for picture in self.shown
        )

    @property
    def group(self) -> Hashable:
        """Jobs of the same go into one batch; processors want pictures in all rows or none."""
        return self.request.decoding, bool(self.shown), self.tokens is not None

    def shorten(self, formatter: PromptFormatter) -> bool:
        """Leaves out the oldest example with its pictures; False where only the question is
        left."""
        turns = self.prompt.turns
        if len(turns) < 3:
            return False
        gone = sum(isinstance(p, Image) for turn in turns[:2] for p in turn.content)
        self.prompt = replace(self.prompt, turns=turns[2:])
        self.written = formatter.write(self.prompt)
        self.shown, self.digests = self.shown[gone:], self.digests[gone:]
        self.notes["dropped_shots"] = self.notes.get("dropped_shots", 0) + 1
        return True

    def blamed(self, takes: Callable[[Pillow.Image], bool]) -> list[str]:
        """Names of the pictures that are not taken, or, where all of them are, of all."""
        images = pictures_of(self.prompt)
        names = [image.name for image in images]
        refused = [n for n, seen in zip(names, self.shown, strict=True) if not takes(seen)]
        return list(dict.fromkeys(refused or names))


def prepared(request: Request, formatter: PromptFormatter) -> Job:
    """The request written out, its pictures decoded.

    ``PictureError`` for one that cannot be shown, ``PromptRefused`` where the chat template has no
    way to write this one prompt.
    """
    written = formatter.write(request.prompt)
    read = [_read(image) for image in pictures_of(request.prompt)]
    shown, digests = [picture for picture, _ in read], [digest for _, digest in read]
    return Job(request, request.prompt, written, shown, digests)


def pictures_of(prompt: Prompt) -> list[Image]:
    """In reading order."""
    return [piece for turn in prompt.turns for piece in turn.content if isinstance(piece, Image)]


def bytes_of(model: Any, job: Job) -> int:
    """An estimate for one row: cache, activations of one layer, final scores.

    How many tokens a picture takes is the processor's secret until it has read it, so this says
    more about how rows compare than about what they take.
    """
    text = model.config.get_text_config()
    width = _size(text, "hidden_size", 4096)
    inner = _size(text, "intermediate_size", 4 * width)
    heads = _size(text, "num_attention_heads", 32)
    kept = _size(text, "num_key_value_heads", heads) * _size(text, "head_dim", width // heads)
    decoding = job.request.decoding
    prompt = job.cost // 3
    places = prompt + decoding.max_new_tokens * decoding.num_beams
    cache = 2 * _size(text, "num_hidden_layers", 32) * kept * places
    passing = prompt * (4 * width + 3 * inner)
    scores = 3 * 4 * _size(text, "vocab_size", 32000) * decoding.num_beams
    return int((cache + passing) * model.dtype.itemsize + scores)


def _size(config: Any, name: str, usual: int) -> int:
    """Some architectures have no such number, others one for each layer."""
    value = getattr(config, name, None)
    return int(max(value) if isinstance(value, list | tuple) else value or usual)


def _read(image: Image) -> tuple[Pillow.Image, str]:
    """The picture, and the digest of its file."""
    try:
        file = image.read()
    except OSError as error:
        raise PictureError(f"{image.name}: the picture cannot be read ({error})") from error
    return decoded(file, image.name), sha256(file).hexdigest()
