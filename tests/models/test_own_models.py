"""Models of one's own, by file, module or entry point, and one line for whatever is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import models, plugins
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.models.options import Backend, ModelOptions
from tests.models.tiny import request

MINE = """
from dataclasses import dataclass
from infimm_eval.types import Answer

@dataclass
class Mine:
    word: str = "dog"
    times: int = 1
    loud: bool = False
    size: float = 1.0
    weights: dict | None = None

    name, style = "mine", "instruct"

    @property
    def settings(self):
        return {"word": self.word}

    def generate(self, requests):
        for request in requests:
            told = self.word, self.times, self.loud, self.size, self.weights
            yield Answer(request.id, repr(told))

MODEL = Mine
SAID = Mine("cat")

def made(device, dtype="float32", *, word="owl"):
    return Mine(f"{word} on {device} in {dtype}")

def anything(**options):
    return Mine(repr(options))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A file, and a package with the same in it, where the program is started."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "inside.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path / "mine.py"
    for name in [n for n in sys.modules if n.startswith(("own_package", "infimm_eval.own_models"))]:
        del sys.modules[name]


def said(model: Any) -> str:
    (answer,) = model.generate([request("1", "?")])
    return str(answer.text)


@pytest.mark.parametrize(
    "spec", ["mine.py", "./mine.py", "./mine.py:MODEL", "own_package.inside:MODEL"]
)
def test_a_class_is_made_with_the_options_in_the_types_that_it_names(mine, spec):
    plain = ("dog", 1, False, 1.0, None)
    assert said(models.load(spec)) == repr(plain)
    options = {"word": "7", "times": "3", "loud": "true", "size": "2", "weights": '{"a": [1]}'}
    assert said(models.load(spec, **options)) == repr(("7", 3, True, 2.0, {"a": [1]}))
    assert said(models.load(spec, times=3, weights={"b": 1})) == repr(
        ("dog", 3, False, 1.0, {"b": 1})
    )


def test_an_object_is_taken_as_it_is_and_takes_no_options(mine):
    assert models.load("./mine.py:SAID").name == "mine"
    with pytest.raises(UsageError, match="is an object and takes no options"):
        models.load("./mine.py:SAID", word="dog")
    with pytest.raises(UsageError, match="--device is for models whose class or function names it"):
        models.load("./mine.py:SAID", device="cpu")


def test_a_function_gets_device_and_the_like_where_it_names_them(mine):
    assert said(models.load("./mine.py:made")).startswith("('owl on auto in float32'")
    chosen = models.load("./mine.py:made", device="cuda", dtype="bfloat16", word="elk")
    assert said(chosen).startswith("('elk on cuda in bfloat16'")
    with pytest.raises(UsageError, match="--batch-size is for models whose"):
        models.load("./mine.py:made", batch_size=3)


def test_open_options_are_read_as_what_they_spell(mine):
    model = models.load(
        "./mine.py:anything", a="1", b="0.5", c="True", d="null", e="[1, 2]", f="1 dog"
    )
    expected = {"a": 1, "b": 0.5, "c": True, "d": None, "e": [1, 2], "f": "1 dog"}
    assert said(model).startswith(repr((repr(expected),))[:-2])


def test_a_model_without_a_fingerprint_gets_one_of_its_source_and_options(mine):
    first = models.load("./mine.py").settings
    assert first["word"] == "dog" and first["fingerprint_of"] == "source file and options"
    assert models.load("./mine.py:MODEL").settings == first
    assert models.load("./mine.py", times="2").settings["fingerprint"] != first["fingerprint"]
    on_cpu, on_cuda = (models.load("./mine.py:made", device=d).settings for d in ("cpu", "cuda"))
    assert on_cpu["fingerprint"] == on_cuda["fingerprint"]
    del sys.modules["infimm_eval.own_models.mine"]
    mine.write_text(MINE + "\n# another\n")
    assert models.load("./mine.py").settings["fingerprint"] != first["fingerprint"]


def test_a_fingerprint_of_its_own_is_kept(mine):
    mine.write_text(MINE.replace('{"word": self.word}', '{"fingerprint": "f00"}'))
    assert models.load("./mine.py").settings == {"fingerprint": "f00"}


BROKEN = {
    "no file": ("./absent.py", "", r"no file .*absent\.py; give the path of a Python file"),
    "no model": ("./x.py", "x = 1", r"x\.py does not define MODEL"),
    "no such name": ("./x.py:HIS", "MODEL = 1", r"x\.py does not define HIS"),
    "an exception": ("./x.py", "a = 1\nb = a / 0", r"ZeroDivisionError: division.*x\.py, line 2"),
    "a missing import": ("./x.py", "\n\nimport nowhere_at_all", r"No module named.*line 3"),
    "bad syntax": ("./x.py", "x = 1\ndef (:\n", r"SyntaxError.*x\.py, line 2"),
    "a number": ("./x.py", "MODEL = 3", r"MODEL of \./x\.py should be a model, .*'int'"),
    "a function of nothing": ("./x.py", "def MODEL(): pass", r"should be a model, .*'NoneType'"),
    "no style, no settings": (
        "./x.py",
        "class MODEL:\n name = 'a'\n def generate(self, requests): return iter(())",
        r"MODEL of \./x\.py lacks style, settings; a model has name, style, settings, generate",
    ),
    "no module": ("no_such_package.at_all:MODEL", "", r"no module no_such_package\.at_all"),
    "a module in no package": (
        "own_package.absent:MODEL",
        "",
        r"own_package\.absent cannot be imp",
    ),
    "a name that no backend has": (
        "opnai:gpt",
        "",
        r"unknown model 'opnai'; did you mean 'openai'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_loaded_is_one_line(mine, case):
    spec, source, message = BROKEN[case]
    Path("x.py").write_text(source)
    with pytest.raises(UsageError, match=message) as caught:
        models.load(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", "None", "name of .* should be what tables call it, not None"),
        ("style", "'chat'", "style of .* should be completion or instruct, not 'chat'"),
        ("settings", "[1]", "settings of .* should be a mapping such as a dict, not 'list'"),
        ("settings", "{'a': object()}", "settings of .* go into the log as JSON"),
        ("generate", "'x'", "generate of .* should be a method"),
        ("rank", "'x'", "rank of .* should be a method"),
    ],
)
def test_an_attribute_of_another_kind_than_the_protocol_says_is_one_line(
    mine, name, value, message
):
    Path("x.py").write_text(f"{MINE}\nclass MODEL(Mine):\n    {name} = {value}\n")
    with pytest.raises(UsageError, match=message):
        models.load("./x.py")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"wrod": "x"},
            r"unknown option 'wrod' of MODEL of \./mine\.py; it takes word, times, loud",
        ),
        ({"times": "few"}, r"times='few' is not a whole number"),
        ({"times": "1.5"}, r"times='1.5' is not a whole number"),
        ({"loud": "1"}, r"loud='1' is not true or false"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(mine, options, message):
    with pytest.raises(UsageError, match=message):
        models.load("./mine.py", **options)


def test_an_option_that_is_needed_is_asked_for(mine):
    Path("x.py").write_text(f"{MINE}\ndef MODEL(place): return Mine(place)\n")
    with pytest.raises(UsageError, match=r"needs --model-option place="):
        models.load("./x.py")


def test_a_model_that_lacks_rank_is_refused_before_it_is_asked(mine):
    models.require_rank(models.load("fake"))
    with pytest.raises(UsageError, match=r"mine has no rank\(requests\).*--choice generate"):
        models.require_rank(models.load("./mine.py"))


def offered(monkeypatch: Any, **points: str) -> None:
    found = {name: EntryPoint(name, value, models.GROUP) for name, value in points.items()}
    monkeypatch.setattr(models, "installed", lambda group: found)


PARROT = Backend(
    name="parrot",
    form="parrot:WORD",
    about="says a word",
    build=lambda name, options: Fake(f"{name} {options.device}"),
    takes=frozenset({"device"}),
)


def test_an_installed_package_offers_a_backend_or_a_model(mine, monkeypatch):
    here = "tests.models.test_own_models"
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])
    offered(monkeypatch, parrot=f"{here}:PARROT", owl="own_package.inside:MODEL", bad="nowhere:X")
    plugins.importable("own_package")
    assert models.load("parrot:hi", device="cpu").name == "fake:hi cpu"
    assert models.load("owl", word="hoot").name == "mine"
    with pytest.raises(UsageError, match="--dtype is for"):
        models.load("parrot:hi", dtype="float32")
    with pytest.raises(UsageError, match="write parrot:WORD"):
        models.load("parrot")
    with pytest.raises(UsageError, match=r"bad \(nowhere:X\) cannot be imported: ModuleNotFound"):
        models.load("bad")
    listed = dict(models.available())
    assert listed["parrot"] == f"of an installed package: {here}:PARROT"
    assert {"./file.py[:NAME]", "package.module:NAME"} <= set(listed)


def test_a_built_in_backend_is_found_without_looking_at_what_is_installed(monkeypatch):
    monkeypatch.setattr(models, "installed", lambda group: pytest.fail("looked"))
    assert models.load("fake:x").name == "fake:x"


def test_every_backend_refuses_what_it_does_not_take():
    example = {
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 2,
        "revision": "main",
        "base_url": "http://127.0.0.1/v1",
        "picture_cache": Path("x"),
    }
    refused = 0
    for backend in models.BACKENDS.values():
        for name in set(example) - backend.takes:
            refused += 1
            with pytest.raises(UsageError, match=f"--.*{name.split('_')[0]}"):
                options = ModelOptions(**{name: example[name]})
                backend.open("" if backend.stands_alone else "x", options)
    assert refused > 10


def test_options_from_python_are_read_as_those_of_the_command_line(tmp_path):
    with pytest.raises(UsageError, match=r"unknown option 'windw' of demo; it takes batch_size"):
        models.load("demo", windw=3)
    with pytest.raises(UsageError, match=r"unknown option 'loud' of demo-judge; it takes none"):
        models.load("demo-judge", loud=True)
    with pytest.raises(TypeError, match="not both"):
        models.load("fake", ModelOptions(), device="cpu")
    assert models.load("demo", device="cpu", window="2").engine.options.window == 2  # type: ignore[attr-defined]
