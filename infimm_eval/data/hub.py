"""Parquet datasets of the hub, fetched at a commit that is resolved once and recorded.

The only module that opens a connection, and only when ``--data hub`` is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.errors import UsageError
from infimm_eval.types import Hub


@dataclass(frozen=True, slots=True)
class Fetched:
    """Shards on this machine, and what they are."""

    root: Path
    shards: tuple[Path, ...]
    repo: str
    commit: str


def fetch(hub: Hub, revision: str | None, title: str) -> Fetched:
    """Download the shards of one split (or find them in the hub's cache).

    ``revision`` overrides the pinned one.  Raises ``UsageError`` where no candidate exists, the
    split is not in it, or the hub cannot be reached.
    """
    from datasets import DownloadManager, load_dataset_builder

    try:
        repo, commit = resolve(hub, revision, title)
        builder = load_dataset_builder(repo, name=hub.config, revision=commit)
        files = builder.config.data_files or {}
        if hub.split not in files:
            known = ", ".join(map(str, files)) or "none"
            raise UsageError(f"{title}: {repo} has no split {hub.split!r}; it has {known}")
        remote = [str(file) for file in files[hub.split]]
        local = DownloadManager(dataset_name=repo).download(remote)
    except _unreachable() as broken:
        raise _offline(hub, title, broken) from broken
    shards = tuple(Path(path) for path in local)
    return Fetched(Path(os.path.commonpath([path.parent for path in shards])), shards, repo, commit)


def resolve(hub: Hub, revision: str | None, title: str) -> tuple[str, str]:
    """The first candidate that exists, and the commit its revision stands for."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    wanted = revision or hub.revision
    for repo in hub.repos:
        try:
            commit = HfApi().dataset_info(repo, revision=wanted, timeout=30).sha
        except RevisionNotFoundError:
            raise UsageError(f"{title}: {repo} has no revision {wanted!r}") from None
        except RepositoryNotFoundError:
            continue
        assert commit is not None
        return repo, commit
    raise UsageError(
        f"{title}: the hub has none of {', '.join(hub.repos)} (or they need a login: "
        f"set HF_TOKEN); use --data DIR with the official files"
    )


def _unreachable() -> tuple[type[BaseException], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library under the hub's client has changed name with its versions; its root error
    # (no connection, time-out, bad status) has always been the first base of this one.
    return (ConnectionError, HfHubHTTPError.__bases__[0])


def _offline(hub: Hub, title: str, broken: BaseException) -> UsageError:
    why = (str(broken).splitlines() or [type(broken).__name__])[0]
    folder = hub.config or "data"
    return UsageError(
        f"{title}: the hub cannot be reached ({why}); use --data DIR with the official files, "
        f"or with {hub.repos[0]} downloaded to DIR/{hub.repos[0].rpartition('/')[2]}/ "
        f"({folder}/{hub.split}-*.parquet)"
    )
