"""What is built once before a run starts, to find mistakes."""

import json
import sys
from types import SimpleNamespace

import torch

from daair.config import buildable


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
