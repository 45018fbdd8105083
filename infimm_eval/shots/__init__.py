"""Which examples stand before a question.  Knows samples; knows neither prompts nor models."""

from infimm_eval.shots.controls import Chance, Shown, shown
from infimm_eval.shots.selection import POOL, Shots, Support, pool

__all__ = ["POOL", "Chance", "Shots", "Shown", "Support", "pool", "shown"]
