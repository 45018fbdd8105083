"""MMMU's six disciplines and their thirty subjects, and the subject that an id names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infimm_eval.errors import UsageError, shown

DISCIPLINES: Mapping[str, tuple[str, ...]] = {
    "Art & Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health & Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities & Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech & Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""MMMU's disciplines and their 30 subjects."""
SUBJECTS: Mapping[str, str] = {
    subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects
}
"""The discipline of each subject."""


def subject(id: str) -> str:
    """``validation_Art_Theory_12`` is about ``Art_Theory``."""
    found = re.fullmatch(r"[a-z]+_(\w+)_\d+", id)
    if found is None or found[1] not in SUBJECTS:
        raise UsageError(f"{shown(id)} is not the id of an MMMU question (validation_Accounting_1)")
    return found[1]
