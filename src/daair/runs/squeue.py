"""The state of Slurm jobs by `squeue`, which needs no accounting database; without Slurm, no job is found."""

import subprocess


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
    """Return the state of one job, such as `RUNNING`; empty if Slurm does not answer or no longer lists the job."""
    try:
        return _squeue("--jobs", job, "--format=%T").strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _squeue(*arguments: str) -> str:
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
