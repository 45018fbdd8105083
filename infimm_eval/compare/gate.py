"""From a comparison to an exit code that a build can be stopped by.

Refuses to know how anything was measured or tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from infimm_eval.compare.verdicts import Comparison, Row

PASSED, REGRESSED, INCOMPLETE = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Gate:
    """What a build is told, and why."""

    code: int
    """0 passed; 1 a drop beyond the allowed one is significant; 3 something cannot be vouched
    for (missing, unfinished, incomparable).  A regression found outweighs what is missing."""
    regressions: tuple[Row, ...]
    gaps: tuple[Row, ...]
    """Rows that cannot vouch for the new run; ``row.gaps`` says why."""

    @property
    def sentence(self) -> str:
        """The decision in one line."""
        if self.regressions:
            return f"Regression: {_listed(self.regressions)}."
        if self.gaps:
            return f"Incomplete: {_listed(self.gaps)}."
        return "Passed: no drop beyond the allowed one."


def gate(comparison: Comparison) -> Gate:
    """The gate's decision.  With no true change it stops a build in at most 5 % of comparisons."""
    rows = [row for row in comparison.rows if row.vouches]
    regressions = tuple(row for row in rows if row.regressed)
    gaps = tuple(row for row in rows if row.gaps)
    code = REGRESSED if regressions else INCOMPLETE if gaps else PASSED
    return Gate(code, regressions, gaps)


def _listed(rows: tuple[Row, ...]) -> str:
    return "; ".join(row.name for row in rows)
