"""Right answers held against their own row: a letter among the options, options without a gap.

One place for what is run and for what is scored.  Knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.reading import Line
from infimm_eval.errors import UsageError, shown


def place(row: Mapping[str, Any], id: object) -> str:
    """What messages call a row: where it stands, if it knows, else its id."""
    return row.place if isinstance(row, Line) else f"row {id}"


def options(row: Mapping[str, Any], where: str) -> list[str]:
    """The texts in the columns A, B, C, ...; the last ones may be absent.

    ``UsageError`` where one is absent before another: the letters behind it would all move up.
    """
    held = [letter for letter in ascii_uppercase if row.get(letter) not in (None, "")]
    for wanted, letter in zip(ascii_uppercase, held, strict=False):
        if wanted != letter:
            raise UsageError(
                f"{where}: option {wanted} is empty but {letter} is not; was the file saved again "
                'by a program that takes "None" for nothing?'
            )
    return [row[letter] for letter in held]


def require_letter(answer: object, choices: Sequence[object], where: str) -> None:
    """``UsageError`` where the right answer is the letter of none of the choices."""
    letters = ascii_uppercase[: len(choices)]
    if not isinstance(answer, str) or answer not in [*letters]:
        raise UsageError(
            f"{where}: the answer {shown(answer)} is no letter of its options "
            f"({', '.join(letters) or 'it has none'})"
        )


def letter_of(number: object, choices: Sequence[object], where: str) -> str:
    """The letter of the choice of that number, from 0; ``UsageError`` where there is none."""
    if type(number) is not int or not 0 <= number < min(len(choices), len(ascii_uppercase)):
        raise UsageError(f"{where} has no choice number {shown(number)}")
    return ascii_uppercase[number]
