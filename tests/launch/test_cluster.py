"""Sweeps on Slurm, with a stand-in for its commands: what is submitted, what is not, what is asked for, what is told.

The real thing is in tests/slurm.
"""

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from daair import cli
from daair.config.jobs import Composer, Job
from daair.config.validate import validate
from daair.errors import UserError
from daair.launch import cluster, slurm
from daair.runs import squeue as queue
from daair.runs.record import Record

SBATCH = """#!/bin/sh
cp "$1" "$(dirname "$0")/submitted"
[ -e "$(dirname "$0")/refuse" ] && { echo "sbatch: error: $(cat "$(dirname "$0")/refuse")" >&2; exit 1; }
echo "Submitted batch job 7"
"""
SQUEUE = """#!/bin/sh
exec cat "$(dirname "$0")/queue"
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-ins: `queue` is what squeue prints, `refuse` what sbatch says, `submitted` its script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "queue").write_text("")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="module")
def jobs():
    """Makes the jobs of two seeds."""
    composer = Composer(cli.conf_dir())

    def make(*overrides: str, seeds: int = 2):
        fixed = ["model=daair_tiny", "study=s", "device=cpu", "launch.wait=false", *overrides]
        return [Job.of(validate(composer.compose([*fixed, f"seed={seed}"]))) for seed in range(seeds)]

    return make


def options(commands: Path) -> dict[str, str]:
    """What the submitted script asks for."""
    lines = [line.removeprefix("#SBATCH --") for line in (commands / "submitted").read_text().splitlines()]
    return dict(line.partition("=")[::2] for line in lines)


def test_an_order_is_kept_across_arrays_of_unequal_resources(jobs):
    small, large = jobs("launch.slurm.memory=1"), jobs("launch.slurm.memory=9")
    mixed = [small[0], large[0], small[1], large[1]]
    assert [len(alike) for alike in slurm._arrays(mixed)] == [2, 2]
    first, second = jobs("launch.slurm.memory=1", "launch.order={seed:[0]}")
    other, _ = jobs("launch.slurm.memory=9", "launch.order={seed:[0]}")
    assert list(slurm._arrays([first, second, other])) == [[first, second], [other]]
    assert list(slurm._arrays([first, other, second])) == [[first], [other], [second]]
    assert list(slurm._arrays([])) == []


def test_what_is_missing_and_not_with_slurm_is_submitted(commands, jobs, capsys, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("daair.launch.cluster.lacks", lambda job: False)  # the finished one was measured on all
    three = jobs(seeds=3)
    records = [Record(job.folder) for job in three]
    records[0].queue({}, 1)
    records[0].update(state="done")
    assert cluster.sweep([*three, three[1]]) == 0
    assert [record.job() for record in records] == [None, "7_0", "7_1"]
    assert [record.status().state for record in records] == ["done", "queued", "queued"]
    text = capsys.readouterr().out
    assert "skipped 1 (done already)" in text and "skipped 1 (the same run as s/" in text
    assert "as Slurm job 7_1" in text and "task=status study=s" in text
    assert options(commands)["array"] == "0-1%2"

    (commands / "submitted").unlink()
    (commands / "queue").write_text("7_0|RUNNING|None\n7_1|PENDING|Priority\n")
    assert cluster.sweep(three) == 0
    assert not (commands / "submitted").exists()
    assert "skipped 1 (with Slurm already, job 7)" in capsys.readouterr().out.replace("skipped 2", "skipped 1")

    (commands / "queue").write_text("7_0|RUNNING|None\n")
    assert cluster.sweep(three) == 0
    assert [record.job() for record in records] == [None, "7_0", "7"], "the one whose job is gone, as a job of its own"


def test_waiting_ends_when_slurm_has_let_go(commands, jobs, capsys, monkeypatch):
    pytest.importorskip("submitit")
    two = jobs("launch.wait=true", "launch.slurm.poll=0.01")
    done, gone = (Record(job.folder) for job in two)

    def answers():
        yield {}  # asked before the submission
        yield {"7_0": "RUNNING", "7_1": "RUNNING"}
        yield None  # Slurm's controller is restarted
        done.update(state="done")
        gone.update(state="running")
        yield {"7_1": "RUNNING"}
        yield {}

    monkeypatch.setattr(cluster, "slurm_jobs", answers().__next__)
    assert cluster.sweep(two) == 1
    assert (gone.status().state, done.status().state) == ("interrupted", "done")
    assert gone.status().message.startswith("Slurm job 7_1 ended before the run did")
    text = capsys.readouterr().out
    assert "Slurm does not answer; asking again" in text and "Slurm answers again" in text
    assert "1 of 2 runs are not done" in text and "1 done, 1 interrupted" in text


def test_leaving_the_waiting_leaves_the_jobs(commands, jobs, capsys, monkeypatch):
    pytest.importorskip("submitit")

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster.time, "sleep", interrupt)
    monkeypatch.setattr(cluster, "slurm_jobs", iter([{}, {"7_0": "RUNNING", "7_1": "RUNNING"}]).__next__)
    assert cluster.sweep(jobs("launch.wait=true")) == 130
    assert "2 runs stay with Slurm" in (text := capsys.readouterr().out) and "scancel 7 ends them" in text


def test_refusals(commands, jobs):
    pytest.importorskip("submitit")
    (commands / "refuse").write_text("invalid partition specified: nowhere")
    with pytest.raises(UserError, match=r"^launch.slurm: sbatch: error: invalid partition specified: nowhere$"):
        cluster.sweep(jobs())
    (commands / "refuse").write_text("Invalid generic resource (gres) specification")
    with pytest.raises(UserError, match=r"without GPUs: device=cpu or launch.slurm.gpus=0$"):
        cluster.sweep(jobs("device=auto"))
    (commands / "squeue").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UserError, match="squeue does not answer"):
        cluster.sweep(jobs())


def test_dry_run(commands, jobs, capsys):
    assert cluster.sweep(jobs("launch.dry_run=true", "launch.nodes=2", "launch.num_processes=4", "device=auto")) == 0
    assert "2 machines with 4 processes, 12 CPUs, 4 GPUs for 1440 minutes" in capsys.readouterr().out
    assert not (commands / "submitted").exists() and not Path("runs").exists()


def test_resources(commands, jobs):
    pytest.importorskip("submitit")
    slurm_keys = ["partition=long", "account=lab", "time=90", "memory=32", "gpus=2", "notice=60", "parallel=1"]
    more = ["setup=['module load cuda']"]
    extra = "+launch.slurm.parameters.constraint=a100"
    cfgs = jobs(
        extra, *(f"launch.slurm.{key}" for key in [*slurm_keys, *more]), "launch.num_processes=2", "launch.nodes=2"
    )
    cluster.sweep(cfgs)
    asked = options(commands)
    assert {key: asked[key] for key in ("partition", "account", "time", "mem", "gpus-per-node", "constraint")} == {
        "partition": "long", "account": "lab", "time": "90", "mem": "32GB", "gpus-per-node": "2", "constraint": "a100"
    }  # fmt: skip
    assert (asked["nodes"], asked["ntasks-per-node"], asked["cpus-per-task"]) == ("2", "1", "6")
    assert asked["signal"] == "USR2@60" and "requeue" in asked and asked["array"] == "0-1%1"
    assert "module load cuda" in (commands / "submitted").read_text()


def test_processes_of_several_machines_meet_on_the_first_host(jobs):
    (job,) = jobs("launch.nodes=2", "launch.num_processes=2", seeds=1)
    node = SimpleNamespace(node=1, hostnames=["gpu7", "gpu9"], raw_job_id="123456")
    flags = slurm.NodeTask.of(job).meeting(node)
    assert flags == {
        "--num_machines": "2", "--machine_rank": "1", "--main_process_ip": "gpu7", "--main_process_port": "23456"
    }  # fmt: skip


def test_queue_reads_squeue(commands, monkeypatch):
    (commands / "queue").write_text("12_3|PENDING|Priority\n13|RUNNING|None\n")
    assert queue.jobs() == {"12_3": "PENDING (Priority)", "13": "RUNNING"}
    (commands / "queue").unlink()
    monkeypatch.setattr(queue, "PATIENCE", 0)
    assert queue.jobs() is None and queue.state("13") == ""


@pytest.mark.parametrize(
    ("error", "asked"), [("Unable to contact slurm controller", 3), ("Invalid job id specified", 1)]
)
def test_a_controller_that_does_not_answer_is_asked_again(commands, error, asked, monkeypatch):
    """A preempted run takes no answer for the end of its job, and would not go back into the queue."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    script = (
        f'#!/bin/sh\necho >> asked\n[ $(wc -l < asked) -gt 2 ] && echo RUNNING && exit\necho "{error}" >&2; exit 1\n'
    )
    (commands / "squeue").write_text(script)
    assert queue.state("13") == ("RUNNING" if asked == 3 else "")
    assert Path("asked").read_text().count("\n") == asked


@pytest.mark.parametrize(("patience", "found"), [(20, "RUNNING"), (0, "SIGNALING")])
def test_a_job_that_is_being_signalled_is_asked_for_again(commands, patience, found, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(queue, "PATIENCE", patience)
    script = "#!/bin/sh\necho >> asked\n[ $(wc -l < asked) -gt 2 ] && echo RUNNING || echo SIGNALING\n"
    (commands / "squeue").write_text(script)
    assert queue.state("13") == found


def test_a_stopped_run_goes_back_into_the_queue_once_it_has_its_checkpoint(tmp_path):
    """Not only when its processes have ended, which may take longer than the grace period."""
    pytest.importorskip("submitit")
    record, asked = Record(tmp_path), []
    record.update(state="running")

    def poll():
        asked.append(True)
        if len(asked) == 2:
            record.update(state="interrupted")

    task = slurm.NodeTask(str(tmp_path), 1, 1, True, 1, grace=3600.0)
    task.attempt = SimpleNamespace(stop=lambda told: None, poll=poll)
    again = task.checkpoint().function
    assert len(asked) == 2 and (again.folder, again.attempt, again.told) == (task.folder, None, False)


@pytest.mark.parametrize("state", ["RUNNING", "SIGNALING"])
def test_a_preempted_job_is_put_back_into_the_queue(state, monkeypatch):
    """Also the one of an array that has the array's own number, and although the controller is busy."""
    answers = iter([subprocess.TimeoutExpired("scontrol", 60), None])
    handlers = {}
    node = SimpleNamespace(node=0, job_id="7_1", raw_job_id="7", _usr_sig=lambda: signal.SIGUSR2)

    def checkpoint_and_requeue(number, frame):
        if error := next(answers):
            raise error

    monkeypatch.setattr("signal.getsignal", lambda number: checkpoint_and_requeue)
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    states = {"7_1": state, "7": f"{state}\n{state}"}  # squeue's answers
    monkeypatch.setattr(queue, "state", states.get)
    slurm.NodeTask("run", 1, 1, True, 1, 30.0)._listen(node)
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert next(answers, "asked twice") == "asked twice"


def test_no_machine_alone_takes_a_run_of_two(jobs):
    from daair.launch.plan import select
    from daair.launch.pool import Pool
    from daair.runs.record import Status

    with pytest.raises(UserError, match="launch.nodes: .* needs 2 machines; use hydra/launcher=slurm"):
        select(jobs("launch.nodes=2", seeds=1), Pool("cpu", ("0", "1")), "failed", lambda job: Status())
