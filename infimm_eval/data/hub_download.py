"""Parquet datasets of the hub, fetched at a commit that is resolved once and recorded.

The only module that opens a connection, and only when ``--data hub`` is asked for.
"""

from __future__ import annotations

from pathlib import Path

from infimm_eval.data.parquet import Split, place
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub


def fetch(hub: Hub, revision: str | None, title: str) -> Split:
    """Download the shards of one split (or find them in the hub's cache).

    ``revision`` overrides the pinned one.  Raises ``UsageError`` where no candidate exists, the
    split is not in it, or the hub cannot be reached.
    """
    from datasets import load_dataset_builder
    from huggingface_hub import snapshot_download

    try:
        repo, commit = resolve(hub, revision, title)
        try:
            builder = load_dataset_builder(repo, name=hub.config, revision=commit)
        except ValueError as odd:
            raise _changed(title, repo, commit, str(odd)) from odd
        files = builder.config.data_files or {}
        if hub.split not in files:
            raise _changed(
                title, repo, commit, f"no split {hub.split!r} among {[*map(str, files)]}"
            )
        # hf://datasets/<repo>@<commit>/<name>
        names = [str(file).partition(f"@{commit}/")[2] for file in files[hub.split]]
        root = Path(
            snapshot_download(repo, repo_type="dataset", revision=commit, allow_patterns=names)
        )
    except _unreachable() as broken:
        raise _offline(hub, title, broken) from broken
    origin = {"kind": "hub", "repo": repo, "commit": commit}
    pictures = fetch(hub.pictures, None, title) if hub.pictures else None
    return Split(hub, root, tuple(root / name for name in names), origin, pictures)


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


def _changed(title: str, repo: str, commit: str, what: str) -> UsageError:
    return UsageError(
        f"{title}: {repo} at {commit[:8]} is not laid out as it was ({what}); pin an older "
        "--revision, or amend the benchmark's Hub"
    )


def _unreachable() -> tuple[type[BaseException], ...]:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library under the hub's client has changed name with its versions; its root error
    # (no connection, time-out, bad status) has always been the first base of this one.
    return (ConnectionError, DatasetNotFoundError, HfHubHTTPError.__bases__[0])


def _offline(hub: Hub, title: str, broken: BaseException) -> UsageError:
    why = (str(broken).splitlines() or [type(broken).__name__])[0]
    return UsageError(
        f"{title}: the hub cannot be reached ({why}); use --data DIR, where DIR holds the official "
        f"files or the dataset {hub.repos[0]} downloaded elsewhere ({place(hub)})"
    )
