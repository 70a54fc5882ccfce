"""`run.py` that is killed (SIGKILL) when it has logged the update with the number in KILL_AT."""

import os
import runpy
import signal
from pathlib import Path

from daair.runs.record import Record

log = Record.log


def log_and_die(record: Record, step: int, values: dict) -> None:
    log(record, step, values)
    if step == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)


Record.log = log_and_die
runpy.run_path(str(Path(__file__).parents[2] / "run.py"), run_name="__main__")
