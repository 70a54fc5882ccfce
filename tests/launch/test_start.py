"""What sweepers get to see of a job, and Hydra's own launchers and the Optuna sweeper with the lab's runs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import RUN

from daair.config.jobs import Command
from daair.errors import UserError
from daair.launch.start import HydraTask, in_turn, objective
from daair.runs.record import Record
from daair.runs.store import read, run_folders

# Importable from the directory in which the program is started: a training that takes no time.
TASKS = """
from daair.config.identity import run_name
from daair.errors import UserError
from daair.runs.record import Record

def score(job):
    config = job.config
    record = Record(f"{config.paths.runs}/{run_name(config)}")
    with record.lock():
        record.start(config.to_dict(), {}, "", steps=2)
        record.log(1, {"val/psnr": 0.0})
        if config.seed == 3:
            record.update(state="failed")
            raise UserError("seed: 3 is odd")
        record.log(2, {"val/psnr": 20.0 + config.model["experts"]["rank"]})
        record.update(state="done", step=2)
    return 0
"""


def sweep(folder: Path, *arguments: str) -> tuple[int, str]:
    """The program as started by a user in `folder`; exit status and output."""
    (folder / "scores.py").write_text(TASKS)
    path = os.pathsep.join([str(Path(RUN).parent / "src"), str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, RUN, "-m", "task._target_=scores.score", "study=own", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, text=True, timeout=600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_outcome_is_the_status_or_the_last_value_of_the_objective(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = HydraTask(Command.parse(["model=daair_tiny"]))
    (job,) = task.command.jobs
    record = Record(job.folder)
    record.start({}, {}, "", steps=2)
    with pytest.raises(UserError, match=r"launch.objective: .* has no metric val/psnr \(it has none\)"):
        objective(job)
    record.log(1, {"val/psnr": 20.0, "train/loss": 1.0})
    record.log(2, {"val/psnr": 21.0, "routing/utilisation": [[1.0]]})
    record.log(3, {"train/loss": 0.5})
    assert objective(job) == 21.0
    assert [task.outcome(job, status) for status in (0, 3)] == [0, 3]
    task.searches = True
    assert [task.outcome(job, status) for status in (0, 1)] == [21.0, None]
    assert task.statuses == [0, 3, 0, 1]


def test_an_error_of_the_system_without_a_file_takes_no_other_job_along(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.py").write_text("def task(job):\n    raise OSError('cannot write mode RGBA as JPEG')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    jobs = Command.parse(["-m", "task._target_=broken.task", "hydra/launcher=basic", "seed=0,1"]).jobs
    assert in_turn(jobs) == 1
    shown = capsys.readouterr()
    assert "job 2 of 2" in shown.out
    assert shown.err.count("OSError: cannot write mode RGBA as JPEG") == 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_own_launchers_of_hydra_fill_the_same_store(tmp_path, launcher):
    plugin = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}[launcher]
    if importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"{plugin} is not installed (extra `launchers`)")
    code, output = sweep(tmp_path, f"hydra/launcher={launcher}", "seed=0,3")
    runs = [read(folder) for folder in run_folders(tmp_path / "runs")]
    assert [(run.seed, run.state) for run in runs] == [(0, "done"), (3, "failed")], output
    assert code == 1, "the failed jobs count, in whichever process they ran"


@pytest.mark.timeout(600)
def test_optuna_searches_by_the_objective(tmp_path):
    pytest.importorskip("optuna", reason="optuna is not installed (extra `optuna`)")
    search = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.direction=maximize"]
    code, output = sweep(tmp_path, *search, "experts.rank=choice(2,8,4)")
    assert code == 0, output
    best = yaml.safe_load((tmp_path / "runs/.hydra/optimization_results.yaml").read_text())
    assert best["best_params"] == {"experts.rank": 8} and best["best_value"] == 28.0
    assert len(list(run_folders(tmp_path / "runs"))) == 3
