"""A finished run in other people's formats, written to files: nothing is sent anywhere.

    figures   csv, parquet, junit        hf            .eval_results and a model card's text
    eee       Every Eval Ever            inspect_log   logs of Inspect
    clean     takes secrets and this machine's paths off     carried   our samples inside theirs

It refuses to run and to score anything, and to know any benchmark: what stands in the log goes
out as it is, but for what is nobody's business.
"""

from infimm_eval.logs.publish.eee import eee
from infimm_eval.logs.publish.figures import csv, junit, parquet
from infimm_eval.logs.publish.hf import hf
from infimm_eval.logs.publish.inspect_log import inspect
from infimm_eval.logs.publish.published import Ids, Published

__all__ = ["Ids", "Published", "csv", "eee", "hf", "inspect", "junit", "parquet"]
