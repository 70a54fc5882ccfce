"""Tiles cover an image, their weights sum to one, and no seam shows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from daair.engine.inference import restore_tiled, tile_spans


class Recorder(nn.Module):
    """Applies a function and remembers the sizes it was asked for."""

    def __init__(self, function=lambda x: x):
        super().__init__()
        self.function, self.sizes = function, []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        return self.function(x)


@st.composite
def layouts(draw, longest=70):
    tile = draw(st.integers(1, 40))
    return draw(st.integers(1, longest)), draw(st.integers(1, longest)), tile, draw(st.integers(0, tile - 1))


@settings(max_examples=80)
@given(st.integers(1, 400), st.integers(1, 64), st.data())
def test_weights_sum_to_one_everywhere_and_tiles_overlap_enough(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    spans = tile_spans(length, tile, overlap)
    total = torch.zeros(length)
    for start, weights in spans:
        assert start >= 0 and start + len(weights) <= length and (weights > 0).all()
        total[start : start + len(weights)] += weights
    torch.testing.assert_close(total, torch.ones(length), atol=2e-6, rtol=0)
    for (a, weights), (b, _) in zip(spans, spans[1:], strict=False):
        assert a < b <= a + len(weights) - overlap


@settings(max_examples=60)
@given(layouts())
def test_identity_is_reconstructed(layout):
    height, width, tile, overlap = layout
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * 71 + width))
    if (height // max(1, tile - overlap)) * (width // max(1, tile - overlap)) > 400:
        return  # the same with thousands of tiles would only take long
    model = Recorder()
    torch.testing.assert_close(restore_tiled(model, x, tile, overlap), x, atol=1e-6, rtol=0)
    assert set(model.sizes) == {(min(tile, height), min(tile, width))}


@settings(max_examples=25)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(9, 30), st.integers(0, 8))
def test_a_pointwise_model_gives_what_it_gives_on_the_whole_image(height, width, tile, overlap):
    x = torch.rand(2, 3, height, width)
    model = Recorder(lambda x: (3 * x).sin() - 0.5)
    torch.testing.assert_close(restore_tiled(model, x, tile, overlap), model(x), atol=2e-6, rtol=0)


def test_an_image_within_one_tile_goes_whole_and_exactly():
    x = torch.rand(1, 3, 31, 64, dtype=torch.float64)
    model = Recorder(lambda x: x * 1.1)
    restored = restore_tiled(model, x, 64, 16)
    assert model.sizes == [(31, 64)] and restored.dtype == torch.float64 and torch.equal(restored, x * 1.1)


def test_tiles_that_disagree_blend_smoothly():
    """Each tile comes back as another constant, the worst model there is: steps stay small all the same."""

    class Levels(nn.Module):
        count = 0

        def forward(self, x):
            self.count += 1
            return torch.full_like(x, self.count % 2)

    x = torch.zeros(1, 3, 16, 256)
    blended, hard = restore_tiled(Levels(), x, 64, 32), restore_tiled(Levels(), x, 64, 0)
    assert hard.diff(dim=-1).abs().max() > 0.4
    assert 0 < blended.diff(dim=-1).abs().max() < 0.06


def test_far_from_its_edges_a_tile_agrees_with_the_whole_image():
    convolution = nn.Conv2d(3, 3, 5, padding=2)
    x = torch.rand(1, 3, 50, 90)
    tiled, whole = restore_tiled(convolution, x, 32, 16), convolution(x)
    spread = (tiled - whole).abs().amax(dim=(0, 1))
    assert spread.max() < 0.2 and spread[2:8, 2:8].max() < 1e-5


def test_labels_reach_the_model():
    class Labelled(nn.Module):
        def forward(self, x, labels):
            return x + labels.view(-1, 1, 1, 1)

    x = torch.rand(2, 3, 20, 20)
    restored = restore_tiled(Labelled(), x, 12, 4, labels=torch.tensor([0, 2]))
    torch.testing.assert_close(restored, x + torch.tensor([0.0, 2.0]).view(2, 1, 1, 1))


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 8), (8, -1), (8, 9)])
def test_impossible_layouts_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_spans(100, tile, overlap)
