"""Find out what a study's table shows: the command decides before the table's file, and the file before the runs.

At the end of a sweep there is no such command: its config holds what its study is started with, like those of its runs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from daair.config.table_look import NamedTable, TableLook, parse_table
from daair.report import evaluated, folders
from daair.report.frame import Collated
from daair.report.table import TableSpec
from daair.runs import store
from daair.runs.record import Record

if TYPE_CHECKING:
    from daair.config.schema import Config

DEFAULTS: dict[str, Any] = {"columns": ["benchmark"], "metrics": ["psnr", "ssim"], "published": []}
"""Defaults of `collate` if neither the command nor the study gives a value; documented in conf/config.yaml."""


def settings(cfg: "Config", collated: Collated, runs: Path, table: NamedTable) -> dict[str, Any]:
    """Return a table's contents and look: from the command, else as the table is named, else of the newest run's."""
    frozen = started_with(collated, runs, cfg.studies)
    own, of_command = frozen["collate"], cfg.task.get("name") == "collate"

    def decided(command: Any, file: Any) -> list[Any]:
        return [command, file] if of_command else [file, command]

    asked = {}
    for name in ("rows", "columns", "metrics", "reference", "published"):
        given = decided(getattr(cfg.collate, name), getattr(table, name))
        asked[name] = first_of(*given, own.get(name), DEFAULTS.get(name))
    given = (cfg.collate.reference, table.reference)
    rows = [*(asked["rows"] or ()), *asked["columns"]]
    if given == (None, None) and asked["rows"] and not set(asked["reference"] or ()) <= set(rows):
        asked["reference"] = None  # the study's own is of its own rows
    asked["question"] = cfg.question or frozen["question"]
    benchmarks = first_of(*decided(cfg.benchmarks, table.benchmarks), frozen["benchmarks"])
    asked["benchmarks"] = None if benchmarks is None else list(benchmarks)
    asked["protocols"] = first_of(*decided(cfg.protocols, table.protocols))
    looks = [
        own.get("table") or {},
        *(one.model_dump(mode="json", exclude_none=True) for one in reversed(decided(cfg.collate.table, table))),
    ]
    look = {
        key: value for one in looks for key, value in one.items() if key in TableLook.model_fields and value is not None
    }
    asked["look"] = parse_table(look, "collate.table")
    return asked


def started_with(collated: Collated, runs: Path, studies: Sequence[str]) -> dict[str, Any]:
    """Return the contents of the table, question and benchmarks that the newest run of each study was started with.

    Of several studies these are all questions, rows and benchmarks, and what else they agree on; no reference, which
    names a row of one of them.
    """
    trained = evaluated.trained(collated.runs)  # a network that was only evaluated says nothing of its study
    telling = (collated.runs if trained.empty else trained).assign(study=lambda table: table["study"].astype(str))
    newest = telling.assign(at=telling["started"].astype("str").fillna("")).sort_values("at", kind="stable")
    last = newest.groupby("study")["run"].last()
    order = [folders.name(store.study_folder(runs, study), runs) for study in studies]
    latest = {study: last[study] for study in order if study in last}
    found = {study: Record(runs / run).config() if (runs / run).is_dir() else {} for study, run in latest.items()}
    tables = [one.get("collate") or {} for one in found.values()]
    own = {key: value for key, value in tables[0].items() if all(one.get(key) == value for one in tables)}
    if len(found) > 1:
        rows = [one.get("rows") for one in tables]
        own |= {
            "reference": None,
            "rows": list(dict.fromkeys(key for keys in rows for key in keys)) if all(rows) else None,
        }
    names = [first_of(one.get("benchmarks"), of_mixes(telling[telling["study"] == s])) for s, one in found.items()]
    return {
        "collate": own,
        "question": " ".join(dict.fromkeys(filter(None, (one.get("question") for one in found.values())))),
        "benchmarks": None if None in names else list(dict.fromkeys(name for some in names for name in some)),
    }


def first_of(*values: Any) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def of_mixes(runs: pd.DataFrame) -> list[str] | None:
    """Return the benchmarks of the runs' mixes; None if the mixes name none.

    They are the default, so that later evaluations of a run on other benchmarks do not change its study's table.
    """
    named = runs["mix.benchmarks"].dropna().unique() if "mix.benchmarks" in runs else []
    return list(dict.fromkeys(name for text in named for name in json.loads(text))) or None


def table_spec(cfg: "Config", asked: dict[str, Any], degradations: Mapping[str, str]) -> TableSpec:
    """Return the contents of the table."""
    look = asked["look"]
    return TableSpec(
        rows=tuple(asked["rows"] or ()),
        columns=tuple(asked["columns"]),
        metrics=tuple(asked["metrics"]),
        reference=asked["reference"],
        benchmarks=asked["benchmarks"],
        protocols=asked["protocols"],
        only=look.only or {},
        averages=look.averages,
        degradations=degradations,
        alpha=cfg.collate.alpha,
        resamples=cfg.collate.resamples,
    )
