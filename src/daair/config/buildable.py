"""Check that the constructors accept a config, before anything starts.

This is cheap: our own networks are built on the meta device, folders are listed, and no image is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from daair.components import build, is_foreign, locate, nodes
from daair.config.problems import ConfigError, Problem
from daair.config.schema import Config
from daair.config.signatures import takes
from daair.config.tasks import task_of
from daair.data.listing import check_folder
from daair.errors import UserError, one_line, reason, with_full_keys
from daair.files import check_writable

__all__ = ["check_buildable", "check_checkpoint", "check_mix", "check_places"]


def check_buildable(cfg: Config, seen: set[str] | None = None) -> None:
    """Check everything that a training builds by building it.

    Args:
        seen: The checks that earlier jobs of the same sweep have passed; new ones are added.

    Raises:
        ConfigError: A constructor refuses its arguments; the error holds its message, e.g. `experts.rank: ...`.
    """
    checks: dict[str, tuple[Any, Callable[[], Any]]] = {
        "updates": (
            (cfg.model, cfg.loss, cfg.optimizer, cfg.schedule, cfg.train, cfg.launch.world_size, cfg.mix.get("patch")),
            lambda: _check_updates(cfg),
        ),
        "mix": (cfg.mix, lambda: check_mix(cfg, training=True)),
        "labels": ((cfg.model, cfg.mix, cfg.benchmarks), lambda: _check_labels(cfg)),
        "logger": (cfg.logger, lambda: _check_logger(cfg)),
        "init": ((cfg.model, cfg.train.init, cfg.train.init_strict), lambda: _check_init(cfg)),
    }
    seen = set() if seen is None else seen
    for name, (parts, check) in checks.items():
        if (text := f"{name}: {parts}") not in seen:
            check()
            seen.add(text)


def _check_labels(cfg: Config) -> None:
    """Check that a network that is told the degradation learns those of all benchmarks; else it fails when trained."""
    from daair.config.validate import benchmarks_of
    from daair.data.benchmarks import why_missing
    from daair.data.mix import label_in
    from daair.models.training import needs_labels

    tasks = cfg.mix.get("tasks")
    if not isinstance(tasks, dict) or not needs_labels(_try(cfg, "model", lambda: _network(json.dumps(cfg.model)))):
        return
    trained = [label for label, task in tasks.items() if task.get("weight", 1) > 0]
    for benchmark in benchmarks_of(cfg):
        if label_in(benchmark.label, trained) is None and why_missing(benchmark, cfg.mix.get("root")) is None:
            what = f"{benchmark.name} is {benchmark.label or 'of no named degradation'}"
            text = f"{what}, but this network is told the degradation, and the mix trains {', '.join(trained)}"
            raise ConfigError([Problem("benchmarks", text)])


def _check_logger(cfg: Config) -> None:
    if cfg.logger.tensorboard and all(find_spec(name) is None for name in ("tensorboard", "tensorboardX")):
        text = "needs the package tensorboard: python -m pip install 'daair[tensorboard]'"
        raise ConfigError([Problem("logger.tensorboard", text)])


def _check_init(cfg: Config) -> None:
    """Check that the weights of `train.init` can be read and fit the network."""
    from daair.checkpoint import find_weights, fitting_weights

    if cfg.train.init is None:
        return
    network = _try(cfg, "model", lambda: _network(json.dumps(cfg.model)))
    file = _try(cfg, "train.init", lambda: find_weights(cfg.train.init, "train.init"))
    try:
        fitting_weights(network, file, cfg.train.init_strict)
    except UserError as error:
        other = cfg.train.init_strict and "another network" in str(error)
        hint = "; train.init_strict=false takes what fits" if other else ""
        raise ConfigError([Problem("train.init", f"{error}{hint}")]) from None


def _check_updates(cfg: Config) -> None:
    """Build the network and its loss, then the optimizer and schedule of each stage, and step the latter two once."""
    import psutil
    import torch

    from daair.losses import check_terms
    from daair.models import training
    from daair.optim import make_schedule

    model = _try(cfg, "model", lambda: _network(json.dumps(cfg.model)))
    if is_foreign(cfg.model) and (cfg.device == "cpu" or not torch.cuda.is_available()):
        _check_forward(json.dumps(cfg.model), cfg.mix.get("patch", 64))
    loss = _try(cfg, "loss", lambda: build(cfg.loss))
    if not isinstance(loss, torch.nn.Module):
        text = f"{cfg.loss['_target_']} makes a {type(loss).__name__}, not a torch.nn.Module"
        raise ConfigError([Problem("loss._target_", text)])
    sizes = {f"train.progressive[{i}].batch_size": phase.batch_size for i, phase in enumerate(cfg.train.progressive)}
    sizes = {key: size for key, size in sizes.items() if size}
    if len(sizes) < max(1, len(cfg.train.progressive)):
        sizes["train.batch_size"] = cfg.train.batch_size
    _try(cfg, "model", lambda: training.check(model, cfg.train.freeze, cfg.launch.world_size, sizes))
    _try(cfg, "loss", lambda: check_terms(loss, training.terms(model), type(model).__name__))
    _check_crops(cfg, getattr(loss, "least_side", 1))
    needed, memory = 8 * sum(p.numel() for p in model.parameters()), psutil.virtual_memory().total
    if needed > memory and (cfg.device == "cpu" or not torch.cuda.is_available()):
        text = f"weights and gradients take {needed / 1e9:.3g} GB, but this machine has {memory / 1e9:.3g} GB of memory"
        raise ConfigError([Problem("model", text)])
    for key, size in sizes.items():
        patch = cfg.mix.get("patch", 0)
        images = 12 * size * patch**2 / cfg.launch.world_size
        if images > memory:
            what = f"{size} crops of {patch} x {patch} pixels take {images / 1e9:.3g} GB"
            text = f"{what}, but this machine has {memory / 1e9:.3g} GB of memory"
            raise ConfigError([Problem(key, text)])
    for stage in training.stages(model):
        names = training.trainable(model, stage, cfg.train.freeze)
        shapes = [(p.shape, p.dtype) for name, p in model.named_parameters() if name in names]
        # Fused kernels need parameters on a real device; `empty` does not touch the memory, so it costs nothing.
        parameters = [torch.nn.Parameter(torch.empty(shape, dtype=dtype)) for shape, dtype in shapes]
        optimizer = _try(cfg, "optimizer", lambda made=parameters: build(cfg.optimizer)(made))
        _try(cfg, "optimizer", optimizer.step)
        steps = max(1, round(stage.share * (cfg.train.steps or 1)))  # within a time they are not known yet
        schedule = _try(cfg, "schedule", lambda o=optimizer, n=steps: make_schedule(cfg.schedule, o, n))
        _try(cfg, "schedule", lambda made=schedule: made.step_update(1))


def _check_crops(cfg: Config, least: int) -> None:
    """Check that no crop of the training has a side below `least`, the smallest that its loss can compare."""
    sides = {f"train.progressive[{i}].patch": phase.patch for i, phase in enumerate(cfg.train.progressive)}
    if not sides or None in sides.values():
        sides["mix.patch"] = cfg.mix.get("patch")
    for key, side in sides.items():
        if side is not None and side < least:
            raise ConfigError([Problem(key, f"must be at least {least} with this loss, got {side}")])


@lru_cache(maxsize=4)
def _check_forward(node: str, size: int) -> None:
    """Check that a network from another package maps an image to one of the same shape; on the CPU alone.

    A network may have parts that only a GPU computes. Where there is one, the first update finds this out. Jobs of a
    sweep with the same node share the answer.
    """
    import torch

    from daair.models import training

    image, labels = torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.long)
    try:
        with torch.inference_mode():
            training.apply(_network(node).eval(), image, labels)
    except UserError as error:
        raise ConfigError([Problem("model", str(error).removeprefix("model: "))]) from error
    except Exception as error:
        text = f"fails for images of shape {tuple(image.shape)} ({one_line(reason(error))})"
        raise ConfigError([Problem("model", text)]) from error


@lru_cache(maxsize=4)
def _network(node: str) -> Any:
    """Build the network of a model's node, given as JSON; jobs of a sweep with the same node share the network."""
    import torch

    from daair import checkpoint

    model = json.loads(node)
    # A class from another package may not support the meta device.
    with torch.device("cpu" if any(map(is_foreign, nodes(model))) else "meta"):
        return checkpoint.build(model)


def check_mix(cfg: Config, training: bool = False) -> None:
    """Check the mix and its parts by building them; no image is read.

    Args:
        training: Whether to look for the training images under `mix.root` as well.

    Raises:
        ConfigError: A constructor refuses its arguments, or images are missing.
    """
    mix = _try(cfg, "mix", lambda: build(cfg.mix), cfg.mix)
    if training:
        _try(cfg, "mix", lambda: mix.images, cfg.mix)
    elif mix.root is not None:
        check_folder(mix.root, "mix.root: ")


def check_places(cfg: Config) -> None:
    """Check that the task can write to the places that the config names; nothing is created.

    Raises:
        UserError: It cannot; the message begins with the key.
    """
    task, record = cfg.task.get("name"), task_of(cfg.task.get("name"))
    places = {"output": cfg.output, f"{task}.output": getattr(getattr(cfg, str(task), None), "output", None)}
    if record.writes_runs:
        places["paths.runs"] = cfg.paths.runs
    folders = {"paths.runs", "collate.output", *(["output"] if record.output_is_folder else [])}
    for key, place in places.items():
        if place is not None:
            check_writable(Path(place), key, folder=key in folders)


def check_checkpoint(cfg: Config) -> None:
    """Check that `checkpoint` is given exactly if the network to evaluate has weights; builds it if none is given.

    Raises:
        ConfigError: The checkpoint is missing, or is given for a method without weights.
    """
    from daair import checkpoint

    if cfg.checkpoint is None and checkpoint.needs_weights(cfg.model):
        raise ConfigError([Problem("checkpoint", "missing; task=evaluate needs checkpoint=...")])
    # Only of a class that says so: the network of a checkpoint need not be the one that the config names.
    if cfg.checkpoint is not None and not getattr(locate(cfg.model["_target_"]), "has_weights", True):
        method = cfg.choices.get("model", "this model")
        raise ConfigError([Problem("checkpoint", f"{method} has no weights; leave out checkpoint=... or model=...")])


def _try(cfg: Config, name: str, construct: Callable[[], Any], node: Mapping[str, Any] | None = None) -> Any:
    """Return what `construct` returns, with its errors turned into a problem of the key that they name, else of `name`.

    With `node`, the node at `name`, errors may name its arguments; see `daair.errors.with_full_keys`.

    Raises:
        ConfigError: `construct` raised an error.
    """
    try:
        return construct()
    except Exception as error:  # a class from another package may raise any error
        cause: BaseException = error
        while not isinstance(cause, UserError | ValueError | TypeError) and cause.__cause__ is not None:
            cause = cause.__cause__  # of Hydra's InstantiationException
        told = one_line(cause) if isinstance(cause, UserError | ValueError | TypeError) else reason(cause)
        if node is not None:
            for part in (re.findall(r"full_key: ([\w.]+)", str(error)) or [""])[0].split("."):
                name, node = (f"{name}.{part}", node[part]) if part in node else (name, node)
            told = with_full_keys(told, name, takes(locate(node["_target_"])))
        key, _, text = told.partition(": ")
        if not text or key.split(".")[0] not in {*Config.model_fields, *cfg.parts}:
            key, text = name, told
        raise ConfigError([Problem(key, text)]) from error
