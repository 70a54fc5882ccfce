"""`task=profile`: the figures mean what they say."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers import job
from torch import nn

from daair import checkpoint
from daair.cli import conf_dir
from daair.config.jobs import Composer
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


class Branches(nn.Module):
    """Looks at the image to decide what to do."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale if x.mean().item() > 0.5 else x


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

    class Note(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            order.append(self.name)
            return x

    times = task.interleaved_seconds({"a": Note("a"), "b": Note("b")}, torch.zeros(1, 3, 4, 4), repeats=3)
    assert order == ["a", "b"] * 4 and all(len(t) == 3 for t in times.values())


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


def config(tmp_path, models, output=None):
    profile = SimpleNamespace(models=models, size=32, batch_size=1, repeats=2, output=output)
    return SimpleNamespace(profile=profile, device="cpu", paths=SimpleNamespace(runs=str(tmp_path / "runs")))


def test_the_task_prints_and_writes_a_table(tmp_path, monkeypatch, capsys):
    def build(name):
        if name == "odd":
            raise UserError("model.heads: do not fit")
        return convolution()

    monkeypatch.setattr(task, "model_config", lambda cfg, name, composer: name)
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


def test_a_failing_forward_pass_is_reported_in_the_table_and_the_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(task, "model_config", lambda cfg, name, composer: name)
    monkeypatch.setattr(checkpoint, "build", lambda name: Broken() if name == "bad" else convolution())
    assert profile(config(tmp_path, ("good", "bad"))) == 1
    assert "does not run" in capsys.readouterr().out


def test_options_of_the_group_are_built_with_the_experts_of_the_config():
    from hydra.core.global_hydra import GlobalHydra

    from daair.cli import conf_dir
    from daair.config.jobs import Composer
    from daair.config.validate import validate

    composer = Composer(conf_dir())
    composed = composer.compose(["model=daair_tiny", "experts.count=3", "model.channels=24"])
    cfg = validate(composed)
    assert task.model_config(cfg, "daair_tiny", composer)["channels"] == 24
    small = task.model_config(cfg, "daair_small", composer)
    assert small["experts"]["count"] == 3 and small["channels"] != 24
    assert isinstance(checkpoint.build(small), nn.Module) and not GlobalHydra().is_initialized()
    with pytest.raises(UserError):
        task.model_config(cfg, "daair_tny", composer)


@pytest.mark.parametrize("overrides", [[], ["router=oracle"], ["router=soft"], ["control=none", "experts.count=0"]])
def test_costs_without_computing_equal_those_of_a_forward_pass(overrides):
    config = validate(Composer(conf_dir()).compose(["model=daair_tiny", *overrides])).model
    model = checkpoint.build(config).eval()
    with torch.no_grad():
        macs = task.count_macs(model, torch.rand(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert costs(model, 32) == {"parameters": task.count_parameters(model), "macs": macs}


def test_costs_of_a_network_that_needs_numbers():
    assert costs(Branches()) == {"parameters": 1, "macs": None}
