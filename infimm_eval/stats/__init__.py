"""How sure a number is, and whether two numbers differ: all of it follows from ``types.Unit``.

Knows nothing of benchmarks, runs or files; numpy alone.
"""

from infimm_eval.stats.intervals import interval
from infimm_eval.stats.pairs import Difference, paired
from infimm_eval.stats.ranks import rank_correlation
from infimm_eval.stats.tables import averaged, holm, over_seeds

__all__ = ["Difference", "averaged", "holm", "interval", "over_seeds", "paired", "rank_correlation"]
