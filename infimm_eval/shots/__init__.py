"""Which examples stand before a question.  Knows samples; knows neither prompts nor models.

``selection`` draws, ``controls`` change what was drawn; ``retrieval`` searches the whole training
split and is imported, with torch, only where it is asked for.
"""

from infimm_eval.shots.controls import Chance, Shown, shown
from infimm_eval.shots.selection import FILE, POOL, RETRIEVED, SEEDLESS, Selector, Shots, kind, pool

__all__ = [
    "FILE",
    "POOL",
    "RETRIEVED",
    "SEEDLESS",
    "Chance",
    "Selector",
    "Shots",
    "Shown",
    "kind",
    "pool",
    "shown",
]
