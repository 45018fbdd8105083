"""Scenes of coloured shapes: what stands in a picture, and the picture itself, both from a number.

Knows nothing of language: how a scene is described is the matter of ``words``.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from infimm_eval.types import Image

VERSION = 1
"""Raise it whenever a scene of the same number comes to look different."""

Split: TypeAlias = Literal["train", "test"]
Family: TypeAlias = Literal["scene", "sign"]

SIDE = 224
"""Width and height of a picture in pixels."""

COLORS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
GROUNDS = ("black", "gray", "brown")
PLACES = ("top left", "top right", "bottom left", "bottom right")
SIGNS = ("open", "exit", "taxi", "stop", "cafe", "milk", "zoo", "bus")

_RGB = {
    "red": (217, 52, 48),
    "green": (52, 166, 80),
    "blue": (52, 96, 220),
    "yellow": (240, 204, 52),
    "purple": (150, 70, 190),
    "white": (244, 243, 238),
    "black": (24, 24, 28),
    "gray": (122, 124, 128),
    "brown": (110, 74, 44),
}
_FINE = 2  # drawn twice as large, then shrunk: smooth edges


Look: TypeAlias = tuple[str, str]
"""Color and shape."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: words of the tuples above, and the number of its place."""

    place: int
    size: str
    color: str
    shape: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three things in different places (in reading order) on a ground.

    A scene with a ``sign`` has one or two things, all in the top places, and the sign below.
    """

    things: tuple[Thing, ...]
    ground: str
    sign: str = ""

    @property
    def look(self) -> Look | None:
        """Of a thing that is all there is to see."""
        if len(self.things) > 1 or self.sign:
            return None
        return self.things[0].color, self.things[0].shape


@dataclass(frozen=True, slots=True)
class Drawn(Image):
    """The picture of scene number ``index``, drawn anew whenever it is read."""

    split: Split
    index: int
    family: Family = "scene"

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.split}/{self.family}_{self.index:06d}.png"

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        return f"demo-{VERSION}:{self.name}"

    def read(self) -> bytes:
        """The encoded file."""
        file = io.BytesIO()
        self.pillow().save(file, "PNG", compress_level=1)
        return file.getvalue()

    def pillow(self) -> Pillow.Image:
        """The picture as ``SIDE`` x ``SIDE`` RGB pixels."""
        jitter = random.Random(f"pixels:{self.split}:{self.family}:{self.index}")
        return draw(scene(self.split, self.index, self.family), jitter)


@lru_cache(maxsize=4096)
def scene(split: Split, index: int, family: Family = "scene") -> Scene:
    """Scene number ``index``.  Every description belongs to one split alone: what is tested was
    never shown in training, not even with its shapes a little to the side."""
    rng = random.Random(f"scene:{split}:{family}:{index}")
    return next(s for s in _scenes(rng, family) if _is_for_testing(s) == (split == "test"))


def _scenes(rng: random.Random, family: Family) -> Iterator[Scene]:
    while True:
        many, places = ((1, 2, 2, 3, 3), 4) if family == "scene" else ((1, 2), 2)
        taken = sorted(rng.sample(range(places), rng.choice(many)))
        things = tuple(
            Thing(place, rng.choice(SIZES), rng.choice(COLORS), rng.choice(SHAPES))
            for place in taken
        )
        yield Scene(things, rng.choice(GROUNDS), rng.choice(SIGNS) if family == "sign" else "")


def _is_for_testing(described: Scene) -> bool:
    return hashlib.sha256(repr(described).encode()).digest()[0] < 32


def draw(described: Scene, jitter: random.Random) -> Pillow.Image:
    """Paint a scene; ``jitter`` moves, turns and tints the things a little."""
    side = SIDE * _FINE
    picture = _ground(described.ground, side).copy()
    brush = ImageDraw.Draw(picture)
    for thing in described.things:
        x = (0.25 + 0.5 * (thing.place % 2) + jitter.uniform(-0.03, 0.03)) * side
        y = (0.25 + 0.5 * (thing.place // 2) + jitter.uniform(-0.03, 0.03)) * side
        radius = (0.18 if thing.size == "large" else 0.095) * jitter.uniform(0.94, 1.06) * side
        turn = jitter.uniform(-0.2, 0.2)
        tint = jitter.uniform(0.92, 1.05)
        color = _tinted(_RGB[thing.color], tint)
        edge = _tinted(_RGB[thing.color], tint * 0.72)
        outline = [(x + radius * u, y + radius * v) for u, v in _outline(thing.shape, turn)]
        brush.polygon(outline, fill=color, outline=edge, width=3 * _FINE)
    if described.sign:
        _put_sign(brush, described.sign, side)
    return picture.reduce(_FINE)


@lru_cache(maxsize=len(GROUNDS))
def _ground(name: str, side: int) -> Pillow.Image:
    """A ground lit from the upper left."""
    y, x = np.mgrid[0:side, 0:side] / side
    light = 1.12 - 0.24 * np.hypot(x - 0.3, y - 0.3)
    lit = np.clip(light[..., None] * np.array(_RGB[name]), 0, 255)
    return Pillow.fromarray(lit.astype(np.uint8))


def _outline(shape: str, turn: float) -> list[tuple[float, float]]:
    """Corners around the origin; every shape covers a similar area."""
    corners, reach, dent = {
        "circle": (72, 0.95, 1.0),
        "square": (4, 1.2, 1.0),
        "triangle": (3, 1.25, 1.0),
        "star": (10, 1.3, 0.45),
    }[shape]
    start = turn + (math.pi / 4 if shape == "square" else -math.pi / 2)
    points = []
    for k in range(corners):
        angle, r = start + 2 * math.pi * k / corners, reach * (dent if k % 2 else 1.0)
        points.append((r * math.cos(angle), r * math.sin(angle)))
    return points


def _put_sign(brush: ImageDraw.ImageDraw, word: str, side: int) -> None:
    board = (0.08 * side, 0.58 * side, 0.92 * side, 0.92 * side)
    brush.rounded_rectangle(board, radius=0.03 * side, fill=(250, 248, 240), outline=(60, 60, 60))
    font = ImageFont.load_default(size=0.26 * side)
    brush.text((0.5 * side, 0.745 * side), word.upper(), (30, 30, 34), font, anchor="mm")


def _tinted(rgb: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (min(255, round(c * factor)) for c in rgb)
    return red, green, blue
