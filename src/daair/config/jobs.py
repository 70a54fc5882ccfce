"""Before anything starts: compose every config that a command asks for, and check it.

Hydra's own composition is asked, point for point of a sweep. Its complaints become one line that names the full key
and the nearest valid one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from daair.config.compose import Composer, Point
from daair.config.problems import ConfigError, Problem
from daair.errors import UserError, nearest, one_line, with_full_keys

if TYPE_CHECKING:
    from daair.config.validate import Config

__all__ = ["Command", "Composer", "check", "checked", "current_composer", "preflight"]


def preflight(conf_dir: str, argv: Sequence[str]) -> None:
    """Check the command `argv`, whose configs are composed from `conf_dir`; `checked` hands them out afterwards.

    Raises:
        UserError: the command cannot be run as it stands.
    """
    global _command
    _command = None
    args = get_args_parser().parse_args(list(argv))
    if args.hydra_help or args.shell_completion or args.experimental_rerun is not None:
        return
    composer = Composer(conf_dir, args.config_name or "config", args.config_dir)
    if args.help or args.cfg or args.info:
        composer.compose(args.overrides)
        return
    _command = Command(composer)
    for point in composer.points(args.overrides, multirun=args.multirun, run=args.run):
        _command.check(point)


def checked(overrides: Sequence[str]) -> Config:
    """Return the checked config of one job of the command that `preflight` saw: what a launcher starts.

    Args:
        overrides: of the job, as Hydra's sweepers hand them to a launcher. A job that could not be foreseen (of a
            sweeper that chooses the next point by the results so far) is composed and checked now.

    Raises:
        ConfigError: it is not valid.
    """
    if _command is None:
        raise RuntimeError("preflight has seen no command")
    return _command.config(overrides)


class Command:
    """The jobs of one command, composed and checked once."""

    def __init__(self, composer: Composer) -> None:
        self.composer = composer
        self.configs: dict[tuple[str, ...], Config] = {}
        self.seen: set[str] = set()

    def check(self, point: Point) -> Config:
        """Compose and check one job; a problem is told with what makes this job differ from the others."""
        from daair.config.validate import READS_RUNS

        try:
            config = check(self.composer.compose_job(point.overrides), self.composer.options, self.seen)
        except ConfigError as error:
            raise ConfigError(error.problems, point.text) from None
        task = config.task.get("name")
        if self.composer.sweep and task in READS_RUNS:
            raise UserError(
                f"task={task} is done once for a study, not swept: write study={config.study} instead of "
                "experiment=..., without -m"
            )
        if task in ("evaluate", "restore"):
            _refuse_network(config, point.overrides)
        self.configs[point.job] = config
        return config

    def config(self, overrides: Sequence[str]) -> Config:
        """Return the config of the job with these overrides of its own."""
        job = tuple(overrides)
        return self.configs.get(job) or self.check(Point((*self.composer.fixed, *job), job, " ".join(job)))


_command: Command | None = None


def check(cfg: DictConfig, options: Callable[[str], Sequence[str]], seen: set[str]) -> Config:
    """Check one composed config as far as its task needs it.

    Args:
        cfg: with its `hydra` node.
        options: those of a config group.
        seen: what earlier checks of the command have found right already, added to.
    """
    from daair.components import locate
    from daair.config.buildable import check_buildable, check_checkpoint, check_mix
    from daair.config.validate import benchmarks_of, validate

    config = validate(cfg)
    task = config.task.get("name")
    try:
        locate(config.task["_target_"])
    except ImportError as error:
        raise ConfigError([Problem("task._target_", one_line(error))]) from error
    if task == "profile":
        _check_names("profile.models", config.profile.models, options("model"))
    if task == "preview":
        if isinstance(config.preview.degradations, tuple):
            known = dict.fromkeys([*config.mix.get("tasks", ()), *options("degradation")])
            _check_names("preview.degradations", config.preview.degradations, list(known))
        if config.input is None:
            check_mix(config)
    if task in ("train", "evaluate"):
        from daair.data.benchmarks import why_missing

        # Nobody asked by name for a mix's own benchmarks: those without data are passed over, and a line says so.
        root, reasons = config.mix.get("root"), []
        for benchmark in benchmarks_of(config):
            if str((benchmark, root)) not in seen:
                reasons.append(why_missing(benchmark, root))
                if reasons[-1] is None:
                    seen.add(str((benchmark, root)))
            else:
                reasons.append(None)
        needed = config.benchmarks is not None or (task == "evaluate" and all(reasons))
        if needed and any(reasons):
            raise UserError(with_full_keys(next(filter(None, reasons)), "mix", ("root",)))
    if task == "evaluate":
        check_checkpoint(config)
    if task == "train":
        check_buildable(config, seen)
    return config


def _refuse_network(config: Config, overrides: Sequence[str]) -> None:
    """A checkpoint of ours brings its own network: what the command says of one would be ignored."""
    from daair.components import is_foreign

    if config.checkpoint is None or is_foreign(config.model):
        return
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in ("model", *config.parts):
            raise ConfigError([Problem(key, "unused; the network is the one of checkpoint=...")])


def _check_names(key: str, names: Sequence[str], options: Sequence[str]) -> None:
    for name in names:
        if name not in options:
            near = nearest(name, options)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError([Problem(key, f"no {name}{hint} (options: {', '.join(options)})")])


def current_composer() -> Composer:
    """Compose further configs for the command that is running, with its `--config-dir`."""
    from hydra.core.hydra_config import HydraConfig

    from daair.cli import conf_dir

    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    further = next((source.path for source in sources if source.provider == "command-line"), None)
    return Composer(conf_dir(), config_dir=further)
