"""Start or resume one run in processes of its own: `python -m daair.launch.worker RUN_FOLDER [--trust PACKAGE ...]`.

The worker reads the frozen config.yaml of the folder; later changes in conf/ have no effect. Launchers start it
directly or, for several processes, by `accelerate launch`. The folder may come from another user, so only classes of
daair and of the packages after `--trust` are built. The exit status is that of run.py: 0 done, 1 refused or failed,
128 + n ended by signal n.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from daair.errors import UserError, reason
from daair.exits import STOPPING, leave, refuse
from daair.launch.parents import die_with_parent
from daair.runs.record import Record


class Signalled(KeyboardInterrupt):
    """A stop by the signal `number` before the task handles signals itself."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def entry() -> None:
    """Run the command and end the process with its exit status."""
    die_with_parent()
    for number in STOPPING:
        signal.signal(number, _stop)  # explicitly: a shell's background jobs start with SIGINT ignored
    # `python -m` puts the current directory first, where a user's file could hide an installed module.
    here = os.getcwd()
    sys.path[:] = [path for path in sys.path if path not in ("", here)] + [here]
    leave(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Start or resume the run in the folder that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m daair.launch.worker", description="Start or resume one run.")
    parser.add_argument("folder", metavar="RUN_FOLDER", help="folder of a run whose config is frozen")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE", help="package that its config may name"
    )
    given = parser.parse_args(arguments)
    record, before = Record(given.folder, writer=os.environ.get("RANK", "0") == "0"), None
    try:
        before = record.status()
        return _work(record, given.trust)
    except UserError as error:
        message, state, status = reason(error), "failed", refuse(error)
    except Signalled as stop:
        message, state, status = str(stop), "interrupted", 128 + stop.number
    except Exception as error:
        traceback.print_exc()
        message, state, status = reason(error), "failed", 1
    if record.config_file.is_file() and record.status() == before:  # the task has recorded nothing itself
        record.note(state, message)
    return status


def _work(record: Record, trust: Sequence[str]) -> int:
    from daair.components import locate
    from daair.config.jobs import Job
    from daair.config.schema import Config
    from daair.trust import PARTS, refuse_untrusted

    frozen = record.config()
    refuse_untrusted(frozen, record.config_file, PARTS, trust, hint="--trust {}")
    job = Job.of(Config.from_dict(frozen), record.overrides() or (), trust)
    if job.folder.resolve() != record.folder.resolve():
        raise UserError(
            f"{record.folder} holds the config of the run {job.folder}: it was moved, is not started from the "
            "directory of its launcher, or was frozen by another version; give the command that made it again"
        )
    return locate(job.config.task["_target_"])(job) or 0


def _stop(number: int, frame: object) -> None:
    raise Signalled(number)


if __name__ == "__main__":
    entry()
