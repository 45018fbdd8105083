"""``tasks``, ``models``, ``doctor``: what there is, and whether this machine has what it takes."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from infimm_eval import __version__


@click.command()
def tasks() -> None:
    """List the benchmarks, their splits and scorers."""
    from infimm_eval import registry

    found = registry.select(["all"])
    wide = max(len(task.name) for task in found)
    titled = max(len(task.title) for task in found)
    for task in found:
        shots = "few-shot" if task.shots else "zero-shot only"
        click.echo(f"{task.name:<{wide}}  {task.title:<{titled}}  {shots:<14}  {task.headline}")
        click.echo(f"{'':<{wide}}  scorers: {', '.join(scorer.name for scorer in task.scorers)}")
        if task.splits:
            named = ", ".join(f"{task.name}:{split}" for split in task.splits)
            click.echo(f"{'':<{wide}}  further splits: {named}")


@click.command()
def models() -> None:
    """List the kinds of model that --model takes."""
    from infimm_eval import models

    for spec, about in models.available():
        click.echo(f"{spec:<18}  {about}")


@click.command()
def doctor() -> int:
    """Check what a run needs: packages, java, device, disk."""
    troubles = 0
    for name, found, advice in _checks():
        mark, more = ("NO", f": {advice}") if advice else ("ok", "")
        click.echo(f"{mark}  {name:<14} {found}{more}")
        troubles += bool(advice)
    return 3 if troubles else 0


def _checks() -> Iterator[tuple[str, str, str]]:
    """Name, what was found, and what to do about it (empty: nothing)."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and --help needs it not

    yield "infimm_eval", __version__, ""
    yield "python", f"{platform.python_version()} on {platform.machine()}", ""
    for package, least in _PACKAGES.items():
        try:
            have = version(package)
        except PackageNotFoundError:
            yield package, "not installed", f"pip install '{package}>={least}'"
            continue
        old = _number(have) < _number(least)
        yield package, have, f"at least {least} is wanted" if old else ""
    yield _java()
    yield _device()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield "disk", f"{free:.0f} GB free here", "" if free > 1 else "a run log may need more"


_PACKAGES = {
    "torch": "2.6",
    "transformers": "5.0",
    "datasets": "4.0",
    "numpy": "2.0",
    "pillow": "10.3",
    "pycocoevalcap": "1.2",
}


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())


def _java() -> tuple[str, str, str]:
    from infimm_eval.errors import UsageError
    from infimm_eval.scorers import java

    try:
        return "java", java.java(), ""
    except UsageError as error:
        return "java", "not found", str(error)


def _device() -> tuple[str, str, str]:
    import torch

    if torch.cuda.is_available():
        return "device", torch.cuda.get_device_name(0), ""
    return "device", f"cpu, {torch.get_num_threads()} threads", ""
