"""One run in processes of its own: `python -m daair.launch.worker RUN_FOLDER`.

Reads the frozen config.yaml of the folder and does its task. Nothing is composed a second time, so what was edited
since in conf/ has no influence. Launchers start it, directly or (several processes) below `accelerate launch`; by hand
it goes on with a run that stopped. Exit status as of run.py: 0 done, 1 refused or failed, 128 + n ended by signal n.
"""

import os
import signal
import sys
import traceback

from daair.errors import UserError, reason
from daair.launch.parents import die_with_parent
from daair.runs.record import Record


class Signalled(KeyboardInterrupt):
    """The signal `number` came where nothing better is done with it than to stop."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def entry() -> None:
    """Run the command and end the process with its exit status."""
    from daair import cli

    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)  # explicitly: a shell's background jobs start with SIGINT ignored
    # `python -m` puts the current directory first, where a file of the user's could hide an installed module.
    here = os.getcwd()
    sys.path[:] = [path for path in sys.path if path not in ("", here)] + [here]
    cli.leave(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Do the run in the folder that is the one argument; returns the exit status."""
    from daair import cli

    if len(arguments) != 1:
        print("usage: python -m daair.launch.worker RUN_FOLDER", file=sys.stderr)
        return 2
    record, before = Record(arguments[0], writer=os.environ.get("RANK", "0") == "0"), None
    try:
        before = record.status()
        return _work(record)
    except UserError as error:
        cli.report(error)
        message, state, status = reason(error), "failed", 1
    except Signalled as stop:
        message, state, status = str(stop), "interrupted", 128 + stop.number
    except Exception as error:
        traceback.print_exc()
        message, state, status = reason(error), "failed", 1
    if record.config_file.is_file() and record.status() == before:  # it ended before it began to record
        _note(record, state, message)
    return status


def _work(record: Record) -> int:
    from daair.components import locate
    from daair.config.identity import run_folder
    from daair.config.schema import Config

    config = Config.from_dict(record.config())
    own = run_folder(config)
    if own.resolve() != record.folder.resolve():
        raise UserError(
            f"{record.folder} holds the config of the run {own}: it was moved, is not started from the directory of "
            "its launcher, or was frozen by another version; give the command that made it again"
        )
    return locate(config.task["_target_"])(config) or 0


def _note(record: Record, state: str, message: str) -> None:
    try:
        with record.lock():
            record.update(state=state, message=message)
    except (UserError, OSError):
        pass  # another process holds it, or the disk is full: what can be said has been said


def _stop(number: int, frame: object) -> None:
    raise Signalled(number)


if __name__ == "__main__":
    entry()
