"""Before anything starts: compose every config that a command asks for, and check it.

Hydra's own composition is asked, point for point of a sweep. Its complaints become one line that names the full key
and the nearest valid one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from daair.errors import UserError
from daair.problems import UNKNOWN, ConfigError, Problem, nearest, nearest_key, one_line, unknown_option

if TYPE_CHECKING:
    from daair.config import Config


REFUSALS = (HydraException, ValueError, YAMLError)
"""What Hydra raises on a config that it cannot compose; ValueError for a group override that is no text."""


def preflight(conf_dir: str, argv: Sequence[str]) -> None:
    """Check the command `argv`, whose configs are composed from `conf_dir`.

    Raises:
        UserError: the command cannot be run as it stands.
    """
    args = get_args_parser().parse_args(list(argv))
    if args.hydra_help or args.shell_completion or args.experimental_rerun is not None:
        return
    composer = Composer(conf_dir, args.config_name or "config", args.config_dir)
    if args.help or args.cfg or args.info:
        composer.compose(args.overrides)
        return
    built: set[str] = set()
    for point, cfg in composer.points(args.overrides, multirun=args.multirun, run=args.run):
        try:
            check(cfg, composer.options, built)
        except ConfigError as error:
            raise ConfigError(error.problems, point) from None


def check(cfg: DictConfig, options: Callable[[str], Sequence[str]], built: set[str]) -> Config:
    """Check one composed config as far as its task needs it.

    Args:
        cfg: with its `hydra` node.
        options: those of a config group.
        built: parts that were found buildable before, added to.
    """
    from daair.components import locate
    from daair.config import benchmarks_of, check_buildable, check_checkpoint, check_mix, validate

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
            known = dict.fromkeys([*config.mix.get("degradations", ()), *options("degradation")])
            _check_names("preview.degradations", config.preview.degradations, list(known))
        if config.input is None:
            check_mix(config)
    if task in ("train", "evaluate"):
        from daair.data.benchmarks import why_missing

        # A training does without the data of benchmarks that nobody asked for by name, and says so in the end.
        needed = task == "evaluate" or config.benchmarks is not None
        for benchmark in benchmarks_of(config):
            if needed and (reason := why_missing(benchmark, config.mix.get("root"))):
                raise UserError(reason)
    if task == "evaluate":
        check_checkpoint(config)
    if task == "train":
        parts = str((config.model, config.mix, config.loss))
        if parts not in built:
            check_buildable(config)
            built.add(parts)
    return config


def _check_names(key: str, names: Sequence[str], options: Sequence[str]) -> None:
    for name in names:
        if name not in options:
            near = nearest(name, options)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError([Problem(key, f"no {name}{hint} (options: {', '.join(options)})")])


def current_composer() -> Composer:
    """Composes further configs for the command that is running, with its `--config-dir`."""
    from hydra.core.hydra_config import HydraConfig

    from daair.cli import conf_dir

    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    further = next((source.path for source in sources if source.provider == "command-line"), None)
    return Composer(conf_dir(), config_dir=further)


class Composer:
    """Composes configs as `hydra.main` does, without touching Hydra's global state.

    Args:
        conf_dir: folder of the root config.
        config_name: its name.
        config_dir: a further folder, searched last (Hydra's `--config-dir`).
    """

    def __init__(self, conf_dir: str, config_name: str = "config", config_dir: str | None = None) -> None:
        version.setbase("1.3")
        setup_globals()
        self.config_name = config_name
        search_path = create_config_search_path(conf_dir)
        if config_dir is not None:
            if not os.path.isdir(config_dir):
                raise UserError(f"--config-dir {config_dir}: no such folder")
            search_path.prepend(
                provider="command-line",
                path=f"file://{os.path.abspath(config_dir)}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self.loader = ConfigLoaderImpl(config_search_path=search_path)

    def options(self, group: str) -> list[str]:
        """The options of a config group."""
        return self.loader.get_group_options(group)

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """The composed config with its `hydra` node.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        try:
            return self._load(overrides, mode)
        except REFUSALS as error:
            raise ConfigError(self._explain(list(overrides), error, mode)) from None

    def points(self, overrides: Sequence[str], multirun: bool, run: bool = False) -> Iterator[tuple[str, DictConfig]]:
        """Every config of the command, with what the sweep varies as text (empty without a sweep)."""
        master = self.compose(overrides, RunMode.MULTIRUN)
        asked = OmegaConf.select(master, "hydra.mode")
        if not multirun and (run or asked != RunMode.MULTIRUN):
            yield "", self.compose(overrides)
            return
        if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
            raise UserError(
                "--multirun: RANK or WORLD_SIZE is set, so this is one process of a launched run; sweep from an "
                "unlaunched parent (python run.py -m ... launch.num_processes=N) instead"
            )
        hydra_overrides = list(master.hydra.overrides.hydra)
        grid = self._grid(master)
        common = set(grid[0]).intersection(*grid)
        for point in grid:
            swept = [override for override in point if override not in common]
            yield " ".join(swept), self.compose([*hydra_overrides, *point])

    def _grid(self, master: DictConfig) -> list[list[str]]:
        """The sweep's points; of a sweep that cannot be listed beforehand (intervals), what is fixed in it."""
        from daair.grid import points

        sweeper = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
        parameters = sweeper.get("params") or {}
        texts = [f"{key}={value}" for key, value in parameters.items()] + list(master.hydra.overrides.task)
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(texts)
            listed = [o for o in parsed if not o.is_sweep_override() or o.is_discrete_sweep()]
            return points(listed, sweeper.get("variants"), sweeper.get("only"))
        except HydraException as error:
            raise ConfigError(self._explain(texts, error, RunMode.MULTIRUN)) from None

    def _load(self, overrides: Sequence[str], mode: RunMode) -> DictConfig:
        return self.loader.load_configuration(
            self.config_name, list(overrides), mode, validate_sweep_overrides=mode == RunMode.RUN
        )

    def _explain(self, overrides: list[str], error: Exception, mode: RunMode) -> list[Problem]:
        """Find what is wrong with `overrides`, which Hydra refused with `error`."""
        if isinstance(error, OverrideParseException):
            return [Problem(error.override, f"not valid as an override ({_first_line(error)})")]
        parsed = OverridesParser.create().parse_overrides(overrides)
        groups, values = [], []
        for override in parsed:
            (groups if self._is_group(override) else values).append(override)
        problems = [p for override in groups for p in self._wrong_option(override)]
        if mode == RunMode.RUN:
            problems += [_not_a_sweep(override) for override in parsed if override.is_sweep_override()]
        # Hydra wraps errors of OmegaConf in an empty one.
        return (
            problems
            or self._wrong_keys(groups, values)
            or [Problem("config", one_line(error) or one_line(error.__cause__))]
        )

    def _is_group(self, override: Override) -> bool:
        return "/" in override.key_or_group or self.loader.repository.group_exists(override.key_or_group)

    def _wrong_option(self, override: Override) -> list[Problem]:
        group, value = override.key_or_group, override.value()
        if override.is_delete() or override.is_sweep_override() or isinstance(value, list):
            return []
        value = "null" if value is None else str(value)
        options = self.options(group)
        if not options:
            near = nearest(group, [g for g in self._groups(group) if g])
            return [Problem(group, "unknown config group" + (f"; did you mean {near}?" if near else ""))]
        return [] if value in options else [unknown_option(group, value, options)]

    def _groups(self, group: str) -> list[str]:
        """Groups beside `group`: those of conf/, or Hydra's own below `hydra/`."""
        from hydra.core.object_type import ObjectType

        parent, _, _ = group.rpartition("/")
        names = self.loader.repository.get_group_options(parent, ObjectType.GROUP)
        return [f"{parent}/{name}" if parent else name for name in names]

    def _wrong_keys(self, groups: list[Override], values: list[Override]) -> list[Problem]:
        """Unknown keys among the overrides: they are forced into the config, then the schema is asked."""
        from daair.config import validate

        plain = [o for o in values if not o.is_delete() and not o.is_sweep_override()]
        try:
            base = self._load([o.input_line for o in groups], RunMode.MULTIRUN)
        except REFUSALS:
            return []
        behind = [_behind_alias(base, o.key_or_group) for o in plain]
        problems = [Problem(o.key_or_group, f"set {key} instead") for o, key in zip(plain, behind, strict=True) if key]
        problems += [
            Problem(o.key_or_group, "exists already; leave out the +")
            for o in plain
            if o.is_add() and not o.is_force_add() and _exists(base, o.key_or_group)
        ]
        if problems:
            return problems
        forced = [f"++{o.key_or_group}={o.get_value_element_as_str()}" for o in plain]
        try:
            validate(self._load([*(o.input_line for o in groups), *forced], RunMode.MULTIRUN))
        except ConfigError as error:
            return [_whole(problem, plain, error.known) for problem in error.problems]
        except REFUSALS:
            return []
        return [
            _absent(base, o.key_or_group)
            for o in plain
            if not o.is_add() and not o.is_force_add() and not _exists(base, o.key_or_group)
        ]


def _behind_alias(cfg: DictConfig, key: str) -> str | None:
    """The key to set in place of `key` when that lies behind an interpolation: model.experts.rank -> experts.rank."""
    parts = key.split(".")
    node: Any = cfg
    for used, part in enumerate(parts[:-1], start=1):
        if not isinstance(node, DictConfig) or part not in node:
            return None
        if OmegaConf.is_interpolation(node, part):
            source = str(node._get_node(part)._value()).strip("${}")
            return ".".join([source, *parts[used:]])
        node = node._get_node(part)
    return None


def _whole(problem: Problem, overrides: list[Override], known: frozenset[str]) -> Problem:
    """The problem told of the whole key that was typed: `expert.rank`, where the schema only knows of no `expert`."""
    key = next((o.key_or_group for o in overrides if o.key_or_group.startswith(problem.key + ".")), None)
    if key is None or not problem.text.startswith(UNKNOWN):
        return problem
    near = nearest_key(key, known)
    return Problem(key, f"unknown; did you mean {near}?") if near else problem


def _exists(cfg: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and node._get_node(leaf, validate_access=False) is not None


def _absent(cfg: DictConfig, key: str) -> Problem:
    """What to say of a key that no schema knows: a slip among Hydra's own keys, or one to be added."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    near = nearest(leaf, [str(name) for name in node]) if isinstance(node, DictConfig) else None
    if near:
        return Problem(key, f"unknown; did you mean {parent}.{near}?" if parent else f"unknown; did you mean {near}?")
    return Problem(key, f"not in the config; if it is to be added, write +{key}=...")


def _not_a_sweep(override: Override) -> Problem:
    values = override.input_line.partition("=")[2]
    text = f"{values} is several values; write [{values}] for a list, or sweep over them with -m"
    return Problem(override.key_or_group, text)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].strip() if str(error).strip() else type(error).__name__
