"""`task=compare runs=[A,B]`: what differs between runs: their configs, their results on the same images, their curves.

    <paths.runs>/compare/<A>-<B>/     or the folder `output`
        compare.md                    what is printed
        curves.pdf, curves.png        loss and validation PSNR

The runs' folders are only read. They may lie anywhere, and have any names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from daair.config.jobs import Job
from daair.config.schema import Collate
from daair.engine.progress import Reporter
from daair.errors import Incomparable, UserError, suggestion
from daair.files import safe_name, write_text
from daair.metrics import METRICS, finite
from daair.report import comparable, statistics, writers
from daair.report.aggregate import text
from daair.report.config_columns import read_config
from daair.report.differences import signed
from daair.report.figures import curves, style
from daair.report.writers import Block, Cell
from daair.runs import store
from daair.runs.record import Record

METRICS_SHOWN = ("psnr", "ssim")
"""Default of `collate.metrics`."""

POINTS = 8
"""Most lines of the table of curves."""

WIDE = 160
"""Width of a table in a file or pipe, in characters."""


def compare(job: Job) -> int:
    """Print and write the comparison of `job.config.runs`, and return the exit status.

    Raises:
        UserError: A folder is not that of a run, or is named twice, or a file in it is damaged.
    """
    cfg, reporter = job.config, Reporter()
    found = {chr(ord("A") + i): find(path, cfg.paths.runs) for i, path in enumerate(cfg.runs)}
    if len({record.folder.resolve() for record in found.values()}) < len(found):
        raise UserError("runs: a run is named twice")
    configs = {name: config(record) for name, record in found.items()}
    differ = [key for key in dict.fromkeys(key for one in configs.values() for key in one) if _differs(key, configs)]
    shown = curves.panels(differ)
    lines = {name: record.metrics() for name, record in found.items()}
    tables = {name: table for name, record in found.items() if (table := record.results()) is not None}
    unlike = measured_otherwise(tables)
    blocks = [
        configs_block(configs, differ),
        *benchmarks_block(tables, unlike, cfg.collate),
        *curves_block(lines, shown),
    ]
    labels = {name: f"{name}: {'/'.join(record.folder.resolve().parts[-2:])}" for name, record in found.items()}
    notes = [f"{name}  {record.folder}  ({_state(record)})" for name, record in found.items()]
    notes += [f"{name}  has no results" for name in found if name not in tables]
    notes += [*(f"no difference: {why}" for why in unlike.values()), *strange_values(tables)]
    together = safe_name("-".join(label.partition(": ")[2] for label in labels.values()))
    folder = Path(cfg.output or Path(cfg.paths.runs, "compare", together))
    for note in notes:
        reporter.say(note)
    for block in blocks:
        writers.show(block, reporter.console if reporter.console.is_terminal else Console(width=WIDE))
    write_text(folder / "compare.md", writers.to_markdown(blocks, notes, "Comparison of runs"))
    with style.styled():
        drawn = curves.draw_lines({labels[name]: [rows] for name, rows in lines.items()}, shown, folder)
    reporter.say("\n".join(map(str, (folder / "compare.md", *drawn.files))) + (f"\n{drawn}" if drawn.reason else ""))
    return 0


def find(path: str, runs: str) -> Record:
    """Return the record of a run's folder.

    Raises:
        UserError: The folder is not that of a run; the message names the nearest that is.
    """
    record = Record(path)
    if record.config_file.is_file():
        return record
    problem = "is not a run's folder" if record.folder.exists() else "no such folder"
    inside = sorted(file.parent for file in record.folder.glob("*/config.yaml"))
    if inside:
        raise UserError(f"runs: {path}: {problem}; did you mean {inside[0]}?")
    known = [str(folder) for folder in store.run_folders(runs) if Record(folder).config_file.is_file()]
    raise UserError(f"runs: {path}: {problem}{suggestion(path, known, f'; {len(known)} runs are in {runs}')}")


def config(record: Record) -> dict[str, Any]:
    """Return the frozen config by dotted keys; the choice of a group has the group's name."""
    try:
        pieces = read_config(record.config_file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{record.config_file}: cannot be read ({error})") from None
    return {key.removeprefix("choices."): value for piece in pieces for key, value in piece}


def configs_block(configs: Mapping[str, Mapping[str, Any]], keys: list[str]) -> Block:
    """Return a table of the keys in which the configs differ."""
    rows = [[Cell(key), *(Cell(text(one[key]) if key in one else "–") for one in configs.values())] for key in keys]
    title = "Keys of the configs that differ" if rows else "The configs are equal"
    return Block(title, ["key", *configs], rows)


def measured_otherwise(tables: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], str]:
    """Return by benchmark and protocol why differences on the images that all runs have would mean nothing."""
    keys, found = ["benchmark", "protocol", "image"], {}
    rows = pd.concat([table.assign(run=name) for name, table in tables.items()]) if len(tables) > 1 else pd.DataFrame()
    if not rows.empty:
        rows = rows[rows.groupby(keys)["run"].transform("size") == len(tables)]
        for (benchmark, protocol), part in rows.groupby(keys[:2], sort=False):
            try:
                comparable.check_measurement(part, f"{benchmark}, {protocol}")
            except Incomparable as error:
                found[benchmark, protocol] = str(error)
    return found


def benchmarks_block(
    tables: Mapping[str, pd.DataFrame], unlike: Mapping[tuple[str, str], str], how: Collate
) -> Iterator[Block]:
    """Yield a table of the means over the images that all runs have, and of the differences to the first run.

    Args:
        tables: The results of the runs that have some.
        unlike: Benchmarks and protocols that get no difference; see `measured_otherwise`.
        how: Metrics, level of the intervals and resamples.
    """
    if len(tables) < 2:
        return
    first, *others = tables
    header, rows = ["benchmark", "protocol", "metric", "images", first], []
    for name in others:
        header += [name, f"{name} − {first}"]
    for benchmark, protocol, metric, values in _common(tables, how.metrics or METRICS_SHOWN):
        digits = METRICS[metric].digits
        cells = [Cell(benchmark), Cell(protocol), Cell(METRICS[metric].header), Cell(str(len(values)))]
        cells.append(Cell(f"{values[first].mean():.{digits}f}"))
        values = values.set_index(pd.MultiIndex.from_product([values.index, [0]]))
        for name in others:
            cells.append(Cell(f"{values[name].mean():.{digits}f}"))
            if (benchmark, protocol) in unlike:
                cells.append(Cell("–"))
                continue
            it = statistics.compare(values[name], values[first], alpha=how.alpha, resamples=how.resamples)
            span = f"({signed(it.images_low, digits)} to {signed(it.images_high, digits)})"
            cells.append(Cell(f"{signed(it.delta, digits)} {span}"))
        rows.append(cells)
    about = f"{100 * (1 - how.alpha):g} % interval over images, of these networks: other seeds would give other ones"
    yield Block(f"Benchmarks ({about})" if rows else "No image was measured of all runs", header, rows, 3)


def strange_values(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield sentences on each run's values that are in no mean."""
    for name, rows in tables.items():
        measured = [metric for metric in METRICS if metric in rows]
        for sentence in finite.sentences(rows, measured, "in no mean and no difference of this metric"):
            yield f"{name}  {sentence}"


def curves_block(lines: Mapping[str, list[dict[str, Any]]], shown: Mapping[str, str]) -> Iterator[Block]:
    """Yield a table of the logged values at up to `POINTS` of the updates after which a run was validated."""
    steps = sorted({row["step"] for rows in lines.values() for row in rows if row.get("val/psnr") is not None})
    if not steps:
        return
    steps = [steps[i] for i in sorted({*np.linspace(0, len(steps) - 1, POINTS).round().astype(int)})]
    columns = [(value, name) for value in reversed(list(shown)) for name in lines]
    logged = {(v, n): {row["step"]: row[v] for row in lines[n] if row.get(v) is not None} for v, n in columns}
    rows = [
        [Cell(str(step)), *(Cell(f"{logged[key][step]:.4g}" if step in logged[key] else "–") for key in columns)]
        for step in steps
    ]
    over = [("", 1), *((shown[value], len(lines)) for value in reversed(list(shown)))]
    yield Block("Curves", ["updates", *(name for _, name in columns)], rows, over=over)


def _common(
    tables: Mapping[str, pd.DataFrame], metrics: tuple[str, ...]
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Yield benchmark, protocol, metric, and its finite values: a row per image of all runs, a column per run."""
    keys = ["benchmark", "protocol", "image"]
    for metric in metrics:
        derive = METRICS[metric].derive
        columns = {
            name: (derive(table) if derive else table[metric]).set_axis(pd.MultiIndex.from_frame(table[keys]))
            for name, table in tables.items()
            if derive or metric in table
        }
        if len(columns) < len(tables):
            continue
        values = pd.concat(columns, axis=1, join="inner")
        values = values[np.isfinite(values).all(axis=1)]
        for (benchmark, protocol), part in values.groupby(level=[0, 1], sort=False):
            yield benchmark, protocol, metric, part.droplevel([0, 1])


def _differs(key: str, configs: Mapping[str, Mapping[str, Any]]) -> bool:
    return len({repr(one.get(key, "–")) for one in configs.values()}) > 1


def _state(record: Record) -> str:
    status = record.status()
    return f"{store.actual_state(status)}, {status.step} of {status.steps} updates"
