"""Check a composed Hydra config and turn it into a `Config`.

`validate` checks fixed keys against the schema, components against the signatures of their targets, and then the
combination of keys. It constructs nothing; `daair.config.buildable` calls the constructors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from daair.components import SPECIAL, build, is_foreign, is_node, locate
from daair.config import signatures
from daair.config.combinations import combinations
from daair.config.overrides import PATHS
from daair.config.problems import UNKNOWN, ConfigError, Problem, did_you_mean, explain_unknown
from daair.config.schema import BenchmarkDefinition, Config, known_keys, parse
from daair.config.tasks import task_of
from daair.errors import UserError, first_line, one_line, with_full_keys

if TYPE_CHECKING:
    from daair.data.benchmarks import Benchmark

__all__ = ["Config", "ConfigError", "benchmarks_of", "choices_of", "validate"]


_ALIAS = re.compile(r"\$\{([\w.]+)\}")


def validate(cfg: DictConfig | Mapping[str, Any], choices: Mapping[str, str] | None = None) -> Config:
    """Check a composed config and resolve it.

    Args:
        cfg: The root of the composed config. Its `hydra` node, if any, gives `choices` and the user's overrides.
        choices: The option chosen from each config group; by default read from the `hydra` node.

    Raises:
        ConfigError: The config has problems; the error holds all of them.
    """
    cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    choices = dict(choices_of(cfg) if choices is None else choices)
    data, aliases = _resolve(cfg)
    given = _given(cfg)
    for group in _drop_arguments(data, given):
        if choices.get(group, "custom") != "custom":  # the user replaced the option's class
            choices[group] = str(data[group]["_target_"]).rpartition(".")[2]
    present = set(_all_keys(data))
    aliases = {alias: source for alias, source in aliases.items() if alias in present}
    parts = _parts(data, aliases)
    problems = _drop_parts(data, parts, choices, given) + _settle_length(data, given)
    known = known_keys() | present
    try:
        config = parse(Config, {**data, "choices": choices})
    except ConfigError as error:
        config = None
        problems += error.problems
    components = {}
    if config is None or task_of(config.task.get("name")).builds:
        components = {name: node for name, node in data.items() if name not in ("task", *parts) and is_node(node)}
    signed = set(aliases)
    for key, node in (components | _degradations(data.get("benchmarks"))).items():
        components[key], wrong, named = signatures.check(node, key)
        problems, signed = problems + wrong, signed | named
    problems = _in_source(problems, aliases)
    if config is not None and config.train.steps is None:
        text = "refers to train.steps, which train.budget and train.epochs leave open"
        problems += [Problem(alias, text) for alias, source in aliases.items() if source == "train.steps"]
    if config is not None:
        told = {problem.key for problem in problems}
        problems += [problem for problem in combinations(config) if problem.key not in told]
    if problems:
        # Suggest only keys that the schema or a signature declares, not the wrong ones of this config.
        wrong = {problem.key for problem in problems if problem.text == UNKNOWN} | set(aliases)
        known = {key for key in known if not any(key.startswith(f"{other}.") for other in wrong)} - wrong
        known |= signed - wrong | set(aliases)
        raise ConfigError(explain_unknown(problems, known, present), known=known)
    components = {name: node for name, node in components.items() if name in data}
    if "model" in components:
        components |= {source: components["model"][name] for source, name in parts.items()}
    return config.model_copy(update=components)


def benchmarks_of(cfg: Config) -> list[Benchmark]:
    """Return the benchmarks of a config: the entries of `benchmarks`, or those of its mix when the key is null.

    Raises:
        UserError: A name is unknown, or a definition is invalid.
    """
    from daair.data.benchmarks import find_benchmark

    if cfg.benchmarks is not None:
        return define_benchmarks({name: dict(definition) for name, definition in cfg.benchmarks.items()})
    try:
        return [find_benchmark(name) for name in cfg.mix.get("benchmarks", ())]
    except UserError as error:
        raise UserError(f"mix.{error}") from None


def define_benchmarks(definitions: Mapping[str, Mapping[str, Any]]) -> list[Benchmark]:
    """Return the benchmarks that the entries of `benchmarks` define, see `BenchmarkDefinition`.

    Raises:
        UserError: A name is unknown, or a definition is invalid; the message begins with the key.
    """
    from daair.data.benchmarks import define

    benchmarks = []
    for name, definition in definitions.items():
        given = dict(definition)
        for key in given.keys() - BenchmarkDefinition.model_fields.keys():
            raise UserError(f"benchmarks.{name}.{key}: unknown{did_you_mean(key, BenchmarkDefinition.model_fields)}")
        if isinstance(given.get("degrade"), dict):
            given["degrade"] = build({**given["degrade"], "_partial_": True})
        try:
            benchmarks.append(define(name, **given))
        except UserError as error:
            key = f"benchmarks.{name}"
            text = with_full_keys(str(error), key, BenchmarkDefinition.model_fields)
            raise UserError(text if text.startswith("benchmarks") else f"{key}: {text}") from None
    return benchmarks


def choices_of(cfg: DictConfig) -> dict[str, str]:
    """Return the option chosen from each group of conf/, read from the config's `hydra` node."""
    choices = OmegaConf.select(cfg, "hydra.runtime.choices") or {}
    return {str(k): str(v) for k, v in choices.items() if v is not None and not str(k).startswith("hydra/")}


def _given(cfg: DictConfig) -> set[str]:
    """Return the keys of the user's overrides, read from the config's `hydra` node; also those of `key={name: ...}`."""
    keys = set()
    for override in OmegaConf.select(cfg, "hydra.overrides.task") or ():
        key, _, value = override.lstrip("+~").partition("=")
        names = re.findall(r"[{,]\s*([a-z]\w*)\s*:", value) if value.startswith("{") else []
        keys |= {key, *(f"{key}.{name}" for name in names)}
    return keys


def _is_given(key: str, given: Collection[str]) -> bool:
    return any(other == key or other.startswith(f"{key}.") for other in given)


def _resolve(cfg: DictConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the resolved config as plain containers without its `hydra` node, and its aliases.

    An alias is a key whose value is the interpolation of one other key. An alias of a mapping is the same object as its
    source, so that both change together.

    Raises:
        ConfigError: A mandatory value is missing, or an interpolation names no key.
    """
    missing: list[str] = []
    references: list[tuple[Any, Any, str, str]] = []

    def plain(node: Any, path: str) -> Any:
        value = node._value()  # the text of an interpolation, nodes, or a plain value
        if isinstance(value, dict):
            return fill({}, value.items(), lambda key: f"{path}.{key}")
        if isinstance(value, list):
            return fill([None] * len(value), enumerate(value), lambda key: f"{path}[{key}]")
        if value == "???":
            missing.append(path)
        return os.path.expanduser(value) if isinstance(value, str) and PATHS.fullmatch(path) else value

    def fill(container: Any, items: Iterable[tuple[Any, Any]], path: Callable[[Any], str]) -> Any:
        for key, node in items:
            container[key] = value = plain(node, path(key))
            if isinstance(value, str) and "${" in value:
                references.append((container, key, path(key), value))
        return container

    data = fill({}, ((key, cfg._get_node(key)) for key in cfg if key != "hydra"), str)
    if missing:
        raise ConfigError([Problem(key, f"missing; set {key}=...") for key in sorted(missing)])
    aliases = {path: match[1] for _, _, path, text in references if (match := _ALIAS.fullmatch(text))}
    for container, key, path, _ in references:
        source = _at(data, aliases.get(path, ""))
        container[key] = source if isinstance(source, Mapping) else _select(cfg, path)
    return data, aliases


def _select(cfg: DictConfig, path: str) -> Any:
    """Return the value of the interpolation at `path`."""
    try:
        value = OmegaConf.select(cfg, path, throw_on_missing=True)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        raise ConfigError([Problem(error.full_key or path, one_line(first_line(error)))]) from None


def _at(data: Any, key: str) -> Any:
    """Return the value at a dotted key, or None."""
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _drop_arguments(data: dict[str, Any], given: Collection[str]) -> list[str]:
    """Remove the option's arguments that the class set by the user does not take, and unpack a foreign model's `args`.

    Returns:
        The keys of the nodes whose class the user set.
    """
    named = [key.removesuffix("._target_") for key in given if key.endswith("._target_")]
    for key in named:
        if is_node(node := _at(data, key)):
            try:
                names = {*signatures.takes(locate(node["_target_"])), *SPECIAL, "args"}
            except ImportError:  # `signatures.check` reports it
                names = SPECIAL
            for name in [n for n in node if n not in names and not _is_given(f"{key}.{n}", given)]:
                del node[name]
    model = data.get("model")
    if is_node(model) and is_foreign(model) and isinstance(model.get("args", {}), Mapping | None):
        model |= model.pop("args", None) or {}
    return named


def _parts(data: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, str]:
    """Return the root keys that the model interpolates, each with the name of the model's argument."""
    arguments = {
        source: alias.removeprefix("model.") for alias, source in aliases.items() if alias.startswith("model.")
    }
    return {s: a for s, a in arguments.items() if s in data and "." not in a and s not in Config.model_fields}


def _drop_parts(
    data: dict[str, Any], parts: Collection[str], choices: dict[str, str], given: Collection[str]
) -> list[Problem]:
    """Remove the parts that the model does not have; return a problem for each of them that the user set."""
    problems = []
    for name in [n for n in data if n in choices and n not in Config.model_fields and n not in parts]:
        if _is_given(name, given):
            key = next(key for key in given if key.split(".")[0] == name)
            target = f"._target_={data['model'].get('_target_')}" if "model._target_" in given else ""
            problems.append(Problem(key, f"unused by model{target or '=' + choices.get('model', 'custom')}"))
        del data[name], choices[name]
    return problems


def _settle_length(data: Mapping[str, Any], given: Collection[str]) -> list[Problem]:
    """Keep one of the keys that say how long to train: what the user set, else what a file set, in this order."""
    train = data.get("train")
    if not isinstance(train, dict):
        return []
    keys = [key for key in ("budget", "epochs", "steps") if train.get(key) is not None]
    counting, *unused = sorted(keys, key=lambda key: f"train.{key}" not in given) or [None]
    text = f"unused with train.{counting}={train.get(counting)}; leave it out, or set train.{counting}=null"
    train.update(dict.fromkeys(unused))
    return [Problem(f"train.{key}", text) for key in unused if f"train.{key}" in given]


def _in_source(problems: list[Problem], aliases: Mapping[str, str]) -> list[Problem]:
    """Return the problems without repetitions, with the key of the source in place of an alias."""
    moved = []
    for problem in problems:
        key = problem.key
        for alias, source in aliases.items():
            if key == alias or key.startswith((alias + ".", alias + "[")):
                key = source + key[len(alias) :]
        moved.append(Problem(key, problem.text))
    return list(dict.fromkeys(moved))


def _degradations(benchmarks: Any) -> dict[str, dict[str, Any]]:
    """Return the nodes `benchmarks.NAME.degrade` by key, as partials since the code supplies their images."""
    definitions = benchmarks.items() if isinstance(benchmarks, Mapping) else ()
    nodes = {f"benchmarks.{name}.degrade": d.get("degrade") for name, d in definitions if isinstance(d, Mapping)}
    return {key: {**node, "_partial_": True} for key, node in nodes.items() if isinstance(node, Mapping)}


def _all_keys(data: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a config, and all keys that the definition of a benchmark may have."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        yield f"{prefix}{key}"
        yield from _all_keys(value, f"{prefix}{key}.")
        if prefix == "benchmarks.":
            yield from (f"{prefix}{key}.{name}" for name in BenchmarkDefinition.model_fields)
