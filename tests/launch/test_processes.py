"""An attempt's processes: nothing of them is left, whatever ends them."""

import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import alive
from torch.distributed.launcher import LaunchConfig

from daair.launch import processes
from daair.launch.processes import Attempt, command, environment

# A front end whose child lives in a session of its own, as the ranks below torchrun do, and does not heed SIGTERM.
FRONT = """
import signal, subprocess, sys, time
code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(7, flush=True); time.sleep(99)"
child = [sys.executable, "-c", code]
p = subprocess.Popen(child, start_new_session=True, stdout=subprocess.PIPE)
p.stdout.read(1)
print("child", p.pid, flush=True)
time.sleep(99)
"""


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Start an attempt at a piece of Python; kills what a failed test leaves."""
    attempts = []

    def start(code: str, **options) -> Attempt:
        monkeypatch.setattr(processes, "command", lambda *_: [sys.executable, "-c", code])
        limits = {"cpu": True, "timeout": None, "grace": 0.5} | options
        attempts.append(Attempt(tmp_path, tmp_path / "output.log", 1, {"OMP_NUM_THREADS": "1"}, **limits))
        return attempts[-1]

    yield start
    for attempt in attempts:
        attempt.kill()


def end(attempt: Attempt) -> int:
    deadline = time.monotonic() + 60
    while (code := attempt.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


def child_of(attempt: Attempt, tmp_path: Path) -> int:
    deadline = time.monotonic() + 60
    while not (found := re.search(r"^child (\d+)$", (tmp_path / "output.log").read_text(), re.MULTILINE)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found[1])


def test_exit_status_and_log(begin, tmp_path):
    assert end(begin("print('first')")) == 0
    second = begin("import sys; print('second', flush=True); sys.exit(3)")
    assert end(second) == 3
    log = (tmp_path / "output.log").read_text()
    assert log.count("== ") == 2 and log.index("first") < log.index("second"), "a line above each attempt's output"
    assert log[second.log_begin :].startswith("== ") and "OMP_NUM_THREADS=1" in log


@pytest.mark.parametrize("how", ["stop", "timeout", "front end killed"])
def test_nothing_outlives_an_attempt(begin, tmp_path, how):
    attempt = begin(FRONT, timeout=None)
    child = child_of(attempt, tmp_path)
    assert alive(child)
    if how == "stop":
        attempt.stop()
    elif how == "timeout":
        attempt.timeout = 0.0
    else:
        attempt.process.kill()
    assert end(attempt) == (-signal.SIGKILL if how == "front end killed" else -signal.SIGTERM)
    assert not alive(child) and attempt.survivors() == []
    assert attempt.timed_out == (how == "timeout")


def test_other_launchers_variables_are_not_passed_on(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("MINE", "x")
    variables = environment({"CUDA_VISIBLE_DEVICES": "3"}, cpu=False, token="t", grace=40)
    assert "7" not in {v for k, v in variables.items() if k.startswith(processes.FOREIGN)}
    assert (variables["MINE"], variables["CUDA_VISIBLE_DEVICES"], variables["DAAIR_ATTEMPT"]) == ("x", "3", "t")
    assert variables["DAAIR_PARENT"] == str(psutil.Process().pid) and "ACCELERATE_USE_CPU" not in variables
    assert environment({}, cpu=True, token="t", grace=40)["ACCELERATE_USE_CPU"] == "true"


def test_ranks_have_as_long_to_stop_as_a_single_process(monkeypatch):
    for name, value in environment({}, cpu=True, token="t", grace=67.5).items():
        monkeypatch.setenv(name, value)
    assert LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2).shutdown_timeout == 68


def test_only_several_processes_go_through_accelerate(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert command(Path("a run"), 1)[1:] == ["-m", "daair.launch.worker", "a run"]
    assert command(Path("a run"), 1, ["a", "b"])[3:] == ["a run", "--trust", "a", "--trust", "b"]
    line = command(Path("a run"), 2)
    assert line[1:4] == ["-m", "daair.launch.ranks", "--multi_gpu"]
    assert line[-3:] == ["-m", "daair.launch.worker", "a run"]
    assert Path(line[line.index("--config_file") + 1]).is_file()
    assert line[line.index("--num_cpu_threads_per_process") + 1] == "5"
    assert "7" in command(Path("a run"), 2, threads="7"), "what the pool gives it, not what this process has"
