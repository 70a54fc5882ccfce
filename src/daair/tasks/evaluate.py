"""`task=evaluate`: measure a network on benchmarks; `daair.engine.evaluate` describes the rows."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import nn

from daair import checkpoint
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.config.validate import benchmarks_of
from daair.data.benchmarks import load_benchmark
from daair.engine.evaluate import measure_and_keep, with_data
from daair.engine.inference import load_model
from daair.engine.progress import Reporter
from daair.engine.setup import Session, make_accelerator
from daair.errors import UserError
from daair.files import file_digest, safe_name
from daair.runs import scores
from daair.runs.record import Record


def evaluate(job: Job) -> int:
    """Measure `job.config.checkpoint` on `job.config.benchmarks`; return the exit status.

    The rows are written to the folder `output`. By default the rows of a run are merged into its own results.csv, those
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
    model, folder = load_network(cfg, reporter.say)
    record = Record(folder, writer=accelerator.is_main_process)
    with record.lock():
        rows = measure_and_keep(model, items, Session(cfg, record, accelerator, reporter))
    if accelerator.is_main_process:
        scores.show(scores.per_benchmark(rows), reporter.console)
        reporter.say(f"one row per image: {record.results_file}\npictures:          {record.samples}")
    return 0


def load_network(cfg: Config, say: Callable[[str], None]) -> tuple[nn.Module, Path]:
    """Return the network to evaluate, and the folder for its rows.

    Raises:
        UserError: There are no weights, or they do not fit the network.
    """
    if cfg.checkpoint is None:
        model = checkpoint.build(cfg.model)
        name = str(cfg.model["_target_"]).rpartition(".")[2].lower()
        if arguments := {key: value for key, value in cfg.model.items() if key != "_target_" and value}:
            name += f"-{hashlib.sha256(repr(arguments).encode()).hexdigest()[:8]}"
        return model.eval(), Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")
    source = Path(cfg.checkpoint)
    model = load_model(cfg, say)
    if source.is_dir():
        return model, Path(cfg.output or source)
    name = safe_name(f"{source.stem}-{file_digest(source)[:8]}")
    return model, Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")
