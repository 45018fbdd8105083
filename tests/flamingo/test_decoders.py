"""The decoders of OpenFlamingo and Otter: against transformers' own, against MosaicGPT as written
down here, and each way of decoding against reading the whole text anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, rank
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.decoders.mpt import MosaicGpt, MosaicGptConfig, Mpt, MptConfig
from infimm_eval.flamingo.decoders.neox import NeoX, NeoXConfig
from infimm_eval.flamingo.layouts.languages import LANGUAGES
from infimm_eval.flamingo.prefill import pack
from tests.flamingo.family import KINDS, TEXTS, made
from tests.flamingo.small import generate, pictures
from tests.flamingo.test_cuda_graphs import again

pytestmark = pytest.mark.sampled

IMAGE, EOC = 259, 258
ROWS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15, 16]]


def close(ours: Tensor, theirs: Tensor, within: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=within, rtol=0)


def plain(kind: str, **text: Any) -> Flamingo:
    """A model whose gates are shut: the language model alone."""
    model = made("openflamingo", kind, text_config=TEXTS[kind] | {"vocab_size": 262} | text)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.zero_()
    return model


def padded(side: str = "left") -> tuple[Tensor, Tensor]:
    widest = max(map(len, ROWS))
    ids, mask = [], []
    for row in ROWS:
        pad, ones = [0] * (widest - len(row)), [1] * len(row)
        ids.append(pad + row if side == "left" else row + pad)
        mask.append(pad + ones if side == "left" else ones + pad)
    return torch.tensor(ids), torch.tensor(mask)


def in_transformers(model: Flamingo) -> Any:
    """The same language model by transformers, under the checkpoints' own keys."""
    import transformers

    kind = {"gpt_neox": "GPTNeoX", "mpt": "Mpt"}[model.config.text_config.model_type]
    given = {k: v for k, v in model.config.text_config.to_dict().items() if k != "model_type"}
    given.pop("architectures", None)
    if kind == "GPTNeoX":  # as transformers 5 takes it
        share, base = given.pop("rotary_pct"), given.pop("rotary_emb_base", 10000)
        given["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": base,
            "partial_rotary_factor": share,
        }
    config = getattr(transformers, f"{kind}Config")(**given, attn_implementation="eager")
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    language = LANGUAGES[model.config.text_config.model_type]
    state = {language.key(name): t for name, t in model.decoder.state_dict().items()}
    if "embed_out.weight" in state:  # its name in files; in transformers 5 it has another
        state["lm_head.weight"] = state.pop("embed_out.weight")
    lacking, unknown = theirs.load_state_dict(state, strict=False)
    assert not unknown and set(lacking) <= {"lm_head.weight"}
    theirs.tie_weights()
    return theirs


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "RedPajama": ("gpt_neox", {"use_parallel_residual": False, "rotary_pct": 1.0}),
    "Pythia": ("gpt_neox", {"hidden_size": 48, "num_attention_heads": 6, "rotary_pct": 0.25}),
    "another base": ("gpt_neox", {"rotary_emb_base": 500, "attention_bias": False}),
    "one table": ("gpt_neox", {"tie_word_embeddings": True, "layer_norm_eps": 1e-3}),
    "MPT": ("mpt", {"n_heads": 4}),
    "MPT, 6 heads": ("mpt", {"n_heads": 6, "layer_norm_epsilon": 1e-3}),
    "MPT, 12 heads": ("mpt", {"n_heads": 12, "attn_config": {"softmax_scale": 0.3}}),
    "MPT, bounded": ("mpt", {"attn_config": {"clip_qkv": 0.5}}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_text_alone_gives_transformers_logits(variant: str) -> None:
    kind, text = VARIANTS[variant]
    if kind == "mpt":  # transformers' knows no other ratio
        text = text | {"expansion_ratio": 4}
    model = plain(kind, **text)
    theirs = in_transformers(model)
    for side in ("left", "right"):
        ids, mask = padded(side)
        with torch.no_grad():
            ours = model(ids, mask)[mask.bool()]
            # Row by row: transformers counts the padding of a NeoX row as positions.
            alone = torch.cat([theirs(input_ids=torch.tensor([row])).logits[0] for row in ROWS])
        close(ours, alone)


def test_a_neox_is_read_from_what_either_transformers_writes() -> None:
    import transformers

    written = transformers.GPTNeoXConfig(
        rope_parameters={"rope_type": "default", "rope_theta": 77.0, "partial_rotary_factor": 0.5}
    )
    now = NeoXConfig.from_dict(written.to_dict() | {"model_type": "gpt_neox"})
    before = NeoXConfig.from_dict(
        {"model_type": "gpt_neox", "rotary_pct": 0.5, "rotary_emb_base": 77}
    )
    assert (now.rotary_pct, now.rotary_emb_base) == (before.rotary_pct, before.rotary_emb_base)


def mosaic_logits(model: MosaicGpt, ids: list[int]) -> Tensor:
    """MosaicGPT read off its description, one head at a time: (T, Y)."""
    config, state = model.config, model.state_dict()
    M, H, T = config.d_model, config.n_heads, len(ids)
    at = torch.arange(T)
    x = state["wte.weight"][ids]

    def ln(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (M,), state[f"{name}.weight"], eps=1e-5)

    for i in range(config.n_layers):
        block = f"blocks.{i}."
        q, k, v = (ln(x, f"{block}ln_1") @ state[f"{block}attn.Wqkv.weight"].T).split(M, -1)
        if config.attn_qk_ln:
            q, k = ln(q, f"{block}attn.q_ln"), ln(k, f"{block}attn.k_ln")
        heads = []
        for h, (qh, kh, vh) in enumerate(
            zip(*(y.chunk(H, -1) for y in (q, k, v)), strict=True), start=1
        ):
            scores = qh @ kh.T * (config.softmax_scale or (M // H) ** -0.5)
            scores = scores + 2 ** (-config.alibi_bias_max * h / H) * (at - (T - 1))
            scores = scores.masked_fill(at > at[:, None], -torch.inf)
            heads.append(scores.softmax(-1) @ vh)
        x = x + torch.cat(heads, -1) @ state[f"{block}attn.out_proj.weight"].T
        inner = F.gelu(ln(x, f"{block}ln_2") @ state[f"{block}mlp.mlp_up.weight"].T)
        x = x + inner @ state[f"{block}mlp.mlp_down.weight"].T
    scale = M**-0.5 if config.logit_scale == "inv_sqrt_d_model" else 1
    return ln(x, "ln_f") @ state["wte.weight"].T * scale


@pytest.mark.parametrize(
    "text",
    [
        {"n_heads": 4},
        {"n_heads": 6, "alibi_bias_max": 5},
        {"n_heads": 12, "attn_qk_ln": False, "softmax_scale": 0.3},
        {"n_heads": 3, "mlp_ratio": 3, "logit_scale": "inv_sqrt_d_model"},
    ],
)
def test_text_alone_gives_mosaic_gpts_logits(text: dict[str, Any]) -> None:
    model = plain("mosaic_gpt", **text)
    ids, mask = padded()
    with torch.no_grad():
        ours = model(ids, mask)
    for b, row in enumerate(ROWS):
        close(ours[b][mask[b].bool()], mosaic_logits(model.decoder, row))


def test_slopes_of_heads_that_are_no_power_of_two_follow_each_models_own_rule() -> None:
    device = torch.device("cpu")
    mpt = Mpt(MptConfig("mpt", d_model=12, n_heads=6, n_layers=1, vocab_size=8))
    mosaic = MosaicGptConfig(
        "mosaic_gpt", d_model=12, n_heads=6, n_layers=1, vocab_size=8, alibi=True, no_bias=True
    )
    of_eight = [2.0**-j for j in range(1, 9)]
    assert mpt.slopes(device).tolist() == [*of_eight[1::2], *of_eight[::2]][:6]
    close(MosaicGpt(mosaic).slopes(device), 2 ** (-8 * torch.arange(1, 7) / 6), 1e-7)


PROMPTS = [([5, 6, 7], []), ([8, IMAGE, 9, 10, 11, 12, 13], [0]), ([IMAGE, 14, EOC, IMAGE], [1, 2])]


def asked(model: Flamingo) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch padded on the left, with pictures."""
    latents = pictures(model, 3)
    ids, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    shown = latents.new_zeros(3, 2, *latents.shape[1:])
    for b, (row, which) in enumerate(PROMPTS):
        ids[b, 7 - len(row) :], mask[b, 7 - len(row) :] = torch.tensor(row), 1
        shown[b, : len(which)] = latents[which]
    return ids, mask, shown, torch.tensor([len(which) for _, which in PROMPTS])


@torch.no_grad()
def anew(model: Flamingo, b: int, more: list[int]) -> Tensor:
    """Logits of prompt b and what follows it, read at once without a cache: (T, Y)."""
    row, which = PROMPTS[b]
    shown = pictures(model, 3)[which][None] if which else None
    return model(torch.tensor([[*row, *more]]), None, shown)[0]


def best(model: Flamingo, b: int, count: int, width: int) -> list[int]:
    """The best of `width` texts that grow side by side, each read anew at every step."""
    held: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(count):
        grown = []
        for total, said in held:
            logp = anew(model, b, said)[-1].log_softmax(-1)
            logp[[IMAGE, EOC]] = -torch.inf
            grown += [(total + p, [*said, i]) for i, p in enumerate(logp.tolist())]
        held = sorted(grown, reverse=True)[:width]
    return held[0][1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 3])
def test_searches_find_what_reading_every_text_anew_finds(kind: str, width: int) -> None:
    model = made("openflamingo", kind, seed=3)
    options: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": width}
    expected = [best(model, b, 4, width) for b in range(len(PROMPTS))]
    for graphs in (None, CudaGraphs(after=1, capture=again)):
        answers = generate(model, *asked(model), length_penalty=0.0, graphs=graphs, **options)
        assert [list(answer.ids) for answer in answers] == expected
        assert graphs is None or graphs.count == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_and_a_shared_beginning_give_the_logits_of_the_whole_text(kind: str) -> None:
    model = made("openflamingo", kind, seed=4)
    ids, mask, *seen = asked(model)
    cache = model.new_cache(4, 16)
    right, lengths = pack(ids, mask)
    model.prefill(cache, right, lengths, *seen, rows=[0, 1, 2])
    more = torch.tensor([[20, 21, 22], [23, 24, 25], [26, 27, 28]])
    # Row 3 continues what row 1 began, beside it.
    cache.adopt([3], cache, [1])
    steps = torch.cat([more, torch.tensor([[40, 41, 42]])])
    logits = torch.cat([model.step(cache, steps[:, :1]), model.step(cache, steps[:, 1:])], dim=1)
    for row, b in enumerate([0, 1, 2, 1]):
        close(logits[row], anew(model, b, steps[row].tolist())[-3:])


@pytest.mark.parametrize("kind", KINDS)
def test_continuations_side_by_side_are_as_likely_as_each_by_itself(kind: str) -> None:
    model = made("openflamingo", kind, seed=5)
    named = [[[30], [31, 32, 33], [34, 35]]] * 3
    for b, row in enumerate(rank(model, *asked(model), continuations=named)):
        for ranked, ids in zip(row, named[b], strict=True):
            logp = anew(model, b, ids).double().log_softmax(-1)[-len(ids) - 1 : -1]
            expected = logp.gather(1, torch.tensor(ids)[:, None])[:, 0]
            close(torch.tensor(ranked.tokens, dtype=torch.float64), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single(kind: str, dtype: torch.dtype) -> None:
    model = made("openflamingo", kind, seed=6)
    ids, mask, latents, n_images = asked(model)
    with torch.no_grad():
        single = model(ids, mask, latents, n_images)
        model.to(dtype)
        half = model(ids, mask, latents.to(dtype), n_images)
    assert half.dtype == torch.float32
    off = (half - single)[mask.bool()].abs().mean() / single[mask.bool()].std()
    assert off < (0.05 if dtype == torch.bfloat16 else 0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_beyond_the_context_is_refused_by_its_length(kind: str) -> None:
    longest = {"mpt": "max_seq_len", "mosaic_gpt": "max_seq_len"}.get(
        kind, "max_position_embeddings"
    )
    model = plain(kind, **{longest: 8})
    with pytest.raises(UsageError, match=r"11 tokens, .* the model's 8 positions"):
        generate(model, *padded(), max_new_tokens=2)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("gpt_neox", {"hidden_act": "gelu_new"}, "hidden_act 'gelu_new', not 'gelu'"),
        ("gpt_neox", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "no scaling of rope"),
        ("gpt_neox", {"num_attention_heads": 5}, "hidden_size 48, not a multiple of 5 heads"),
        ("gpt_neox", {"rotary_pct": 0.2}, "rope turns pairs"),
        ("gpt_neox", {"rotary_pct": 0.5, "rope_parameters": {"partial_rotary_factor": 1}}, "and,"),
        ("mpt", {"n_heads": 5}, "d_model 48, not a multiple of 5 heads"),
        ("mpt", {"no_bias": False}, "no_bias false"),
        ("mpt", {"norm_type": "rmsnorm"}, "norm_type 'rmsnorm'"),
        ("mpt", {"attn_config": {"alibi": False}}, "learned positions"),
        ("mpt", {"attn_config": {"attn_type": "multiquery_attention"}}, "multiquery_attention"),
        ("mpt", {"logit_scale": "half"}, "logit_scale 'half'"),
        ("mosaic_gpt", {"alibi": False}, "learned positions"),
        ("mosaic_gpt", {"prefix_lm": True}, "prefix_lm"),
        ("mosaic_gpt", {"d_model": "wide"}, "d_model 'wide', not a whole number"),
    ],
)
def test_a_decoder_that_is_not_built_here_is_refused(
    kind: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LANGUAGES[kind].read(TEXTS[kind] | change)


def test_a_neox_with_one_table_has_no_output_table_of_its_own() -> None:
    tied = NeoX(NeoXConfig.from_dict(TEXTS["gpt_neox"] | {"tie_word_embeddings": True}))
    assert not any("embed_out" in name for name in tied.state_dict())
