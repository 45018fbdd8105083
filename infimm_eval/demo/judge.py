"""A judge made of rules, so that judged benchmarks run offline: it looks for words.

A stand-in, and to be named so wherever its grades are shown: it knows two forms of grading prompt
(MM-Vet's table, and a list of labelled lines) and nothing of meaning.
"""

from __future__ import annotations

import re


def verdict(prompt: str) -> str:
    """The share of the wanted parts that the graded answer contains, as "0.0" to "1.0".

    ``<AND>`` joins parts, ``<OR>`` alternatives of one part.  Text in neither form gets an empty
    verdict, which no rubric can read: the answer then stays ungraded.
    """
    found = _table_row(prompt) or _labelled(prompt)
    if found is None:
        return ""
    wanted, answer = found
    parts = [part.split("<OR>") for part in wanted.split("<AND>")]
    said = f" {_words(answer)} "
    kept = sum(any(f" {_words(choice)} " in said for choice in part) for part in parts)
    return f"{kept / len(parts):.1f}"


def _table_row(prompt: str) -> tuple[str, str] | None:
    """Truth and prediction of the row that is to be completed, the last one."""
    rows = re.findall(r"^.* \| (.*?) \| (.*) \| $", prompt, re.MULTILINE)
    return rows[-1] if rows else None


def _labelled(prompt: str) -> tuple[str, str] | None:
    wanted = re.search(r"^Reference answer: (.*)$", prompt, re.MULTILINE)
    answer = re.search(r"^Answer to grade: (.*)$", prompt, re.MULTILINE)
    return (wanted[1], answer[1]) if wanted and answer else None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
