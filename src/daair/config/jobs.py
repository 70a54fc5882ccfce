"""The jobs of a command line, each composed, checked and named once before anything starts.

A job is then passed on unchanged to its launcher and its task.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from daair.config.compose import Composer, parse_arguments, searches
from daair.config.problems import ConfigError, Problem, did_you_mean
from daair.config.tasks import task_of
from daair.errors import UserError, one_line, suggestion, with_full_keys

if TYPE_CHECKING:
    from daair.config.validate import Config

__all__ = ["Command", "Composer", "Job", "Point", "check"]


ADAMW = "adamw"
"""The optimizer whose learning rate the options of `scale` set."""


@dataclass(frozen=True)
class Job:
    """A checked config together with its id, its folder and the command that gave it.

    Attributes:
        config: The checked config.
        overrides: The overrides and flags of the command, as the user gave them.
        id: The config id; empty for a task that belongs to no study or to several.
        folder: The run's folder.
        label: The readable part of the folder's name.
        trust: Packages, besides `daair`, whose classes this command may build.
        composer: The composer of the config, for tasks that compose others; None in a worker.
    """

    config: Config
    overrides: tuple[str, ...]
    id: str
    folder: Path
    label: str
    trust: tuple[str, ...] = ()
    composer: Composer | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        config: Config,
        overrides: Sequence[str] = (),
        trust: Sequence[str] | None = None,
        composer: Composer | None = None,
    ) -> Job:
        """Return the job of a checked config; `trust` defaults to the packages that the config names."""
        from daair.config.identity import run_folder
        from daair.trust import named_packages

        trust = {*named_packages(config.to_dict()), *config.trust} if trust is None else trust
        of_one = isinstance(config.study, str)
        folder = run_folder(config) if of_one else Path(config.paths.runs)
        label, _, config_id = folder.parent.name.rpartition("-") if of_one else ("", "", "")
        return cls(config, tuple(overrides), config_id, folder, label, tuple(sorted(trust)), composer)

    @property
    def name(self) -> str:
        """The name `<study>/<label>-<config id>/seed<k>`."""
        return "/".join(self.folder.parts[-3:])

    @property
    def run(self) -> tuple[Path, str, int]:
        """The study's folder, the config id and the seed, which together identify the run."""
        return self.folder.parents[1], self.id, self.config.seed


@dataclass(frozen=True)
class Point:
    """One job of a command before it is composed.

    Attributes:
        overrides: All overrides that the job is composed from.
        own: Those of them that Hydra's sweeper passes to a launcher.
        given: The overrides that a user would type for this job alone.
        text: The overrides that distinguish it from the other jobs of the sweep; empty without a sweep.
    """

    overrides: tuple[str, ...]
    own: tuple[str, ...]
    given: tuple[str, ...]
    text: str = ""


class Command:
    """A command line and its jobs.

    Args:
        flags: Further flags that composing the overrides needs, such as `--config-dir=DIR`.

    Attributes:
        master: The composed config of the command itself, with its `hydra` node.
        sweep: Whether the command is a sweep.
        points: The points to compose, one per job.

    Raises:
        ConfigError: The command cannot be composed.
        UserError: The sweep has no points, or was started in one process of a launched run.
    """

    def __init__(
        self,
        composer: Composer,
        overrides: Sequence[str],
        *,
        multirun: bool = False,
        run: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        self.composer, self.flags = composer, tuple(flags)
        self.master = composer.compose(overrides, RunMode.MULTIRUN)
        self.sweep = multirun or not run and OmegaConf.select(self.master, "hydra.mode") == RunMode.MULTIRUN
        self._found_right: set[str] = set()
        self._variants: dict[tuple[Path, str], Path] = {}
        self.points = self._points() if self.sweep else [Point(*[tuple(overrides)] * 3)]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Command:
        """Return the command of the program's arguments.

        Raises:
            UserError: As for the class.
        """
        args = parse_arguments(arguments)
        composer = Composer(None, args.config_name or "config", args.config_dir)
        flags = [f"--config-{name}={value}" for name in ("dir", "name") if (value := getattr(args, f"config_{name}"))]
        return cls(composer, args.overrides, multirun=args.multirun, run=args.run, flags=flags)

    @cached_property
    def jobs(self) -> list[Job]:
        """The jobs, each composed, checked and named.

        Raises:
            UserError: A job cannot be done; the text says which and why.
        """
        return list(self._jobs.values())

    def job(self, own: Sequence[str]) -> Job:
        """Return the job with the overrides that Hydra's sweeper passes to a launcher.

        A job of a searching sweeper, which was not known before, is composed and checked now.

        Raises:
            UserError: The job cannot be done.
        """
        if (key := frozenset(own)) not in self._jobs:
            fixed = tuple(self.master.hydra.overrides.hydra)
            self._jobs[key] = self._job(Point((*fixed, *own), tuple(own), tuple(own), " ".join(own)))
        return self._jobs[key]

    @cached_property
    def _jobs(self) -> dict[frozenset[str], Job]:
        return {frozenset(point.own): self._job(point) for point in self.points}

    def batches(self) -> list[list[tuple[str, ...]]]:
        """Return the own overrides of all jobs in batches of at most `hydra.sweeper.max_batch_size` jobs."""
        own = list({frozenset(point.own): point.own for point in self.points}.values())
        size = self.master.hydra.sweeper.get("max_batch_size") or len(own)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"hydra.sweeper.max_batch_size: {size!r} is not a number of jobs of at least 1")
        return [own[start : start + size] for start in range(0, len(own), size)]

    def _points(self) -> list[Point]:
        """Return every job of the sweep."""
        if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
            raise UserError(
                "--multirun: RANK or WORLD_SIZE is set, so this is one process of a launched run; sweep from an "
                "unlaunched parent instead: python run.py -m ... hydra/launcher=accelerate launch.num_processes=N"
            )
        grid = self.composer.grid(self.master)
        if not grid:
            raise UserError("--multirun: the sweep has no points (an empty range, glob or hydra.sweeper.only)")
        fixed = tuple(self.master.hydra.overrides.hydra)
        # A job's overrides include those of its variant, so the command of the job alone must drop the variants.
        alone = ("~hydra.sweeper.variants",) if self.master.hydra.sweeper.get("variants") else ()
        alone += ("hydra.sweeper.only=null",) if alone and self.master.hydra.sweeper.get("only") is not None else ()
        if searches(self.master):  # a searching sweeper passes on no label
            typed = set(self.master.hydra.overrides.task)
            grid = [[o for o in own if not o.startswith("label=") or o in typed] for own in grid]
        common = set(grid[0]).intersection(*grid)
        points = []
        for own in map(tuple, grid):
            text = " ".join(o for o in own if o not in common and not o.startswith("label="))
            points.append(Point((*fixed, *own), own, (*alone, *own), text))
        return points

    def _job(self, point: Point) -> Job:
        """Compose, check and name one job; its errors name the overrides that distinguish it from other jobs."""
        from daair.config.unused import unused

        try:
            config = check(self._compose(point), self.composer.options, self._found_right)
        except ConfigError as error:
            raise ConfigError([_of_one_option(problem, point) for problem in error.problems], point.text) from None
        task = config.task.get("name")
        if task == "train":
            self._check_rate(config, point)
        if self.sweep and task_of(task).reads_runs:
            how = f"study={config.study} instead of experiment=..., without -m" if config.study else "it without -m"
            raise UserError(f"task={task} is done once for a study, not swept: write {how}")
        if task_of(task).network_in_checkpoint:
            _refuse_network(config, point.overrides)
        typed = [override.lstrip("+~").partition("=")[0] for override in self.master.hydra.overrides.task]
        if problems := unused(config, typed):
            raise ConfigError(problems)
        if task == "evaluate" and config.study is None and "label" in typed:  # not one that a sweep made up
            raise ConfigError([Problem("label", "unused without study=NAME, in whose table it would name the row")])
        job = Job.of(config, (*self.flags, *point.given), composer=self.composer)
        if not job.id:
            return job
        # Jobs of one config share a folder, even if their labels differ and the folder does not exist yet.
        variant = self._variants.setdefault((job.folder.parents[1], job.id), job.folder.parent)
        return replace(job, folder=variant / job.folder.name, label=variant.name.rpartition("-")[0])

    def _check_rate(self, config: Config, point: Point) -> None:
        """Refuse the learning rate that `scale` sets for AdamW with an optimizer whose own rate is another.

        Raises:
            ConfigError: The rate is neither given nor the optimizer's own.
        """
        scale, option = (config.choices.get(group) for group in ("scale", "optimizer"))
        typed = {override.lstrip("+").partition("=")[0] for override in point.overrides}
        if scale in (None, "null") or option in (None, ADAMW) or "optimizer.lr" in typed:
            return
        known = option in self.composer.options("optimizer")
        rates = [f"optimizer={ADAMW}", f"optimizer={option if known else ADAMW}", f"scale={scale}"]
        usual, own, scaled = (self.composer.compose_job([over]).optimizer.get("lr") for over in rates)
        if not known and usual != scaled and config.optimizer.get("lr") == scaled:
            text = f"scale={scale} sets {scaled:g}, for {ADAMW}; give that of {option}, as in optimizer.lr={scaled:g}"
            raise ConfigError([Problem("optimizer.lr", text)])
        if None not in (usual, own, scaled) and own != usual and config.optimizer.get("lr") == scaled:
            text = (
                f"scale={scale} sets {scaled:g}, for {ADAMW} with {usual:g} of its own; {option}'s own is {own:g}, so "
            )
            raise ConfigError(
                [Problem("optimizer.lr", f"{text}give it, such as optimizer.lr={own * scaled / usual:.2g}")]
            )

    def _compose(self, point: Point) -> DictConfig:
        if self.sweep:
            return self.composer.compose_job(point.overrides)
        swept = any(override.is_sweep_override() for override in self.composer.parse(point.overrides))
        return self.composer.compose(point.overrides) if swept else self.master  # `compose` refuses a sweep


def _of_one_option(problem: Problem, point: Point) -> Problem:
    """Return a problem that says what to do if its key is unknown because the sweep varies its config group."""
    group, typed = problem.key.partition(".")[0], [override.lstrip("+").partition("=")[0] for override in point.own]
    if problem.key in typed and f" {group}=" in f" {point.text}" and problem.text.startswith("unknown; valid"):
        text = f"{problem.text}; {group} is swept: variants (hydra.sweeper.variants) give a key to one of its options"
        return replace(problem, text=text)
    return problem


def check(cfg: DictConfig, options: Callable[[str], Sequence[str]], seen: set[str]) -> Config:
    """Check one composed config as far as its task needs it.

    Args:
        options: A function that returns the options of a config group.
        seen: The checks that earlier jobs of the command have passed; new ones are added.

    Raises:
        ConfigError: The config has problems.
        UserError: The data of a benchmark are missing.
    """
    from daair.components import locate
    from daair.config.buildable import check_buildable, check_checkpoint, check_mix, check_places
    from daair.config.validate import validate

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
    if task_of(task).measures:
        _check_test_images(config, seen)
    check_places(config)
    if task == "evaluate":
        check_checkpoint(config)
    if task == "train":
        check_buildable(config, seen)
    return config


def _check_test_images(config: Config, seen: set[str]) -> None:
    """Check that the benchmarks have data, and the images that `evaluate.shown` names.

    Raises:
        UserError: They do not; benchmarks of the mix may lack data and are then skipped with a message.
    """
    from daair.config.validate import benchmarks_of
    from daair.data.benchmarks import BENCHMARKS, load_benchmark, why_missing

    benchmarks, root, missing = benchmarks_of(config), config.mix.get("root"), {}
    for benchmark in benchmarks:
        place = str((benchmark, root))
        if place not in seen and (reason := why_missing(benchmark, root)):
            missing[benchmark.name] = reason
        else:
            seen.add(place)
    evaluate = config.task.get("name") == "evaluate"
    if missing and (config.benchmarks is not None or (evaluate and len(missing) == len(benchmarks))):
        raise UserError(with_full_keys(next(iter(missing.values())), "mix", ("root",)))
    shown = config.evaluate.shown or {}
    own = [benchmark.name for benchmark in benchmarks]
    # Another job of a sweep may have a benchmark that this one lacks.
    _check_names("evaluate.shown", [name for name in shown if name not in BENCHMARKS], own)
    for benchmark in benchmarks:
        image = shown.get(benchmark.name)
        if image is None or benchmark.name in missing or (place := str((benchmark, root, image))) in seen:
            continue
        images = [item.name for item in load_benchmark(benchmark, root)]
        if image not in images:
            hint = suggestion(image, images, f"; its images are {images[0]} to {images[-1]}")
            raise ConfigError([Problem(f"evaluate.shown.{benchmark.name}", f"no image {image}{hint}")])
        seen.add(place)


def _refuse_network(config: Config, overrides: Sequence[str]) -> None:
    """Refuse overrides of the network together with a checkpoint that describes its own, as they would be ignored."""
    from daair import checkpoint
    from daair.components import is_foreign

    named, which = config.checkpoint, "the one of checkpoint=..."
    if named is None and config.task.get("name") == "restore":
        named, which = checkpoint.DEFAULT, f"{checkpoint.DEFAULT}, since there is no checkpoint=..."
    elif named is None or is_foreign(config.model) or not checkpoint.locate(named).exists():
        return  # that a file is missing is told by the check of the checkpoint
    if not checkpoint.describes_network(named):
        return
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in ("model", *config.parts):
            raise ConfigError([Problem(key, f"unused; the network is {which}")])


def _check_names(key: str, names: Sequence[str], options: Sequence[str]) -> None:
    for name in names:
        if name not in options:
            raise ConfigError([Problem(key, f"no {name}{did_you_mean(name, options)}")])
