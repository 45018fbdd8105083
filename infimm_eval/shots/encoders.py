"""What makes vectors of pictures and of texts, and how they are kept.

Knows the protocols and the names of encoders (``--retrieval-model``); how one computes is a module
of its own.  Knows no split and selects nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.shots.feature_store import FeatureStore
from infimm_eval.shots.search import Vectors, unit
from infimm_eval.types import Image

BATCH = 32
"""Pictures or texts that an encoder is given at once."""
KEPT_EVERY = 512
"""So many are encoded before they are written down."""


@runtime_checkable
class PictureEncoder(Protocol):
    """Makes a vector of a picture, such that alike pictures have alike vectors.

    A model that has eyes of its own offers one as its attribute ``picture_encoder``.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that the numbers depend on beside the picture, as JSON: weights,
        preprocessing, dtype."""
        ...

    def encode_pictures(self, images: Sequence[Image], /) -> Any:
        """Features (N, D) in float32, of any length; ``UsageError`` names a picture that cannot be
        shown."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Makes a vector of a text, such that alike texts have alike vectors."""

    @property
    def text_identity(self) -> Mapping[str, Any]:
        """As a picture encoder's, for texts."""
        ...

    def encode_texts(self, texts: Sequence[str], /) -> Any:
        """Features (N, D) in float32, of any length."""
        ...


@dataclass(frozen=True, slots=True)
class Encoders:
    """Who encodes in one run; ``None`` where nobody does, and why not."""

    pictures: PictureEncoder | None
    texts: TextEncoder | None
    lacking: str = ""

    def require_pictures(self, support: str) -> PictureEncoder:
        """The picture encoder; ``UsageError`` where there is none."""
        if self.pictures is None:
            raise UsageError(f"--support {support} compares pictures, and {self.lacking}")
        return self.pictures

    def require_texts(self, support: str) -> TextEncoder:
        """The text encoder; ``UsageError`` where there is none."""
        if self.texts is None:
            raise UsageError(
                f"--support {support} compares questions, for which there is no encoder; name one "
                "with --retrieval-model open_clip:NAME@FILE, or with text:FOLDER (a "
                "sentence-transformers folder) beside the pictures' (own,text:FOLDER)"
            )
        return self.texts


FORMS = "open_clip:NAME@FILE, open_clip:NAME/TAG, own, or with text:FOLDER behind a comma"


def find(spec: str | None, model: Any, device: str, note: Callable[[str], None]) -> Encoders:
    """The encoders that ``--retrieval-model`` names, the model's own eyes unless told otherwise."""
    pictures: PictureEncoder | None = None
    texts: TextEncoder | None = None
    lacking = (
        f"{model.name} has no eyes of its own to compare them with; name an encoder: "
        "--retrieval-model open_clip:NAME@FILE"
    )
    for part in (spec or "own").split(","):
        head, _, name = part.strip().partition(":")
        if head == "own" and not name:
            pictures = getattr(model, "picture_encoder", None)
            if pictures is None and spec and spec.strip() == "own":
                raise UsageError(f"--retrieval-model own: {lacking}")
        elif head == "open_clip" and name:
            from infimm_eval.shots.clip import ClipEncoder

            clip = ClipEncoder.load(name, device, note)
            pictures, texts = clip, texts or clip
        elif head == "text" and name:
            from infimm_eval.shots.sentences import SentenceEncoder

            texts = SentenceEncoder.load(Path(name), device)
        else:
            raise UsageError(f"--retrieval-model {part.strip()!r}: write {FORMS}")
    return Encoders(pictures, texts, lacking)


@dataclass(slots=True)
class Kept:
    """The vectors of pictures or texts in a store: each distinct one is encoded once, ever."""

    store: FeatureStore
    identity: Mapping[str, Any]
    encode: Callable[[Sequence[Any]], Any]
    digest: Callable[[Any], str]
    told: Callable[[int, int], None]
    """Is told how many of how many are encoded."""
    encoded: int = 0
    reused: int = 0
    _digests: dict[Any, str] = field(default_factory=dict)

    def see_to(self, values: Iterable[Any]) -> None:
        """Have the vectors of all of them in the store."""
        wanted = list(dict.fromkeys(values))
        parts = [wanted[at : at + BATCH] for at in range(0, len(wanted), BATCH)]
        with ThreadPoolExecutor(2) as pool:  # files are read meanwhile
            made = pool.map(lambda part: list(map(self.digest, part)), parts)
            self._digests |= zip(wanted, chain.from_iterable(made), strict=True)
        distinct = {self._digests[value]: value for value in wanted}
        missing = {digest: v for digest, v in distinct.items() if digest not in self.store}
        self.encoded += len(missing)
        self.reused += len(distinct) - len(missing)
        self._encode(missing)

    def row(self, value: Any) -> int:
        """Where in the store a value's vector is; of those that were seen to."""
        return self.store.row(self._digests.get(value) or self.digest(value))

    def _encode(self, missing: Mapping[str, Any]) -> None:
        """Written down now and then, so that what breaks off goes on there."""
        digests, values = list(missing), list(missing.values())
        for start in range(0, len(digests), KEPT_EVERY):
            if len(digests) > KEPT_EVERY:
                self.told(start, len(digests))
            some = values[start : start + KEPT_EVERY]
            made = [self.encode(some[at : at + BATCH]) for at in range(0, len(some), BATCH)]
            vectors = np.concatenate([np.asarray(features, np.float32) for features in made])
            if not np.isfinite(vectors).all():
                raise MachineryError(
                    "the retrieval model's features are not finite numbers (NaN or infinity): "
                    "damaged weights, or too narrow a dtype for them"
                )
            self.store.add(digests[start : start + KEPT_EVERY], unit(vectors))


def kept_pictures(encoder: PictureEncoder, folder: Path, told: Callable[[int, int], None]) -> Kept:
    """The vectors of pictures, known by the SHA-256 of their files."""
    store = FeatureStore(folder, encoder.identity)
    return Kept(store, encoder.identity, encoder.encode_pictures, _file_digest, told)


def kept_texts(encoder: TextEncoder, folder: Path, told: Callable[[int, int], None]) -> Kept:
    """The vectors of texts."""
    store = FeatureStore(folder, encoder.text_identity)
    return Kept(store, encoder.text_identity, encoder.encode_texts, _text_digest, told)


def mean_vectors(base: Vectors, rows: Sequence[Sequence[int]]) -> Vectors:
    """Of the vectors in these rows each their mean as a vector of length 1; of no rows, zeros."""
    means = np.zeros((len(rows), base.shape[1]), np.float32)
    for place, some in enumerate(rows):
        if some:
            means[place] = base[some[0]] if len(some) == 1 else base[list(some)].mean(0)
    return unit(means)


def _file_digest(image: Image) -> str:
    try:
        return image.digest()
    except OSError as error:
        raise UsageError(f"{image.name}: the picture cannot be read ({error})") from error


def _text_digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
