"""`task=collate study=NAME`: write a study's runs as one frame and as a table for a paper, beside the runs.

    <paths.runs>/<study>/
        runs.parquet, runs.csv                       a row per run, benchmark, protocol and image (report/frame.py)
        table.md, table.tex                          the table and its notes
        table.csv                                    every number of the table, intervals and tests (report/table.py)
        figures/*.pdf, *.png                         the figures that the data supports (report/figures)
        report.html                                  all of it on one page (report/html.py)

The runs' folders are only read. The frame is written even if the table is refused because runs are not comparable.
"""

import json
from concurrent.futures import ThreadPoolExecutor as Threads
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console

from daair.config.compose import conf_dir
from daair.config.overrides import command
from daair.engine.progress import Reporter
from daair.files import replacing, safe_name, write_text
from daair.report import differences, figures, layout, published, weights, writers
from daair.report import html as report
from daair.report.frame import Collated
from daair.report.table import StudyTable, TableSpec, study_table
from daair.report.wandb_source import gather
from daair.runs.record import Record

if TYPE_CHECKING:
    from daair.config.jobs import Job
    from daair.config.schema import Config

LISTED = 10
"""Most left-out folders that are printed; the rest is counted."""

MANY = 100
"""Most variants for which figures and a report are made; more could not be distinguished in them."""

WIDE = 250
"""Largest width of a table in a file or pipe, in characters."""

ROWS = 20_000
"""Rows of the frame that are converted to text at a time."""

WRITERS = 2
"""Threads that convert rows to text; Arrow releases Python's lock meanwhile."""

DEFAULTS: dict[str, Any] = {"columns": ["benchmark"], "metrics": ["psnr", "ssim"], "published": []}
"""Defaults of `collate` if neither the command nor the study gives a value; documented in conf/config.yaml."""


def collate(job: "Job") -> int:
    """Write and print the table of `job.config.study`, print the names of the files, and return the exit status.

    Raises:
        UserError: There are no runs, or they are not comparable; the message names them and a remedy.
    """
    cfg = job.config
    reporter = Reporter()
    where = cfg.collate
    collated, runs = gather(where.source, where.project, cfg.paths.runs, cfg.study, reporter.progress)
    asked = settings(cfg, collated, runs)
    methods = published.load(asked["published"], Path(conf_dir()) / "reference")
    folder = Path(cfg.collate.output or f"{cfg.paths.runs}/{safe_name(cfg.study)}")
    files = write_frame(collated, folder)
    say_left_out(collated, reporter)
    table = study_table(collated, table_spec(cfg, asked), cfg.study, asked["question"])
    rows, reasons = published.published_rows(table, methods)
    blocks, notes = layout.blocks(table, rows), [*layout.notes(table), *reasons]
    files += write_table(table, blocks, notes, folder)
    show(table, blocks, notes, reporter)
    if collated.runs["variant"].nunique() <= MANY:
        files += illustrate(table, collated, blocks, notes, runs, folder, reporter, cfg.collate.figures)
    else:
        reporter.say(f"more than {MANY} variants: no figures and no report")
    reporter.say("\n".join(str(file) for file in files))
    return 0


def settings(cfg: "Config", collated: Collated, runs: Path) -> dict[str, Any]:
    """Return `collate`'s keys, `question` and `benchmarks`: from the command, else from the study's newest run."""
    trained = weights.trained(collated.runs)  # a network that was only evaluated says nothing of its study
    telling = collated.runs if trained.empty else trained
    newest = telling["run"].iloc[telling["started"].astype("str").fillna("").argmax()]
    frozen = Record(runs / newest).config() if (runs / newest).is_dir() else {}
    own = frozen.get("collate") or {}
    asked = {}
    for name in ("rows", "columns", "metrics", "reference", "published"):
        given = getattr(cfg.collate, name)
        said = own.get(name) if given is None else given
        asked[name] = DEFAULTS.get(name) if said is None else said
    asked["question"] = cfg.question or frozen.get("question") or ""
    benchmarks = cfg.benchmarks if cfg.benchmarks is not None else frozen.get("benchmarks")
    asked["benchmarks"] = of_mixes(collated.runs) if benchmarks is None else list(benchmarks)
    return asked


def of_mixes(runs: pd.DataFrame) -> list[str] | None:
    """Return the benchmarks of the runs' mixes; None if the mixes name none.

    They are the default, so that later evaluations of a run on other benchmarks do not change its study's table.
    """
    named = runs["mix.benchmarks"].dropna().unique() if "mix.benchmarks" in runs else []
    return list(dict.fromkeys(name for text in named for name in json.loads(text))) or None


def table_spec(cfg: "Config", asked: dict[str, Any]) -> TableSpec:
    """Return the contents of the table."""
    return TableSpec(
        rows=tuple(asked["rows"] or ()),
        columns=tuple(asked["columns"]),
        metrics=tuple(asked["metrics"]),
        reference=asked["reference"],
        benchmarks=asked["benchmarks"],
        protocols=cfg.protocols,
        alpha=cfg.collate.alpha,
        resamples=cfg.collate.resamples,
    )


def write_frame(collated: Collated, folder: Path) -> list[Path]:
    """Write runs.parquet and runs.csv in portions, so that memory does not grow with the number of runs."""
    counts = collated.images["run"].cat.codes.value_counts().reindex(collated.runs.index, fill_value=0).clip(lower=1)
    portions = [group.index for _, group in counts.groupby((counts.cumsum() - 1) // ROWS)]
    files = [folder / "runs.parquet", folder / "runs.csv"]
    with replacing(files[0]) as parquet, replacing(files[1]) as text:
        schema = pa.Schema.from_pandas(collated.part(portions[0]), preserve_index=False)
        plain = pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema])

        def as_text(portion: pd.Index) -> tuple[pa.Table, pa.Buffer]:
            table = pa.Table.from_pandas(collated.part(portion), schema, preserve_index=False)
            lines = pa.BufferOutputStream()
            pa.csv.write_csv(table.cast(plain), lines, pa.csv.WriteOptions(include_header=False))
            return table, lines.getvalue()

        with pa.parquet.ParquetWriter(parquet, schema) as columns, open(text, "wb") as lines, Threads(WRITERS) as pool:
            pa.csv.write_csv(plain.empty_table(), lines)
            for first in range(0, len(portions), WRITERS):  # a few at a time, so that results do not pile up
                for table, part in pool.map(as_text, portions[first : first + WRITERS]):
                    columns.write_table(table)
                    lines.write(part)
    return files


def write_table(table: StudyTable, blocks: list[writers.Block], notes: list[str], folder: Path) -> list[Path]:
    """Write the table in all formats and return the files."""
    title = table.question or table.name
    texts = {
        "table.md": writers.to_markdown(blocks, notes, title),
        "table.tex": writers.to_latex(blocks, notes, title, safe_name(table.name)),
        "table.csv": layout.numbers_csv(table),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def show(table: StudyTable, blocks: list[writers.Block], notes: list[str], reporter: Reporter) -> None:
    """Print the table and its notes."""
    reporter.say(table.question or table.name)
    for block in blocks:
        writers.show(block, reporter.console if reporter.console.is_terminal else Console(width=WIDE))
    for note in notes:
        reporter.say(note)


def illustrate(
    table: StudyTable,
    collated: Collated,
    blocks: list[writers.Block],
    notes: list[str],
    runs: Path,
    folder: Path,
    reporter: Reporter,
    which: str,
) -> list[Path]:
    """Draw the figures that the study supports, write the report, and return the files."""
    spec = table.spec
    if spec.benchmarks is not None:
        collated = replace(collated, images=collated.images[collated.images["benchmark"].isin(spec.benchmarks)])
    data = figures.figure_data(collated, runs, table.rows.keys, table.reference_variant, spec.protocols)
    drawn = figures.draw(data, folder / "figures", spec.metrics, which)
    if without := [str(one) for one in drawn if one.reason]:
        reporter.say(f"not drawn: {'; '.join(without)}")
    html = writers.to_html(filter(None, [*blocks, differences.intervals(table)]))
    page = report.write(data, folder, table=html, drawn=drawn, notes=notes, commands=commands(collated, runs))
    return [folder / "figures", page] if any(one.files for one in drawn) else [page]


def commands(collated: Collated, runs: Path) -> dict[str, str]:
    """Return the command that reproduces each variant's runs, if one of its runs has recorded its overrides."""
    found = {}
    for variant, group in collated.runs.groupby("variant", observed=True):
        given = (Record(runs / run).overrides() for run in group["run"])
        if (overrides := next((some for some in given if some is not None), None)) is not None:
            found[str(variant)] = command(overrides, group["seed"].dropna().tolist())
    return found


def say_left_out(collated: Collated, reporter: Reporter) -> None:
    """Print what was left out of the frame, with the reasons."""
    for one in collated.left_out[:LISTED]:
        reporter.say(f"left out: {one}")
    if len(collated.left_out) > LISTED:
        reporter.say(f"left out: {len(collated.left_out) - LISTED} more")
