"""`task=evaluate`: measure a network on benchmarks; `daair.engine.evaluate` describes the rows."""

import hashlib
from pathlib import Path

import pandas as pd

from daair import checkpoint
from daair.config import overrides
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.config.validate import benchmarks_of
from daair.data.benchmarks import load_benchmark
from daair.engine.evaluate import measure_and_keep, with_data
from daair.engine.inference import load_model
from daair.engine.progress import Reporter
from daair.engine.setup import Session, make_accelerator
from daair.engine.study_row import measure_row
from daair.errors import UserError
from daair.files import file_digest, safe_name
from daair.runs import scores
from daair.runs.record import Record


def evaluate(job: Job) -> int:
    """Measure `job.config.checkpoint` on `job.config.benchmarks`; return the exit status, 1 if an image could not be.

    With `study=NAME` the network becomes a row of that study, called `label`, see `daair.engine.study_row`. Otherwise
    the rows are written to the folder `output`. By default the rows of a run are merged into its own results.csv, those
    of a single file are written to `<paths.runs>/evaluate/<file>-<digest>/` and those of a method without weights to
    `<paths.runs>/evaluate/<name>/`. The digest gives every network its own folder, even if all files are called
    model.safetensors.

    Raises:
        UserError: There is nothing to load, a benchmark is unknown, or data are missing.
    """
    cfg = job.config
    accelerator = make_accelerator(cfg)
    reporter = Reporter(accelerator.is_main_process)
    benchmarks = benchmarks_of(cfg)
    if not benchmarks:
        raise UserError("benchmarks: none is given; e.g. benchmarks=[demo_noise25]")
    root = cfg.mix.get("root")
    if cfg.benchmarks is None:
        benchmarks = with_data(benchmarks, root, reporter)
    items = [item for benchmark in benchmarks for item in load_benchmark(benchmark, root)]
    notes: list[str] = []
    model = checkpoint.build(cfg.model).eval() if cfg.checkpoint is None else load_model(cfg, notes.append)
    for note in notes:
        reporter.say(note)
    if cfg.study is not None:
        record, rows, lost = measure_row(job, model, items, notes, accelerator, reporter)
    else:
        record = Record(rows_folder(cfg), writer=accelerator.is_main_process)
        record.results()  # those that are damaged are told before the work, not after it
        with record.lock():
            session = Session(cfg, record, accelerator, reporter)
            rows, lost = pd.concat(measure_and_keep(model, items, session), ignore_index=True), session.lost
    if accelerator.is_main_process:
        scores.show(rows, reporter.console)
        reporter.say(f"one row per image: {record.results_file}\npictures:          {record.samples}")
        if cfg.study is not None:
            reporter.say(f"the study's table: {overrides.table_command(cfg.study, cfg.paths.runs)}")
        if lost:
            reporter.say(f"images that were not measured, for the reasons above: {len(lost)}")
    return 1 if lost else 0


def rows_folder(cfg: Config) -> Path:
    """Return the folder for the rows of a network that is evaluated for itself, for no study."""
    if cfg.checkpoint is None:
        name = str(cfg.model["_target_"]).rpartition(".")[2].lower()
        if arguments := {key: value for key, value in cfg.model.items() if key != "_target_" and value}:
            name += f"-{hashlib.sha256(repr(arguments).encode()).hexdigest()[:8]}"
        return Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")
    if Path(cfg.checkpoint).is_dir():
        return Path(cfg.output or cfg.checkpoint)
    weights = checkpoint.find_weights(cfg.checkpoint)
    stem = weights.stem if weights == Path(cfg.checkpoint) else cfg.checkpoint  # daair_tiny, hf://OWNER/NAME
    name = safe_name(f"{stem}-{file_digest(weights, 8)}")
    return Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")
