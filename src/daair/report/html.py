"""`report.html`: all about a study on one page that needs no other file.

The page stands in the study's folder and links to the folders of its runs; everything that it shows is inside.
"""

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from daair.files import write_text
from daair.report.figures import Drawn, study_of
from daair.report.figures.strips import pick
from daair.runs.samples import Sample

if TYPE_CHECKING:
    from daair.report.figures.study import Study
    from daair.report.frame import Collated

NAME = "report.html"
SHOWN_BY_SLIDERS = "before_after"  # the figure of the same pictures is left to the paper
QUALITY = 90  # of JPEG pictures; those in the runs' folders are without loss


def write(
    collated: "Collated",
    folder: str | Path,
    *,
    runs: str | Path,
    table: str,
    drawn: Sequence[Drawn] = (),
    notes: Sequence[str] = (),
    rows: Sequence[str] = (),
    reference: str | None = None,
    commands: Mapping[str, str] | None = None,
) -> Path:
    """Write `<folder>/report.html`, atomically; returns its path.

    Args:
        collated: the runs of one study, those without results too.
        folder: where the page goes.
        runs: the folder of all runs (`paths.runs`), to which the page links.
        table: the table as HTML, such as `daair.report.writers.to_html` makes it; cells may have a `data-value` to sort
            by.
        drawn: figures, see `daair.report.figures.draw`.
        notes: sentences below the table.
        rows: columns of the frame that name a variant; none = those in which the variants differ.
        reference: `variant` of the frame whose pictures are shown; None = the best.
        commands: for each variant, the command that makes its runs again.
    """
    folder, study = Path(folder), study_of(collated, runs, rows, reference)
    made = [one for one in drawn if one.files and one.name != SHOWN_BY_SLIDERS]
    row, samples = pick(study) if len(study.images) else ({}, [])
    page = {
        "study": _only(study.runs["study"]),
        "question": _only(study.runs["question"]) if "question" in study.runs else "",
        "counts": _counts(study),
        "table": Markup(table),  # noqa: S704 - our own, escaped by its writer
        "notes": notes,
        "figures": [_figure(one, folder) for one in made],
        "not_drawn": [one for one in drawn if one.reason],
        "shown_run": f"{row['name']}, seed {row['seed']}" if samples else "",
        "samples": [_sample(sample) for sample in samples],
        "keys": study.keys,
        "variants": list(_variants(study, folder, commands or {})),
        "facts": _facts(study.runs),
        "left_out": collated.left_out,
    }
    source = files("daair.runs").joinpath(f"{NAME}.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / NAME, environment.from_string(source).render(page))
    return folder / NAME


def _only(column: pd.Series) -> str:
    """Return the values of a column as a text, usually one."""
    return ", ".join(dict.fromkeys(str(value) for value in column.dropna()))


def _counts(study: "Study") -> str:
    """`9 of 9 runs done, 3 variants, 3 seeds`."""
    runs = study.runs
    done = int((runs["state"] == "done").sum())
    parts = [f"{done} of {_number(len(runs), 'run')} done", _number(len(study.names), "variant")]
    return ", ".join([*parts, _number(runs["seed"].nunique(), "seed")])


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _figure(drawn: Drawn, folder: Path) -> dict[str, Any]:
    """Return a drawn figure for the page: the PNG file within, a link to the PDF file."""
    pdf, png = (next(file for file in drawn.files if file.suffix == suffix) for suffix in (".pdf", ".png"))
    with Image.open(png) as picture:
        size = picture.size
    uri = _uri(png.read_bytes(), "image/png")
    return {"name": drawn.name, "caption": drawn.caption, "uri": uri, "pdf": _link(pdf, folder), "size": size}


def _sample(sample: Sample) -> dict[str, Any]:
    names = ("input", "restored", "clean")
    uris = {name: _jpeg(picture) for name, picture in zip(names, sample.pictures, strict=True)}
    height, width = sample.pictures[0].shape[:2]
    return {"sample": sample, "width": width, "height": height, **uris}


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
    return _uri(buffer.getvalue(), "image/jpeg")


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _link(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _folder(path: Path, folder: Path) -> str:
    """Return a link to a run's folder; empty where there is none, as for a run that was read from elsewhere."""
    return f"{_link(path, folder)}/" if path.is_dir() else ""


def _variants(study: "Study", folder: Path, commands: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield each variant with the values of its differing keys, its runs and its command."""
    few_columns = study.runs[["variant", "run", "seed", "state", *study.keys]].sort_values("seed", kind="stable")
    groups = {str(variant): runs for variant, runs in few_columns.groupby("variant", observed=True, sort=False)}
    for variant, name in study.names.items():
        runs = groups[variant]
        yield {
            "name": name,
            "is_reference": variant == study.reference,
            "values": [_value(runs[key].iloc[0]) for key in study.keys],
            "runs": [
                {"seed": run.seed, "state": run.state, "href": _folder(study.folder / run.run, folder)}
                for run in runs[["run", "seed", "state"]].itertuples(index=False)
            ],
            "command": commands.get(variant, ""),
        }


def _value(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return where the runs come from; what is empty is left out."""
    times = [str(time) for name in ("started", "finished") for time in runs[name].dropna()]
    dates = sorted({time[:10] for time in times})
    minutes = pd.to_numeric(runs["seconds"], errors="coerce").median() / 60
    facts = {
        "Commit": _only(runs["commit"].astype("string").str.replace(r"^([0-9a-f]{10})[0-9a-f]*", r"\1", regex=True)),
        "Hardware": _only(runs["hardware"]),
        "PyTorch": _only(runs["torch"]),
        "Updates": _only(runs["steps"]),
        "Training time": "" if pd.isna(minutes) else f"{minutes:.1f} min (median of the runs)",
        "Date of the runs": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
    }
    return [(name, text) for name, text in facts.items() if text]
