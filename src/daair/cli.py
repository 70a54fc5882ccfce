"""The command line of `run.py`, `python -m daair` and `daair`.

`main` composes, checks and names all jobs of a command before `daair.launch.start` runs them. Hydra answers `--help`,
`--cfg`, `--info` and shell completion. This module does not import torch, so these answers are fast.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from daair.config.compose import VERSION_BASE, Composer, conf_dir, parse_arguments
from daair.errors import UserError
from daair.exits import end_with, leave, refuse


def entry() -> None:
    """Run the command and end the process with its exit status."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a rank stops when `accelerate launch` is killed
        end_with(os.getppid(), signal.SIGTERM)
    leave(main())


def main() -> int:
    """Run the command in `sys.argv` and return the exit status (1 = refused, or a job failed)."""
    # The user's own modules are found in the current directory, but must not hide installed ones.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        sys.argv[1:] = [spell_out(argument, sys.argv[1:]) for argument in flags_first(sys.argv[1:])]
        args = parse_arguments(sys.argv[1:])
        if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion or args.experimental_rerun:
            return answer(args)
        from daair.config.jobs import Command
        from daair.launch.start import start

        return start(Command.parse(sys.argv[1:]))
    except (UserError, OSError) as error:
        return refuse(error)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def answer(args: Namespace) -> int:
    """Let Hydra answer `--help`, `--cfg`, `--info` or shell completion, and return the exit status.

    Raises:
        UserError: The configs do not compose, or the flag is not supported.
    """
    if args.experimental_rerun:
        raise UserError("--experimental-rerun: is not supported; give the command of the run again")
    if args.help or args.cfg or args.info:
        Composer(None, args.config_name or "config", args.config_dir).compose(args.overrides)
    hydra.main(version_base=VERSION_BASE, config_path=conf_dir(), config_name="config")(_nothing)()
    return 0


def _nothing(cfg: DictConfig) -> None:
    """Do nothing: a task function for Hydra when it only answers."""


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `-m` in front, since argparse does not find it in `seed=0,1 -m rank=4`."""
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))


def spell_out(argument: str, others: Sequence[str] = ()) -> str:
    """Return an override with `++` in front if its key is one that users add, else unchanged.

    These are the keys of benchmarks, as in `benchmarks.mine.input=DIR`, and the arguments of a class that one of the
    `others` sets: `model.width=32` beside `model._target_=mypkg.Net`.
    """
    keys = [text.partition("=")[0].lstrip("+") for text in others]
    users = ("benchmarks.", *(key.removesuffix("_target_") for key in keys if key.endswith("._target_")))
    key, equals, _ = argument.partition("=")
    return f"++{argument}" if equals and key.startswith(users) and not key.endswith("._target_") else argument


if __name__ == "__main__":
    entry()
