"""Which positions stand side by side, and what each sees."""

from __future__ import annotations

import pytest
import torch

from infimm_eval.flamingo.media import Media, Segments
from infimm_eval.flamingo.shown import Shown


@pytest.mark.parametrize("seed", range(5))
def test_what_is_cut_into_segments_is_joined_again(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    begins = torch.rand(4, 9, generator=generator) < 0.3
    x = torch.randn(4, 9, 2, generator=generator)
    segments = Segments.beginning(begins)
    assert torch.equal(segments.join(segments.cut(x)), x)


def test_a_segment_is_a_run_of_one_rows_positions() -> None:
    begins = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    segments = Segments.beginning(begins)
    x = torch.arange(8).view(2, 4)
    assert segments.first(x).tolist() == [0, 2, 4]
    cut = segments.cut(x[..., None])[..., 0]
    assert [cut[0, :2].tolist(), cut[1, :2].tolist(), cut[2].tolist()] == [
        [0, 1],
        [2, 3],
        [4, 5, 6, 7],
    ]


def test_rows_of_one_segment_stay_as_they_are() -> None:
    x = torch.randn(3, 5, 2)
    segments = Segments.beginning(torch.zeros(3, 5, dtype=torch.bool))
    assert segments.cut(x) is x
    assert segments.join(x) is x


def test_gradients_reach_every_position_once() -> None:
    x = torch.randn(2, 6, 1, requires_grad=True)
    segments = Segments.beginning(torch.tensor([[0, 1, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0]]).bool())
    segments.join(segments.cut(x) ** 2).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(x.grad, 2 * x.detach())


def test_each_segment_sees_its_picture_and_a_surplus_tag_the_mean() -> None:
    pictures = torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1).expand(-1, 2, 1)
    shown = Shown(pictures, torch.tensor([[0, 2], [2, 0]]))
    tags = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0]])
    media = Media.of(shown, tags, torch.tensor([5, 3]), torch.tensor([2, 1]), fresh=True)
    seen = torch.cat([torch.zeros(1), media.latents_EVD[:, 0, 0]])
    # Row 0: nothing, its two pictures, their mean.  Row 1 has one picture from its start.
    assert seen[media.entry_N].tolist() == [0, 1, 6, 3.5, 6]
    assert seen[media.last_B].tolist() == [3.5, 6]


def test_a_continued_row_sees_what_it_saw_until_its_next_picture() -> None:
    shown = Shown(torch.ones(1, 2, 1), torch.tensor([[0], [0]]))
    tags = torch.tensor([[0, 1], [0, 0]])
    media = Media.of(shown, tags, torch.tensor([2, 2]), torch.tensor([1, 0]), fresh=False)
    assert media.entry_N.tolist() == [0, 2, 1]  # two rows' own, then the picture
    assert media.last_B.tolist() == [2, 1]
    assert len(media.latents_EVD) == 1  # no mean where nobody sees it
