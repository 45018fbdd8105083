"""Two runs on the same samples: what changed, how surely, and whether a build should stop.

    cells       what a comparison looks at        tolerances  how large a drop is allowed
    baseline    cells from a run or a small file  verdicts    row by row: better, same, worse, ...
    gate        the exit code                     writers     text, Markdown, JUnit XML, JSON
    policy      tiers, what is required           pooled      all benchmarks together
    saying      what was said where scores changed
    page              HTML
    plans       how many samples a drop takes

Refuses to run or score anything.
"""

from infimm_eval.compare.baseline import load, read_baseline, save_baseline
from infimm_eval.compare.cells import Cell
from infimm_eval.compare.gate import Gate, gate
from infimm_eval.compare.page import page
from infimm_eval.compare.policy import Policy, read_policy
from infimm_eval.compare.pooled import Pooled
from infimm_eval.compare.saying import with_texts
from infimm_eval.compare.tolerances import Tolerance, Tolerances, read_tolerances
from infimm_eval.compare.verdicts import Change, Comparison, Figure, Row, Said, compare
from infimm_eval.compare.writers import as_json, explain, junit, markdown, plain_text

__all__ = [
    "Cell",
    "Change",
    "Comparison",
    "Figure",
    "Gate",
    "Policy",
    "Pooled",
    "Row",
    "Said",
    "Tolerance",
    "Tolerances",
    "as_json",
    "compare",
    "explain",
    "gate",
    "junit",
    "load",
    "markdown",
    "page",
    "plain_text",
    "read_baseline",
    "read_policy",
    "read_tolerances",
    "save_baseline",
    "with_texts",
]
