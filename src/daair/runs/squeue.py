"""The state of Slurm jobs by `squeue`, which needs no accounting database; without Slurm, no job is found."""

import subprocess
import time

PATIENCE = 20.0  # seconds


def jobs() -> dict[str, str] | None:
    """Return the states of this user's queued and running jobs by number, such as `PENDING (Priority)`.

    Return None if Slurm does not answer or is not installed.
    """
    try:
        answer = _squeue("--me", "--array", "--format=%i|%T|%r")
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.split("|") for line in answer.splitlines() if line.count("|") == 2)
    return {number: state if reason == "None" else f"{state} ({reason})" for number, state, reason in rows}


def state(job: str) -> str:
    """Return the state of one job, such as `RUNNING`; empty if Slurm does not answer or no longer lists the job.

    A controller that does not answer at once, as on a busy cluster, is asked again for `PATIENCE` seconds. So is one
    that answers `SIGNALING`, which hides the state while a signal is on its way to the job's processes.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = _squeue("--jobs", job, "--format=%T").strip()
            if found != "SIGNALING" or time.monotonic() > deadline:
                return found
        except (OSError, subprocess.SubprocessError) as error:
            known = isinstance(error, FileNotFoundError) or "Invalid job id" in str(getattr(error, "stderr", ""))
            if known or time.monotonic() > deadline:
                return ""
        time.sleep(0.5)


def _squeue(*arguments: str) -> str:
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
