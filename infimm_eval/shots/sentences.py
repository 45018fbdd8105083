"""A sentence encoder in a local folder, by the sentence-transformers library.

Knows the library; what texts are compared for is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import file_digest, sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError, first_line


class SentenceEncoder:
    """Texts as sentence-t5 and its like see them."""

    def __init__(self, model: Any, text_identity: Mapping[str, Any]) -> None:
        self._model = model
        self.text_identity = text_identity

    @classmethod
    def load(cls, folder: Path, device: str) -> SentenceEncoder:
        """``UsageError`` where the library or the folder is not there, or does not load."""
        if not folder.is_dir():
            raise UsageError(f"--retrieval-model text:{folder}: there is no such folder")
        if find_spec("sentence_transformers") is None:
            raise UsageError(
                "--retrieval-model text:FOLDER needs sentence-transformers: pip install "
                "sentence-transformers; open_clip:NAME@FILE has a text tower of its own"
            )
        library: Any = import_module("sentence_transformers")
        try:
            model = library.SentenceTransformer(
                str(folder), device=None if device == "auto" else device, local_files_only=True
            )
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise UsageError(
                f"{folder} is no folder of sentence-transformers ({first_line(error)})"
            ) from error
        identity = {
            "encoder": "sentence-transformers",
            "weights": _fingerprint(folder),
            "sentence_transformers": library.__version__.partition(".")[0],
            "dtype": "float32",
        }
        return cls(model.float(), identity)

    def encode_texts(self, texts: Sequence[str]) -> Any:
        """(N, D)."""
        return self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)


def _fingerprint(folder: Path) -> str:
    """Of every file's name and content."""
    together = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        together.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return together.hexdigest()
