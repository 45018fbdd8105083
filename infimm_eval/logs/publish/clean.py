"""Secrets and this machine's paths, taken off whatever leaves it.

Knows what keys and home folders look like; knows no format.  Texts of models and datasets lose
nothing else: an answer that speaks of ``/etc`` keeps it.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

REMOVED = "[removed]"

_SECRET = re.compile(
    r"hf_[A-Za-z0-9]{16,}|(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|xox[abp]-[A-Za-z0-9-]{10,}|A(?:KIA|SIA)[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{30,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r"|(?i:(?<=bearer )[A-Za-z0-9._~+/-]{12,}=*)|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
"""Keys of services by their shape; what stands between ``://`` and ``@``."""
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api_?key|key|token|secret|password|passwd|authorization|credentials?)$",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\\"'<>|:*?]+){2,}[/\\]?")
_HOMES = re.compile(
    r"(?P<address>https?://[^\s\"'<>]+)|(?:file://)?(?:/(?:home|Users|root|mnt|scratch|workspace)|[A-Za-z]:\\Users)"
    r"(?:[/\\][^\s/\\\"'<>|:*?,;]+)+"
)
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")


def clean_text(text: str) -> str:
    """A text of a model or a dataset without secrets and without this machine's folders."""
    for secret in _known_secrets():
        text = text.replace(secret, REMOVED)
    text = _SECRET.sub(REMOVED, text)
    for folder in _own_folders():
        if folder in text:
            text = re.sub(re.escape(folder) + r"(?=[/\\]|$|[\s\"',;:])", "", text)
    return _HOMES.sub(lambda found: found["address"] or _last(found[0]), text)


def clean_texts(value: Any) -> Any:
    """The same of every text inside lists and objects."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {name: clean_texts(inner) for name, inner in value.items()}
    return [clean_texts(inner) for inner in value] if isinstance(value, Sequence) else value


def clean_name(name: str) -> str:
    """What a model is called: of a path its last folder, of a hub id both parts."""
    cleaned = clean_text(name)
    local = name.startswith(("/", "~", ".")) or re.match(r"[A-Za-z]:[/\\]", name)
    if local or name.count("/") > 1 or "\\" in name or Path(name).exists():
        return _last(name) if _SECRET.search(name) is None else _last(cleaned)
    return cleaned


def clean_settings(value: Any, name: str = "") -> Any:
    """Settings without secrets, without any absolute path and without addresses of servers."""
    if isinstance(value, Mapping):
        return {str(k): clean_settings(inner, str(k)) for k, inner in value.items()}
    if isinstance(value, str):
        if _SECRET_NAME.search(name):
            return REMOVED
        said = _ADDRESS.sub(REMOVED, clean_text(value))
        return _PATH.sub(lambda found: _last(found[0]), said)
    if isinstance(value, Sequence):
        return [clean_settings(inner, name) for inner in value]
    return value


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


@cache
def _known_secrets() -> tuple[str, ...]:
    """The values of this process's own keys and passwords."""
    named = (value for name, value in os.environ.items() if _SECRET_NAME.search(name))
    return tuple(sorted({value for value in named if len(value) >= 8}, key=len, reverse=True))


@cache
def _own_folders() -> tuple[str, ...]:
    """The folders that a path of this machine begins with, the longest first."""
    folders = {str(Path.home()), str(Path.cwd()), tempfile.gettempdir()}
    return tuple(sorted((f for f in folders if len(f) > 1), key=len, reverse=True))
