"""InfiMM checkpoints, and the demo model, which is a small one.

Turns prompts into the model's text and settings into a loaded model; how the work is arranged is
the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infimm_eval import flamingo
from infimm_eval.errors import UsageError
from infimm_eval.flamingo.processor import Encoded, Processor
from infimm_eval.flamingo.templates import TEMPLATES
from infimm_eval.flamingo.templates import Turn as Said
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Piece
from infimm_eval.models import Choices, places
from infimm_eval.models.devices import device_of, dtype_of
from infimm_eval.models.engine.engine import Engine
from infimm_eval.types import Answer, Content, Image, Prompt, Request, Style

DEMO = Path(__file__).parents[1] / "demo" / "checkpoint"


class Infimm:
    """A Flamingo that answers prompts.

    Speaks ``completion`` where the checkpoint has no chat format, ``instruct`` where it has one
    (``Processor.load`` says how that is known).  In ``completion`` style an answer ends at the
    end-of-chunk mark too; otherwise the model is kept from saying it, as it is always kept from
    saying the picture mark.

    A question that does not fit into the context is answered with ``finish="error"``; shots that
    do not fit are left out, and ``notes["dropped_shots"]`` says how many.
    """

    def __init__(
        self,
        model: flamingo.Flamingo,
        processor: Processor,
        *,
        name: str,
        fingerprint: str,
        style: Style | None = None,
        facts: Mapping[str, Any] | None = None,
        **engine: Any,
    ) -> None:
        """``facts`` join the settings; ``engine`` are the keyword arguments of ``Engine``."""
        self.name = name
        self.processor = processor
        self.style: Style = style or _spoken(processor)
        self.settings: Mapping[str, Any] = {
            "backend": "infimm",
            "fingerprint": fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "pictures": {
                "processor": "infimm",
                "size": processor.pictures.size,
                "mean": list(processor.pictures.mean),
                "std": list(processor.pictures.std),
            },
            "chat_format": _chat_format(processor),
            "context": processor.context,
            "resampler_heads": model.config.resampler.heads,
            "beam_length_rule": "transformers",
            **(facts or {}),
        }
        self.engine = Engine(model, self._encode, processor, fingerprint=fingerprint, **engine)

    @property
    def statistics(self) -> Mapping[str, float]:
        """What the engine counted so far, all growing: ``requests``, ``batches``, ``tokens_in`` and
        ``tokens_out``; of pictures, how many stood ``in_prompts``, were ``distinct`` and had to be
        ``encoded``; ``prefix_tokens_saved``; ``oom_halvings``; what the measured batch of
        ``batch_size=auto`` took, ``probe_bytes`` for ``probe_rows``; decode ``steps`` and the
        ``recordings`` of them; ``seconds_`` by stage, ``idle`` being the model's waiting for
        prompts and pictures and ``recording`` what those cost."""
        return self.engine.report()

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self.engine.generate(requests)

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self.engine.rank(requests)

    def _encode(self, prompt: Prompt, room: int) -> tuple[Encoded, list[Image]]:
        """The prompt in ids, within ``room`` tokens, and the pictures its tags stand for."""
        room = min(room, self.processor.context)
        images = [p for turn in prompt.turns for p in turn.content if isinstance(p, Image)]
        if prompt.style == "completion":
            head, pieces = document(prompt)
            encoded = self.processor.encode_completion(pieces, head=head, max_tokens=room)
        else:
            encoded = self.processor.encode_chat(conversation(prompt), max_tokens=room)
        return encoded, images[encoded.dropped_pictures :]


def build(name: str, choices: Choices) -> Infimm:
    folder = places.folder(name, choices.revision)
    return _loaded(folder, Path(name).name or name, choices)


def build_demo(_: str, choices: Choices) -> Infimm:
    if choices.revision is not None:
        raise UsageError("the demo model has no revisions")
    return _loaded(DEMO, "demo", choices)


def document(prompt: Prompt) -> tuple[list[Piece], list[Piece]]:
    """A prompt as OpenFlamingo writes it: head line, then ``<image>text answer<|endofchunk|>``
    and a line break for every example, then the question."""
    pieces: list[Piece] = []
    for turn in prompt.turns:
        pieces += _marked(turn.content)
        if turn.role == "assistant":
            pieces += [END_OF_CHUNK, "\n"]
    return ([prompt.system, "\n"] if prompt.system else []), pieces


def conversation(prompt: Prompt) -> list[Said]:
    """A prompt as turns of the model's chat format."""
    turns = [Said(turn.role, _marked(turn.content)) for turn in prompt.turns]
    return [Said("system", prompt.system), *turns] if prompt.system else turns


def _marked(content: Content) -> list[Piece]:
    return [IMAGE if isinstance(piece, Image) else piece for piece in content]


def _loaded(folder: Path, name: str, choices: Choices) -> Infimm:
    device = device_of(choices)
    dtype = dtype_of(choices, device)
    options = dict(choices.options)
    heads = options.pop("resampler_heads", None)
    with ThreadPoolExecutor(1) as beside:
        fingerprint = beside.submit(places.fingerprint, folder)
        processor = Processor.load(folder)
        model = flamingo.load(folder, device=device, dtype=dtype, resampler_heads=heads)
        return Infimm(
            model,
            processor,
            name=name,
            fingerprint=fingerprint.result(),
            facts=places.step(folder),
            batch_size=choices.batch_size,
            **options,
        )


def _spoken(processor: Processor) -> Style:
    return "completion" if _chat_format(processor) == "plain" else "instruct"


def _chat_format(processor: Processor) -> str:
    named = [name for name, template in TEMPLATES.items() if template is processor.template]
    return named[0] if named else "custom"
