"""Logs of other harnesses, made here in the shapes that the tools write."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimm_eval.submissions import sheets

ANSWERS = ("red", "2", "no", "", "None", "a red\ncircle")
"""What the made-up model says, again and again."""

LINE = "\nAnswer the question using a single word or phrase."


def said(number: int) -> str:
    return ANSWERS[number % len(ANSWERS)]


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lmms(
    path: Path, questions: Sequence[str], more: Callable[[int], Mapping[str, Any]] = lambda n: {}
) -> Path:
    """``<time>_samples_<task>.jsonl``."""
    return lines(
        path,
        (
            {
                "doc_id": number,
                "target": "answer",
                "filtered_resps": said(number),
                "token_counts": [None],
                "doc_hash": "74234e98",
                "exact_match": 0.0,
                "input": question + LINE,
                **more(number),
            }
            for number, question in enumerate(questions)
        ),
    )


def lm_eval(path: Path, docs: Sequence[Mapping[str, Any]], filters: Sequence[str]) -> Path:
    """``samples_<task>_<time>.jsonl``, every filter's lines behind each other."""
    return lines(
        path,
        (
            {
                "doc_id": number,
                "doc": doc,
                "target": doc["answer"],
                "arguments": {"gen_args_0": {"arg_0": f"Question: {doc['question']} Answer:"}},
                "resps": [[said(number)]],
                "filtered_resps": [said(number).split("\n")[-1]],
                "filter": name,
                "metrics": ["exact_match"],
                "doc_hash": f"{number:x}",
                "exact_match": float(said(number) == doc["answer"]),
            }
            for name in filters
            for number, doc in enumerate(docs)
        ),
    )


def llava(path: Path, ids: Sequence[Any], questions: Sequence[str]) -> Path:
    """``answers/<name>.jsonl``."""
    return lines(
        path,
        (
            {
                "question_id": id,
                "prompt": question + LINE,
                "text": said(number),
                "answer_id": f"made{number}",
                "model_id": "vlm-a",
                "metadata": {},
            }
            for number, (id, question) in enumerate(zip(ids, questions, strict=True))
        ),
    )


def vila(
    folder: Path, ids: Sequence[Any], questions: Sequence[str], accuracy: float | None = None
) -> Path:
    """``<model>/<benchmark>/outputs.jsonl`` and ``metrics.json``, in the shape of
    llava/eval/textvqa.py of github.com/NVlabs/VILA."""
    rows = [
        {"question_id": id, "prompt": question + LINE, "text": said(number)}
        for number, (id, question) in enumerate(zip(ids, questions, strict=True))
    ]
    path = lines(folder / "outputs.jsonl", rows)
    if accuracy is not None:
        (folder / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
    return path


def sheet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """``<Model>_<Dataset>.xlsx`` or ``.tsv``."""
    rows = [{**row, "prediction": row.get("prediction", said(n))} for n, row in enumerate(rows)]
    sheets.write(path, list(rows[0]), rows)
    return path


def inspect_body(samples: Sequence[Mapping[str, Any]], task: str) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "task": task,
            "created": "2026-01-01T00:00:00+00:00",
            "model": "made/vlm-a",
            "dataset": {"name": "made"},
            "config": {},
            "packages": {"inspect_ai": "0.3.285"},
        },
        "results": {
            "scores": [
                {"name": "match", "scorer": "match", "metrics": {"accuracy": {"value": 0.25}}}
            ]
        },
        "samples": samples,
    }


def inspect_sample(id: Any, question: str, target: Any, text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "epoch": 1,
        "input": [{"role": "user", "content": [{"type": "text", "text": question}]}],
        "target": target,
        "output": {"completion": text, "choices": []},
        "scores": {"match": {"value": "C" if text in target else "I", "answer": text}},
        **more,
    }


def inspect_zip(path: Path, body: Mapping[str, Any]) -> Path:
    """A deflated ``.eval``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        head = {name: value for name, value in body.items() if name != "samples"}
        archive.writestr("header.json", json.dumps(head))
        for sample in body["samples"]:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            archive.writestr(name, json.dumps(sample))
    return path


def inspect_zstd(path: Path, body: Mapping[str, Any]) -> Path:
    """The same, its members packed with Zstandard as Inspect packs them (method 93)."""
    import pyarrow

    whole = inspect_zip(path.with_suffix(".deflate"), body)
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            sink = pyarrow.BufferOutputStream()
            with pyarrow.CompressedOutputStream(sink, "zstd") as packer:
                packer.write(data)
            archive.writestr(name, sink.getvalue().to_pybytes())
    data = bytearray(path.read_bytes())
    _relabel(data, {name: len(data_) for name, data_ in members.items()})
    path.write_bytes(data)
    return path


def _relabel(data: bytearray, sizes: Mapping[str, int]) -> None:
    """Say of every stored member that it is packed by method 93, and how large it really is."""
    for name, size in sizes.items():
        for mark, method, length, at in ((b"PK\3\4", 8, 22, 30), (b"PK\1\2", 10, 24, 46)):
            start = 0
            while (start := data.find(mark, start)) >= 0:
                if data[start + at : start + at + len(name)] == name.encode():
                    data[start + method : start + method + 2] = (93).to_bytes(2, "little")
                    data[start + length : start + length + 4] = size.to_bytes(4, "little")
                start += 4


def eee(path: Path, samples: Iterable[Mapping[str, Any]], name: str, parts: Sequence[str]) -> Path:
    """``<uuid>_samples.jsonl``."""
    samples = list(samples)
    return lines(
        path,
        (
            {
                "schema_version": "0.3.0",
                "evaluation_id": "made",
                "model_id": "made/vlm-a",
                "evaluation_name": name,
                "evaluation_result_id": part,
                "sample_id": sample["id"],
                "interaction_type": "single_turn",
                "input": {"raw": sample["question"], "reference": sample["references"]},
                "output": {"raw": [said(number)]},
                "messages": None,
                "answer_attribution": [{"extracted_value": said(number)}],
                "evaluation": {"score": 0.5, "is_correct": False},
                "metadata": {},
            }
            for part in parts
            for number, sample in enumerate(samples)
        ),
    )
