"""Modules of large packages without the packages, in a process of its own, where nothing has been imported yet."""

import subprocess
import sys

import pytest
from helpers import ROOT

from daair.submodules import submodule

TRAIN = """
import sys
import torch
import daair.engine.train, daair.tasks.restore
from daair import optim
from daair.models import daair_naf, layers, nafnet, swinir
from daair.submodules import submodule

optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
for name in ("cosine", "linear", "step"):
    getattr(optim, name)(optimizer, steps=10)
averaged = submodule("timm.utils.model_ema").ModelEmaV3
heavy = {"timm", "timm.models", "torchvision", "wandb", "matplotlib", "skimage", "piq"} & set(sys.modules)
assert not heavy, heavy

import timm.layers, timm.scheduler, timm.utils
assert timm.layers.LayerNorm2d is layers.LayerNorm2d and timm.utils.ModelEmaV3 is averaged
assert type(optim.cosine(optimizer, steps=10)) is timm.scheduler.CosineLRScheduler
"""


def test_training_imports_neither_timm_nor_torchvision_as_a_whole_and_classes_exist_once() -> None:
    ran = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        submodule("no_such_package.part.module")
    with pytest.raises(ModuleNotFoundError, match=r"email\.no_such_module"):
        submodule("email.no_such_module")
    assert submodule("json.decoder") is sys.modules["json.decoder"]
