"""Why a run ended, told from its status, its exit status and its log."""

import pytest

from daair.launch.causes import ending, last_lines, tail
from daair.runs.record import Status

RANK_KILLED = """
[rank0]: RuntimeError: [gloo] Connection closed by peer
  exitcode  : -9 (pid: 4)
  traceback : Signal 9 (SIGKILL) received by PID 4
"""
RUNNING = Status(state="running", step=7)


@pytest.mark.parametrize(
    ("status", "code", "log", "state", "cause", "transient"),
    [
        (Status(state="done"), 1, "", "done", "", False),  # an abort while leaving does not undo results
        (Status(state="failed", message="training diverged at step 3"), 1, "", "failed", "training diverged", False),
        (Status(state="failed", message="RuntimeError: CUDA out of memory"), 1, "", "failed", "RuntimeError: C", True),
        (Status(state="failed", message="MemoryError"), 1, "", "failed", "MemoryError", True),
        (Status(state="interrupted", message="stopped by SIGTERM"), 143, "", "interrupted", "stopped by SIG", False),
        (RUNNING, -9, "", "interrupted", "killed by SIGKILL (by the system, for lack of memory?)", False),
        (RUNNING, -11, "", "failed", "killed by SIGSEGV", False),
        (RUNNING, 137, "", "interrupted", "killed by SIGKILL", False),
        (RUNNING, 1, RANK_KILLED, "interrupted", "a process was killed by SIGKILL", False),
        (
            Status(state="failed", message="RuntimeError: [gloo] Connection closed by peer"), 1, RANK_KILLED,
            "interrupted", "a process was killed by SIGKILL", False,
        ),
        (RUNNING, 1, RANK_KILLED.replace("9 (SIGKILL)", "11 (SIGSEGV)"), "failed", "a process was killed by SI", False),
        (RUNNING, 1, "x\nOSError: [Errno 28] No space left on device\ny", "failed", "OSError: [Errno 28] No sp", False),
        (RUNNING, 1, "RuntimeError: The server socket: EADDRINUSE, address already in use", "failed", "Runtime", True),
        (RUNNING, 255, "", "failed", "ended with exit status 255", False),  # sys.exit(-1), no signal
        (RUNNING, -40, "", "failed", "killed by ", False),  # a real-time signal has no name
        (RUNNING, 3, "nothing", "failed", "ended with exit status 3", False),
    ],
)  # fmt: skip
def test_causes(status, code, log, state, cause, transient):
    end = ending(status, code, log)
    assert (end.state, end.transient) == (state, transient)
    assert end.cause.startswith(cause)


def test_a_run_that_was_killed_has_stopped_whatever_its_ranks_recorded():
    assert ending(Status(state="failed", message="RuntimeError: [gloo] closed"), 1, RANK_KILLED).killed
    assert ending(RUNNING, -15, "").killed and not ending(RUNNING, -11, "").killed
    memory = ending(RUNNING, -9, "torch.OutOfMemoryError: CUDA out of memory")
    assert (memory.state, memory.transient, memory.out_of_memory) == ("failed", True, True)


def test_what_the_sweep_did_itself():
    assert ending(RUNNING, 143, "", timeout=60.0).cause == "took longer than launch.timeout, 60 s; stopped after step 7"
    assert ending(RUNNING, 143, "", stopped=True).state == "interrupted"
    assert ending(Status(state="done"), 143, "", stopped=True).state == "done"
    done = Status(state="done", finished="2026-01-01T00:00:00+00:00")
    assert ending(done, 1, "", before=done.finished).state == "failed", "it was only to be measured"
    assert ending(done, 0, "", before=done.finished).state == ending(done, 1, "").state == "done"
    assert ending(done, 1, "", before="2025-12-31T00:00:00+00:00").state == "done", "but for an unreadable image"


def test_the_tail_of_a_log(tmp_path):
    log = tmp_path / "output.log"
    log.write_bytes(b"old\n" + b"new \xff\n")
    assert tail(log, begin=4) == "new \ufffd\n"
    assert tail(log, size=4) == "w \ufffd\n"
    assert tail(tmp_path / "none") == ""
    assert last_lines("a\n\n====\nW1125 elastic\nb\nerror: why\nc\n", "why", 2) == ["b", "c"]
