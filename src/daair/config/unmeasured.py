"""Find what a run has not measured yet of the test images, protocols and metrics that its config asks for."""

from __future__ import annotations

import json
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


def own_benchmarks(cfg: Config) -> dict[str, str]:
    """Return the user's own benchmarks by name, each as text that tells different ones apart."""
    given = (cfg.to_dict()["benchmarks"] or {}).items()
    return {name: json.dumps(own, default=str) for name, own in given if own and any(own.values())}


def rows_of(record: Record, step: int) -> pd.DataFrame | None:
    """Return the run's rows that are of its network after `step` updates; None if there is no table.

    Raises:
        UserError: The file is damaged.
    """
    stored = record.results()
    return None if stored is None else stored[stored["step"] == step]


def unmeasured(cfg: Config, record: Record, benchmarks: Sequence[Benchmark], step: int) -> Iterator[Item]:
    """Yield the images of each benchmark that lacks a row of an image, all values of a metric, or the picture to show.

    Args:
        cfg: What is asked for.
        record: The run.
        benchmarks: The benchmarks to look at, whose data are there.
        step: The number of updates of the run's network.

    Raises:
        UserError: The run's table is damaged.
    """
    stored, root = rows_of(record, step), cfg.mix.get("root")
    columns = [] if stored is None else [stored[name].astype(str) for name in ("benchmark", "protocol", "image")]
    already = set(zip(*columns, strict=True))
    wanted = [name for name in cfg.metrics if not METRICS[name].always and METRICS[name].missing() is None]
    measured, defined = record.summary().get(DEFINED, {}), own_benchmarks(cfg)
    for benchmark in benchmarks:
        own, protocols = load_benchmark(benchmark, root), cfg.protocols or [benchmark.protocol]
        lacking = {(benchmark.name, protocol, item.name) for protocol in protocols for item in own} - already
        redefined = measured.get(benchmark.name) not in (None, defined.get(benchmark.name))
        whole = _has(stored, benchmark.name, protocols, wanted) and _shows(cfg, record, benchmark.name)
        if lacking or redefined or not whole:
            yield from own


def _shows(cfg: Config, record: Record, benchmark: str) -> bool:
    """Return whether the run keeps the picture of a benchmark that the config names, if it names one."""
    image = (cfg.evaluate.shown or {}).get(benchmark)
    if image is None or not cfg.evaluate.pictures:
        return True
    kept = samples.read(record.sample_file(benchmark, samples.SHOWN))
    return kept is not None and kept.image == image


def _has(stored: pd.DataFrame | None, benchmark: str, protocols: Sequence[str], metrics: Sequence[str]) -> bool:
    """Return whether the rows of a benchmark have values of the metrics by each protocol."""
    if stored is None or not metrics:
        return True
    rows = stored[stored["benchmark"] == benchmark]
    return all(
        name in rows and rows.loc[rows["protocol"] == protocol, name].notna().any()
        for name in metrics
        for protocol in protocols
    )


def lacks_measurements(cfg: Config, record: Record) -> bool:
    """Return whether a finished run lacks something that its config asks for, of benchmarks whose data are there."""
    root = cfg.mix.get("root")
    there = [benchmark for benchmark in benchmarks_of(cfg) if why_missing(benchmark, root) is None]
    return any(True for _ in unmeasured(cfg, record, there, record.status().step))
