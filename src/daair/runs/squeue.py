"""What Slurm says of its jobs, by squeue: no accounting database (sacct) is needed, and nothing here needs Slurm."""

import subprocess


def jobs() -> dict[str, str] | None:
    """Return the jobs of this user that Slurm still holds: number -> state and reason, e.g. `PENDING (Priority)`.

    None if Slurm does not answer, or is not installed here.
    """
    try:
        answer = _squeue("--me", "--array", "--format=%i|%T|%r")
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.split("|") for line in answer.splitlines() if line.count("|") == 2)
    return {number: state if reason == "None" else f"{state} ({reason})" for number, state, reason in rows}


def state(job: str) -> str:
    """Return the state of one job, e.g. `RUNNING`; empty if Slurm does not answer or has let go of it."""
    try:
        return _squeue("--jobs", job, "--format=%T").strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _squeue(*arguments: str) -> str:
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
