"""From a served model's name to one that answers prompts.

Knows addresses and keys; sends nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from infimm_eval.models.openai.model import OpenAIModel
from infimm_eval.models.openai.server import Server
from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.types import Style

PUBLIC = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What may be chosen of a served model beside its address."""

    style: Style = "instruct"
    concurrency: int = 8
    """Requests that are under way at a time, where ``batch_size`` does not say."""
    tries: int = 6
    wait: float = 1.0
    """Seconds before the second try."""
    timeout: float = 120.0
    """Seconds to wait for an answer."""


def build(name: str, options: ModelOptions) -> OpenAIModel:
    """``name`` as served at ``options.base_url``, else at OPENAI_BASE_URL, else by OpenAI itself.

    The weights run on the server: no device, dtype or revision can be chosen.
    """
    own = BuildOptions(**keywords(BuildOptions, options.options, f"openai:{name}"))
    url = options.base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC
    key = os.environ.get("OPENAI_API_KEY", "")
    server = Server(url, key, tries=own.tries, wait=own.wait, timeout=own.timeout)
    many = own.concurrency if options.batch_size == "auto" else options.batch_size
    return OpenAIModel(name, server, style=own.style, concurrency=many)
