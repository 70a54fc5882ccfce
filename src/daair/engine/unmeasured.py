"""Find what a run has not measured yet of the test images, protocols and metrics that its config asks for.

A sweep asks this of its finished runs, so that nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from daair.config.schema import Config
from daair.config.validate import benchmarks_of
from daair.data.benchmarks import Benchmark, Item, load_benchmark, why_missing
from daair.metrics import METRICS
from daair.runs import samples
from daair.runs.record import Record

if TYPE_CHECKING:
    import pandas as pd

DEFINED = "benchmarks_measured"
"""Key of summary.json: how the user's own benchmarks were defined when they were measured, by name."""


EVALUATED = "evaluated"
"""Key of summary.json: by benchmark, the metrics that were measured by each protocol, and the unreadable images."""


def own_benchmarks(cfg: Config) -> dict[str, str]:
    """Return the user's own benchmarks by name, each as text that tells different ones apart."""
    given = (cfg.to_dict()["benchmarks"] or {}).items()
    return {name: json.dumps(own, default=str) for name, own in given if own and any(own.values())}


def rows_of(record: Record, step: int | None) -> pd.DataFrame | None:
    """Return the run's rows that are of its network after `step` updates, None: all; None if there is no table.

    Raises:
        UserError: The file is damaged.
    """
    stored = record.results()
    return stored if stored is None or step is None else stored[stored["step"] == step]


def unmeasured(cfg: Config, record: Record, benchmarks: Sequence[Benchmark], step: int | None) -> Iterator[Benchmark]:
    """Yield each benchmark of which a run lacks a row of an image, a metric, or the picture to show.

    An image that could not be read is not waited for until its file changes.

    Args:
        cfg: What is asked for.
        record: The run.
        benchmarks: The benchmarks to look at, whose data are there.
        step: The number of updates of the run's network; None = whatever its rows say.

    Raises:
        UserError: The run's table is damaged.
    """
    stored, root = rows_of(record, step), cfg.mix.get("root")
    columns = [] if stored is None else [stored[name].astype(str) for name in ("benchmark", "protocol", "image")]
    already = set(zip(*columns, strict=True))
    wanted = [name for name in cfg.metrics if not METRICS[name].always and METRICS[name].missing() is None]
    measured, defined = record.summary().get(DEFINED, {}), own_benchmarks(cfg)
    for benchmark in benchmarks:
        name, protocols = benchmark.name, cfg.protocols or [benchmark.protocol]
        gone = unreadable(record, name)
        own = [item.name for item in load_benchmark(benchmark, root) if gone.get(item.name) != stamps(item)]
        lacking = {(name, protocol, image) for protocol in protocols for image in own} - already
        redefined = measured.get(name) not in (None, defined.get(name))
        if lacking or redefined or not (_has(record, stored, name, protocols, wanted) and shows(cfg, record, name)):
            yield benchmark


def note(record: Record, cfg: Config, items: Sequence[Item], rows: pd.DataFrame, metrics: Sequence[str]) -> None:
    """Note of a benchmark that was measured what its rows do not tell.

    Args:
        record: The run.
        cfg: The config by which it was measured.
        items: The benchmark's images.
        rows: Their rows.
        metrics: The metrics that were measured.
    """
    name, measured, noted = items[0].benchmark, set(rows["image"].astype(str)), record.summary()
    lost = {item.name: stamps(item) for item in items if item.name not in measured}
    of_metrics = _noted_metrics(record, name) | dict.fromkeys(map(str, rows["protocol"].unique()), list(metrics))
    evaluated = {**noted.get(EVALUATED, {}), name: {"metrics": of_metrics, "unreadable": lost}}
    defined = {key: own for key, own in noted.get(DEFINED, {}).items() if key != name}
    if name in (own := own_benchmarks(cfg)):
        defined[name] = own[name]
    record.summarise(**{EVALUATED: evaluated, DEFINED: defined})


def _noted_metrics(record: Record, benchmark: str) -> dict[str, list[str]]:
    """Return the metrics that were measured on a benchmark by protocol; `*`, for all, in notes of earlier versions."""
    noted = record.summary().get(EVALUATED, {}).get(benchmark, {}).get("metrics", {})
    return noted if isinstance(noted, dict) else {"*": noted}


def unreadable(record: Record, benchmark: str) -> dict[str, list]:
    """Return the images of a benchmark that could not be read, with the stamps of their files then."""
    return record.summary().get(EVALUATED, {}).get(benchmark, {}).get("unreadable", {})


def stamps(item: Item) -> list[list[int]]:
    """Return size and time of an image's files, which change when it is repaired."""
    found = (os.stat(file) for file in item.files if os.path.exists(file))
    return [[stat.st_size, stat.st_mtime_ns] for stat in found]


def shows(cfg: Config, record: Record, benchmark: str) -> bool:
    """Return whether the run keeps the picture of a benchmark that the config names, if it names one."""
    image = (cfg.evaluate.shown or {}).get(benchmark)
    if image is None or not cfg.evaluate.pictures or image in unreadable(record, benchmark):
        return True
    kept = samples.read(record.sample_file(benchmark, samples.SHOWN))
    return kept is not None and kept.image == image


def _has(
    record: Record, stored: pd.DataFrame | None, benchmark: str, protocols: Sequence[str], metrics: Sequence[str]
) -> bool:
    """Return whether the metrics of a benchmark were measured by each protocol, perhaps without a finite value."""
    noted = _noted_metrics(record, benchmark)
    lacking = [(p, name) for p in protocols for name in metrics if name not in noted.get(p, noted.get("*", ()))]
    if stored is None or not lacking:
        return True
    rows = stored[stored["benchmark"] == benchmark]
    return all(name in rows and rows.loc[rows["protocol"] == one, name].notna().any() for one, name in lacking)


def lacks_measurements(cfg: Config, record: Record) -> bool:
    """Return whether a finished run lacks something that its config asks for, of benchmarks whose data are there."""
    root = cfg.mix.get("root")
    there = [benchmark for benchmark in benchmarks_of(cfg) if why_missing(benchmark, root) is None]
    return any(True for _ in unmeasured(cfg, record, there, record.status().step))
