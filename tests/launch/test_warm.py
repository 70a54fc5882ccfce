"""Processes forked from the warm server: they are like those that a launcher starts anew."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import ROOT, SMALL, alive, environment, make_photographs
from warm import Warm

from daair.launch.processes import Attempt
from daair.launch.warm import COMMAND, IMPORTED, TOKEN, WarmProcess
from daair.runs.record import Record


def tell() -> None:
    """Print what a process knows of itself, start a child that does not end by itself, and wait."""
    child = os.fork()
    if not child:
        time.sleep(600)
    print(os.getcwd(), sys.argv[1:], os.environ["MINE"], os.getsid(0) == os.getpid(), child, flush=True)
    signal.pause()


def refuse() -> None:
    """End with a status of its own."""
    raise SystemExit(3)


def report_start_method() -> None:
    """Print how this process starts children of its own, such as loader workers."""
    print(multiprocessing.get_start_method(), flush=True)


def report_threads() -> None:
    """Print how many threads PyTorch uses."""
    import torch

    print(torch.get_num_threads(), flush=True)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "output.log"


def variables(**more: str) -> dict[str, str]:
    return environment() | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def test_a_process_has_its_own_environment_and_is_found_by_its_token(output: Path) -> None:
    tokens = ["a" * 32, "b" * 32]
    warm = [WarmProcess(tell, ["x", token], variables(MINE=token, **{TOKEN: token}), output) for token in tokens]
    deadline = time.monotonic() + 60
    while not output.exists() or output.read_text().count("\n") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for process, token in zip(warm, tokens, strict=True):
        (line,) = [line for line in output.read_text().splitlines() if token in line]
        begin, child = line.rsplit(" ", 1)
        assert begin == f"{output.parent} ['x', '{token}'] {token} True"
        for pid in (process.pid, int(child)):
            assert psutil.Process(pid).environ()[TOKEN] == token
            assert psutil.Process(pid).name() == COMMAND
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == process.poll() == -signal.SIGTERM
        psutil.Process(int(child)).kill()
        process.send_signal(signal.SIGKILL)  # nobody has this process id any more, or somebody else


def test_the_exit_status_is_the_processs(output: Path) -> None:
    assert WarmProcess(refuse, [], variables(), output).wait(60) == 3


def test_children_are_started_as_in_any_process(output: Path) -> None:
    """A loader worker that came from a server again would import PyTorch again, which costs seconds for each."""
    assert WarmProcess(report_start_method, [], variables(), output).wait(60) == 0
    anew = [sys.executable, "-c", "import multiprocessing; print(multiprocessing.get_start_method())"]
    assert output.read_text() == subprocess.run(anew, capture_output=True, text=True, check=True).stdout


def test_threads_are_those_of_a_new_process(output: Path) -> None:
    """The server has one, which must not become the number of a run that is told none, as on a GPU."""
    assert WarmProcess(report_threads, [], variables(OMP_NUM_THREADS="3"), output).wait(60) == 0
    untold = {name: value for name, value in variables().items() if name != "OMP_NUM_THREADS"}
    assert WarmProcess(report_threads, [], untold, output).wait(60) == 0
    assert output.read_text().split() == ["3", str(len(os.sched_getaffinity(0)))]


def test_a_server_that_has_died_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os, sys\nif 'forkserver' in str(sys.orig_argv): os._exit(1)\n")
    (tmp_path / "starts.py").write_text(
        "import os, pathlib\nfrom daair.launch.warm import WarmProcess\n"
        "for _ in range(2):\n"
        "    try:\n        WarmProcess(print, [], dict(os.environ), pathlib.Path('log'), ['dies'])\n"
        "    except OSError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "starts.py"], cwd=tmp_path, env=variables(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == 2 * "the server from which processes are forked has died\n", done.stderr


def test_a_run_is_the_same_warm_and_anew(tmp_path: Path) -> None:
    root = make_photographs(tmp_path / "photographs")
    weights = []
    for how in ("true", "false"):
        given = [*SMALL, f"mix.root={root}", "train.steps=2", f"paths.runs={tmp_path / how}", f"launch.warm={how}"]
        process = Warm([str(ROOT / "run.py"), "-m", *given, "train.workers=1"], ROOT, environment())
        assert process.wait(240) == 0, process.output.read_text()
        (folder,) = (tmp_path / how).glob("*/*/seed0")
        record = Record(folder)
        assert record.status().state == "done" and "step 2: validation" in record.log_file.read_text()
        assert record.environment()["command"] == ["worker.py", str(folder)]
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_server_asks_nothing_of_cuda() -> None:
    """A process forked after CUDA has started cannot use it; the runs must find it untouched."""
    asked = ["_cuda_init", "_cuda_getDeviceCount"]
    script = f"""
import torch
def refuse(*_):
    raise AssertionError("CUDA was asked")
for name in {asked}:
    if hasattr(torch._C, name):
        setattr(torch._C, name, refuse)
torch.cuda.is_available = torch.cuda.device_count = refuse
for name in {list(IMPORTED)}:
    __import__(name)
print(torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", script], env=variables(), capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


def test_nothing_is_left_of_an_attempt(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "x")
    monkeypatch.setattr("daair.launch.processes._forked", tell)
    attempt = Attempt(output.parent, output, 1, {}, cpu=True, timeout=None, grace=0.5, forked=True)
    deadline = time.monotonic() + 60
    while len(attempt.survivors()) < 2 or " True " not in output.read_text():
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.02)
    pids = [process.pid for process in attempt.survivors()]
    attempt.stop()
    while (status := attempt.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert status == -signal.SIGTERM and not any(map(alive, pids))


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom pathlib import Path\nfrom test_warm import refuse\nfrom daair.launch.warm import WarmProcess\n"
        "print('once', flush=True)\n"
        "print(WarmProcess(refuse, [], dict(os.environ), Path('output.log'), ()).wait(60))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment() | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["once", "3"], done.stderr
