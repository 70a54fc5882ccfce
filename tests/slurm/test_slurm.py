"""Sweeps on a real Slurm: killed, cancelled, preempted, out of time, on two machines. `make test-slurm` runs this.

The cluster (cluster.py) has two nodes of two CPUs each, both on this machine; a job in its partition `urgent` preempts
those of the default one, with some seconds of grace.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from cluster import HOST, cluster  # noqa: E402
from helpers import RUN, SMALL, environment, make_photographs  # noqa: E402

from daair.runs.record import Record  # noqa: E402
from daair.runs.store import run_folders  # noqa: E402

pytestmark = pytest.mark.timeout(3600)
PATIENCE = 900.0  # seconds for anything that is waited for


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a process on the login node."""
    if shutil.which("slurmctld", path="/usr/sbin:/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None:
        pytest.skip("no Slurm on this machine; tests/slurm/install.sh installs it")
    with cluster() as env:
        yield environment() | env


@pytest.fixture
def sweep(slurm: dict[str, str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Gives a sweep's command; returns its exit status and output."""
    make_photographs(tmp_path / "photographs")

    def run(*overrides: str, runs: str = "runs") -> tuple[int, str]:
        fixed = [*SMALL, f"mix.root={tmp_path / 'photographs'}", "train.checkpoint_every=1000", "train.workers=1"]
        command = [
            sys.executable,
            RUN,
            "-m",
            "hydra/launcher=slurm",
            *fixed,
            "study=s",
            f"paths.runs={tmp_path / runs}",
        ]
        command += ["launch.slurm.cpus=2", "launch.slurm.notice=60", "launch.slurm.poll=1", *overrides]
        done = subprocess.run(
            command, env=slurm, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800
        )
        return done.returncode, done.stdout

    return run


def wait_for(what: str, reached: Callable[[], object]) -> None:
    """Look until `reached()`."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.2)


def ask(slurm: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout


def jobs(slurm: dict[str, str]) -> list[str]:
    """Numbers of the jobs that Slurm holds."""
    return ask(slurm, "squeue", "--noheader", "--array", "--format=%i").split()


def step(record: Record) -> int:
    return max((row["step"] for row in record.metrics()), default=0)


def rank(record: Record, number: int) -> psutil.Process:
    """One process of a run at work; its loader's workers look like it, but are younger."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(record.folder) in process.cmdline() and process.environ().get("RANK") == str(number):
                found.append(process)
        except psutil.Error:
            continue
    return min(found, key=psutil.Process.create_time)


def test_a_study_survives_what_a_cluster_does_to_it(slurm, sweep, tmp_path):
    four = ["seed=0,1,2,3", "launch.num_processes=2", "train.steps=200"]
    ask(slurm, "scontrol", "update", "PartitionName=main", "State=DOWN")  # nothing starts while we look
    code, output = sweep(*four, "launch.wait=false")
    assert code == 0 and output.count("submitted s/") == 4, output
    killed, preempted, cancelled, told = records = [Record(folder) for folder in run_folders(tmp_path / "runs", "s")]
    code, output = sweep(*four, "launch.wait=false")
    assert code == 0 and "submitted" not in output and "skipped 4 (with Slurm already" in output, output
    assert len(jobs(slurm)) == 4
    ask(slurm, "scontrol", "update", "PartitionName=main", "State=UP")

    wait_for("the first run at work", lambda: step(killed) > 2)
    rank(killed, 1).kill()
    wait_for("the second run at work", lambda: step(preempted) > 2)
    node = ask(slurm, "squeue", "--noheader", f"--jobs={preempted.job()}", "--format=%N").strip()
    urgent = ["--partition=urgent", f"--nodelist={node}", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1"]
    ask(slurm, "sbatch", *urgent)
    wait_for("the third run at work", lambda: step(cancelled) > 2)
    ask(slurm, "scancel", cancelled.job())
    wait_for("the fourth run at work", lambda: step(told) > 2)
    ask(slurm, "scancel", "--signal=USR2", told.job())  # what Slurm sends before a job's time is up

    wait_for("the end of all jobs", lambda: not jobs(slurm))
    states = [record.status().state for record in records]
    logs = [record.log_file.read_text()[-2000:] for record in records]
    assert states == ["interrupted", "done", "interrupted", "done"], (states, logs)
    assert "killed by SIGKILL" in killed.status().message
    assert "stopped by SIGTERM" in cancelled.status().message
    for record in (preempted, told):
        assert "SIGTERM: stopped after step" in record.log_file.read_text(), (
            "it wrote a checkpoint and went on from there"
        )

    code, output = sweep(*four)
    assert code == 0 and output.count("submitted s/") == 2 and "skipped 2 (done already)" in output, output
    assert [(record.status().state, record.status().attempt) for record in records] == [("done", 2)] * 4

    code, output = sweep("seed=1", *four[1:], runs="undisturbed")
    assert code == 0, output
    (folder,) = run_folders(tmp_path / "undisturbed", "s")
    assert Record(folder).weights_file.read_bytes() == preempted.weights_file.read_bytes()


def test_a_run_on_two_machines_is_preempted_and_goes_on(slurm, sweep, tmp_path):
    code, output = sweep("launch.nodes=2", "train.steps=200", "launch.wait=false")
    assert code == 0, output
    (record,) = (Record(folder) for folder in run_folders(tmp_path / "runs", "s"))
    wait_for("the run at work", lambda: step(record) > 2)
    assert ask(slurm, "squeue", "--noheader", "--format=%N").strip() == f"{HOST},{HOST}-2"
    assert rank(record, 0).environ()["SLURMD_NODENAME"] != rank(record, 1).environ()["SLURMD_NODENAME"]
    ask(slurm, "scancel", "--signal=USR2", record.job())
    wait_for("the end of the job", lambda: not jobs(slurm))
    assert (record.status().state, record.status().attempt) == ("done", 2), record.log_file.read_text()[-2000:]


def test_a_refusal_is_one_line(sweep, tmp_path):
    code, output = sweep("launch.slurm.partition=nowhere")
    assert code == 1 and output.splitlines()[-1].startswith("error: launch.slurm: "), output
    assert "invalid partition specified: nowhere" in output
    code, output = sweep("launch.slurm.gpus=4")
    assert code == 1 and output.splitlines()[-1].endswith("; without GPUs: device=cpu or launch.slurm.gpus=0"), output


def test_dry_run_submits_nothing(slurm, sweep, tmp_path):
    code, output = sweep("seed=0,1", "launch.dry_run=true", "launch.num_processes=2")
    assert code == 0 and output.count("would be submitted: s/") == 2, output
    assert "1 machine with 2 processes, 2 CPUs, 0 GPUs for 1440 minutes" in output
    assert not jobs(slurm) and not list(run_folders(tmp_path / "runs"))
