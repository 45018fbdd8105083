"""placeholder until merged"""

from infimm_eval.types import Scorer


def digest(scorer: Scorer) -> str:
    return "0"
