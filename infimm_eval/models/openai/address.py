"""Where a served model answers, and the key that it asks for: checked before anything is sent.

Sends nothing, and shows neither a key nor a password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from socket import inet_aton
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from infimm_eval.errors import UsageError
from infimm_eval.models.openai.refusals import shortened

PUBLIC = "https://api.openai.com/v1"
MODELS_KEY, JUDGES_KEY = "OPENAI_API_KEY", "JUDGE_API_KEY"
"""The variables of the environment that hold the keys."""

_ENDPOINT = "/chat/completions"
_PORTS = {"http": 80, "https": 443}
_SECRET = re.compile("key|token|secret|passw|sig|auth|cred|code$", re.IGNORECASE)
"""What a query's secrets are called."""


@dataclass(frozen=True, slots=True)
class Address:
    """The base address of an OpenAI-compatible API, like ``http://127.0.0.1:8000/v1``."""

    url: str
    """With its query (``?api-version=...``), and without a slash at the end of its path."""

    @classmethod
    def of(cls, text: str, named: str, key_from: str = MODELS_KEY) -> Address:
        """As a person writes it under the option or variable ``named``, the endpoint's own path
        left out.

        ``UsageError`` for what is no address and for one that holds a secret: addresses are shown
        and stored, and a key belongs into the variable ``key_from``.
        """
        parts = _split(text.strip())
        if parts is None:
            shown = "" if re.search("[@%?]", text) else f" {shortened(ascii(text), 80)}"
            raise UsageError(f"{named}{shown} is not like http://127.0.0.1:8000/v1")
        if "@" in unquote(parts.netloc):
            raise UsageError(f"{named} holds a password; put the key into {key_from}")
        for name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if _SECRET.search(name):
                raise UsageError(
                    f"{named} holds {shortened(ascii(name), 40)} in its query; put the key into "
                    f"{key_from}"
                )
        path = parts.path.rstrip("/").removesuffix(_ENDPOINT)
        return cls(urlunsplit(parts._replace(path=path.rstrip("/"))))

    def target(self, path: str) -> str:
        """What to ask the host for: the path below this address, then its query."""
        parts = urlsplit(self.url)
        return urlunsplit(("", "", f"{parts.path}/{path}", parts.query, ""))

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: who is given what is sent here."""
        parts = urlsplit(self.url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]

    @property
    def versioned(self) -> bool:
        """Whether this is Azure's older API, which names its version in the query."""
        return "api-version=" in urlsplit(self.url).query

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for this host; never one for this machine."""
        scheme, host, port = self.origin
        if _is_loopback(host) or proxy_bypass(f"{host}:{port}"):
            return None
        return getproxies().get(scheme)


def read_key(variable: str) -> str:
    """The key that a variable of the environment holds, white space around it taken off; empty
    where there is none.  ``UsageError``, which does not show it, where no header could hold it."""
    key = os.environ.get(variable, "").strip()
    if any(not "!" <= character <= "~" for character in key):
        raise UsageError(
            f"{variable} holds a character that no key has, such as a line break, a space or a "
            "curly quotation mark (its value is not shown); set it anew"
        )
    return key


def judges_key(own: str | None, models: str | None) -> str:
    """The variable of a judge's key, for a judge at its ``own`` address, or at the model's.

    The model's key goes to the model's host alone.
    """
    homes = {home.origin for home in models_addresses(models)}
    if os.environ.get(JUDGES_KEY, "").strip():
        return JUDGES_KEY
    judges = {Address.of(own, "--judge-base-url", JUDGES_KEY).origin} if own else homes
    return MODELS_KEY if judges <= homes else JUDGES_KEY


def models_addresses(url: str | None, key_from: str = MODELS_KEY) -> list[Address]:
    """Where served models answer: at ``url``, at OPENAI_BASE_URL, or by OpenAI itself; several
    addresses have commas between them."""
    named = "--base-url" if url else "OPENAI_BASE_URL"
    text = url or os.environ.get("OPENAI_BASE_URL") or PUBLIC
    found = [Address.of(part, named, key_from) for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError(f"{named} {text!a} is not like http://127.0.0.1:8000/v1")
    return list(dict.fromkeys(found))


def _split(text: str) -> SplitResult | None:
    """The parts of an address that a request can be sent to."""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna")
        sound = parts.port != 0 and host and not parts.fragment
    except ValueError:
        return None
    plain = all("!" <= character <= "~" for character in text)
    return parts if sound and plain and parts.scheme in _PORTS else None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host if ":" in host else inet_aton(host))
    except (OSError, ValueError):
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
