"""From a composed Hydra config to a checked `Config`.

`validate` looks at every key: at fixed ones by the schema, at components by the signatures of their targets, then at
combinations. It builds nothing; `daair.config.buildable` asks the constructors as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from daair.components import SPECIAL, build, is_foreign, is_node, locate
from daair.config import signatures
from daair.config.problems import UNKNOWN, ConfigError, Problem, did_you_mean, explain_unknown
from daair.config.schema import BenchmarkDefinition, Config, known_keys, parse
from daair.errors import UserError, one_line, with_full_keys
from daair.metrics import PROTOCOLS

if TYPE_CHECKING:
    from daair.data.benchmarks import Benchmark

__all__ = ["Config", "ConfigError", "benchmarks_of", "choices_of", "validate"]

NEEDS = {"restore": ("checkpoint", "input", "output")}
"""Root keys that a task cannot do without; for task=evaluate see `buildable.check_checkpoint`."""

TAKES = {
    "train": (),
    "evaluate": ("checkpoint", "output"),
    "restore": ("checkpoint", "input", "output"),
    "preview": ("input", "output"),
    "verify": ("output",),
    "profile": (),
    "collate": (),
    "status": (),
}
"""Which of the root keys checkpoint, input and output a task reads; it refuses the others rather than ignore them."""

READS_RUNS = ("status", "collate")
"""Tasks that look at recorded runs and at nothing else of the config: its components are not even imported for them."""

_ALIAS = re.compile(r"\$\{([\w.]+)\}")


def validate(cfg: DictConfig | Mapping[str, Any], choices: Mapping[str, str] | None = None) -> Config:
    """Check a composed config and resolve it.

    Args:
        cfg: The root of the composed config. A `hydra` node in it is read for `choices` and for what the user set, and
            otherwise left out.
        choices: The option taken from each group.

    Raises:
        ConfigError: With everything that is wrong.
    """
    cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    choices = dict(choices_of(cfg) if choices is None else choices)
    aliases = dict(_aliases(cfg))
    data, problems = _resolve(cfg)
    if problems:
        raise ConfigError(_in_source(problems, aliases))
    _share(data, aliases)
    given = _given(cfg)
    arguments = _own_arguments(data, given)
    parts = _parts(data, aliases)
    problems = _drop_unused(data, parts, choices, given)
    known = known_keys() | set(_all_keys(data))
    if arguments:  # model.args={...}: what is wrong there is told of the key that the user set
        known -= {f"model.{name}" for name in arguments}
        aliases |= {f"model.args.{name}": source for source, name in parts.items()}
        aliases["model.args._target_"] = "model._target_"
    try:
        config = parse(Config, {**data, "choices": choices})
    except ConfigError as error:
        config = None
        problems += error.problems
    components = {}
    if config is None or config.task.get("name") not in READS_RUNS:
        components = {name: node for name, node in data.items() if name not in ("task", *parts) and is_node(node)}
    signed = set(aliases)
    for key, node in (components | _degradations(data.get("benchmarks"))).items():
        place = "model.args" if key == "model" and arguments else key
        components[key], wrong, named = signatures.check(node, place)
        problems, signed = problems + wrong, signed | named
    problems = _in_source(problems, aliases)
    if config is not None:
        told = {problem.key for problem in problems}
        problems += [problem for problem in _combinations(config) if problem.key not in told]
    if problems:
        # A key is right if the schema or a signature names it, whatever else stands in this config.
        wrong = {problem.key for problem in problems if problem.text == UNKNOWN} | set(aliases)
        known = {key for key in known if not any(key.startswith(f"{other}.") for other in wrong)} - wrong
        known |= signed - wrong | set(aliases)
        raise ConfigError(explain_unknown(problems, known), known=known)
    components = {name: node for name, node in components.items() if name in data}
    if "model" in components:
        components |= {source: components["model"][name] for source, name in parts.items()}
    return config.model_copy(update=components)


def benchmarks_of(cfg: Config) -> list[Benchmark]:
    """Return what a config measures on: the entries of `benchmarks`, or those of its mix when that is null.

    Raises:
        UserError: an unknown name, or a definition that makes no benchmark.
    """
    from daair.data.benchmarks import define, find_benchmark

    if cfg.benchmarks is None:
        try:
            return [find_benchmark(name) for name in cfg.mix.get("benchmarks", ())]
        except UserError as error:
            raise UserError(f"mix.{error}") from None
    benchmarks = []
    for name, definition in cfg.benchmarks.items():
        given = dict(definition)
        if isinstance(given["degrade"], dict):
            given["degrade"] = build({**given["degrade"], "_partial_": True})
        try:
            benchmarks.append(define(name, **given))
        except UserError as error:
            key = f"benchmarks.{name}"
            text = with_full_keys(str(error), key, BenchmarkDefinition.model_fields)
            raise UserError(text if text.startswith("benchmarks") else f"{key}: {text}") from None
    return benchmarks


def choices_of(cfg: DictConfig) -> dict[str, str]:
    """Return the option taken from each group of conf/, from a config that still has its `hydra` node."""
    choices = OmegaConf.select(cfg, "hydra.runtime.choices") or {}
    return {str(k): str(v) for k, v in choices.items() if v is not None and not str(k).startswith("hydra/")}


def _given(cfg: DictConfig) -> set[str]:
    """Return the keys that the user set, from a config that still has its `hydra` node."""
    overrides = OmegaConf.select(cfg, "hydra.overrides.task") or ()
    return {override.lstrip("+~").partition("=")[0] for override in overrides}


def _is_given(key: str, given: Collection[str]) -> bool:
    return any(other == key or other.startswith(f"{key}.") for other in given)


def _resolve(cfg: DictConfig) -> tuple[dict[str, Any], list[Problem]]:
    """Return the config as plain containers without its `hydra` node, and what is missing or refers to nothing."""
    keys = [str(key) for key in cfg if key != "hydra"]
    try:
        return {key: _contained(cfg, key) for key in keys}, []
    except MissingMandatoryValue:
        missing = sorted(OmegaConf.missing_keys(OmegaConf.masked_copy(cfg, keys)))
        return {}, [Problem(key, f"missing; set {key}=...") for key in missing]
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {}, [Problem(error.full_key or "config", one_line(message))]


def _contained(cfg: DictConfig, key: str) -> Any:
    value = cfg[key]
    is_container = isinstance(value, DictConfig | ListConfig)
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if is_container else value


def _aliases(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield where a key only repeats another: ("model.experts", "experts")."""
    for key in cfg:
        path = f"{prefix}{key}"
        node = cfg._get_node(key)
        raw = node._value() if node is not None else None
        if isinstance(raw, str) and (match := _ALIAS.fullmatch(raw)):
            if OmegaConf.select(cfg._get_root(), match[1].rpartition(".")[0] or match[1], default=None) is not None:
                yield path, match[1]
        elif isinstance(node, DictConfig) and isinstance(raw, dict) and path != "hydra":
            yield from _aliases(node, f"{path}.")


def _at(data: Any, key: str) -> Any:
    """Return what stands at a dotted key; None if nothing does."""
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _share(data: dict[str, Any], aliases: Mapping[str, str]) -> None:
    """Let each mapping that repeats another be that one itself, so that they change together."""
    for alias, source in aliases.items():
        parent, _, name = alias.rpartition(".")
        if isinstance(_at(data, source), Mapping) and isinstance(holder := _at(data, parent), dict):
            holder[name] = _at(data, source)


def _own_arguments(data: dict[str, Any], given: Collection[str]) -> Mapping[str, Any]:
    """Leave out what an option says about another class than the one that the user put in its place.

    Returns:
        What stands under `model.args`, which is the same as standing beside `model._target_`.
    """
    model = data.get("model")
    arguments = model.pop("args", None) if is_node(model) and is_foreign(model) else None
    for key in (key.removesuffix("._target_") for key in given if key.endswith("._target_")):
        if is_node(node := _at(data, key)):
            try:
                names = {*signatures.takes(locate(node["_target_"])), *SPECIAL}
            except ImportError:  # is told by `signatures.check`
                names = SPECIAL
            for name in [n for n in node if n not in names and not _is_given(f"{key}.{n}", given)]:
                del node[name]
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ConfigError([Problem("model.args", f"{json.dumps(arguments)} is not a mapping")])
    if arguments:
        model.update(arguments)
    return arguments or {}


def _parts(data: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, str]:
    """Return what the model interpolates: root keys, and the arguments of the model that they are."""
    arguments = {f"model.{name}": name for name in data.get("model") or ()}
    return {
        source: arguments[alias]
        for alias, source in aliases.items()
        if alias in arguments and source in data and source not in Config.model_fields
    }


def _drop_unused(
    data: dict[str, Any], parts: Collection[str], choices: dict[str, str], given: Collection[str]
) -> list[Problem]:
    """Leave out the parts that the model does not have; one that the user set is a problem."""
    problems = []
    for name in [n for n in data if n in choices and n not in Config.model_fields and n not in parts]:
        if _is_given(name, given):
            key = next(key for key in given if key.split(".")[0] == name)
            target = f"._target_={data['model'].get('_target_')}" if "model._target_" in given else ""
            problems.append(Problem(key, f"unused by model{target or '=' + choices.get('model', 'custom')}"))
        del data[name], choices[name]
    return problems


def _in_source(problems: list[Problem], aliases: Mapping[str, str]) -> list[Problem]:
    """Return the same problems, told once and where the user set the value."""
    moved = []
    for problem in problems:
        key = problem.key
        for alias, source in aliases.items():
            if key == alias or key.startswith((alias + ".", alias + "[")):
                key = source + key[len(alias) :]
        moved.append(Problem(key, problem.text.replace(f"set {problem.key}=", f"set {key}=")))
    return list(dict.fromkeys(moved))


def _degradations(benchmarks: Any) -> dict[str, dict[str, Any]]:
    """Return the nodes among the benchmarks' degradations, by their keys; the code supplies their images."""
    definitions = benchmarks.items() if isinstance(benchmarks, Mapping) else ()
    nodes = {f"benchmarks.{name}.degrade": d.get("degrade") for name, d in definitions if isinstance(d, Mapping)}
    return {key: {**node, "_partial_": True} for key, node in nodes.items() if isinstance(node, Mapping)}


def _all_keys(data: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a config, and those that the definition of a benchmark may have."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        yield f"{prefix}{key}"
        yield from _all_keys(value, f"{prefix}{key}.")
        if prefix == "benchmarks.":
            yield from (f"{prefix}{key}.{name}" for name in BenchmarkDefinition.model_fields)


def _combinations(cfg: Config) -> Iterator[Problem]:
    """Yield what each key allows but not all of them together."""
    task = cfg.task.get("name")
    if cfg.study is None and task != "status":
        yield Problem("study", f"missing; task={task} needs study=...")
    for key in cfg.task.keys() - {"_target_", "name", "study"}:
        yield Problem(f"task.{key}", UNKNOWN)
    yield from _inputs(cfg, task)
    if cfg.collate.source != "folders" and cfg.collate.project is None:
        text = f"missing; collate.source={cfg.collate.source} needs collate.project=ENTITY/NAME"
        yield Problem("collate.project", text)
    size, processes = cfg.train.batch_size, cfg.launch.world_size
    if size % processes:
        text = f"must be a multiple of launch.nodes x launch.num_processes ({processes}), got {size}"
        yield Problem("train.batch_size", text)
    for name, section in (("restore", cfg.restore), ("evaluate", cfg.evaluate)):
        if isinstance(section.tile, int) and section.overlap >= section.tile:
            text = f"must be below {name}.tile ({section.tile}), got {section.overlap}"
            yield Problem(f"{name}.overlap", text)
    for name in cfg.protocols or ():
        if name not in PROTOCOLS:
            yield Problem("protocols", f"no {name}{did_you_mean(name, PROTOCOLS, 'known')}")
    lr = cfg.optimizer.get("lr")
    if isinstance(lr, int | float) and lr <= 0:
        yield Problem("optimizer.lr", f"must be greater than 0, got {lr}")
    router, count = cfg.model.get("router"), _at(cfg.model, "experts.count")
    tasks = cfg.mix.get("tasks")
    oracle = is_node(router) and str(router["_target_"]).endswith(".Oracle")
    if oracle and isinstance(count, int) and isinstance(tasks, dict) and count < len(tasks):
        text = f"must be at least {len(tasks)} with router=oracle (one expert per degradation), got {count}"
        yield Problem("experts.count", text)


def _inputs(cfg: Config, task: str | None) -> Iterator[Problem]:
    """Yield which of the keys checkpoint, input and output are missing, or would be ignored."""
    for key in NEEDS.get(task, ()):
        if getattr(cfg, key) is None:
            yield Problem(key, f"missing; task={task} needs {key}=...")
    for key in ("checkpoint", "input", "output") if task in TAKES else ():
        if getattr(cfg, key) is not None and key not in TAKES[task]:
            own = hasattr(getattr(cfg, task, None), key)
            readers = ", ".join(other for other, keys in TAKES.items() if key in keys)
            hint = f"did you mean {task}.{key}?" if own else f"it is for task={readers}"
            yield Problem(key, f"unused by task={task}; {hint}")
