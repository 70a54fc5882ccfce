"""From a composed Hydra config to a checked `Config`.

`validate` looks at every key: fixed ones by the schema, components by their targets' signatures, then at combinations.
It builds nothing; `check_buildable` asks the constructors as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from daair.components import Checker, build, is_foreign
from daair.config.problems import UNKNOWN, ConfigError, Problem, explain_unknown
from daair.config.schema import BenchmarkDefinition, Config, known_keys, parse
from daair.errors import UserError, nearest, one_line
from daair.metrics import PROTOCOLS

if TYPE_CHECKING:
    from daair.data.benchmarks import Benchmark

__all__ = [
    "Config",
    "ConfigError",
    "benchmarks_of",
    "check_buildable",
    "check_checkpoint",
    "validate",
]

COMPONENTS = ("experts", "router", "control", "model", "mix", "loss", "optimizer", "schedule")
"""Root keys that hold components, in the order in which their problems are told."""

NEEDS = {"restore": ("checkpoint", "input", "output")}
"""Root keys that a task cannot do without; for task=evaluate see `check_checkpoint`."""

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
        cfg: the root of the composed config; a `hydra` node in it is read for `choices` and otherwise left out.
        choices: the option taken from each group.

    Raises:
        ConfigError: with everything that is wrong.
    """
    cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    choices = choices if choices is not None else choices_of(cfg)
    aliases = dict(_aliases(cfg))
    data, problems = _resolve(cfg)
    if problems:
        raise ConfigError(_in_source(problems, aliases))

    known = known_keys() | set(_all_keys(data))
    try:
        config = parse(Config, {**data, "choices": dict(choices)})
    except ConfigError as error:
        config = None
        problems += error.problems
    checker = Checker()
    for name in COMPONENTS if config is None or config.task.get("name") not in READS_RUNS else ():
        node = data.get(name)
        if not isinstance(node, Mapping):
            continue
        if name == "model" and "_target_" in node and is_foreign(node):
            args = _args(node, checker)
            data[name] = {
                "_target_": node["_target_"],
                "args": checker.node({**args, "_target_": node["_target_"]}, "model.args"),
            }
            data[name]["args"].pop("_target_")
        elif "_target_" in node:
            data[name] = checker.node(node, name)
    known |= _check_benchmarks(data.get("benchmarks"), checker)
    problems += checker.problems
    problems = _in_source(problems, aliases)
    if not problems:
        config = parse(Config, {**data, "choices": dict(choices)})  # now with canonical components
    if config is not None:
        told = {problem.key for problem in problems}
        problems += [problem for problem in _combinations(config) if problem.key not in told]
    if problems:
        # A key is right if the schema or a signature names it, whatever else stands in this config.
        wrong = {problem.key for problem in problems if problem.text == UNKNOWN} | set(aliases)
        known = {key for key in known if not any(key.startswith(f"{other}.") for other in wrong)} - wrong
        known |= checker.known - wrong | set(aliases)
        raise ConfigError(explain_unknown(problems, known), known=known)
    return config


def benchmarks_of(cfg: Config) -> list[Benchmark]:
    """Return what a config measures on: the entries of `benchmarks`, or those of its mix when that is null.

    Raises:
        UserError: an unknown name, or a definition that makes no benchmark.
    """
    from daair.data.benchmarks import define, find

    if cfg.benchmarks is None:
        try:
            return [find(name) for name in cfg.mix.get("benchmarks", ())]
        except UserError as error:
            raise UserError(f"mix.{error}") from None
    benchmarks = []
    for name, definition in cfg.benchmarks.items():
        given = dict(definition)
        if isinstance(given["degrade"], dict):
            given["degrade"] = build({**given["degrade"], "_partial_": True})
        benchmarks.append(define(name, **given))
    return benchmarks


def choices_of(cfg: DictConfig) -> dict[str, str]:
    """Return the option taken from each group of conf/, from a config that still has its `hydra` node."""
    choices = OmegaConf.select(cfg, "hydra.runtime.choices") or {}
    return {str(k): str(v) for k, v in choices.items() if v is not None and not str(k).startswith("hydra/")}


def check_buildable(cfg: Config, seen: set[str] | None = None) -> None:
    """Let the constructors of network, mix, loss and optimizer refuse what does not go together.

    Cheap: the network is built on the meta device, folders are listed, and no image is read.

    Args:
        cfg: the config.
        seen: parts that were built before, of other jobs of the same sweep; added to.

    Raises:
        ConfigError: with the constructor's message, e.g. `experts.rank: ...`.
    """
    checks = {
        "model": _check_network,
        "mix": partial(check_mix, training=True),
        "loss": _check_loss,
        "optimizer": _check_optimizer,
    }
    seen = set() if seen is None else seen
    for name, check in checks.items():
        part = f"{name}: {getattr(cfg, name)}"
        if name == "model":
            part += f"{cfg.loss}{cfg.train.freeze}{cfg.train.init}{cfg.launch.world_size}"
        if part not in seen:
            check(cfg)
            seen.add(part)


def _check_network(cfg: Config) -> None:
    import torch

    from daair import checkpoint
    from daair.losses import check_terms
    from daair.models import training

    with torch.device("cpu" if is_foreign(cfg.model) else "meta"):  # others may not know the meta device
        model = _try("model", lambda: build(cfg.model))
    loss = _try("loss", lambda: build(cfg.loss))
    _try("model", lambda: training.check(model, cfg.train.freeze, cfg.launch.world_size))
    _try("loss", lambda: check_terms(loss, training.terms(model), type(model).__name__))
    if cfg.train.init is not None:
        _try("train.init", lambda: checkpoint.find_weights(cfg.train.init, "train.init"))


def _check_loss(cfg: Config) -> None:
    if not is_foreign(cfg.loss):
        _try("loss", lambda: build(cfg.loss))


def _check_optimizer(cfg: Config) -> None:
    import torch

    _try("optimizer", lambda: build(cfg.optimizer)([torch.nn.Parameter(torch.zeros(1))]))


def check_mix(cfg: Config, training: bool = False) -> None:
    """Let the constructors of the mix and its parts refuse what does not go together; no image is read.

    Args:
        cfg: the config.
        training: look for the training images under `mix.root` as well.

    Raises:
        ConfigError: with the constructor's message, or saying what is not there.
    """
    if not is_foreign(cfg.mix):
        mix = _try("mix", lambda: build(cfg.mix))
        if training and mix.root is not None:
            _try("mix", lambda: mix.tasks)


def check_checkpoint(cfg: Config) -> None:
    """Ask for `checkpoint` unless the network that is to be evaluated has no weights; builds it if none is given.

    Raises:
        ConfigError: the checkpoint is missing, or is given to a method without weights.
    """
    from daair import checkpoint

    if cfg.checkpoint is None and checkpoint.needs_weights(cfg.model):
        raise ConfigError([Problem("checkpoint", "missing; task=evaluate needs checkpoint=...")])
    baseline = str(cfg.model["_target_"]).startswith("daair.models.baselines.")  # else the checkpoint names the network
    if cfg.checkpoint is not None and baseline and not checkpoint.needs_weights(cfg.model):
        method = cfg.choices.get("model", "this model")
        raise ConfigError([Problem("checkpoint", f"{method} has no weights; leave out checkpoint=... or model=...")])


def _try(name: str, construct: Callable[[], Any]) -> Any:
    """What `construct` returns; what it raises about its arguments is a problem of the key named, else of `name`."""
    from hydra.errors import InstantiationException

    try:
        return construct()
    except (InstantiationException, UserError, ValueError, TypeError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError | ValueError | TypeError):
            cause = cause.__cause__
        if cause is None:
            raise
        key, _, text = one_line(cause).partition(": ")
        if not text or key.split(".")[0] not in Config.model_fields:
            key, text = name, one_line(cause)
        raise ConfigError([Problem(key, text)]) from error


def _args(node: Mapping[str, Any], checker: Checker) -> dict[str, Any]:
    args = node.get("args") or {}
    if isinstance(args, Mapping):
        return dict(args)
    checker.problems.append(Problem("model.args", f"{json.dumps(args)} is not a mapping"))
    return {}


def _resolve(cfg: DictConfig) -> tuple[dict[str, Any], list[Problem]]:
    """The config as plain containers without its `hydra` node; problems: missing values, broken interpolations."""
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
        elif isinstance(node, DictConfig) and isinstance(raw, dict):
            yield from _aliases(node, f"{path}.")


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


def _check_benchmarks(benchmarks: Any, checker: Checker) -> set[str]:
    """Check the degradations among the benchmarks that are given as nodes; returns the keys that definitions have."""
    known = set()
    for name, definition in benchmarks.items() if isinstance(benchmarks, Mapping) else ():
        if isinstance(definition, Mapping):
            known |= {f"benchmarks.{name}.{key}" for key in BenchmarkDefinition.model_fields}
            degrade = definition.get("degrade")
            if isinstance(degrade, Mapping):
                if "_target_" in degrade:
                    checker.node({**degrade, "_partial_": True}, f"benchmarks.{name}.degrade")
                else:
                    checker.problems.append(Problem(f"benchmarks.{name}.degrade._target_", "missing"))
    return known


def _all_keys(data: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(data, Mapping | DictConfig) and not isinstance(data, ListConfig):
        for key, value in data.items():
            yield f"{prefix}{key}"
            yield from _all_keys(value, f"{prefix}{key}.")


def _combinations(cfg: Config) -> Iterator[Problem]:
    """Yield what each key allows but not all of them together."""
    task = cfg.task.get("name")
    if not isinstance(cfg.task.get("_target_"), str):
        yield Problem("task._target_", "missing; choose a task with task=NAME")
    if cfg.study is None and task != "status":
        yield Problem("study", f"missing; task={task} needs study=...")
    for key in cfg.task.keys() - {"_target_", "name", "study"}:
        yield Problem(f"task.{key}", UNKNOWN)
    for key in NEEDS.get(task, ()):
        if getattr(cfg, key) is None:
            yield Problem(key, f"missing; task={task} needs {key}=...")
    for key in ("checkpoint", "input", "output") if task in TAKES else ():
        if getattr(cfg, key) is not None and key not in TAKES[task]:
            own = hasattr(getattr(cfg, task, None), key)
            readers = ", ".join(other for other, keys in TAKES.items() if key in keys)
            hint = f"did you mean {task}.{key}?" if own else f"it is for task={readers}"
            yield Problem(key, f"unused by task={task}; {hint}")
    if cfg.collate.source != "folders" and cfg.collate.project is None:
        yield Problem(
            "collate.project", f"missing; collate.source={cfg.collate.source} needs collate.project=ENTITY/NAME"
        )
    if cfg.train.batch_size % cfg.launch.world_size:
        yield Problem(
            "train.batch_size",
            f"must be a multiple of launch.nodes x launch.num_processes ({cfg.launch.world_size}), "
            f"got {cfg.train.batch_size}",
        )
    if cfg.restore.tile is not None and cfg.restore.overlap >= cfg.restore.tile:
        yield Problem("restore.overlap", f"must be below restore.tile ({cfg.restore.tile}), got {cfg.restore.overlap}")
    if isinstance(cfg.evaluate.tile, int) and cfg.evaluate.overlap >= cfg.evaluate.tile:
        yield Problem(
            "evaluate.overlap", f"must be below evaluate.tile ({cfg.evaluate.tile}), got {cfg.evaluate.overlap}"
        )
    for name in cfg.protocols or ():
        if name not in PROTOCOLS:
            near = nearest(name, PROTOCOLS)
            hint = f"; did you mean {near}?" if near else ""
            yield Problem("protocols", f"no {name}{hint} (known: {', '.join(PROTOCOLS)})")
    warmup = cfg.schedule.get("warmup")
    if isinstance(warmup, int | float) and not 0 <= warmup < 1:
        yield Problem("schedule.warmup", f"must be a fraction of train.steps in [0, 1), got {warmup}")
    lr = cfg.optimizer.get("lr")
    if isinstance(lr, int | float) and lr <= 0:
        yield Problem("optimizer.lr", f"must be greater than 0, got {lr}")
    router, experts = cfg.model.get("router"), cfg.model.get("experts")
    degradations = cfg.mix.get("degradations")
    if isinstance(router, dict) and isinstance(experts, dict) and isinstance(degradations, dict):
        count = experts.get("count")
        oracle = str(router.get("_target_")).endswith(".Oracle")
        if oracle and isinstance(count, int) and count < len(degradations):
            yield Problem(
                "experts.count",
                f"must be at least {len(degradations)} with router=oracle (one expert per degradation), got {count}",
            )
