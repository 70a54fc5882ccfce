"""`task=profile`: the figures mean what they say."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers import job
from torch import nn

from daair import checkpoint
from daair.cli import conf_dir
from daair.config.jobs import Composer, Job
from daair.config.validate import validate
from daair.engine.costs import costs
from daair.errors import UserError
from daair.tasks import profile as task


def convolution(channels: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 3, 3, padding=1))


class Broken(nn.Module):
    needs_labels = True

    def forward(self, x, labels):
        raise RuntimeError("does not run")


class Untrainable(nn.Conv2d):
    """Restores, but fails in training mode."""

    def __init__(self):
        super().__init__(3, 3, 1)

    def forward(self, x):
        if self.training:
            raise RuntimeError("does not train")
        return super().forward(x)


class Branches(nn.Module):
    """Looks at the image to decide what to do."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale if x.mean().item() > 0.5 else x


class Fails(nn.Module):
    """Raises for any image."""

    def forward(self, x):
        raise RuntimeError("no image is good enough")


class Allocates(nn.Module):
    """Holds `count` copies of its input at once."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x):
        held = [x + k for k in range(self.count)]
        return held[0]


def test_parameters_and_macs_are_those_of_the_formula():
    table = task.measure({"a": convolution(), "b": convolution(16)}, size=32, batch_size=2, repeats=2)
    assert list(table.columns) == list(task.COLUMNS) and list(table.model) == ["a", "b"]
    assert table.parameters_m[0] * 1e6 == pytest.approx(3 * 8 * 9 + 8 + 8 * 3 * 9 + 3)
    assert table.gmacs[0] * 1e9 == pytest.approx(32 * 32 * 9 * 3 * 8 * 2)  # of one image
    assert table.gmacs[1] == pytest.approx(2 * table.gmacs[0])
    assert (table.latency_q1_ms <= table.latency_ms).all() and (table.latency_ms <= table.latency_q3_ms).all()
    assert (table.latency_ms > 0).all()


def test_a_model_may_count_its_own_parameters():
    model = convolution()
    model.num_parameters = lambda: 12
    assert task.count_parameters(model) == 12


@pytest.mark.parametrize("count", [1, 4])
def test_cpu_memory_is_what_is_held_at_once(count):
    x = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        peak = task.peak_memory(Allocates(count), x)
    assert peak == pytest.approx(count * x.numel() * 4, rel=0.05)


def test_memory_includes_the_model_itself():
    model = nn.Sequential(Allocates(1))
    model.register_buffer("table", torch.zeros(1000, 1000))
    with torch.inference_mode():
        assert task.peak_memory(model, torch.zeros(1, 3, 8, 8)) >= 4_000_000


def test_models_take_turns():
    order = []
    passes = {name: partial(order.append, name) for name in "ab"}
    times = task.interleaved_seconds(passes, repeats=3, device=torch.device("cpu"))
    assert order == ["a", "b"] * 4 and all(len(t) == 3 for t in times.values())


OPTIMIZER = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3}
LOSS = {"_target_": "daair.losses.RestorationLoss", "l1": 1.0}


@pytest.mark.parametrize("name", ["daair_tiny", "airnet_tiny", "nafnet_tiny"])
def test_a_training_step_is_an_update_of_what_the_last_stage_trains(name):
    model = checkpoint.build(validate(Composer(conf_dir()).compose([f"model={name}"])).model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    options = SimpleNamespace(train_size=32, train_batch_size=2, repeats=2)
    table = task.measure_steps({name: model}, LOSS, OPTIMIZER, options, torch.device("cpu"))
    assert "error" not in table and list(table.columns) == ["model", *task.STEP_COLUMNS]
    assert (table.step_q1_ms <= table.step_ms).all() and (table.step_ms <= table.step_q3_ms).all()
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert len(changed) > len(before) / 2
    size = sum(t.numel() * 4 for t in model.parameters())
    assert table.step_memory_mib[0] * 2**20 > 3 * size  # parameters and two averages of AdamW


def test_an_update_that_fails_is_an_error_of_that_model_alone():
    options = SimpleNamespace(train_size=32, train_batch_size=2, repeats=1)
    models = {"good": convolution(), "bad": Untrainable()}
    steps = task.measure_steps(models, LOSS, OPTIMIZER, options, torch.device("cpu"))
    table = task.merge(task.measure(models, size=32, repeats=1), steps)
    assert "does not train" in table.error[1] and pd.isna(table.step_ms[1]) and table.latency_ms[1] > 0
    assert table.step_ms[0] > 0 and pd.isna(table.error[0])


def test_a_model_that_fails_does_not_stop_the_others():
    table = task.measure({"bad": Broken(), "good": convolution()}, size=16, repeats=1)
    assert "does not run" in table.error[0] and pd.isna(table.latency_ms[0])
    assert table.latency_ms[1] > 0 and pd.isna(table.error[1])


def test_an_oracle_is_told_a_label():
    config = validate(Composer(conf_dir()).compose(["model=daair_tiny", "router=oracle"])).model
    table = task.measure({"oracle": checkpoint.build(config)}, size=32, batch_size=2, repeats=1)
    assert "error" not in table and table.latency_ms[0] > 0 and table.memory_mib[0] > 0


def profile(cfg):
    return task.profile(job(cfg))


def config(tmp_path, models, output=None, train_size=None):
    sizes = {"size": 32, "batch_size": 1, "train_size": train_size, "train_batch_size": 2, "repeats": 2}
    profile = SimpleNamespace(models=models, **sizes, output=output)
    parts = {"loss": LOSS, "optimizer": OPTIMIZER, "paths": SimpleNamespace(runs=str(tmp_path / "runs"))}
    return SimpleNamespace(profile=profile, device="cpu", **parts)


def test_the_task_prints_and_writes_a_table(tmp_path, monkeypatch, capsys):
    def build(name):
        if name == "odd":
            raise UserError("model.heads: do not fit")
        return convolution()

    monkeypatch.setattr(task, "model_config", lambda job, name: name)
    monkeypatch.setattr(checkpoint, "build", build)
    assert profile(config(tmp_path, ("one", "odd", "two"))) == 1
    said = capsys.readouterr().out
    assert "cannot build odd: model.heads" in said and "one" in said and "profiled 2 of 3 models" in said
    assert "FFT" in said and "ms/image" in said
    table = pd.read_csv(tmp_path / "runs" / "profile.csv")
    assert list(table.model) == ["one", "two"]
    assert {"hardware", "threads", "torch", "commit", "device", "size", "batch_size", "repeats"} <= set(table.columns)
    assert table.threads[0] == torch.get_num_threads() and table.torch[0] == torch.__version__
    assert profile(config(tmp_path, ("one",), output=str(tmp_path / "x" / "other.csv"))) == 0
    assert (tmp_path / "x" / "other.csv").exists()
    assert profile(config(tmp_path, ("odd",))) == 1
    capsys.readouterr()
    assert profile(config(tmp_path, ("one", "two"), train_size=16)) == 0
    assert "training step, ms/image" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "runs" / "profile.csv")
    assert set(task.STEP_COLUMNS) | {"train_size", "train_batch_size"} <= set(table.columns)
    assert (table.train_size == 16).all() and (table.step_ms > 0).all()


def test_a_failing_forward_pass_is_reported_in_the_table_and_the_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(task, "model_config", lambda job, name: name)
    monkeypatch.setattr(checkpoint, "build", lambda name: Broken() if name == "bad" else convolution())
    assert profile(config(tmp_path, ("good", "bad"))) == 1
    assert "does not run" in capsys.readouterr().out


def test_options_of_the_group_are_built_with_the_experts_of_the_config():
    from hydra.core.global_hydra import GlobalHydra

    composer = Composer(conf_dir())
    overrides = ("model=daair_tiny", "experts.count=3", "model.channels=24")
    given = Job(validate(composer.compose(overrides)), overrides, "", Path(), "", composer=composer)
    assert task.model_config(given, "daair_tiny")["channels"] == 24
    small = task.model_config(given, "daair_small")
    assert small["experts"]["count"] == 3 and small["channels"] != 24
    assert isinstance(checkpoint.build(small), nn.Module) and not GlobalHydra().is_initialized()
    other = task.model_config(given, "daair_naf_tiny")  # its experts are of another class
    assert other["experts"]["count"] == 3 and isinstance(checkpoint.build(other), nn.Module)
    with pytest.raises(UserError):
        task.model_config(given, "daair_tny")


@pytest.mark.parametrize(
    "model", ["nafnet", "restormer", "promptir", "adair", "airnet", "swinir", "daair_naf", "daair"]
)
def test_costs_without_computing_equal_those_of_a_forward_pass(model):
    compare_costs([f"model={model}_tiny"])


@pytest.mark.parametrize("part", ["router=oracle", "router=soft", "control=none experts.count=0"])
def test_costs_of_parts_without_computing_equal_those_of_a_forward_pass(part):
    compare_costs(["model=daair_tiny", *part.split()])


def compare_costs(overrides):
    config = validate(Composer(conf_dir()).compose(overrides)).model
    model = checkpoint.build(config).eval()
    with torch.no_grad():
        macs = task.count_macs(model, torch.rand(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert costs(model, 32) == {"parameters": task.count_parameters(model), "macs": macs}


def test_costs_of_a_network_that_needs_numbers():
    assert costs(Branches()) == {"parameters": 1, "macs": 0}  # products of elements do not count
    routed = costs(checkpoint.build(validate(Composer(conf_dir()).compose(["model=moceir_tiny"])).model).eval(), 32)
    assert routed["macs"] > routed["parameters"]


def test_costs_of_a_network_that_fails():
    assert costs(Fails()) == {"parameters": 0, "macs": None}
