"""Evaluation on benchmarks: one row per image and protocol, in results.csv.

Columns of a row, in this order:

| column | meaning |
| --- | --- |
| benchmark | name of the benchmark |
| protocol | name of the metric protocol, see `daair.metrics` |
| image | name of the image, unique within the benchmark |
| width, height | in pixels, after the protocol's crop |
| tile | side in pixels of the tiles that it was restored in; 0 for the whole image at once |
| input_psnr, input_ssim | of the degraded image against the clean one, in dB and 1; inf dB for equal images |
| psnr, ssim | of the restored image against the clean one |
| step | updates of the network; empty if unknown |
| input_lpips, lpips, input_dists, dists | only if asked for and available; lower is better |

benchmark, protocol and image together are unique: a new evaluation replaces all rows of its benchmarks and protocols.
Networks that want sides of a certain multiple get images that are padded by reflection; the figures are of the image.
"""

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from accelerate import Accelerator
from torch import nn

from daair import checkpoint, components
from daair.config import overrides
from daair.config.jobs import Job
from daair.config.schema import Config
from daair.config.validate import benchmarks_of
from daair.data.benchmarks import Benchmark, load_benchmark, why_missing
from daair.data.mix import Mix
from daair.engine.measure import Samples, measure
from daair.engine.progress import Reporter
from daair.engine.setup import make_accelerator
from daair.errors import UserError
from daair.files import replacing, safe_name
from daair.report import tables
from daair.runs import samples
from daair.runs.mirror import Mirror
from daair.runs.pictures import comparison
from daair.runs.record import Record
from daair.runs.samples import Sample


def evaluate(job: Job) -> int:
    """`task=evaluate`: measure `job.config.checkpoint` on `job.config.benchmarks`; returns the exit status.

    They go to the folder `output`. By default those of a run are merged into its own results.csv, those of a
    lone file go to `<paths.runs>/evaluate/<file>-<digest>/`, of a method without weights to `.../<name>/`: one folder
    for each network, however many files are called model.safetensors.

    Raises:
        UserError: nothing to load, unknown benchmarks, missing data.
    """
    cfg = job.config
    accelerator = make_accelerator(device=cfg.device, num_processes=cfg.launch.world_size, threads=cfg.train.threads)
    reporter = Reporter(accelerator.is_main_process)
    benchmarks = benchmarks_of(cfg)
    if not benchmarks:
        raise UserError("benchmarks: none is given; e.g. benchmarks=[demo_noise25]")
    root = cfg.mix.get("root")
    if cfg.benchmarks is None:
        benchmarks = with_data(benchmarks, root, reporter)
    items = [item for benchmark in benchmarks for item in load_benchmark(benchmark, root)]
    model, folder = load_network(cfg)
    record = Record(folder, writer=accelerator.is_main_process)
    with record.lock():
        rows, *pictures = measure(model, items, accelerator, reporter, cfg.evaluate, cfg.protocols, cfg.metrics)
        keep(record, rows, *pictures, reporter)
    if accelerator.is_main_process:
        tables.show(tables.per_benchmark(rows), reporter.console)
        reporter.say(f"one row per image: {record.results_file}\npictures:          {record.samples}")
    return 0


def load_network(cfg: Config) -> tuple[nn.Module, Path]:
    """Return the network to evaluate, and the folder for its rows.

    Raises:
        UserError: there are no weights, or not those of this network.
    """
    if cfg.checkpoint is None:
        model = checkpoint.build(cfg.model)
        if model.state_dict():
            raise UserError("checkpoint: missing; task=evaluate needs checkpoint=...")
        name = str(cfg.model["_target_"]).rpartition(".")[2].lower()
        if arguments := {key: value for key, value in cfg.model.items() if key != "_target_" and value}:
            name += f"-{_digest(repr(arguments).encode())}"
        return model.eval(), Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")
    source = Path(cfg.checkpoint)
    if components.is_foreign(cfg.model):
        model = checkpoint.build(cfg.model)
        checkpoint.load_weights(model, checkpoint.find_weights(source))
    else:
        model = checkpoint.load(source)
    if source.is_dir():
        return model.eval(), Path(cfg.output or source)
    name = safe_name(f"{source.stem}-{_digest(source.read_bytes())}")
    return model.eval(), Path(cfg.output or f"{cfg.paths.runs}/evaluate/{name}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def with_data(benchmarks: Sequence[Benchmark], root: str | None, reporter: Reporter) -> list[Benchmark]:
    """Return those benchmarks whose data are there; of the others a line says why not."""
    reasons = {benchmark: why_missing(benchmark, root) for benchmark in benchmarks}
    for reason in filter(None, reasons.values()):
        reporter.say(f"not evaluated: {reason}")
    return [benchmark for benchmark, reason in reasons.items() if reason is None]


def finish(
    cfg: Config, mix: Mix, record: Record, accelerator: Accelerator, reporter: Reporter, mirror: Mirror | None = None
) -> int:
    """Return the end of a training run: measure what is not measured yet, show all, mark the run as done."""
    stored = record.results()
    already = set() if stored is None else set(zip(stored["benchmark"], stored["protocol"], strict=True))
    items = []
    for benchmark in with_data(benchmarks_of(cfg), mix.root, reporter):
        wanted = {(benchmark.name, protocol) for protocol in cfg.protocols or [benchmark.protocol]}
        if wanted - already:
            items += load_benchmark(benchmark, mix.root)
    if items:
        model = checkpoint.load(record.folder)
        measured = measure(model, items, accelerator, reporter, cfg.evaluate, cfg.protocols, cfg.metrics)
        keep(record, *measured, reporter)
    record.update(state="done", step=cfg.train.steps, message="")
    if accelerator.is_main_process:
        summary(record, reporter, mirror)
    return 0


def summary(record: Record, reporter: Reporter, mirror: Mirror | None) -> None:
    """Print the table of a finished run, where its files are and what to type next."""
    rows = record.results()
    if rows is not None:
        table = tables.per_benchmark(rows)
        tables.show(table, reporter.console)
        if mirror is not None:
            scores = {
                f"test/{row.benchmark}/{name}": getattr(row, name)
                for row in table.itertuples()
                for name in ("psnr", "ssim")
            }
            mirror.summarise(scores)
            pictures = sorted(record.samples.glob("*.png"))
            mirror.log_images(record.status().step, {f"samples/{path.stem}": path for path in pictures})
    places = {"pictures": record.samples / "comparison.png", "per image": record.results_file}
    reporter.say(f"{'run folder':<13}{record.folder}")
    for name, place in places.items():
        if place.exists():  # without benchmarks there is neither
            reporter.say(f"{name:<13}{place}")
    this = shlex.quote(f"checkpoint={overrides.text(str(record.folder))}")
    reporter.say(f"restore your own:  python run.py task=restore {this} input=IMAGE_OR_DIR output=DIR")


def keep(record: Record, rows: pd.DataFrame, first: Samples, extremes: Sequence[Sample], reporter: Reporter) -> None:
    """Merge rows into results.csv, keep the pictures with the largest and smallest gains, draw a sheet of the first.

    A benchmark's new rows replace all its old ones in the same protocol, so that no two evaluations are mixed; when
    those were restored in other tiles, or whole, a line says so.
    """
    if not record.writer:
        return
    for sample in extremes:  # before the rows: an evaluation whose rows are there is not repeated
        samples.write(record.sample_file(sample.benchmark, sample.which), sample)
    notes = {
        name: [f"{row['input_psnr']:.2f} dB", f"{row['psnr']:.2f} dB", ""]
        for name, row in rows.drop_duplicates("benchmark").set_index("benchmark").iterrows()
    }
    stored = record.results()
    if stored is not None:
        old, new = (tables.tiles(table) for table in (stored, rows))
        for benchmark, protocol in (pair for pair in new if pair in old and old[pair] != new[pair]):
            before, now = old[benchmark, protocol], new[benchmark, protocol]
            reporter.say(f"{benchmark}, {protocol}: rows with tile {before} are replaced by rows with tile {now}")
        kept = [pair not in new for pair in zip(stored["benchmark"], stored["protocol"], strict=True)]
        if any(kept):
            columns = dict.fromkeys([*rows.columns, *stored.columns])
            rows = pd.concat([stored[kept], rows], ignore_index=True)[list(columns)]
            rows["tile"] = rows["tile"].fillna(0).astype(int)  # rows of the time before tiles
    with replacing(record.results_file) as temporary:
        rows.to_csv(temporary, index=False)
    comparison(record.samples / "comparison.png", first, notes=notes, height=256)
