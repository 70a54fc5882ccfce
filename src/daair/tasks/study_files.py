"""Make the files of a study for `task=collate`: frame, tables, figures and report.

This module imports pandas, Arrow and Matplotlib; `tasks/collate.py` does so only where something has changed.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor as Threads
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console

from daair.config.compose import conf_dir
from daair.config.overrides import command
from daair.config.table_look import NamedTable, TableLook, read_tables
from daair.engine.progress import Reporter
from daair.errors import Incomparable, UserError, suggestion
from daair.files import replacing, safe_name, write_text
from daair.metrics import METRICS
from daair.report import contents, differences, figures, joint, latex, layout, published, writers
from daair.report import html as report
from daair.report.aggregate import COSTS
from daair.report.frame import Collated
from daair.report.names import Names, read_names
from daair.report.table import StudyTable, study_table
from daair.report.wandb_source import gather
from daair.runs.record import Record
from daair.tasks.table_settings import first_of, settings, started_with, table_spec

if TYPE_CHECKING:
    from daair.config.schema import Config

LISTED = 10
"""Most left-out folders that are printed; the rest is counted."""

SOME = 3
"""Most unreadable runs that a table names."""

MANY = 100
"""Most variants for which figures and a report are made; more could not be distinguished in them."""

WIDE = 250
"""Largest width of a table in a file or pipe, in characters."""

ROWS = 20_000
"""Rows of the frame that are converted to text at a time."""

WRITERS = 2
"""Threads that convert rows to text; Arrow releases Python's lock meanwhile."""


class Written(NamedTuple):
    """What was made.

    Attributes:
        files: The files and folders that were written.
        own: The user's files with published values that were read.
        said: The tables and the names of the files, as they were printed, in plain text.
    """

    files: list[Path]
    own: list[Path]
    said: str


@dataclass(frozen=True)
class Made:
    """A table and the texts of its cells and notes.

    Attributes:
        name: Its name in a file of tables; empty for the study's table.
        table: The table in numbers.
        blocks, notes: The table for readers.
        look, names: How it looks.
        own: Files of the user with published values.
    """

    name: str
    table: StudyTable
    blocks: list[writers.Block]
    notes: list[str]
    look: TableLook
    names: Names
    own: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """Return the title or caption."""
        return self.look.caption or self.table.question or self.table.name


def write_all(
    cfg: "Config", folder: Path, tables: Path | None, name: str, reporter: Reporter, before: str | None = None
) -> Written:
    """Write and print everything that `task=collate` makes of one or several studies.

    Args:
        cfg: The command's config.
        folder: The folder to write into.
        tables: The file with the study's named tables, if it has one.
        name: The name of the table.
        reporter: Prints the tables.
        before: What was printed the last time; tables and files that would be the same are not printed again.

    Raises:
        UserError: There are no runs, or they are not comparable; the message names them and a remedy.
    """
    collated, runs = gather(cfg.collate.source, cfg.collate.project, cfg.paths.runs, cfg.studies, reporter.progress)
    wanted = {"": NamedTable(), **(read_tables(tables) if tables else {})}
    say_left_out(collated, reporter)
    if cfg.task.get("name") == "collate":  # of a sweep's benchmarks some may have no data
        measured = [str(name) for name in collated.images["benchmark"].unique()]
        contents.check_values("benchmarks", "the benchmark", list(cfg.benchmarks or {}), measured)
    try:
        made = [make_table(cfg, collated, runs, name, own, one) for own, one in wanted.items()]
    except Incomparable:
        write_frame(collated, folder)  # which shows in what the runs differ
        raise
    files = write_frame(collated, folder)
    for one in made:
        files += write_table(one, folder, cfg.collate.format)
    warnings = unknown_names(made, collated)
    said = "\n".join([*map(plain, made), *warnings])
    again = before is not None and before.startswith(f"{said}\n")
    if not again or not all(line.startswith(str(folder)) for line in before[len(said) + 1 :].splitlines()):
        for one in made:
            show(one, reporter)
        for line in warnings:
            reporter.say(line)
    if "html" not in cfg.collate.format:
        pass
    elif collated.runs["variant"].nunique() <= MANY:
        files += illustrate(cfg, made, collated, runs, folder, reporter)
    else:
        reporter.say(f"more than {MANY} variants: no figures and no report")
    listed = "\n".join(str(file) for file in files)
    if before != f"{said}\n{listed}":
        reporter.say(listed)
    return Written(files, [file for one in made for file in one.own], f"{said}\n{listed}")


def make_table(cfg: "Config", collated: Collated, runs: Path, study: str, name: str, one: NamedTable) -> Made:
    """Return the table of a study, or its named one.

    Raises:
        UserError: It names something that is not there, or the runs are not comparable.
    """
    try:
        asked = settings(cfg, collated, runs, one)
        look: TableLook = asked["look"]
        reference = Path(conf_dir()) / "reference"
        names = read_names(reference / "names.yaml", look.names)
        methods = published.load(asked["published"], reference)
        spec = table_spec(cfg, asked, names.degradations)
        table = study_table(collated, spec, study, asked["question"])
        rows, reasons = published.published_rows(table, methods, bool(look.subsets), names)
        blocks = layout.blocks(table, rows, look, names)
        notes = [*layout.notes(table, look, names), *layout.as_published(table, rows, look), *reasons]
        if damaged := [str(one) for one in collated.left_out if one.damaged]:
            more = f" and {len(damaged) - SOME} more" if len(damaged) > SOME else ""
            notes.append(f"Runs that cannot be read: {'; '.join(damaged[:SOME])}{more}.")
        own = tuple(Path(file) for file in asked["published"] if file.endswith(".csv"))
        return Made(name, table, blocks, [] if look.hides("notes") else notes, look, names, own)
    except UserError as error:
        kind = Incomparable if isinstance(error, Incomparable) else UserError
        raise kind(f"{name}: {error}" if name else str(error)) from error


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


def write_table(made: Made, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the table in the formats that are asked for and return the files."""
    label = "-".join(safe_name(part) for part in (*made.table.name.split("+"), made.name) if part)
    style = latex.Style(
        environment=made.look.environment or "table*",
        caption=made.title,
        label=made.look.label or label,
        raw=made.names.latex,
        siunitx=bool(made.look.siunitx),
    )
    texts = {
        "md": lambda: writers.to_markdown(made.blocks, made.notes, made.title),
        "tex": lambda: latex.to_latex(made.blocks, made.notes, style),
        "csv": lambda: layout.numbers_csv(made.table),
    }
    place = folder / "tables" / made.name if made.name else folder / "table"
    files = [place.with_name(f"{place.name}.{kind}") for kind in texts if kind in formats]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        write_text(file, texts[file.suffix[1:]]())
    return files


def show(made: Made, reporter: Reporter) -> None:
    """Print the table and its notes."""
    reporter.say(made.title)
    for block in made.blocks:
        writers.show(block, reporter.console if reporter.console.is_terminal else Console(width=WIDE))
    for note in made.notes:
        reporter.say(note)


def plain(made: Made) -> str:
    """Return the table and its notes as plain text."""
    console = Console(width=WIDE, file=io.StringIO(), record=True)
    for block in made.blocks:
        writers.show(block, console)
    return "\n".join([made.title, console.export_text().rstrip(), *made.notes])


def unknown_names(made: Sequence[Made], collated: Collated) -> list[str]:
    """Return a warning for each name in `collate.table.names` that neither the runs nor the tables have."""
    known = {*collated.runs.columns, *collated.images["benchmark"].unique(), *METRICS, *COSTS}
    shown: set[str] = set()
    for one in made:
        known |= {part for axis in (one.table.rows, one.table.columns) for parts in axis.names for part in parts}
        for block in one.blocks:
            shown |= {*block.header, *(text for text, _ in block.over), *(row[0].text for row in block.rows)}
    own = {name: heading for one in made for name, heading in (one.look.names or {}).items()}
    headings = {name: one.get("text", name) if isinstance(one, Mapping) else one for name, one in own.items()}
    return [
        f"warning: collate.table.names: nothing is called {name}{suggestion(name, known)}"
        for name, heading in headings.items()
        if name not in known and heading not in shown
    ]


def illustrate(
    cfg: "Config", made: Sequence[Made], collated: Collated, runs: Path, folder: Path, reporter: Reporter
) -> list[Path]:
    """Draw the figures that the study's own table supports, write the report with all tables, and return the files."""
    table = made[0].table
    spec = table.spec
    collated, _ = joint.once(contents.shown(collated, spec), [*table.rows.keys, *table.columns.keys])
    if spec.benchmarks is not None:
        collated = replace(collated, images=collated.images[collated.images["benchmark"].isin(spec.benchmarks)])
    headings = made[0].names
    data = figures.figure_data(collated, runs, table.rows.keys, table.reference_variant, spec.protocols, headings)
    if cfg.task.get("name") == "collate":  # of a sweep's benchmarks some may have no data
        contents.check_values("collate.crops", "the benchmark", list(cfg.collate.crops or {}), data.benchmarks)
    crops = first_of(cfg.collate.crops, started_with(collated, runs, cfg.studies)["collate"].get("crops"))
    drawn = figures.draw(data, folder / "figures", spec.metrics, cfg.collate.figures, crops)
    if without := [str(one) for one in drawn if one.reason]:
        reporter.say(f"not drawn: {'; '.join(without)}")
    html = "".join(
        (f"<h3>{escape(one.title)}</h3>\n" if one.name else "") + writers.to_html(one.blocks) for one in made
    )
    if (block := differences.intervals(table, headings)) is not None:
        html += writers.folded_html(block)
    notes = list(dict.fromkeys(note for one in made for note in one.notes))
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
