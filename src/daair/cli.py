"""The command line: `run.py`, `python -m daair` and `daair` are this `main`.

A command goes through two hands. `preflight` composes every config that the command asks for and checks it, so that
nothing starts when anything is wrong. Then Hydra runs the task, with its own sweepers and launchers. Nothing here
imports torch: `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from daair.config.jobs import preflight
from daair.errors import UserError

VERSION_BASE = "1.3"
SIGNALLED = 128  # exit statuses above it mean: ended by a signal
_statuses: list[int] = []


def conf_dir() -> str:
    """Return the folder of config files: that of the checkout, else the one shipped in the wheel."""
    here = Path(__file__).resolve()
    for folder in (here.parents[2] / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise UserError(f"conf/config.yaml: not found beside {here.parent}; the installation is incomplete")


def entry() -> None:
    """Run the command and end the process with its exit status."""
    leave(main())


def leave(status: int) -> NoReturn:
    """End the process."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Leaving Python tears gloo's threads down in no fixed order, which aborts a rank now and then after all its
        # work is done (3 of 100 runs); everything is written by now, so leave at once.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main() -> int:
    """Run the command in `sys.argv`; returns the exit status (1 = refused, or a job failed)."""
    # A model of the user's own is found in the current directory, but never in place of an installed module.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    _statuses.clear()
    try:
        sys.argv[1:] = [spell_out(argument, sys.argv[1:]) for argument in flags_first(sys.argv[1:])]
        folder = conf_dir()
        preflight(folder, sys.argv[1:])
        hydra.main(version_base=VERSION_BASE, config_path=folder, config_name="config")(_job)()
    except (UserError, OSError) as error:
        report(told(error))
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return max(_statuses, default=0)


def note(status: int) -> None:
    """Remember how a job ended; the command's own exit status is the highest of all."""
    _statuses.append(status)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """`seed=0,1 -m rank=4` with `-m` in front: among overrides, argparse would not know it."""
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))


def spell_out(argument: str, others: Sequence[str] = ()) -> str:
    """Return `benchmarks.mine.input=DIR` as Hydra wants it, `++benchmarks.mine.input=DIR`: the names are the user's.

    So are the arguments of a class that one of the `others` names: `model.width=32` beside `model._target_=mypkg.Net`.
    """
    keys = [text.partition("=")[0].lstrip("+") for text in others]
    users = ("benchmarks.", *(key.removesuffix("_target_") for key in keys if key.endswith("._target_")))
    key, equals, _ = argument.partition("=")
    return f"++{argument}" if equals and key.startswith(users) and not key.endswith("._target_") else argument


def told(error: UserError | OSError) -> UserError:
    """Return a file or folder that cannot be used (permissions, a file where a folder should be) is told in one line.

    Raises:
        OSError: it is not about a file, or HYDRA_FULL_ERROR asks for tracebacks.
    """
    if isinstance(error, UserError):
        return error
    if error.filename is None or os.environ.get("HYDRA_FULL_ERROR"):
        raise error
    return UserError(f"{error.filename}: {error.strerror}")


def report(error: UserError) -> None:
    """Print one line; of several processes of one run, only the first does."""
    if os.environ.get("RANK", "0") == "0":
        print("error:", " ".join(str(error).split()), file=sys.stderr, flush=True)


def _job(cfg: DictConfig) -> int | float | None:
    """One job of the command: the task, with its checked config. Returns what a sweeper gets, None for a refusal."""
    from daair.components import locate
    from daair.config.validate import validate
    from daair.launch.outcome import outcome

    hydra_cfg, status, result = HydraConfig.instance().cfg, 1, None
    try:
        config = validate(OmegaConf.create({**cfg, "hydra": hydra_cfg.hydra}))
        if config.launch.dry_run:  # a launcher with a plan would not have come here
            raise UserError("launch.dry_run: only a sweep with hydra/launcher=accelerate or slurm has a plan")
        if config.launch.rerun != "failed":
            raise UserError("launch.rerun: only a sweep with hydra/launcher=accelerate or slurm looks at it")
        status = locate(config.task["_target_"])(config) or 0
        result = outcome(config, status, hydra_cfg.hydra.sweeper._target_)
    except (UserError, OSError) as error:
        report(told(error))
        status, result = 1, None
    if status > SIGNALLED:  # the user stopped this job, and with it the sweep it belongs to
        raise SystemExit(status)
    note(status)
    return result


if __name__ == "__main__":
    entry()
