"""What is built once before a run starts, to find mistakes."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import make_photographs

from daair.config import buildable
from daair.config.jobs import check
from daair.config.problems import ConfigError
from daair.config.validate import validate


def test_a_network_of_ones_own_that_needs_labels_is_tried_with_some_and_once_for_a_sweep(monkeypatch):
    calls = []

    class Net(torch.nn.Module):
        needs_labels = True

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(2))

        def forward(self, x, labels):
            calls.append(labels.tolist())
            return x * self.scale[labels][:, None, None, None]

    monkeypatch.setitem(sys.modules, "labelled", SimpleNamespace(Net=Net))
    for _ in range(2):
        buildable._check_forward(json.dumps({"_target_": "labelled.Net"}), 8)
    assert calls == [[0]]


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("mix.patch=10", "mix.patch"),
        ("train.progressive=[{share:0.5,patch:10},{share:0.5}]", "train.progressive[0].patch"),
    ],
)
def test_crops_below_the_window_of_ssim_are_refused(composer, override: str, key: str):
    overrides = ["model=daair_tiny", "loss=l1_ssim", "mix.patch=32", override]
    with pytest.raises(ConfigError) as caught:
        check(composer.compose_job(overrides), composer.options, set())
    assert str(caught.value) == f"{key}: must be at least 11 with this loss, got 10"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["mix=aio3"], None),
        (["mix=aio3_kinds", "experts.count=3"], None),  # noise15 counts as noise
        (["mix=aio3", "mix.tasks.haze.weight=0"], None),  # its benchmarks have no data here and are left out
        (["mix=aio3", "mix.tasks.haze.weight=0", "benchmarks=[demo_haze]"], "demo_haze is haze"),
        (["mix=denoise", "benchmarks=[demo_rain]"], "demo_rain is rain"),
        (["mix=denoise", "benchmarks=[demo_rain]", "router=top1"], None),
    ],
    ids=str,
)
def test_an_oracle_is_not_asked_for_a_degradation_that_it_has_not_learned(composer, overrides, text, tmp_path):
    make_photographs(tmp_path, count=1, size=72)
    given = ["model=daair_tiny", "router=oracle", f"mix.root={tmp_path}", *overrides]
    cfg = validate(composer.compose_job(given))
    if text is None:
        return buildable.check_buildable(cfg)
    told = f"^benchmarks: {text}, but this network is told the degradation, and the mix trains noise15"
    with pytest.raises(ConfigError, match=told):
        buildable.check_buildable(cfg)


def test_a_checkpoint_is_given_exactly_if_there_are_weights(composer):
    identity = validate(composer.compose_job(["task=evaluate", "model=identity"]))
    buildable.check_checkpoint(identity)
    with pytest.raises(
        ConfigError, match="^checkpoint: identity has no weights; leave out checkpoint=... or model=..."
    ):
        buildable.check_checkpoint(identity.model_copy(update={"checkpoint": "some.safetensors"}))
    network = validate(composer.compose_job(["task=evaluate", "model=daair_tiny"]))
    buildable.check_checkpoint(network.model_copy(update={"checkpoint": "some.safetensors"}))
    with pytest.raises(ConfigError, match="^checkpoint: missing; task=evaluate needs checkpoint=..."):
        buildable.check_checkpoint(network)
