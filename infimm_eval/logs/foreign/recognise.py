"""Which tool wrote a file, told by what stands in it.

Knows what every format begins with, and reads none of them further.
"""

from __future__ import annotations

import zipfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Set
from itertools import islice
from pathlib import Path

from infimm_eval.data.pictures import BROKEN_ZIP
from infimm_eval.data.reading import member_names, open_data, stream
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign import (
    every_eval_ever,
    inspect_ai,
    llava,
    lm_eval,
    lmms_eval,
    vila,
    vlmevalkit,
)
from infimm_eval.logs.foreign.values import ForeignLog
from infimm_eval.submissions import sheets

TOOLS = (
    lmms_eval.TOOL,
    vlmevalkit.TOOL,
    lm_eval.TOOL,
    inspect_ai.TOOL,
    llava.TOOL,
    vila.TOOL,
    every_eval_ever.TOOL,
)
"""Whose logs are read."""


def open_foreign(path: Path) -> ForeignLog | None:
    """The log, ready to be read; ``None`` where no tool that is known wrote the file.

    ``UsageError`` for a file of one that is not read: of another tool, or one of totals alone,
    from which nothing can be scored.
    """
    if not path.is_file():
        return None
    with open_data(path) as file:
        start = file.read(_START)
    if start.startswith(b"PK"):
        return _of_archive(path)
    if start.startswith(b"PAR1"):
        return _of_parquet(path)
    begun = start.removeprefix(BOM_UTF8).lstrip()
    if begun.startswith(b"{"):
        return _of_json(path)
    if begun.startswith(b"["):
        return vlmevalkit.sheet(path) if _is_list_of_rows(path) else None
    return _of_text(path)


_START = 1 << 12
_NAMES = 200
"""So many names of an object tell what it is."""

_READERS: tuple[tuple[Set[str], Callable[[Path], ForeignLog]], ...] = (
    ({"interaction_type", "answer_attribution"}, every_eval_ever.samples),
    ({"doc_id", "filtered_resps", "filter"}, lm_eval.samples),
    ({"doc_id", "filtered_resps"}, lmms_eval.samples),
    ({"doc_id", "resps", "doc_hash"}, lmms_eval.samples),
    ({"model_configs", "logs", "args"}, lmms_eval.log_before_0_4),
    ({"question_id", "text", "answer_id"}, llava.answers),
    ({"question_id", "text", "model_id"}, llava.answers),
    ({"question_id", "prompt", "text"}, vila.outputs),
    ({"eval", "samples"}, inspect_ai.json_log),
    ({"eval", "plan"}, inspect_ai.json_log),
)
"""By the names that the first object of a file has, the most particular first."""

_GIVE = {
    "lmms-eval": "..._samples_TASK.jsonl (--log_samples writes it)",
    "lm-evaluation-harness": "samples_TASK_....jsonl (--log_samples writes it)",
    "Every Eval Ever": "its ..._samples.jsonl",
    "VLMEvalKit": "the sheet of predictions, MODEL_DATASET.xlsx",
}
_TOTALS: tuple[tuple[Set[str], str], ...] = (
    ({"lmms_eval_version"}, "lmms-eval"),
    ({"lm_eval_version"}, "lm-evaluation-harness"),
    ({"results", "configs", "versions", "n-shot"}, "lm-evaluation-harness"),
    ({"evaluation_results", "model_info"}, "Every Eval Ever"),
    ({"eval_id", "datasets", "schema_version"}, "VLMEvalKit"),
)
"""Files of totals, by whose they are."""
_OTHERS: tuple[tuple[Set[str], str], ...] = (
    ({"sample_score", "index"}, "reviews of EvalScope"),
    ({"model_output", "index"}, "predictions of EvalScope"),
    ({"dataset_name", "metrics", "schema_version"}, "a report of EvalScope"),
    ({"config_general", "results"}, "results of lighteval"),
    ({"problem_idx", "reward"}, "results of NeMo Evaluator"),
    ({"problem_idx", "trajectory"}, "trajectories of NeMo Evaluator"),
    ({"benchmark", "run_id", "config_hash"}, "a bundle of NeMo Evaluator"),
)
"""What is known by sight and not read."""


def _of_json(path: Path) -> ForeignLog | None:
    names = set(islice(member_names(path), _NAMES))
    if reader := next((read for keys, read in _READERS if keys <= names), None):
        return reader(path)
    if tool := next((tool for keys, tool in _TOTALS if keys <= names), None):
        raise UsageError(
            f"{path} holds the totals of {tool} alone, from which nothing can be scored; give "
            f"{_GIVE[tool]}"
        )
    if what := next((what for keys, what in _OTHERS if keys <= names), None):
        raise _not_read(path, what)
    if _is_openflamingo(path, names):
        raise _not_read(path, "totals of OpenFlamingo")
    return None


def _not_read(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path} holds {what}, which are recognised and not read; what is read: logs of "
        f"{', '.join(TOOLS)}, and results as leaderboards take them"
    )


def _is_openflamingo(path: Path, names: Set[str]) -> bool:
    """``{"vqav2": [{"shots", "trials", "mean", "stddev"}]}``."""
    for name in islice(names, 1):
        try:
            first = next(stream(path, name), None)
        except UsageError:
            return False
        return isinstance(first, dict) and {"shots", "trials", "mean"} <= first.keys()
    return False


def _of_archive(path: Path) -> ForeignLog | None:
    try:
        with open_data(path) as file, zipfile.ZipFile(file) as opened:
            members = set(opened.namelist())
    except BROKEN_ZIP:
        return None
    if members & {"header.json", "_journal/start.json"}:
        return inspect_ai.archive(path)
    return vlmevalkit.sheet(path) if "xl/workbook.xml" in members and _is_sheet(path) else None


def _is_list_of_rows(path: Path) -> bool:
    """Of a damaged list, whoever reads it says what is wrong with it."""
    try:
        first = next(stream(path), None)
    except UsageError:
        return False
    return isinstance(first, dict) and {"index", "prediction"} <= first.keys()


def _of_parquet(path: Path) -> ForeignLog | None:
    import pyarrow.parquet

    try:
        columns = set(pyarrow.parquet.read_schema(path).names)
    except (OSError, ValueError):
        return None
    if {"doc", "metric", "model_response"} <= columns:
        raise _not_read(path, "details of lighteval")
    return None


def _of_text(path: Path) -> ForeignLog | None:
    """A sheet as tsv or csv: of predictions, or of totals."""
    if path.suffix not in (".tsv", ".csv", ".txt"):
        return None
    if _is_sheet(path):
        return vlmevalkit.sheet(path)
    head = set(_head(path))
    if {"split", "Overall"} <= head or {"perception", "reasoning"} <= head or head == {"Overall"}:
        raise UsageError(
            f"{path} holds totals of VLMEvalKit alone, from which nothing can be scored; give "
            f"{_GIVE['VLMEvalKit']}"
        )
    return None


def _is_sheet(path: Path) -> bool:
    return {"index", "prediction"} <= set(_head(path))


def _head(path: Path) -> Iterator[str]:
    """The columns of a sheet; none where it cannot be read as one."""
    try:
        yield from sheets.columns(path)
    except UsageError:
        return
