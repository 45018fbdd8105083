"""Any model behind an OpenAI-compatible chat endpoint; a judge is one too.

Sends turns and pictures, keeps many requests under way, and knows nothing of the weights.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import sha256
from io import BytesIO
from itertools import islice
from threading import Lock
from time import perf_counter
from typing import Any

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models import Choices
from infimm_eval.models.server import Refused, Server
from infimm_eval.types import Answer, Content, Decoding, Image, Prompt, Request, Style

PUBLIC = "https://api.openai.com/v1"
UNREACHED = 8
"""So many requests in a row that nobody answered, and the run stops."""


class OpenAI:
    """The model that ``server`` serves as ``served``, ``concurrency`` requests at a time.

    Turns go out as chat messages in either style, pictures as base64 data URLs.  The protocol
    has no beams, minimum length or length penalty: a request that wants them is answered by
    plain decoding, and the answer's notes name what was ``not_honoured``.  A stop string is
    sent, and the server leaves it out of the text.

    A request that fails for good is answered with ``finish="error"``: nobody's score.
    """

    def __init__(
        self, served: str, server: Server, *, style: Style = "instruct", concurrency: int = 8
    ) -> None:
        self.served = served
        self.server = server
        self.style: Style = style
        self.concurrency = concurrency
        self._limit = "max_tokens"
        self._lock = Lock()
        self._unreached = 0
        self._counts = {"requests": 0, "errors": 0, "tokens_in": 0, "tokens_out": 0}
        self._seconds = 0.0

    @property
    def name(self) -> str:
        return self.served

    @property
    def settings(self) -> Mapping[str, Any]:
        """The weights cannot be seen: the fingerprint is of the name and the address."""
        where = f"{self.server.url} {self.served}"
        return {
            "backend": "openai",
            "fingerprint": sha256(where.encode()).hexdigest()[:16],
            "server": self.server.url,
            "served": self.served,
        }

    @property
    def statistics(self) -> Mapping[str, Any]:
        """``seconds`` are summed over requests that ran side by side."""
        with self._lock:
            counts = dict(self._counts)
        return {**counts, "retries": self.server.retried, "seconds": round(self._seconds, 3)}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As answers come in.  Reads no more requests than are under way.

        What stops the run is raised after the answers to all that was under way: they are paid.
        """
        waiting = iter(requests)
        self.server.closing.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai")

        def start(n: int) -> set[Future[Answer]]:
            return {pool.submit(self._ask, request) for request in islice(waiting, n)}

        under_way = start(self.concurrency)
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                failed = [future for future in done if future.exception() is not None]
                for future in done.difference(failed):
                    yield future.result()
                if failed:
                    yield from self._last(under_way)
                    failed[0].result()
                under_way |= start(len(done))
        finally:
            self.server.closing.set()
            pool.shutdown(cancel_futures=True)

    def _last(self, under_way: Iterable[Future[Answer]]) -> Iterator[Answer]:
        """The sound answers among the last; who was about to try again was only cut short."""
        self.server.closing.set()
        for future in wait(under_way).done:
            if future.exception() is None and (answer := future.result()).finish != "error":
                yield answer

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        raise UsageError(
            f"{self.served}: a chat server gives no log-likelihood of a given answer; "
            "use --choice generate"
        )

    def _ask(self, request: Request) -> Answer:
        started = perf_counter()
        try:
            reply = self._post(self._body(request))
            answer = _answer(request, reply)
            usage = reply.get("usage") or {}
        except Refused as refused:
            self._note_unreached(refused)
            answer = Answer(request.id, "", "error", notes={"error": str(refused)})
            usage = {}
        with self._lock:
            self._seconds += perf_counter() - started
            self._counts["requests"] += 1
            self._counts["errors"] += answer.finish == "error"
            self._counts["tokens_in"] += usage.get("prompt_tokens") or 0
            self._counts["tokens_out"] += usage.get("completion_tokens") or 0
            if answer.finish != "error":
                self._unreached = 0
        return answer

    def _body(self, request: Request) -> dict[str, Any]:
        decoding = request.decoding
        body: dict[str, Any] = {
            "model": self.served,
            "messages": messages(request.prompt),
            "temperature": decoding.temperature,
        }
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        return body | {"max_tokens": decoding.max_new_tokens}

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Newer models of one vendor want the limit under another name, and say so."""
        limit = body.pop("max_tokens")
        try:
            return self._chat(body | {self._limit: limit})
        except Refused as refused:
            if refused.status != 400 or "max_completion_tokens" not in str(refused):
                raise
            self._limit = "max_completion_tokens"
            return self._chat(body | {self._limit: limit})

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = self.server.post("chat/completions", body)
        if not isinstance(reply, dict) or not reply.get("choices"):
            raise Refused(200, f"the server answered without choices: {str(reply)[:200]}")
        return reply

    def _note_unreached(self, refused: Refused) -> None:
        with self._lock:
            self._unreached = self._unreached + 1 if refused.status == 0 else 0
            gone = self._unreached >= UNREACHED and not self.server.closing.is_set()
        if gone:
            raise MachineryError(
                f"{self.server.url}: {UNREACHED} requests in a row were not answered ({refused})"
            )


def build(name: str, choices: Choices) -> OpenAI:
    """``device``, ``dtype`` and ``revision`` are the server's business: choosing one is refused."""
    for key in ("device", "dtype"):
        if getattr(choices, key) != "auto":
            raise UsageError(f"openai:{name} runs on its server; --{key} has no effect there")
    if choices.revision is not None:
        raise UsageError(f"openai:{name} serves what it serves; a revision cannot be asked for")
    options = dict(choices.options)
    patience = {k: options.pop(k) for k in ("tries", "wait", "timeout") if k in options}
    url = choices.base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC
    server = Server(url, os.environ.get("OPENAI_API_KEY", ""), **patience)
    if choices.batch_size != "auto":
        options["concurrency"] = choices.batch_size
    return OpenAI(name, server, **options)


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt as chat messages: text alone as a string, with pictures as parts in order."""
    said = [{"role": turn.role, "content": _parts(turn.content)} for turn in prompt.turns]
    return [{"role": "system", "content": prompt.system}, *said] if prompt.system else said


def _parts(content: Content) -> str | list[dict[str, Any]]:
    texts = [piece for piece in content if isinstance(piece, str)]
    if len(texts) == len(content):
        return "".join(texts)
    return [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": data_url(piece)}}
        for piece in content
        if piece != ""
    ]


_SIGNATURES = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"))


def data_url(image: Image) -> str:
    """The picture's own bytes where servers read its format, else the same pixels as PNG."""
    try:
        file = image.read()
    except OSError as error:
        raise MachineryError(f"{image.name}: the picture cannot be read ({error})") from error
    kind = next((kind for start, kind in _SIGNATURES if file.startswith(start)), None)
    if kind is None and file[:4] == b"RIFF" and file[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        kind, file = "png", _as_png(file, image.name)
    return f"data:image/{kind};base64,{b64encode(file).decode()}"


def _as_png(file: bytes, name: str) -> bytes:
    from PIL import Image as Pillow

    out = BytesIO()
    try:
        with Pillow.open(BytesIO(file)) as picture:
            picture.convert("RGB").save(out, "PNG")
    except (OSError, ValueError, SyntaxError) as error:
        raise MachineryError(f"{name}: not a readable picture ({error})") from error
    return out.getvalue()


def _answer(request: Request, reply: Mapping[str, Any]) -> Answer:
    choice = reply["choices"][0]
    said = choice.get("message") or {}
    usage = reply.get("usage") or {}
    notes = {
        "tokens_in": usage.get("prompt_tokens"),
        "tokens_out": usage.get("completion_tokens"),
        "served": reply.get("model"),
        "system_fingerprint": reply.get("system_fingerprint"),
        "refusal": said.get("refusal"),
        "not_honoured": _not_honoured(request.decoding),
    }
    return Answer(
        request.id,
        said.get("content") or "",
        "length" if choice.get("finish_reason") == "length" else "stop",
        notes={key: value for key, value in notes.items() if value},
    )


def _not_honoured(decoding: Decoding) -> list[str]:
    plain = Decoding(max_new_tokens=1)
    wanted = ["num_beams", "min_new_tokens", *(["length_penalty"] * (decoding.num_beams > 1))]
    return [name for name in wanted if getattr(decoding, name) != getattr(plain, name)]
