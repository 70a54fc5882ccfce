"""AdaIR against what the authors' code returns, and as a part of the lab."""

import pytest
import torch
from peers import build, check_bfloat16, check_graph, check_names, check_published, check_sizes, unchanged_by_a_step

from daair.models.adair import AdaIR, FrequencyBlock


def test_is_the_published_network() -> None:
    check_published(build("adair"), "adair")


def test_published_names() -> None:
    check_names(AdaIR, "adair")


def awake(model: AdaIR) -> AdaIR:
    """Give the zero-initialised scales a value, so that the frequency blocks do something."""
    for block in model.frequency:
        torch.nn.init.constant_(block.scale, 0.5)
    return model


def test_a_step_changes_every_parameter_but_the_empty_bands() -> None:
    unchanged, _ = unchanged_by_a_step(awake(build("adair_tiny")), torch.rand(2, 3, 24, 24))
    queries = ("temperature", "query.0.weight", "query.1.weight")
    assert unchanged == {f"frequency.{level}.mine_low.{name}" for level in range(3) for name in queries}


def test_what_gets_no_gradient_is_frozen() -> None:
    with torch.device("meta"):
        model = AdaIR()
    frozen = {name.split(".")[2] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"band", "dormant"}


def test_untrained_blocks_return_the_features() -> None:
    block, feature = FrequencyBlock(8, 2), torch.rand(1, 8, 8, 8)
    torch.testing.assert_close(block(feature, torch.rand(1, 3, 16, 16)), feature, rtol=0, atol=0)


def test_tiny() -> None:
    model = awake(build("adair_tiny"))
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) <= 0.5e6
    check_sizes(model, (17, 23), (5, 3), (1, 40))
    check_graph(model)
    check_bfloat16(model)


def test_low_band_is_a_centred_rectangle() -> None:
    block, x = FrequencyBlock(8, 2), torch.rand(2, 8, 300, 520)
    shares = block.band(x.mean(dim=(2, 3), keepdim=True)).sigmoid().flatten(1).tolist()
    shifted = torch.fft.fftshift(block._low_band(x), dim=(-2, -1))[:, 0]
    for i, (rows, columns) in enumerate(shares):
        expected = torch.zeros(300, 520, dtype=torch.bool)
        up, left = int(2 * rows), int(4 * columns)
        expected[150 - up : 150 + up, 260 - left : 260 + left] = True
        assert torch.equal(shifted[i], expected)


def test_bands_are_magnitudes_of_what_the_mask_lets_through() -> None:
    block, x = FrequencyBlock(8, 2), torch.rand(1, 8, 16, 16)
    low, high = block._bands(x)  # of 16 pixels a side: nothing is low
    assert low.abs().max() == 0
    torch.testing.assert_close(high, x.abs())


def test_impossible_sizes_are_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="model.heads: 8 heads of level 2 do not divide the 12"):
        AdaIR(channels=6, heads=(1, 1, 8, 1))
