"""`task=doctor`: a line for each check, a remedy for what is missing or broken, and never a traceback."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT, make_photographs

from daair.config.compose import Composer
from daair.config.jobs import Command, Job
from daair.tasks import doctor


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(str(ROOT / "conf"))


@pytest.fixture
def make(composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    monkeypatch.delenv("RANK", raising=False)
    overrides = ("task=doctor", "device=cpu", f"paths.runs={tmp_path / 'runs'}")
    return lambda *more: Command(composer, [*overrides, *more]).jobs[0]


def test_a_machine_that_works(make: Callable[..., Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_photographs(tmp_path / "data")
    assert doctor.doctor(make(f"mix.root={root}")) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 9 and summary == "9 ok, 0 missing, 0 broken"
    text = "\n".join(lines)
    assert f"torch {torch.__version__.split('+')[0]}" in text and f"2 in {root}: clean/train, clean/val" in text
    assert "step on CPU        daair_tiny, 2 crops of 64 pixels" in text
    assert not (tmp_path / "runs").exists()


def test_what_raises_is_one_line_and_the_others_go_on(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(job: Job) -> doctor.Diagnosis:
        raise ImportError("libcudart.so: cannot open\nmore")

    checks = {"python": doctor.python, "GPUs": fail, "data sets": doctor.data}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    assert doctor.doctor(make()) == 1
    python, gpus, data, summary = capsys.readouterr().out.splitlines()
    assert gpus == "broken   GPUs               ImportError: libcudart.so: cannot open; install torch again: make setup"
    assert python.startswith("ok       python") and summary == "1 ok, 1 missing, 1 broken"
    assert data.startswith("missing  data sets          mix.root=DIR is not given; mix=demo needs no data; see docs/")


def test_packages_of_other_versions_are_named(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Job]) -> None:
    needed = ["torch>=99", "nothing-of-this-name", "numpy>=1", "absent; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    told = f"torch {doctor.version('torch')} is not >=99, nothing-of-this-name is not installed"
    assert doctor.packages(make()) == ("broken", told, "make setup, or pip install -e .")


def test_little_shared_memory_matters_to_workers(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Job]) -> None:
    monkeypatch.setattr(doctor, "SHARED_MEMORY", ROOT)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=64e6))
    found = doctor.shared_memory(make("train.workers=2"))
    assert found.state == "broken" and "0.06 GB" in found.told and "--shm-size=8g" in found.remedy
    assert doctor.shared_memory(make("train.workers=0")).state == "ok"
    assert doctor.disk(make())[::2] == ("broken", "choose another place with paths.runs=DIR")


def test_runs_that_cannot_be_written(make: Callable[..., Job], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = doctor.disk(make(f"paths.runs={tmp_path / 'file' / 'runs'}"))
    assert found.state == "broken" and found.told.endswith("runs: cannot write there: Not a directory")


def test_gpus_that_torch_does_not_find(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Job], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "DRIVER", tmp_path / "version")
    assert doctor.gpus(make("device=auto")).state == "missing"
    assert doctor.gpus(make("device=cuda")).state == "broken"
    (tmp_path / "version").touch()
    found = doctor.gpus(make("device=auto"))
    assert found.state == "broken" and "there is an NVIDIA driver, but torch, built for" in found.told
    assert doctor.step_on_gpu(make("device=auto")) is None


def test_a_login_is_only_needed_online(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Job], tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert doctor.tracking(make()).state == "ok"
    told = "WANDB_MODE=offline is set; runs are logged offline"
    assert doctor.tracking(make("logger.mode=online")) == ("missing", told, "wandb login")


def test_a_root_without_data(make: Callable[..., Job], tmp_path: Path) -> None:
    found = doctor.data(make(f"mix.root={tmp_path / 'no'}"))
    assert found.state == "broken" and found.told == f"{tmp_path / 'no'}: no such folder"
    (tmp_path / "empty").mkdir()
    assert doctor.data(make(f"mix.root={tmp_path / 'empty'}")).state == "missing"


@pytest.mark.parametrize(
    ("update", "message"),
    [(lambda model: None, "no weight has changed"), (lambda model: spoil(model), "weights are not finite after it")],
)
def test_a_step_that_does_nothing_good(
    update: Callable, message: str, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Job]
) -> None:
    from daair.engine.costs import TrainingStep

    monkeypatch.setattr(TrainingStep, "__call__", lambda self: update(self.model))
    with pytest.raises(ValueError, match=message):
        doctor.step_on_cpu(make())


def spoil(model: torch.nn.Module) -> None:
    next(model.parameters()).data.fill_(torch.nan)
