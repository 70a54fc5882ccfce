"""Find values that are valid alone but not in combination."""

from __future__ import annotations

import os
from collections.abc import Iterator

from daair.components import is_node, locate
from daair.config.problems import UNKNOWN, Problem, did_you_mean
from daair.config.schema import Config
from daair.config.tasks import TASKS, readers, task_of
from daair.metrics import PROTOCOLS

LEAST_WORKERS, WORKERS_PER_CORE = 64, 4
"""Workers or threads that any machine can hold, and those that it can hold for each of its cores."""


def combinations(cfg: Config) -> Iterator[Problem]:
    """Yield problems of values that are valid alone but not in combination."""
    task = cfg.task.get("name")
    if cfg.study is None and not task_of(task).study_optional:
        yield Problem("study", f"missing; task={task} needs study=...")
    if isinstance(cfg.study, tuple) and not task_of(task).several_studies:
        several = ", ".join(f"task={name}" for name, known in TASKS.items() if known.several_studies)
        text = f"task={task} takes one, got [{', '.join(cfg.study)}]; several: {several}"
        yield Problem("study", text)
    for key in cfg.task.keys() - {"_target_", "name", "study"}:
        yield Problem(f"task.{key}", UNKNOWN)
    yield from _inputs(cfg, task)
    if cfg.collate.source != "folders" and cfg.collate.project is None:
        text = f"missing; collate.source={cfg.collate.source} needs collate.project=ENTITY/NAME"
        yield Problem("collate.project", text)
    if cfg.launch.assume_devices is not None and (not cfg.launch.dry_run or cfg.device == "cpu"):
        why = "needs launch.dry_run=true" if not cfg.launch.dry_run else "assumes GPUs, and device=cpu uses none"
        yield Problem("launch.assume_devices", why)
    yield from _lengths(cfg)
    most = max(LEAST_WORKERS, WORKERS_PER_CORE * (os.cpu_count() or 1))
    counts = {
        "train.workers": cfg.train.workers,
        "train.threads": cfg.train.threads,
        "evaluate.workers": cfg.evaluate.workers,
    }
    for key, count in counts.items():
        if count is not None and count > most:
            yield Problem(key, f"must be at most {most} on this machine of {os.cpu_count()} cores, got {count}")
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
    if task_of(task).builds:  # else the router's class, and with it torch, would be imported for this alone
        yield from _experts(cfg)


def _experts(cfg: Config) -> Iterator[Problem]:
    """Yield what is wrong with the number of experts, should the router have one for each degradation."""
    router, experts, tasks = cfg.model.get("router"), cfg.model.get("experts"), cfg.mix.get("tasks")
    count = experts.get("count") if isinstance(experts, dict) else None
    if not is_node(router) or not isinstance(count, int) or not isinstance(tasks, dict) or not 0 < count < len(tasks):
        return
    try:
        labelled = getattr(locate(router["_target_"]), "one_expert_per_label", False)
    except ImportError:  # which the check of the router's node reports
        return
    if labelled:
        text = f"must be at least {len(tasks)} with this router (one expert per degradation), got {count}"
        yield Problem("experts.count", text)


def _lengths(cfg: Config) -> Iterator[Problem]:
    """Yield what is wrong with the number of updates, their parts and their batches."""
    train, processes = cfg.train, cfg.launch.world_size
    if train.steps is None and train.epochs is None and train.budget is None:
        yield Problem("train.steps", "must be an integer, got null")
    sizes = {f"train.progressive[{i}].batch_size": phase.batch_size for i, phase in enumerate(train.progressive)}
    for key, size in {"train.batch_size": train.batch_size, **sizes}.items():
        if size is not None and size % processes:
            text = f"must be a multiple of launch.nodes x launch.num_processes ({processes}), got {size}"
            yield Problem(key, text)
    tasks, figure = cfg.mix.get("tasks"), (train.best or "").partition("val/psnr/")[2]
    if figure and isinstance(tasks, dict) and figure not in tasks:
        yield Problem("train.best", f"no task of the mix is called {figure}{did_you_mean(figure, tasks, 'tasks')}")
    if train.stop_after is not None:
        for key, why in (("best", "the figure that must rise"), ("validate_every", "the updates between validations")):
            if getattr(train, key) is None:
                yield Problem(f"train.{key}", f"missing; train.stop_after needs it, {why}")
    shares = [phase.share for phase in train.progressive]
    if shares and abs(sum(shares) - 1) > 1e-6:
        yield Problem("train.progressive", f"the shares must sum to 1, not {' + '.join(map('{:g}'.format, shares))}")


def _inputs(cfg: Config, task: str | None) -> Iterator[Problem]:
    """Yield problems of the root keys that single tasks read: missing, or set but not read by the task."""
    if task == "evaluate" and cfg.study is not None and cfg.output is not None:
        yield Problem("output", "unused with study=..., whose folder holds the rows; leave out one of them")
    for key in task_of(task).needs:
        if getattr(cfg, key) is None:
            yield Problem(key, f"missing; task={task} needs {key}=...")
    if task == "runs":
        yield from _managing(cfg)
    for key in dict.fromkeys(key for known in TASKS.values() for key in known.takes) if task in TASKS else ():
        if getattr(cfg, key) is not None and key not in TASKS[task].takes:
            own = hasattr(getattr(cfg, task, None), key)
            hint = f"did you mean {task}.{key}?" if own else f"it is for task={', '.join(readers(key))}"
            yield Problem(key, f"unused by task={task}; {hint}")


def _managing(cfg: Config) -> Iterator[Problem]:
    """Yield problems of task=runs: an action on everything, or a label too much or too little."""
    if cfg.action not in (None, "list") and cfg.study is None and cfg.where is None:
        yield Problem("study", f"missing; action={cfg.action} needs study=NAME or where=CONDITION")
    if cfg.action == "label" and cfg.label is None:
        yield Problem("label", "missing; action=label needs label=TEXT")
    if cfg.action != "label" and cfg.label is not None:
        yield Problem("label", "unused without action=label")
    if not cfg.ask and cfg.action != "delete":
        yield Problem("ask", "unused without action=delete")
