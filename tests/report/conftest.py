"""Run folders for every test of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.made import MakeRun, maker


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return maker(tmp_path)
