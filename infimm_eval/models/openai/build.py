"""From a served model's name to one that answers prompts.

Knows addresses and keys; sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.models.openai.address import MODELS_KEY, models_addresses, read_key
from infimm_eval.models.openai.model import OpenAIModel
from infimm_eval.models.openai.server import Server
from infimm_eval.models.openai.servers import Servers
from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.types import Style

A_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What may be chosen of a served model beside its address."""

    style: Style = "instruct"
    concurrency: int = 8
    """Requests that are under way at a time, where ``batch_size`` does not say."""
    tries: int = 6
    wait: float = 1.0
    """Seconds before the second try."""
    timeout: float = 300.0
    """Seconds for a whole reply, from connecting to its last byte."""
    key_from: str = MODELS_KEY
    """The variable of the environment that holds the key."""
    chat_template_options: Mapping[str, Any] | None = None
    """Sent as ``chat_template_kwargs``: ``{"enable_thinking": false}``."""
    extra_body: Mapping[str, Any] | None = None
    """Further fields of every request: ``{"reasoning_effort": "low"}``."""

    def __post_init__(self) -> None:
        """Refuses numbers that nothing can be done with, and extras that are no fields."""
        for name, least, most in (
            *(("concurrency", 1, 4096), ("tries", 1, 1000)),
            *(("wait", 0, A_DAY), ("timeout", 0.001, A_DAY)),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least <= value <= most:
                raise UsageError(f"{name}={value!r} of a served model is not in {least}..{most:g}")
        for name in ("chat_template_options", "extra_body"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise UsageError(f"{name} of a served model should be a JSON object")

    @property
    def extra(self) -> dict[str, Any]:
        """All fields of a person's choice."""
        template = self.chat_template_options
        return {
            **({"chat_template_kwargs": dict(template)} if template else {}),
            **(self.extra_body or {}),
        }


def build(name: str, options: ModelOptions) -> OpenAIModel:
    """``name`` as served at ``options.base_url``, else at OPENAI_BASE_URL, else by OpenAI itself.

    Addresses with commas between are several servers of the same weights, each with as many
    requests under way.
    The weights run on the server: no device, dtype or revision can be chosen.
    """
    own = BuildOptions(**keywords(BuildOptions, options.options, f"openai:{name}"))
    servers = [
        Server(
            address,
            read_key(own.key_from),
            own.key_from,
            tries=own.tries,
            wait=own.wait,
            timeout=own.timeout,
        )
        for address in models_addresses(options.base_url, own.key_from)
    ]
    many = own.concurrency if options.batch_size == "auto" else options.batch_size
    return OpenAIModel(
        name,
        servers[0] if len(servers) == 1 else Servers(servers),
        style=own.style,
        concurrency=many * len(servers),
        extra=own.extra,
    )
