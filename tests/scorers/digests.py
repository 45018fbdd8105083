"""The table of what every built-in scorer does with its fixed cases.

python -m tests.scorers.digests           print what is not as in the table
python -m tests.scorers.digests --write   bring the table up to date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infimm_eval import registry
from infimm_eval.scorers.digest import digest

PATH = Path(__file__).parents[1] / "golden" / "scorer_digests.json"

Table = dict[str, dict[str, dict[str, int | str]]]


def kept() -> Table:
    table: Table = json.loads(PATH.read_text(encoding="utf-8"))
    return table


def current() -> Table:
    return {
        name: {
            scorer.name: {"version": scorer.version, "digest": digest(scorer)}
            for scorer in registry.load(name).scorers
        }
        for name in registry.names()
    }


def changes(before: Table, now: Table) -> list[str]:
    """One line for each scorer, of the tasks in the table, that is not as it was."""
    told = []
    for task in before:
        for name, shown in now.get(task, {}).items():
            known = before[task].get(name)
            if known is None or known["version"] != shown["version"]:
                told.append(f"{task} {name}: not in the table at version {shown['version']}")
            elif known["digest"] != shown["digest"]:
                told.append(
                    f"{task} {name}: scores its fixed cases otherwise; raise its version (unless "
                    "only the cases are others)"
                )
    return told


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PATH.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
    else:
        print("\n".join(changes(kept(), current())) or "as in the table")
