"""What a gate makes of each benchmark: its tier, whether it must be there, a test of all together.

Refuses to know what was measured.  Read from the file that holds the tolerances:

    required = ["coco", "vqav2@4"]   # the gate is incomplete without them
    pooled = true                    # stop also where all together fall

    [tiers]
    default = "critical"             # each alone stops a build
    vizwiz = "supporting"            # stops it together with the others, in the pooled test
    "mmmu@0" = "advisory"            # is shown, and stops nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from infimm_eval.compare.tolerances import name_of_task, read_settings
from infimm_eval.errors import UsageError, unknown
from infimm_eval.registry import plain

Tier: TypeAlias = Literal["critical", "supporting", "advisory"]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Policy:
    """By a task's plain name, alone or at some shots (``coco@4``), which wins."""

    default: Tier = "critical"
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    """What both runs must have, finished; also at an advisory tier."""
    pooled: bool = False
    """Whether critical and supporting rows are tested together, too; they are in any case where a
    row is supporting, since nothing else would listen to it."""

    def of(self, task: str, shots: int) -> Tier:
        """The tier of a task at so many shots."""
        name = plain(task)
        return self.tiers.get(f"{name}@{shots}", self.tiers.get(name, self.default))

    def requires(self, task: str, shots: int) -> bool:
        """Whether the gate is incomplete without it."""
        return bool({plain(task), f"{plain(task)}@{shots}"} & {*self.required})

    def updated(
        self, tiers: Iterable[str] = (), required: Iterable[str] = (), pooled: bool = False
    ) -> Policy:
        """With settings from the command line: ``supporting``, ``coco=critical``,
        ``coco@4=advisory``; names of required tasks."""
        default, named = self.default, dict(self.tiers)
        for text in tiers:
            name, separator, tier = text.rpartition("=")
            if separator:
                named[name_of_task(name, text, "tier", "TASK=critical")] = _tier(tier)
            else:
                default = _tier(text)
        names = (name_of_task(name, name, "required", "TASK") for name in required)
        return replace(
            self, default=default, tiers=named,
            required=tuple(dict.fromkeys([*self.required, *names])),
            pooled=self.pooled or pooled,
        )  # fmt: skip


def read_policy(path: Path) -> Policy:
    """Read a TOML file of tolerances.  ``UsageError`` where it says something else."""
    body = read_settings(path)
    tiers, required = body.get("tiers", {}), body.get("required", [])
    pooled = body.get("pooled", False)
    if not isinstance(tiers, dict):
        raise UsageError(f'{path}: tiers should be a table such as [tiers] coco = "critical"')
    if not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        raise UsageError(f'{path}: required should be a list of names such as ["coco", "vqav2@4"]')
    if not isinstance(pooled, bool):
        raise UsageError(f"{path}: pooled should be true or false")
    default = _tier(tiers.pop("default", "critical"))
    words = (f"{name}={_tier(tier)}" for name, tier in tiers.items())
    return Policy(default).updated(words, required, pooled)


def _tier(given: Any) -> Tier:
    if given not in TIERS:
        raise unknown("tier", str(given), TIERS)
    return cast(Tier, given)
