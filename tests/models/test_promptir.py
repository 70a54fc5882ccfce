"""PromptIR against what the authors' code returns, and as a part of the lab."""

import pytest
import torch
from peers import build, check_bfloat16, check_graph, check_names, check_published, check_sizes, unchanged_by_a_step

from daair.models.promptir import Prompt, PromptIR


def test_is_the_published_network() -> None:
    check_published(build("promptir"), "promptir")


def test_published_names() -> None:
    check_names(PromptIR, "promptir")


def test_what_nothing_uses_is_frozen() -> None:
    with torch.device("meta"):
        model = PromptIR()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"dormant.{part}.{level}.weight" for part in ("prompt", "skip") for level in range(3)}


def test_a_step_changes_every_parameter() -> None:
    unchanged, _ = unchanged_by_a_step(build("promptir_tiny"), torch.rand(2, 3, 24, 24))
    assert not unchanged


def test_tiny() -> None:
    model = build("promptir_tiny")
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) <= 0.5e6
    check_sizes(model, (17, 23), (5, 3), (1, 40))
    check_graph(model)
    check_bfloat16(model)


def test_prompt_is_the_weighted_sum_of_its_components() -> None:
    prompt, x = Prompt(channels=6, count=3, prompt_channels=4, size=8), torch.rand(2, 6, 8, 8)
    weights = prompt.weigh(x.mean(dim=(2, 3))).softmax(dim=1)
    mixed = torch.stack([sum(w * c for w, c in zip(row, prompt.components[0], strict=True)) for row in weights])
    torch.testing.assert_close(prompt(x), prompt.smooth(mixed))


def test_impossible_sizes_are_refused() -> None:
    message = "model.prompt_channels: 4 heads .* do not divide the 161 channels of features and prompt at level 0"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        PromptIR(prompt_channels=(65, 128, 320))
