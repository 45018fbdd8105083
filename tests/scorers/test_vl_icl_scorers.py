"""VL-ICL Bench's scorers, with what is odd about the originals."""

from __future__ import annotations

import pytest

from infimm_eval.scorers import vl_icl
from infimm_eval.types import Scorer
from tests.scorers.cases import record, scores


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("dax\nblick", "dax"),
        (" \n dax. blick\nwug", "dax. blick"),  # the line break comes first, whatever the stops
        ("dax. blick", "dax"),
        (".dax", ".dax"),  # a stop at the very beginning cuts nothing
        ("dax", "dax"),
        ("", ""),
    ],
)
def test_an_answer_is_cut_at_its_line_break_or_else_at_its_stop(said: str, left: str) -> None:
    assert vl_icl.cut(said) == left


@pytest.mark.parametrize(
    ("scorer", "said", "right", "value"),
    [
        (vl_icl.exact, "Dax.", "dax", 1.0),
        (vl_icl.exact, "a dax", "dax", 0.0),
        (vl_icl.exact, "dax .", "dax", 0.0),  # the space before the stop stays
        (vl_icl.exact, "3 things", "3", 0.0),  # CLEVR's number is not searched for
        (vl_icl.first_number, "It is 12", "12", 1.0),
        (vl_icl.first_number, "-1", "1", 1.0),  # a sign is lost,
        (vl_icl.first_number, "-1", "-1", 0.0),  # and so never right
        (vl_icl.first_number, "twelve", "12", 0.0),
        (vl_icl.yes_no, "Yes.", "yes", 1.0),
        (vl_icl.yes_no, "eyes", "yes", 1.0),
        (vl_icl.yes_no, "", "No", 1.0),  # silence is no
        (vl_icl.yes_no, "No\nyes", "yes", 0.0),
    ],
)
def test_what_is_said_has_to_be_exactly_the_answer(
    scorer: Scorer, said: str, right: str, value: float
) -> None:
    (score,) = scores(scorer, [record(said, [right])])
    assert score.value == value
