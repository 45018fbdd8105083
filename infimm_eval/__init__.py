"""Evaluate vision-language models the way the Flamingo family is evaluated.

    import infimm_eval as ie

    results = ie.evaluate("demo", tasks=["coco", "vqav2"], shots=[0, 4])
    results["vqav2", 4].value

``evaluate`` runs benchmarks, ``watch`` follows a training run, ``rescore`` scores a finished run
again, ``load_model`` and
``load_task`` open what the command line names, ``wrap`` makes a model of a live module.  The other
names are the words that tasks, models and scorers are written in (``infimm_eval.types``).

Everything is imported when it is first used: importing the package brings neither torch nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infimm_eval.errors import InfimmEvalError, MachineryError, UsageError
    from infimm_eval.models import load as load_model
    from infimm_eval.models import wrap
    from infimm_eval.registry import load as load_task
    from infimm_eval.run.evaluate import evaluate
    from infimm_eval.run.progress import ProgressListener
    from infimm_eval.run.rescore import rescore
    from infimm_eval.run.results import Figure, Results
    from infimm_eval.series.watch import Series, measure_step, watch
    from infimm_eval.types import (
        Answer,
        CorpusFunction,
        Decoding,
        Hub,
        Image,
        Model,
        Outcome,
        Prompt,
        PromptTemplate,
        Record,
        Request,
        Row,
        Rubric,
        Sample,
        Score,
        Scorer,
        Scoring,
        Source,
        Split,
        Style,
        Submission,
        Summary,
        Task,
        Turn,
        Unit,
    )

__version__ = "0.2.0"

__all__ = [
    "Answer",
    "CorpusFunction",
    "Decoding",
    "Figure",
    "Hub",
    "Image",
    "InfimmEvalError",
    "MachineryError",
    "Model",
    "Outcome",
    "ProgressListener",
    "Prompt",
    "PromptTemplate",
    "Record",
    "Request",
    "Results",
    "Row",
    "Rubric",
    "Sample",
    "Score",
    "Scorer",
    "Scoring",
    "Series",
    "Source",
    "Split",
    "Style",
    "Submission",
    "Summary",
    "Task",
    "Turn",
    "Unit",
    "UsageError",
    "evaluate",
    "load_model",
    "load_task",
    "measure_step",
    "rescore",
    "watch",
    "wrap",
]

_ELSEWHERE = {
    "InfimmEvalError": "errors",
    "MachineryError": "errors",
    "UsageError": "errors",
    "Figure": "run.results",
    "Results": "run.results",
    "ProgressListener": "run.progress",
    "evaluate": "run.evaluate",
    "rescore": "run.rescore",
    "load_model": "models:load",
    "load_task": "registry:load",
    "wrap": "models",
    "Series": "series.watch",
    "measure_step": "series.watch",
    "watch": "series.watch",
}
"""Where a name is defined, if not in ``types``, and what it is called there."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, inner = _ELSEWHERE.get(name, "types").partition(":")
    return getattr(import_module(f"{__name__}.{module}"), inner or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
