"""An InfiMM checkpoint behind the engine: the answers are those of one plain call per prompt."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from infimm_eval import flamingo, models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.models.flamingo import engine
from infimm_eval.models.flamingo.model import FlamingoModel
from infimm_eval.models.flamingo.prompts import conversation, document
from infimm_eval.models.shared import auto_batch_size
from infimm_eval.models.shared.refusals import NOT_FINITE
from infimm_eval.types import Answer, Image, Request
from tests.flamingo.small import generate
from tests.flamingo.test_cuda_graphs import again
from tests.models.tiny import CONFIG, Painted, checkpoint, few_shot, painted, request, write

pytestmark = pytest.mark.sampled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("checkpoint"))


def load(folder: Path, **options) -> FlamingoModel:
    return models.load(str(folder), device="cpu", **options)


def answers(model: FlamingoModel, requests: list[Request]) -> dict[str, Answer]:
    found = list(model.generate(requests))
    assert len(found) == len(requests)
    return {answer.id: answer for answer in found}


def alone(model: FlamingoModel, asked: Request) -> str:
    """The straightforward way: every picture encoded, one prompt, no engine."""
    encoded, images = model.formatter.encode(asked.prompt, 10_000)
    engine = model.engine
    pixels = [engine.processor.pictures(image.read()) for image in images]
    latents = engine.model.encode_images(torch.stack(pixels))[None] if pixels else None
    config = engine.model.config
    ends = set(config.language.eos_ids)
    if asked.prompt.style == "completion":
        ends.add(config.eoc_token_id)
    d = asked.decoding
    (said,) = generate(
        engine.model,
        torch.tensor([encoded.ids]),
        None,
        latents,
        max_new_tokens=d.max_new_tokens,
        num_beams=d.num_beams,
        length_penalty=d.length_penalty,
        eos_ids=ends,
    )
    return engine.processor.tokenizer.decode(said.ids)


def test_an_answer_says_how_its_prompt_was_read(folder: Path) -> None:
    asked = request("1", (painted(1), "Output:"), "a dog", (painted(2), "Output:"))
    model = load(folder)
    read = ("<s>", "Output:a dog<|endofchunk|>\n", "Output:")
    assert answers(model, [asked])["1"].prompt == read
    (ranked,) = model.rank([replace(asked, options=("a cat", "no"))])
    assert ranked.prompt == read
    whole = model.processor.tokenizer.raw.encode("<image>".join(read), add_special_tokens=False)
    assert whole.ids == model.formatter.encode(asked.prompt, 200)[0].ids


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_every_prompt_alone(folder, beams):
    asked = few_shot(24, num_beams=beams, length_penalty=0.0)
    model = load(folder, batch_size=1)
    expected = {a.id: alone(model, a) for a in asked}
    assert len(set(expected.values())) > 6, "the model should not say one thing only"
    for options in ({}, {"streaming": False}, {"sharing": False}):
        found = answers(load(folder, batch_size=5, **options), asked)
        assert {i: a.text for i, a in found.items()} == expected


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_recorded_steps_on_memory_lent_again_change_no_answer(folder, beams):
    asked = few_shot(24, num_beams=beams, length_penalty=0.0)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=5)
    model.engine.generation.graphs = CudaGraphs(after=1, capture=again)
    for _ in range(2):
        assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert 1 <= model.statistics["recordings"] <= model.statistics["batches"] / 2
    streamed = {i: a.text for i, a in answers(model, few_shot(24)).items()}
    assert streamed == {i: a.text for i, a in answers(load(folder), few_shot(24)).items()}


@pytest.mark.slow
def test_rows_of_unequal_limits_join_and_leave_without_changing_an_answer(folder):
    asked = [
        replace(r, decoding=replace(r.decoding, max_new_tokens=2 + i % 7, min_new_tokens=1))
        for i, r in enumerate(few_shot(30, seed=4))
    ]
    streamed = answers(load(folder, batch_size=4), asked)
    static = answers(load(folder, batch_size=4, streaming=False), asked)
    assert {i: a.text for i, a in streamed.items()} == {i: a.text for i, a in static.items()}
    assert {i: a.finish for i, a in streamed.items()} == {i: a.finish for i, a in static.items()}
    assert all(a.notes["tokens_out"] >= 1 for a in streamed.values())


FIXED = [(painted(n), "Output:") if n % 2 == 0 else "red dog on the beach" for n in range(8)]
TEXT_ONLY = ["Question: what is this? Short answer:", "a small red house on the beach " * 3]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("shots", [FIXED, TEXT_ONLY], ids=["pictures", "text only"])
def test_shots_that_all_share_are_read_once_and_change_nothing(folder, shots, beams, monkeypatch):
    asked = [
        request(str(n), *shots, (painted(n % 5), f"Question: {'red ' * (n % 3)}?"), num_beams=beams)
        for n in range(20)
    ]
    asked += [request("other", (painted(1), "Output:"), num_beams=beams)]
    monkeypatch.setattr(engine, "WORTH", 16)
    apart = load(folder, batch_size=6, sharing=False)
    together = load(folder, batch_size=6)
    expected = {i: a.text for i, a in answers(apart, asked).items()}
    assert {i: a.text for i, a in answers(together, asked).items()} == expected
    assert together.statistics["prefixes_read"] <= 2
    assert together.statistics["prefix_tokens_saved"] >= 16 * 18
    assert "prefixes_read" not in apart.statistics


def test_a_ranking_shares_beginnings_too(folder, monkeypatch):
    options = ("red", "a small dog")
    asked = [
        request(str(n), *FIXED, (painted(n), "Question: ?"), options=options) for n in range(6)
    ]
    monkeypatch.setattr(engine, "WORTH", 16)
    apart = {a.id: a for a in load(folder, batch_size=3, sharing=False).rank(asked)}
    model = load(folder, batch_size=3)
    for answer in model.rank(asked):
        assert answer.logliks == pytest.approx(apart[answer.id].logliks, abs=1e-4)
    assert model.statistics["prefixes_read"] == 1


@pytest.mark.slow
def test_latents_on_disk_serve_a_later_run_of_the_same_weights_only(folder, tmp_path):
    kept = tmp_path / "latents"
    asked = few_shot(10)
    first = load(folder, picture_cache=kept)
    expected = {i: a.text for i, a in answers(first, asked).items()}
    later = load(folder, picture_cache=kept)
    assert {i: a.text for i, a in answers(later, asked).items()} == expected
    assert "pictures_encoded" not in later.statistics
    other = load(checkpoint(tmp_path / "other", seed=3), picture_cache=kept)
    answers(other, asked)
    assert other.statistics["pictures_encoded"] == first.statistics["pictures_encoded"]


@pytest.mark.slow
def test_other_resampler_heads_are_another_model_with_latents_of_its_own(folder, tmp_path):
    asked = few_shot(10)
    two, four = (load(folder, picture_cache=tmp_path, resampler_heads=n) for n in (2, 4))
    assert two.settings == load(folder).settings | {"resampler_heads": 2}
    assert four.settings == two.settings | {"resampler_heads": 4}
    answers(two, asked)
    answers(four, asked)
    assert "pictures_from_disk" not in four.statistics
    assert four.statistics["pictures_encoded"] == two.statistics["pictures_encoded"]


@pytest.mark.slow
def test_a_budget_too_small_for_the_pictures_costs_time_and_no_answer(folder):
    asked = few_shot(20)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=2, window=1, host_cache=1024)
    assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert model.statistics["pictures_encoded"] > model.statistics["pictures_distinct"]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_memory_that_gives_out_halves_the_batch_and_loses_no_answer(folder, beams, monkeypatch):
    asked = few_shot(20, num_beams=beams)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=8)
    prefill = model.engine.model.prefill

    def small(cache, *arguments, **keywords):
        if len(cache) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return prefill(cache, *arguments, **keywords)

    monkeypatch.setattr(model.engine.model, "prefill", small)
    assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert model.statistics["oom_halvings"] == 2
    assert model.engine.limiter.size == 2


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 3, 6])
def test_memory_that_gives_out_in_a_step_loses_no_row_that_ended_in_it(folder, call, monkeypatch):
    asked = few_shot(12)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=8)
    step, calls = model.engine.model.step, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(*arguments)

    monkeypatch.setattr(model.engine.model, "step", once)
    assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert model.statistics["oom_halvings"] == 1


@pytest.mark.slow
def test_memory_that_gives_out_as_pictures_come_back_loses_no_answer(folder, monkeypatch):
    asked = few_shot(30)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=4, window=1)
    shelf, calls = model.engine.images.features, []
    get = shelf.get

    def once(digest):
        # Past the pictures of the first window: a stream is running by then.
        calls.append(digest)
        if len(calls) == 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return get(digest)

    monkeypatch.setattr(shelf, "get", once)
    assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert model.statistics["oom_halvings"] == 1


@pytest.mark.slow
def test_a_cache_that_does_not_fit_is_made_for_fewer_rows(folder, monkeypatch):
    asked = few_shot(12)
    expected = {i: a.text for i, a in answers(load(folder), asked).items()}
    model = load(folder, batch_size=8)
    new_cache = model.engine.model.new_cache

    def small(rows, capacity):
        if rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return new_cache(rows, capacity)

    monkeypatch.setattr(model.engine.model, "new_cache", small)
    assert {i: a.text for i, a in answers(model, asked).items()} == expected
    assert model.engine.limiter.size == 2


def test_a_single_prompt_that_does_not_fit_into_memory_stops_the_run(folder, monkeypatch):
    model = load(folder, batch_size=2)

    def never(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(model.engine.model, "prefill", never)
    with pytest.raises(MachineryError, match="batch of one"):
        answers(model, few_shot(4))


@pytest.fixture
def memory(monkeypatch):
    """A device whose free memory and whose takings the test decides."""
    device = SimpleNamespace(free=10**12, times=1.0)

    def weighed(_, work):
        done = work()
        return done, int(len(done) * device.times * 10**6)

    monkeypatch.setattr(auto_batch_size, "free_bytes", lambda _: device.free)
    monkeypatch.setattr(auto_batch_size, "peak", weighed)
    monkeypatch.setattr(engine, "bytes_of", lambda _, job: 10**6 if len(job.ids) < 40 else 10**7)
    return device


def batches_of(model, asked, monkeypatch):
    """The rows of every batch that was read, the answers being asked for."""
    rows, prefill = [], model.engine.model.prefill

    def counting(cache, ids, *arguments, **keywords):
        rows.append(len(ids))
        return prefill(cache, ids, *arguments, **keywords)

    monkeypatch.setattr(model.engine.model, "prefill", counting)
    answers(model, asked)
    return rows


def questions(count, words):
    text = "word " * words
    return [request(str(n), (painted(n % 5), f"{text}{n}"), num_beams=3) for n in range(count)]


def test_the_first_of_the_batches_sized_by_memory_is_small_and_measured(
    folder, memory, monkeypatch
):
    monkeypatch.setattr(auto_batch_size, "most", lambda _: 16)
    model = load(folder, sharing=False)
    assert batches_of(model, questions(40, 3), monkeypatch) == [4, 16, 16, 4]
    assert (model.statistics["probe_rows"], model.statistics["probe_bytes"]) == (4, 4 * 10**6)


@pytest.mark.parametrize(
    "weights, rows", [(100_000, 64), (5_000_000, 40), (50_000_000, 16), (7_000_000_000, 16)]
)
def test_a_processor_answers_more_rows_at_once_of_a_small_model(weights, rows):
    assert auto_batch_size.most(weights) == rows


@pytest.mark.parametrize("times, rows", [(1.0, 12), (2.0, 6), (0.1, 12), (100.0, 1)])
def test_batches_sized_by_memory_hold_half_of_it_by_what_the_first_took(
    folder, memory, monkeypatch, times, rows
):
    memory.free, memory.times = 24 * 10**6, times
    model = load(folder, sharing=False)
    assert batches_of(model, questions(40, 3), monkeypatch)[1] == rows


@pytest.mark.slow
def test_memory_that_gives_out_on_long_prompts_leaves_short_ones_their_room(
    folder, memory, monkeypatch
):
    model = load(folder, sharing=False)
    prefill = model.engine.model.prefill

    def small(cache, ids, *arguments, **keywords):
        if ids.shape[1] > 40 and len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(cache, ids, *arguments, **keywords)

    monkeypatch.setattr(model.engine.model, "prefill", small)
    memory.free = 400 * 10**6
    long = [replace(asked, id=f"long {asked.id}") for asked in questions(8, 40)]
    rows = batches_of(model, long + questions(40, 3), monkeypatch)
    # 4, which did not fit, in halves; then twos, until the longest left is a short one
    assert rows[:3] == [4, 2, 2] and max(rows[3:]) > 8
    assert model.statistics["oom_halvings"] == 1


def test_of_long_prompts_fewer_are_in_a_batch(folder, memory, monkeypatch):
    memory.free = 60 * 10**6
    model = load(folder, sharing=False)
    long = [replace(asked, id=f"long {asked.id}") for asked in questions(8, 40)]
    assert batches_of(model, questions(8, 3) + long, monkeypatch) == [3, 3, 3, 7]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_question_without_finite_scores_is_an_error_and_the_others_are_answered(
    folder, beams, recorded, monkeypatch
):
    asked = few_shot(24, pictures=7, num_beams=beams)
    usual = answers(load(folder, batch_size=4), asked)
    model = load(folder, batch_size=4)
    if recorded:
        model.engine.generation.graphs = CudaGraphs(capture=again)
    fetch, spoilt = model.engine.images.fetch, painted(3)

    def fetched(wanted):  # to an encoder that overflows, as in too narrow a dtype
        found = fetch(wanted)
        return {d: found[d] * (torch.nan if wanted[d] == spoilt else 1) for d in found}

    monkeypatch.setattr(model.engine.images, "fetch", fetched)
    found = answers(model, asked)
    showing = {r.id for r in asked if any(spoilt in turn.content for turn in r.prompt.turns)}
    assert 0 < len(showing) < len(asked)
    assert {name for name, answer in found.items() if answer.finish == "error"} == showing
    assert {found[name].notes["error"] for name in showing} == {NOT_FINITE}
    for name in found.keys() - showing:
        assert found[name].text == usual[name].text


def test_a_failure_that_is_no_lack_of_memory_keeps_its_traceback(folder, monkeypatch):
    model = load(folder, batch_size=2)

    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(model.engine.model, "prefill", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        answers(model, few_shot(4))


@pytest.mark.slow
def test_each_distinct_picture_is_encoded_once(folder):
    model = load(folder, batch_size=4)
    answers(model, few_shot(40, pictures=7))
    answers(model, few_shot(40, pictures=7, seed=1))
    counted = model.statistics
    assert counted["pictures_encoded"] == counted["pictures_distinct"] == 7
    assert counted["pictures_in_prompts"] > 100
    assert counted["requests"] == 80


def test_equal_files_under_two_names_are_one_picture(folder):
    model = load(folder)
    same = [Painted((9, 9, 9), "a.png"), Painted((9, 9, 9), "b.png")]
    found = answers(model, [request(p.name, (p, "Output:")) for p in same])
    assert found["a.png"].text == found["b.png"].text
    assert model.statistics["pictures_encoded"] == 1


def test_a_picture_changes_the_answer(folder):
    model = load(folder)
    found = answers(model, [request(str(n), (painted(n), "Output:")) for n in range(8)])
    assert len({a.text for a in found.values()}) > 1


def test_a_prompt_without_pictures_stands_beside_one_with(folder):
    model = load(folder, batch_size=2)
    asked = [request("text", "Output:"), request("both", (painted(1), "Output:"))]
    assert {i: a.text for i, a in answers(model, asked).items()} == {
        a.id: alone(model, a) for a in asked
    }


def test_requests_are_read_as_they_are_needed(folder):
    model = load(folder, batch_size=2, window=2)
    read = []

    def reading():
        for asked in few_shot(60):
            read.append(asked.id)
            yield asked

    found = model.generate(reading())
    next(found)
    assert len(read) < 20
    found.close()


def test_a_completion_is_written_as_openflamingo_does():
    head, pieces = document(
        request("1", (painted(1), "Output:"), "a dog", (painted(2), "Output:"), system="Go").prompt
    )
    text = "".join(p if isinstance(p, str) else f"[{p.value}]" for p in [*head, *pieces])
    assert text == "Go\n[image]Output:a dog[end of chunk]\n[image]Output:"


def test_a_conversation_keeps_roles_and_places():
    system, user, assistant, _ = conversation(
        request("1", ("see", painted(1), "it"), "yes", "why?", style="instruct", system="Go").prompt
    )
    assert (system.role, system.content) == ("system", "Go")
    assert [getattr(p, "value", p) for p in user.content] == ["see", "image", "it"]
    assert (assistant.role, assistant.content) == ("assistant", ["yes"])


def test_a_chat_checkpoint_speaks_instruct_and_a_base_one_completes(folder, tmp_path):
    chat = load(checkpoint(tmp_path, chat_format="zephyr"))
    assert (load(folder).style, chat.style) == ("completion", "instruct")
    asked = request("1", (painted(1), "What is this?"), style="instruct")
    assert answers(chat, [asked])["1"].text == alone(chat, asked)


def test_shots_that_do_not_fit_are_dropped_and_noted(folder):
    model = load(folder)
    shots = [((painted(n), "Output:"), "red " * 60) for n in range(6)]
    turns = [turn for shot in shots for turn in shot]
    (answer,) = model.generate([request("1", *turns, (painted(9), "Output:"))])
    assert answer.notes["dropped_shots"] == 3
    assert answer.notes["tokens_in"] <= 256
    fewer = request("1", *turns[6:], (painted(9), "Output:"))
    assert answer.text == alone(model, fewer)


def test_a_question_that_does_not_fit_is_left_unanswered_and_the_others_are_not(folder):
    model = load(folder)
    asked = [request("long", "red " * 300), request("short", "Output:")]
    found = answers(model, asked)
    assert found["long"].finish == "error"
    assert "room for" in found["long"].notes["error"]
    assert found["short"].finish != "error"


def test_a_stop_string_ends_the_answer_and_stays_in_it(folder):
    model = load(folder)
    asked = few_shot(6, max_new_tokens=12)
    whole = answers(model, asked)
    words = {key: answer.text.split()[:2] for key, answer in whole.items()}
    key = next(key for key, (one, other) in words.items() if other not in one)
    stopped = answers(model, few_shot(6, max_new_tokens=12, stop=(words[key][1],)))[key]
    assert stopped.text == " ".join(words[key])
    assert stopped.finish == "stop"


def test_a_ranking_is_the_likelihood_of_each_option(folder):
    model = load(folder, batch_size=3)
    options = ("red", "a small dog", "the beach")
    asked = few_shot(5, options=options)
    ranked = {a.id: a for a in model.rank(asked)}
    for one in asked:
        encoded, images = model.formatter.encode(one.prompt, 500)
        pixels = torch.stack([model.processor.pictures(i.read()) for i in images])
        latents = model.engine.model.encode_images(pixels)[None]
        for option, loglik in zip(options, ranked[one.id].logliks, strict=True):
            more = model.processor.tokenizer.continuation(encoded.tail, option)
            ids = torch.tensor([encoded.ids + more])
            logp = model.engine.model(ids, None, latents).log_softmax(-1)[0]
            own = [float(logp[len(encoded.ids) - 1 + j, t].detach()) for j, t in enumerate(more)]
            assert loglik == pytest.approx(sum(own), abs=1e-4)
        best = max(zip(ranked[one.id].logliks, options, strict=True))[1]
        assert ranked[one.id].text == best


def test_a_ranking_leaves_room_for_its_longest_option(tmp_path):
    narrow = CONFIG["language"] | {"max_position_embeddings": 60}
    model = load(checkpoint(tmp_path, language=narrow), batch_size=2)
    shots = [turn for n in range(4) for turn in ((painted(n), "Output:"), "red dog on the beach")]
    query = (painted(9), "Output:")
    options = ("red", "a small dog " * 8)
    (answer,) = model.rank([request("1", *shots, query, options=options)])
    assert answer.notes["tokens_in"] + 24 <= 60
    kept = shots[2 * answer.notes["dropped_shots"] :]
    (fewer,) = model.rank([request("1", *kept, query, options=options)])
    assert answer.logliks == pytest.approx(fewer.logliks, abs=1e-4)
    (far,) = model.rank([request("1", query, options=("red " * 70,))])
    assert far.finish == "error"


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "'q7' has no options"), (("red", ""), "'q7' has an empty option")],
)
def test_a_ranking_without_a_text_to_rank_is_refused_by_name(folder, options, message):
    with pytest.raises(UsageError, match=message):
        list(load(folder).rank([request("q7", "Output:", options=options)]))


class Gone(Painted):
    def read(self) -> bytes:
        raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Painted(None, "coco/7.jpg"), r"coco/7\.jpg: not a readable picture"),
        (Gone(None, "coco/8.jpg"), r"coco/8\.jpg: the picture cannot be read"),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_an_unreadable_picture_costs_the_questions_that_show_it_alone(
    folder, picture: Image, message, workers
):
    broken = [request(f"x{n}", (painted(n), picture, "Output:")) for n in range(3)]
    found = answers(load(folder, workers=workers), [broken[0], *few_shot(3), *broken[1:]])
    assert {id for id, answer in found.items() if answer.finish == "error"} == {"x0", "x1", "x2"}
    assert all(re.match(message, found[one.id].notes["error"]) for one in broken)
    expected = answers(load(folder), few_shot(3))
    assert {id: found[id].text for id in expected} == {i: a.text for i, a in expected.items()}


def test_a_picture_that_vanishes_while_the_run_goes_on_stops_it_by_name(folder, monkeypatch):
    images = load(folder).engine.images
    fleeting = Fleeting((9, 9, 9), "coco/9.jpg")
    wanted = {images.digest(fleeting): fleeting}
    assert images.fetch(wanted).keys() == wanted.keys()
    images.features.clear()
    monkeypatch.setattr(Fleeting, "there", False)
    with pytest.raises(MachineryError, match=r"coco/9\.jpg"):
        images.fetch(wanted)


class Fleeting(Painted):
    there = True

    def read(self) -> bytes:
        if not self.there:
            raise OSError("the disk is gone")
        return super().read()


def test_the_fingerprint_is_of_what_the_folder_holds_and_not_of_its_path(folder, tmp_path):
    again = load(checkpoint(tmp_path / "again"))
    other = load(checkpoint(tmp_path / "again", seed=1))
    first = load(folder)
    assert first.settings == again.settings
    assert first.settings["fingerprint"] != other.settings["fingerprint"]
    assert first.settings["dtype"] == "float32"


def test_the_training_step_beside_the_weights_is_a_fact_of_the_model(tmp_path):
    place = checkpoint(tmp_path)
    assert "step" not in load(place).settings
    write(place / "trainer_state.json", {"global_step": 4000})
    assert load(place).settings["step"] == 4000
    write(place / "trainer_state.json", {})
    with pytest.raises(UsageError, match="global_step"):
        load(place)


def test_notes_beside_the_weights_do_not_change_the_fingerprint(tmp_path):
    before = load(checkpoint(tmp_path)).settings["fingerprint"]
    write(tmp_path / "scores.json", {"cider": 1})
    assert load(tmp_path).settings["fingerprint"] == before
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert load(tmp_path).settings["fingerprint"] != before


def test_a_temperature_is_refused_with_what_would_work(folder):
    with pytest.raises(UsageError, match="openai:NAME"):
        answers(load(folder), [request("1", "Output:", temperature=0.7)])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"device": "cuda:7"}, "cannot use it"),
        ({"dtype": "float8"}, "unknown dtype"),
        ({"revision": "main"}, "belongs to a hub id"),
    ],
)
def test_a_choice_that_cannot_be_honoured_is_refused(folder, choices, message):
    with pytest.raises(UsageError, match=message):
        models.load(str(folder), **choices)


def test_bfloat16_can_be_asked_for_on_a_processor(folder):
    model = load(folder, dtype="bfloat16")
    assert model.settings["dtype"] == "bfloat16"
    assert len(answers(model, few_shot(3))) == 3


def test_flamingo_is_what_a_folder_of_its_layout_holds(folder):
    assert isinstance(load(folder).engine.model, flamingo.Flamingo)


def test_a_broken_folder_that_says_it_is_infimm_is_not_taken_for_another_model(tmp_path):
    write(tmp_path / "config.json", {"model_type": "infimm-zephyr", "visual": {"layers": "24"}})
    with pytest.raises(UsageError, match=r"has neither tokenizer\.json nor tokenizer\.model"):
        load(tmp_path)


def test_an_adapter_is_never_passed_over(tmp_path):
    place = checkpoint(tmp_path)
    write(place / "adapter_config.json", {})
    with pytest.raises(UsageError, match="holds an adapter"):
        load(place)
