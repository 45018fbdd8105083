"""What is put so that a processor moves less memory computes what its formula says."""

import pytest
import torch
import torch.nn.functional as F

from infimm_eval.flamingo.kernels import BLOCK, MANY_WORDS, output_layer, quick_gelu, swiglu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quick_gelu_and_swiglu_are_their_formulas_to_the_last_bit(dtype: torch.dtype) -> None:
    x, up = torch.randn(2, 7, 33, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(quick_gelu(x), x * torch.sigmoid(1.702 * x))
        wanted = F.silu(x) * up
        assert torch.equal(swiglu(x.clone(), up), wanted)


def test_quick_gelu_leaves_what_it_is_given_as_it_was() -> None:
    x = torch.randn(5)
    before = x.clone()
    with torch.inference_mode():
        quick_gelu(x)
    assert torch.equal(x, before)


def test_both_have_gradients_where_they_are_wanted() -> None:
    x, up = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(quick_gelu, (x,))
    assert torch.autograd.gradcheck(swiglu, (x, up))


@pytest.mark.parametrize("rows", [(1,), (2,), (2, 2), (3, 1, 2), (40,)])
@pytest.mark.parametrize("words", [100, MANY_WORDS + BLOCK // 2])
def test_the_output_layer_is_one_linear_layer_for_any_number_of_rows(
    rows: tuple[int, ...], words: int
) -> None:
    x, table = torch.randn(*rows, 16), torch.randn(words, 16)
    with torch.inference_mode():
        found = output_layer(x, table)
    assert found.is_contiguous()
    torch.testing.assert_close(found, F.linear(x, table))


def test_the_output_layer_gives_float32_whatever_the_weights_are() -> None:
    x, table = torch.randn(3, 16).bfloat16(), torch.randn(MANY_WORDS, 16).bfloat16()
    with torch.inference_mode():
        found = output_layer(x, table)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.linear(x, table).float(), rtol=2e-2, atol=2e-2)
