"""Restormer against what the authors' code returns, and as a part of the lab."""

import pytest
import torch
from peers import build, check_bfloat16, check_graph, check_names, check_published, check_sizes, unchanged_by_a_step

from daair.models.layers import pad_to_multiple
from daair.models.restormer import Restormer


@pytest.mark.parametrize(
    ("name", "override"),
    [("restormer", "model.norm=biased"), ("restormer_blind_denoising", "model.norm=bias_free")],
)
def test_is_the_published_network(name: str, override: str) -> None:
    check_published(build("restormer", override), name)


def test_published_names() -> None:
    check_names(Restormer, "restormer")


def test_names_that_would_become_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="would both be called out.weight"):
        Restormer.from_published({"patch_embed.proj.weight": None, "output.weight": None, "out.weight": None})


@pytest.mark.parametrize("norm", ["biased", "bias_free"])
def test_a_step_changes_every_parameter(norm: str) -> None:
    model = build("restormer_tiny", f"model.norm={norm}")
    unchanged, _ = unchanged_by_a_step(model, torch.rand(2, 3, 24, 24))
    assert not unchanged


def test_tiny() -> None:
    model = build("restormer_tiny")
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) <= 0.5e6
    check_sizes(model, (17, 23), (5, 3), (1, 40))
    check_graph(model)
    check_bfloat16(model)


def test_padding_is_reflection_then_crop() -> None:
    model, x = build("restormer_tiny").eval(), torch.rand(1, 3, 13, 19)
    padded = torch.nn.functional.pad(x, (0, 5, 0, 3), mode="reflect")
    assert torch.equal(pad_to_multiple(x, 8), padded)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model(padded)[..., :13, :19])


def test_bias_free_network_scales_with_its_input() -> None:
    """Its norms divide by the deviation, so that only their small constant breaks the proportion."""
    model = build("restormer_tiny", "model.norm=bias_free").eval()
    x = 100 * torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(2 * x), 2 * model(x), rtol=0.05, atol=2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": (5, 2, 4, 8)}, "model.heads: 5 heads do not divide the 48 channels of level 0"),
        ({"channels": 7, "heads": (1, 1, 1, 1)}, "model.channels: must be even, got 7"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused(changes: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        Restormer(**changes)
