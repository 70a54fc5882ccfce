"""Evaluate on benchmarks: one row per image and protocol, in results.csv.

Columns of a row, in this order:

| column | meaning |
| --- | --- |
| benchmark | name of the benchmark |
| protocol | name of the metric protocol, see `daair.metrics` |
| image | name of the image, unique within the benchmark |
| width, height | size in pixels, after the protocol's crop |
| tile | side in pixels of the tiles in which the image was restored; 0 for the whole image at once |
| input_psnr, input_ssim | degraded image against the clean one, in dB and 1; inf dB for equal images |
| psnr, ssim | restored image against the clean one |
| step | updates of the network; empty if unknown |
| arithmetic | `float32`, never rounded to TensorFloat-32; rows of earlier versions lack it |
| input_NAME, NAME | any other metric of `daair.metrics.METRICS` that was asked for and is available |

benchmark, protocol and image together are unique: a new evaluation replaces all rows of its benchmarks and protocols.
If a network needs sides of a certain multiple, the input is padded by reflection and the output cropped before it is
measured.
"""

import shlex
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from daair import checkpoint
from daair.config import overrides
from daair.config.schema import Evaluate
from daair.config.validate import benchmarks_of, define_benchmarks
from daair.data.benchmarks import Benchmark, Item, load_benchmark, why_missing
from daair.data.listing import describe_foreign, foreign_beside
from daair.engine.inference import OVERLAP, Restorer
from daair.engine.measure import make_restorer, measure
from daair.engine.progress import Evaluation, Reporter
from daair.engine.setup import Session
from daair.engine.unmeasured import note, rows_of, unmeasured, unreadable
from daair.errors import UserError, unknown_name, with_full_keys
from daair.files import replacing
from daair.metrics import METRICS, PROTOCOLS, optional_columns, required_columns
from daair.runs import samples, scores
from daair.runs.pictures import comparison
from daair.runs.record import Record
from daair.runs.samples import Sample
from daair.trust import named_packages


def evaluate(
    model: nn.Module,
    benchmarks: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    root: str | PathLike[str] | None = None,
    protocols: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Measure a network on benchmarks and return a row per image; see `daair.evaluate`."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model: a {type(model).__name__} is not a network; daair.load(path) returns one")
    names = {benchmarks: {}} if isinstance(benchmarks, str) else benchmarks
    if not isinstance(names, Mapping | Sequence) or not names:
        raise UserError(f"benchmarks: {names!r} names none; give names, such as demo_noise25, or definitions by name")
    definitions = names if isinstance(names, Mapping) else dict.fromkeys(names, {})
    if wrong := next((name for name, one in definitions.items() if not isinstance(one, Mapping)), None):
        raise UserError(f"benchmarks.{wrong}: must be a mapping, such as {{'target': DIR, 'input': DIR}}")
    protocols = [protocols] if isinstance(protocols, str) else protocols
    metrics = [metrics] if isinstance(metrics, str) else metrics
    measured = [name for name, metric in METRICS.items() if not metric.derive]
    for key, given, known in (("protocols", protocols or (), PROTOCOLS), ("metrics", metrics, measured)):
        for name in given:
            if name not in known:
                raise UserError(f"{key}: {unknown_name(name, known)}")
    if missing := next(filter(None, (METRICS[name].missing() for name in metrics)), None):
        raise UserError(f"metrics: {missing}")
    items = [item for benchmark in define_benchmarks(definitions) for item in load_benchmark(benchmark, root)]
    reporter = Reporter(active=False)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    restorer = Restorer(model, device, "auto", OVERLAP, lambda line: warnings.warn(line, stacklevel=2))
    options = Evaluate(tile=None, overlap=OVERLAP, memory=1, workers=2, pictures=0, shown=None)
    rows, _, _ = measure(model, items, PartialState(), reporter, options, protocols, metrics, restorer)
    return rows


def with_data(benchmarks: Sequence[Benchmark], root: str | None, reporter: Reporter) -> list[Benchmark]:
    """Return the benchmarks whose data are available; print why the others are not."""
    reasons = {benchmark: why_missing(benchmark, root) for benchmark in benchmarks}
    for reason in filter(None, reasons.values()):
        reporter.say(f"not evaluated: {with_full_keys(reason, 'mix', ('root',))}")
    return [benchmark for benchmark, reason in reasons.items() if reason is None]


def finish(session: Session, labels: list[str], step: int) -> int:
    """Evaluate what has no results yet, mark the run as done, print its summary, and return the exit status.

    Args:
        session: The run.
        labels: The names of the degradation labels, in the order of their numbers.
        step: The number of updates that the run has made; with `train.stop_after` perhaps fewer than planned.
    """
    cfg, record = session.cfg, session.record
    stored = rows_of(record, step)
    if early := record.summary().get("stopped_early", ""):
        session.reporter.say(early)
    there = with_data(benchmarks_of(cfg), cfg.mix.get("root"), session.reporter)
    # The main process tells what is missing: another machine may lack the weights of a metric.
    (lacking,) = gather_object([[one.name for one in unmeasured(cfg, record, there, step)]] if record.writer else [])
    items = [item for one in there if one.name in lacking for item in load_benchmark(one, cfg.mix.get("root"))]
    begun = time.monotonic()
    if items:
        network = checkpoint.build(cfg.model)
        checkpoint.load_weights(network, record.weights_file)
        network.labels, network.step = labels, step
        for _ in measure_and_keep(network, items, session):
            pass
    note_lost_before(session, [one for one in there if one.name not in lacking])
    if stored is None or stored.empty:
        record.summarise(evaluation_seconds=round(time.monotonic() - begun, 2))
    message = "; ".join(filter(None, (early, not_measured(session.lost))))
    if items or record.status().state != "done":
        record.update(state="done", step=step, steps=step, message=message, measured=0, images=0)
    if session.accelerator.is_main_process:
        summary(session)
    return 1 if session.lost else 0


def note_lost_before(session: Session, benchmarks: Sequence[Benchmark]) -> None:
    """Print and add to `session.lost` the images that could not be measured before and have not changed since."""
    for benchmark in benchmarks:
        there = {item.name for item in load_benchmark(benchmark, session.cfg.mix.get("root"))}
        for image in unreadable(session.record, benchmark.name):
            if image in there:
                session.lost.append(f"{benchmark.name}: {image} could not be measured before")
                session.reporter.say(f"not measured: {session.lost[-1]}")


def not_measured(lost: Sequence[str]) -> str:
    """Return one line that counts and names the images that could not be measured; empty if there are none."""
    return f"not measured ({len(lost)}): {'; '.join(lost)}" if lost else ""


def measure_and_keep(network: nn.Module, items: Sequence[Item], session: Session) -> Iterator[pd.DataFrame]:
    """Measure a network on one benchmark after the other, and add each to the record before the next begins.

    Yields:
        The new rows of a benchmark, once they and its sample images are in the record. Images that cannot be read are
        left out, printed, and added to `session.lost`.
    """
    cfg, accelerator, reporter = session.cfg, session.accelerator, session.reporter
    restorer = make_restorer(network, accelerator, cfg.evaluate, reporter)
    metrics, first = cfg.metrics, {}
    progress = Evaluation(session.record, len(items), accelerator.num_processes)
    for name in dict.fromkeys(item.benchmark for item in items):
        own = [item for item in items if item.benchmark == name]
        if foreign := foreign_beside(file for item in own for file in item.files):
            reporter.say(f"{name}: left out {describe_foreign(foreign)}")
        lost: list[str] = []
        rows, of_first, chosen = measure(
            network, own, accelerator, reporter, cfg.evaluate, cfg.protocols, metrics, restorer, lost, progress.advance
        )
        for line in lost:
            reporter.say(f"not measured: {line}")
        session.lost.extend(lost)
        metrics = [metric for metric in metrics if metric in rows]  # whose weights are missing was said once
        first |= {name: (pictures, rows.iloc[0]) for name, pictures in of_first.items()}
        keep(session.record, rows, first, chosen, reporter)
        if session.record.config_file.is_file():
            note(session.record, cfg, own, rows, metrics)
        yield rows


def summary(session: Session) -> None:
    """Print the results of a finished run, the places of its files, and the command that restores images."""
    record, reporter, mirrors = session.record, session.reporter, session.mirrors
    rows = record.results()
    if rows is not None:
        scores.show(rows, reporter.console)
        if mirrors is not None:
            mirrors.summarise(summary_values(scores.per_benchmark(rows)))
            pictures = sorted(record.samples.glob("*.png"))
            mirrors.log_images(record.status().step, {f"samples/{path.stem}": path for path in pictures})
    if session.lost:
        reporter.say(f"{len(session.lost)} images were not measured; the reasons are above")
    places = {"pictures": record.samples / "comparison.png", "per image": record.results_file}
    reporter.say(f"{'run folder':<13}{record.folder}")
    for name, place in places.items():
        if place.exists():  # neither exists without benchmarks
            reporter.say(f"{name:<13}{place}")
    this = [f"checkpoint={overrides.text(str(record.folder))}"]
    if packages := sorted(named_packages(session.cfg.model)):  # what a checkpoint names is not trusted by itself
        this.append(f"trust={overrides.text(packages)}")
    reporter.say(f"restore your own:  python run.py task=restore {shlex.join(this)} input=IMAGE_OR_DIR output=DIR")


def summary_values(table: pd.DataFrame) -> dict[str, float]:
    """Return the means by `test/BENCHMARK/METRIC`, or by `test/BENCHMARK/PROTOCOL/METRIC` of several protocols.

    Args:
        table: As `daair.runs.scores.per_benchmark` returns it.
    """
    several = table["benchmark"].duplicated(keep=False)
    places = table["benchmark"].where(~several, table["benchmark"] + "/" + table["protocol"])
    columns = [name for name in METRICS if name in table]
    return {f"test/{place}/{name}": table.at[row, name] for row, place in places.items() for name in columns}


def keep(
    record: Record, rows: pd.DataFrame, first: Mapping[str, tuple], chosen: Sequence[Sample], reporter: Reporter
) -> None:
    """Add rows to results.csv, save the chosen samples, and draw a sheet of an image of each benchmark.

    `first` has the pictures and the row of the first image of each benchmark.

    New rows replace all old rows of their benchmark and protocol, so that two evaluations are never mixed; values of
    other metrics are kept where the PSNR is the same. A line is printed if their tiles differ.
    """
    if not record.writer:
        return
    for sample in chosen:  # before the rows, because an evaluation that has rows is not repeated
        samples.write(record.sample_file(sample.benchmark, sample.which), sample)
    stored = record.results()
    if stored is not None:
        old, new = (scores.tiles(table) for table in (stored, rows))
        for benchmark, protocol in (pair for pair in new if pair in old and old[pair] != new[pair]):
            before, now = old[benchmark, protocol], new[benchmark, protocol]
            reporter.say(f"{benchmark}, {protocol}: rows with tile {before} are replaced by rows with tile {now}")
        rows = with_other_metrics(rows, stored)
        kept = [pair not in new for pair in zip(stored["benchmark"], stored["protocol"], strict=True)]
        if any(kept):
            columns = dict.fromkeys([*rows.columns, *stored.columns])
            rows = pd.concat([stored[kept], rows], ignore_index=True)[list(columns)]
    with replacing(record.results_file) as temporary:
        _with_nan(rows).to_csv(temporary, index=False)
    if not first:
        return
    pictures = {name: shown for name, (shown, _) in first.items()}
    figures = {name: (row["input_psnr"], row["psnr"]) for name, (_, row) in first.items()}
    step = next(row["step"] for _, row in first.values())
    before = rows[rows["step"].isna() if pd.isna(step) else rows["step"] == step]  # of the same weights
    for name in set(before["benchmark"]) - set(first):
        if (sample := samples.read(record.sample_file(name, samples.SHOWN))) is not None:
            pictures[name], figures[name] = sample.pictures, (sample.input_psnr, sample.psnr)
    notes = {name: [*(f"{psnr:.2f} dB" for psnr in pair), ""] for name, pair in figures.items()}
    in_order = {name: pictures[name] for name in dict.fromkeys(rows["benchmark"]) if name in pictures}
    comparison(record.samples / "comparison.png", in_order, notes=notes, height=256)


def with_other_metrics(rows: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the values of metrics that only the stored rows have, where these are of the same picture.

    That is so if benchmark, protocol, image, updates and PSNR are equal.
    """
    names = [name for name in optional_columns() if name in stored and name not in rows]
    if not names:
        return rows
    keys = ["benchmark", "protocol", "image"]
    old = stored.drop_duplicates(keys).set_index(keys)[[*names, "step", "psnr"]]
    found = old.reindex(pd.MultiIndex.from_frame(rows[keys].astype(str)))
    pairs = zip(found["step"], rows["step"], found["psnr"], rows["psnr"], strict=True)
    same = [bool(step == was and psnr == had) for was, step, had, psnr in pairs]
    return rows.assign(**{name: found[name].where(same).to_numpy() for name in names})


def _with_nan(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which a NaN that was measured is the text `nan`; an empty cell means that nothing was measured."""
    names = [name for name in required_columns() if rows[name].isna().any()]
    return rows.assign(**{name: rows[name].astype(object).where(rows[name].notna(), "nan") for name in names})
