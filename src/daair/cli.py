"""The command line of `run.py`, `python -m daair` and `daair`.

`main` composes, checks and names all jobs of a command before `daair.launch.start` runs them. `--help`, `--cfg`,
`--info` and shell completion are answered here, most of them by Hydra. This module does not import torch, so these
answers are fast.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace

import hydra
from omegaconf import DictConfig, OmegaConf

from daair.config import typed
from daair.config.compose import VERSION_BASE, Composer, conf_dir, parse_arguments
from daair.errors import UserError
from daair.exits import end_with, leave, refuse
from daair.stdout import Lasting


def entry() -> None:
    """Run the command and end the process with its exit status."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a rank stops when `accelerate launch` is killed
        end_with(os.getppid(), signal.SIGTERM)
    sys.stdout = Lasting()
    leave(main())


def main() -> int:
    """Run the command in `sys.argv` and return the exit status (1 = refused, or a job failed)."""
    # The user's own modules are found in the current directory, but must not hide installed ones.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        sys.argv[1:] = typed.read(sys.argv[1:])
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
    """Answer `--help`, `--cfg`, `--info` or shell completion, and return the exit status.

    Raises:
        UserError: The configs do not compose, or the flag is not supported.
    """
    if args.experimental_rerun:
        raise UserError("--experimental-rerun: is not supported; give the command of the run again")
    if args.multirun and (args.cfg or args.info):
        raise UserError("-m: --cfg and --info show one configuration; leave out -m, and give each key one value")
    if args.help or args.cfg or args.info:
        composer = Composer(None, args.config_name or "config", args.config_dir)
        cfg = composer.compose(args.overrides)
        # Two answers need no second composition by Hydra.
        if args.help:
            print(composer.help(cfg))
            return 0
        if args.cfg == "job" and not args.package and not args.resolve:
            print(OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])), end="")
            return 0
    hydra.main(version_base=VERSION_BASE, config_path=conf_dir(), config_name="config")(_nothing)()
    return 0


def _nothing(cfg: DictConfig) -> None:
    """Do nothing: a task function for Hydra when it only answers."""


if __name__ == "__main__":
    entry()
