"""Compose configs as `hydra.main` does: one, or all jobs of a sweep.

Hydra composes; its errors become one line that names the full key and the nearest valid one. This module alone uses
private names of Hydra, because the public `compose` reads the search path from global state and takes 0.3 s per job:

- `get_args_parser` parses Hydra's command line (`-m`, `--cfg`, `--config-dir`, ...);
- `create_config_search_path` returns the search path of `hydra.main`, including the folders of search path plugins;
- `ConfigLoaderImpl` composes; its `_apply_overrides_to_config` sets the values of a job in a composed config.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any, NoReturn

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from daair.config import explanations
from daair.config.overrides import text as override_value
from daair.config.problems import ConfigError, Problem, unknown_option
from daair.config.schema import Config
from daair.config.sources import Remembered
from daair.errors import UserError, first_line, nearest, one_line

VERSION_BASE = "1.3"  # the version of Hydra whose behaviour is used
REFUSALS = (HydraException, ValueError, TypeError, YAMLError)
"""Errors that Hydra raises for a config that it cannot compose: ValueError for a group override that is not a string,
TypeError for a key below a value that another override made a list."""


def conf_dir() -> str:
    """Return the folder of the config files, in the checkout or else in the installed package.

    Raises:
        UserError: There is no such folder.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "conf", package / "conf"):
        if (folder / "config.yaml").is_file():
            return str(folder)
    raise UserError(f"conf/config.yaml: not found beside {package}; the installation is incomplete")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the flags and overrides of a command line under Hydra's names.

    Raises:
        UserError: A flag is unknown or lacks its value.
    """
    return _parser().parse_args(list(arguments))


def unknown_flags(arguments: Sequence[str]) -> list[str]:
    """Return the flags of a command line that Hydra does not have.

    Raises:
        UserError: A flag lacks its value.
    """
    return [word for word in _parser().parse_known_args(list(arguments))[1] if word.startswith("-")]


def _parser() -> argparse.ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise UserError(one_line(message))

    parser = get_args_parser()
    parser.allow_abbrev, parser.error = False, refuse
    return parser


def searches(master: DictConfig) -> bool:
    """Return whether a command's sweeper chooses jobs by the results of earlier ones, as Optuna's does."""
    return not str(master.hydra.sweeper._target_).endswith((".StudySweeper", ".BasicSweeper"))


class Composer:
    """A composer of configs that works like `hydra.main` but does not use Hydra's global state.

    It searches `conf/` first, then the installed plugins, then `config_dir`.

    Args:
        folder: The folder of the root config; None = `conf_dir()`.
        config_dir: A further folder, searched last (Hydra's `--config-dir`).
    """

    def __init__(self, folder: str | None = None, config_name: str = "config", config_dir: str | None = None) -> None:
        version.setbase(VERSION_BASE)
        setup_globals()
        self.folder, self.config_name = folder or conf_dir(), config_name
        search_path = create_config_search_path(self.folder)
        if config_dir is not None:
            if not os.path.isdir(config_dir):
                raise UserError(f"--config-dir {config_dir}: no such folder")
            search_path.prepend(
                provider="command-line",
                path=f"file://{os.path.abspath(config_dir)}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self.loader = ConfigLoaderImpl(config_search_path=search_path)
        *files, schema = self.loader.repository.sources
        self.loader.repository.sources = [*map(Remembered, files), schema]
        if not self.loader.repository.config_exists(config_name):
            raise UserError(f"--config-name {config_name}: no such file in {self.folder}")
        self._parsed: dict[str, Override] = {}
        self._shared: dict[tuple[str, ...], DictConfig] = {}
        self._bases: dict[tuple[str, ...], DictConfig] = {}

    def options(self, group: str) -> list[str]:
        """Return the options of a config group; a name with a dot is no option, as that of a study's tables."""
        return [name for name in self.loader.repository.get_group_options(group, ObjectType.CONFIG) if "." not in name]

    def help(self, cfg: DictConfig) -> str:
        """Return the text of `--help` for a composed config, for which Hydra takes twice as long."""
        groups = {group: ", ".join(sorted(self.options(group))) for group in sorted(self._groups_below())}
        listed = "".join(f"{group}: {options}\n" for group, options in groups.items() if options)
        return Template(cfg.hydra.help.template).safe_substitute(APP_CONFIG_GROUPS=listed)

    def _groups_below(self, parent: str = "") -> Iterator[str]:
        """Yield all groups below a group, without those of Hydra."""
        for group in self._groups_in(parent):
            if group != "hydra":
                yield group
                yield from self._groups_below(group)

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Return the composed config with its `hydra` node.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        try:
            return self._load(overrides, mode)
        except REFUSALS as error:
            raise ConfigError(self._explain(list(overrides), error, mode)) from None

    def compose_job(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composed config of one of many jobs; its `hydra` node holds only the choices and overrides.

        Hydra spends most of its time on the defaults lists, which depend only on the options of groups. So jobs with
        the same options share one composed config, in which Hydra then sets the values of each job.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        try:
            parsed = self.parse(overrides)
            own = [not override.is_hydra_override() and not self._picks_option(override) for override in parsed]
            values = [override for override, is_own in zip(parsed, own, strict=True) if is_own]
            shared = tuple(text for text, is_own in zip(overrides, own, strict=True) if not is_own)
            if shared not in self._shared:
                self._shared[shared] = _without_hydra(self._load(shared, RunMode.RUN))
            cfg = copy.deepcopy(self._shared[shared])
            self.loader.validate_sweep_overrides_legal(values, RunMode.RUN, from_shell=True)
            ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        except REFUSALS:
            return self.compose(overrides)  # fails again and explains the error
        with open_dict(cfg):
            cfg.hydra.overrides = {"task": list(overrides)}
        return cfg

    def grid(self, master: DictConfig) -> list[list[str]]:
        """Return the overrides of each job of a sweep; for a searching sweeper, without the keys that it chooses.

        Raises:
            ConfigError: The sweep sets a key twice, or its values cannot be parsed.
        """
        from daair.config.grid import points

        sweeper = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
        for name in ("params", "variants"):
            if not isinstance(given := sweeper.get(name) or {}, dict):
                raise ConfigError([Problem(f"hydra.sweeper.{name}", f"must be a mapping, got {given}")])
        parameters = sweeper.get("params") or {}
        swept = [
            f"{key}={value if isinstance(value, str) else override_value(value)}" for key, value in parameters.items()
        ]
        texts = [*swept, *master.hydra.overrides.task]
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(texts)
            if any(o.key_or_group == "experiment" and o.is_sweep_override() for o in parsed):
                lost = "several studies in one sweep would lose their grids; give a command for each"
                raise ConfigError([Problem("experiment", lost)])
            listed = [o for o in parsed if not o.is_sweep_override() or o.is_discrete_sweep()]
            if len(listed) < len(parsed) and not searches(master):
                unlisted = next(o for o in parsed if o not in listed)
                text = (
                    f"{unlisted.input_line.partition('=')[2]} has no list of values; add hydra/sweeper=optuna to search"
                )
                raise ConfigError([Problem(unlisted.key_or_group, text)])
            return points(listed, self._variants(master, sweeper.get("variants") or {}), sweeper.get("only"))
        except HydraException as error:
            raise ConfigError(self._explain(texts, error, RunMode.MULTIRUN)) from None

    def _variants(self, master: DictConfig, resolved: dict[str, Any]) -> dict[str, Any]:
        """Return the variants with interpolations as they are written, which each job resolves with its own values.

        Hydra does not resolve the option of a group, so an option is that of the command.
        """
        written = OmegaConf.to_container(master.hydra.sweeper, resolve=False).get("variants")
        if not isinstance(written, dict):
            return resolved
        groups = self.loader.repository.group_exists
        return {
            name: {key: own[key] if groups(key) or key not in as_written else as_written[key] for key in own}
            if isinstance(own, dict) and isinstance(as_written := written.get(name), dict)
            else own
            for name, own in resolved.items()
        }

    def _load(self, overrides: Sequence[str], mode: RunMode) -> DictConfig:
        return self.loader.load_configuration(
            self.config_name, list(overrides), mode, validate_sweep_overrides=mode == RunMode.RUN
        )

    def _base(self, groups: Iterable[Override]) -> DictConfig:
        """Return the config of these options alone, to compare keys with; composed once, so it must not be changed."""
        texts = tuple(override.input_line for override in groups)
        if texts not in self._bases:
            self._bases[texts] = self._load(texts, RunMode.MULTIRUN)
        return self._bases[texts]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Return parsed overrides; texts that were parsed before are taken from a cache."""
        new = list(dict.fromkeys(text for text in overrides if text not in self._parsed))
        self._parsed |= zip(new, OverridesParser.create(config_loader=self.loader).parse_overrides(new), strict=True)
        return [self._parsed[text] for text in overrides]

    def _picks_option(self, override: Override) -> bool:
        """Return whether Hydra takes the override as the choice of a group's option."""
        return not isinstance(override.value(), dict) and self.loader.repository.group_exists(override.key_or_group)

    def _explain(self, overrides: list[str], error: Exception, mode: RunMode) -> list[Problem]:
        """Return the problems of `overrides`, which Hydra refused with `error`."""
        if isinstance(error, TypeError | OmegaConfBaseException | HydraException) and (
            key := explanations.list_with_keys(overrides)
        ):
            return [Problem(key, f"is a list here, and cannot have keys too ({key}.NAME=...); name all in one way")]
        if isinstance(error, OverrideParseException):
            typed = error.override.removeprefix("++")  # which `typed.spell_out` adds
            return [Problem(typed, f"not valid as an override; {explanations.unreadable(typed)}")]
        parsed = OverridesParser.create().parse_overrides(overrides)
        if earlier := [problem for override in parsed if (problem := explanations.of_earlier_version(override))]:
            return earlier
        groups, values = [], []
        for override in parsed:
            (groups if self._is_group(override) else values).append(override)
        problems = [p for override in groups for p in self._wrong_option(override)]
        problems = problems or self._wrong_packages(groups) or self._unused_parts(parsed) or self._added_again(groups)
        if mode == RunMode.RUN:
            problems += [explanations.not_a_sweep(override) for override in parsed if override.is_sweep_override()]
        # Hydra wraps errors of OmegaConf in an empty one.
        told = first_line(error.__cause__ or error)
        named = [o.key_or_group for o in values if one_line(error).endswith(one_line(o.input_line))]
        key = next(iter(named or [o.key_or_group for o in values if f"'{o.key_or_group}'" in told]), "config")
        return problems or self._wrong_keys(groups, values) or [Problem(key, one_line(told))]

    def _is_group(self, override: Override) -> bool:
        return "/" in override.key_or_group or self._picks_option(override)

    def _wrong_option(self, override: Override) -> list[Problem]:
        group, value = override.key_or_group, override.value()
        if override.is_delete() or override.is_sweep_override():
            return []
        values = ["null" if one is None else str(one) for one in (value if isinstance(value, list) else [value])]
        options = self.options(group)
        if not options:
            near = nearest(group, [g for g in self._groups_in(group.rpartition("/")[0]) if g != group])
            dotted = group.replace("/", ".")
            near = dotted if explanations.exists(self._base([]), dotted) else near
            return [Problem(group, "unknown config group" + (f"; did you mean {near}?" if near else ""))]
        return [unknown_option(group, value, options) for value in values if value not in options]

    def _wrong_packages(self, groups: list[Override]) -> list[Problem]:
        """Return problems of options for places that do not exist, such as `degradation@mix.tasks.rian.degrade`."""
        placed = [o for o in groups if o.package is not None and not o.is_add()]
        if not placed:
            return []
        try:
            choices = self._base(o for o in groups if o not in placed).hydra.runtime.choices
        except REFUSALS:
            return []
        wrong = [key for o in placed if (key := f"{o.key_or_group}@{o.package}") not in choices]
        return [Problem(key, f"not in the config{explanations.near_place(key, choices)}") for key in wrong]

    def _added_again(self, groups: list[Override]) -> list[Problem]:
        """Return problems of options that are added, such as `+model=daair`, where the config has one already."""
        added = [o for o in groups if o.is_add()]
        if not added:
            return []
        try:
            others = self._base(o for o in groups if o not in added)
        except REFUSALS:
            return []
        keys = [o.get_key_element().lstrip("+") for o in added]
        return [
            Problem(key, "exists already; leave out the +") for key in keys if others.hydra.runtime.choices.get(key)
        ]

    def _unused_parts(self, overrides: list[Override]) -> list[Problem]:
        """Return problems of parts that the model does not have, such as `experts.rank` with `model=identity`."""
        overrides = [o for o in overrides if o.package is None]
        names = {o.key_or_group.partition(".")[0] for o in overrides} - Config.model_fields.keys()
        names = {name for name in names if name != "hydra" and "/" not in name}
        names = {name for name in names if self.loader.repository.group_exists(name)}
        if not names:
            return []
        try:
            choices = self._base(
                o for o in overrides if self._is_group(o) and o.key_or_group not in names
            ).hydra.runtime.choices
        except REFUSALS:
            return []
        unused = [o for o in overrides if o.key_or_group.partition(".")[0] in names - choices.keys()]
        return [explanations.without_place(o, choices) for o in unused]

    def _groups_in(self, parent: str) -> list[str]:
        """Return the groups in the group `parent`; in "" are those of the first level."""
        names = self.loader.repository.get_group_options(parent, ObjectType.GROUP)
        return [f"{parent}/{name}" if parent else name for name in names]

    def _wrong_keys(self, groups: list[Override], values: list[Override]) -> list[Problem]:
        """Return problems of unknown keys: they are forced into the config, which is then validated."""
        from daair.config.validate import validate

        plain = [o for o in values if not o.is_delete() and not o.is_sweep_override()]
        try:
            base = self._base(groups)
        except REFUSALS:
            return []
        behind = [explanations.behind_alias(base, o.key_or_group) for o in plain]
        problems = [Problem(o.key_or_group, f"set {key} instead") for o, key in zip(plain, behind, strict=True) if key]
        problems += [
            Problem(o.key_or_group, "exists already; leave out the +")
            for o in plain
            if o.is_add() and not o.is_force_add() and explanations.exists(base, o.key_or_group)
        ]
        problems += [
            explanations.absent(base, o)
            for o in values
            if o.is_delete() and not explanations.exists(base, o.key_or_group)
        ]
        problems += [
            Problem(o.key_or_group, f"must be a mapping, got {o.get_value_element_as_str()}")
            for o in plain
            if isinstance(o.value(), list) and OmegaConf.is_dict(OmegaConf.select(base, o.key_or_group))
        ]
        if problems:
            return problems
        forced = [f"++{o.key_or_group}={o.get_value_element_as_str()}" for o in plain]
        try:
            validate(self._load([*(o.input_line for o in groups), *forced], RunMode.MULTIRUN))
        except ConfigError as error:
            return [explanations.whole(problem, plain, error.known) for problem in error.problems]
        except REFUSALS:
            return []
        set_only = [o for o in plain if not o.is_add() and not o.is_force_add()]
        absent = [explanations.absent(base, o) for o in set_only if not explanations.exists(base, o.key_or_group)]
        return absent or [
            Problem(
                o.key_or_group,
                f"has other keys, which stay; put {o.key_or_group}=null before it to replace them"
                if OmegaConf.select(base, o.key_or_group)
                else f"is empty; to add keys, write +{o.input_line}",
            )
            for o in set_only
            if isinstance(o.value(), dict)
        ]


def _without_hydra(cfg: DictConfig) -> DictConfig:
    """Return the config with only the chosen options below `hydra`."""
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg["hydra"] = {"runtime": {"choices": choices}}
    return cfg
