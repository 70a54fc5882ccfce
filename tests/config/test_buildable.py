"""What is built once before a run starts, to find mistakes."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from daair.config import buildable
from daair.config.jobs import check
from daair.config.problems import ConfigError


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
