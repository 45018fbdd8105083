"""Logs of other harnesses, read as their authors write them: recognised by content, never by name.

It knows tools and no benchmark: what an id means there, a task says itself (``Task.foreign``).

    values     a log and what its readers share          recognise  which tool wrote a file
    lmms_eval  lm_eval  vlmevalkit  inspect_ai  llava  every_eval_ever    a reader each

A row number is kept as one and is never taken for an id.  A tool's own score is evidence that
stands beside ours, never ours.
"""

from infimm_eval.logs.foreign.recognise import TOOLS, open_foreign
from infimm_eval.logs.foreign.values import ForeignLog

__all__ = ["TOOLS", "ForeignLog", "open_foreign"]
