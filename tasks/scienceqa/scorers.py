"""ScienceQA's letter as LLaVA and lmms-eval read it.

Neither guesses: an answer without a letter counts as wrong and says so.
"""

from __future__ import annotations

import re

from infimm_eval.scorers import choice, fixed
from infimm_eval.scorers.choice import Options

_LLAVA_LETTERS = "ABCDE"
_LLAVA_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def read_llava(text: str, options: Options) -> str:
    """LLaVA's rule.  The sentence needs any one character after the letter, so "The answer is B"
    at the very end is not read.  A letter without an option is an answer, if a wrong one."""
    if len(text) == 1 and text in _LLAVA_LETTERS:
        return text
    if len(text) >= 3 and text[0] in _LLAVA_LETTERS and text[1:3] == ". ":
        return text[0]
    sentences = _LLAVA_SENTENCE.findall(text)
    return str(sentences[0]) if len(sentences) == 1 else ""


def read_lmms(text: str, options: Options) -> str:
    """lmms-eval: a lone letter in either case, or a capital with a period at once behind it."""
    said = text.strip()
    lone = len(said) == 1 and said.isalpha()
    return said[0].upper() if lone or (said[:1].isupper() and said[1:2] == ".") else ""


_cases = fixed.beside(__file__)
llava = choice.scorer("llava", read_llava, _cases)
lmms = choice.scorer("lmms", read_lmms, _cases)
