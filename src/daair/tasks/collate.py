"""`task=collate study=NAME`: write a study's runs as one frame and as a table for a paper, beside the runs.

    <paths.runs>/<study>/                            of study=[A,B]: A+B, or what `collate.name` says
        runs.parquet, runs.csv                       a row per run, benchmark, protocol and image (report/frame.py)
        table.md, table.tex                          the table and its notes
        tables/NAME.md, .tex, .csv                   named tables of experiments/<study>.tables.yaml
        table.csv                                    every number of the table, intervals and tests (report/table.py)
        figures/*.pdf, *.png                         the figures that the data supports (report/figures)
        report.html                                  all of it on one page (report/html.py)

The runs' folders are only read. The frame is written even if the table is refused because runs are not comparable.
If nothing has changed since the last time, nothing is computed and the tables are shown again (tasks/unchanged.py);
`collate.every=2` waits for changes.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from daair.config.compose import conf_dir
from daair.engine.progress import Reporter
from daair.errors import UserError
from daair.files import LONGEST, safe_name
from daair.runs import store
from daair.tasks import unchanged

if TYPE_CHECKING:
    from daair.config.jobs import Job
    from daair.config.schema import Config


def collate(job: "Job") -> int:
    """Write and print the table of the studies, print the names of the files, and return the exit status.

    With `collate.every` it looks again after so many seconds, until Ctrl-C, and says what is wrong meanwhile.

    Raises:
        UserError: There are no runs, or they are not comparable; the message names them and a remedy.
    """
    cfg, reporter = job.config, Reporter()
    said = make(cfg, reporter, None)
    while cfg.collate.every is not None and cfg.task.get("name") == "collate":
        time.sleep(cfg.collate.every)
        try:
            said = make(cfg, reporter, said)
        except UserError as error:
            if str(error) != said:
                reporter.say(f"error: {error}")
            said = str(error)
    return 0


def make(cfg: "Config", reporter: Reporter, before: str | None) -> str:
    """Make the table if something has changed, and return what was said.

    Args:
        cfg: The command's config.
        reporter: Prints the table.
        before: What was said the last time; it is not printed again.

    Raises:
        UserError: As `collate`.
    """
    folder, tables = Path(cfg.collate.output or output_folder(cfg)), tables_file(cfg)
    state = unchanged.state(cfg, tables)
    if (said := unchanged.recall(folder, state)) is not None:
        if said != before:
            reporter.say(f"{said}\n(nothing has changed since)")
        return said
    from daair.tasks import study_files  # pandas, Arrow and Matplotlib take longer to import than all of the above

    written = study_files.write_all(cfg, folder, tables, table_name(cfg), reporter, before)
    unchanged.remember(folder, state, [*written.own, *written.files], written.said)
    return written.said


def table_name(cfg: "Config") -> str:
    """Return the name of the table: that of its study, of several those joined by `+`, or the one that is asked for."""
    return cfg.collate.name or "+".join(cfg.studies)


def output_folder(cfg: "Config") -> Path:
    """Return the folder for the table, without `collate.output`: that of its study, or one beside those of several.

    Raises:
        UserError: It is the folder of another study.
    """
    if cfg.collate.name is None and len(cfg.studies) == 1:
        return store.study_folder(cfg.paths.runs, cfg.study)
    name = cfg.collate.name or "+".join(map(safe_name, cfg.studies))
    folder = Path(cfg.paths.runs, name if len(name) <= LONGEST and cfg.collate.name is None else safe_name(name))
    own = [store.study_folder(cfg.paths.runs, study) for study in cfg.studies]
    if own != [folder] and next(store.run_folders(cfg.paths.runs, folder.name), None) is not None:
        raise UserError(f"collate.name: {folder.name} is a study with runs and a table of its own; give another name")
    return folder


def tables_file(cfg: "Config") -> Path | None:
    """Return the file with the study's named tables, if it has one."""
    if cfg.collate.tables is not None:
        return Path(cfg.collate.tables)
    beside = Path(conf_dir()) / "experiment" / f"{output_folder(cfg).name}.tables.yaml"
    return beside if beside.is_file() else None
