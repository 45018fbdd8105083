"""From a comparison to an exit code that a build can be stopped by.

Refuses to know how anything was measured or tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from infimm_eval.compare.pooled import Pooled
from infimm_eval.compare.verdicts import SIGNIFICANT, Comparison, Row

PASSED, REGRESSED, INCOMPLETE = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Gate:
    """What a build is told, and why."""

    code: int
    """0 passed; 1 a drop beyond the allowed one is significant; 3 something cannot be vouched
    for (missing, unfinished, incomparable).  A regression found outweighs what is missing."""
    regressions: tuple[Row, ...]
    """Critical rows, each of which stops a build."""
    gaps: tuple[Row, ...]
    """Rows that cannot vouch for the new run; ``row.gaps`` says why."""
    together: Pooled | None = None
    """All critical and supporting rows, where they fell together."""
    lacking: tuple[str, ...] = ()
    """Required, and in neither run."""
    warnings: tuple[Row, ...] = ()
    """Supporting and advisory rows that fell, and stop nothing alone."""

    @property
    def sentence(self) -> str:
        """The decision in one line."""
        said = self._decision
        if self.warnings:
            fell = "; ".join(f"{row.name} ({row.tier})" for row in self.warnings)
            said += f" Fell, and stops nothing alone: {fell}."
        return said

    @property
    def _decision(self) -> str:
        if self.regressions or self.together:
            names = [row.name for row in self.regressions]
            names += [_fell(self.together)] if self.together else []
            return f"Regression: {'; '.join(names)}."
        if self.gaps or self.lacking:
            names = [row.name for row in self.gaps]
            absent = [f"{name} is required and in neither run" for name in self.lacking]
            return f"Incomplete: {'; '.join([*names, *absent])}."
        return "Passed: no drop beyond the allowed one."


def gate(comparison: Comparison) -> Gate:
    """The gate's decision.  With no true change it stops a build in at most 5 % of comparisons.

    A critical row stops it alone, supporting ones only in the pooled test, advisory ones never.
    What a row cannot vouch for counts unless it is advisory and not required.
    """
    rows = [row for row in comparison.rows if row.vouches]
    regressions = tuple(row for row in rows if row.regressed and row.tier == "critical")
    warnings = tuple(row for row in rows if row.regressed and row.tier != "critical")
    gaps = tuple(row for row in rows if row.gaps and (row.tier != "advisory" or row.required))
    pooled = comparison.pooled
    together = pooled if pooled and pooled.p <= SIGNIFICANT and pooled.score > 0 else None
    incomplete = gaps or comparison.lacking
    code = REGRESSED if regressions or together else INCOMPLETE if incomplete else PASSED
    return Gate(code, regressions, gaps, together, comparison.lacking, warnings)


def _fell(pooled: Pooled) -> str:
    return (
        f"{pooled.rows} figures together fell by {pooled.score:.1f} standard errors beyond what is "
        f"allowed (p = {max(pooled.p, 0.001):.3f})"
    )
