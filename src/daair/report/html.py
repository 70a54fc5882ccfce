"""Write `report.html`: a study on one page.

All contents are embedded in the page, so that it can be mailed: it links to no other file, and names those of the PDF
figures and the runs.
"""

import base64
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor as Threads
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from PIL import Image

from daair.report import evaluated
from daair.report.aggregate import text
from daair.report.figures import Drawn, FigureData, methods
from daair.report.figures.before_after import shown_name
from daair.report.page import REPORT, render
from daair.runs.pictures import COLUMNS
from daair.runs.samples import Sample

SHOWN_BY_SLIDERS = "before_after"  # the page has sliders with the same images in place of this figure
SIDE = 384  # largest side of an embedded image in pixels; the files in the runs' folders are whole and lossless
QUALITY, FIGURE_QUALITY = 68, 80  # WebP qualities of the embedded images and figures
SCREEN = 150  # pixels per inch at which the page shows a figure
SHARP = 1.5  # embedded pixels of a figure per pixel on the page


def write(
    data: FigureData,
    folder: str | Path,
    *,
    table: str,
    drawn: Sequence[Drawn] = (),
    notes: Sequence[str] = (),
    commands: Mapping[str, str] | None = None,
) -> Path:
    """Write `<folder>/report.html` atomically and return its path.

    Args:
        data: The study. Sample images are those of its reference, else of its best variant.
        folder: The folder for the page.
        table: The table as HTML, made by `daair.report.writers.to_html`; a cell's `data-value` is its sort key.
        drawn: Figures, see `daair.report.figures.draw`.
        notes: Sentences below the table.
        commands: The command that reproduces the runs of each variant.
    """
    folder = Path(folder)
    run, samples = data.pictured if len(data.images) else ({}, [])
    plots = [one for one in drawn if one.files and not one.name.startswith(methods.NAME)]
    shown = [one for one in plots if one.name != SHOWN_BY_SLIDERS]
    pictures = [one for one in drawn if one.files and one not in plots]
    with Threads() as pool:  # Pillow releases Python's lock
        embedded = {
            "figures": list(pool.map(lambda one: _figure(one, folder), shown)),
            "methods": list(pool.map(lambda one: _figure(one, folder, 1, QUALITY), pictures)),
            "samples": list(pool.map(lambda one: _sample(one, data.headings.of(one.benchmark)), samples)),
        }
    page = {
        **embedded,
        "study": _only(data.runs["study"]),
        "question": _only(data.runs["question"]) if "question" in data.runs else "",
        "counts": _counts(data),
        "table": Markup(_breakable(table)),  # noqa: S704 - our own, escaped by its writer
        "notes": notes,
        "not_drawn": [one for one in drawn if one.reason],
        "shown_run": shown_name(run) if samples else "",
        "keys": data.keys,
        "variants": list(_variants(data, commands or {})),
        "anchors": {variant: f"variant-{i}" for i, variant in enumerate(data.names)},
        "facts": _facts(data.runs),
        "left_out": data.left_out,
    }
    return render(REPORT, page, folder)


def _breakable(table: str) -> str:
    """Return the table with headings that may break after an underscore, so that many columns fit the page."""
    heading = r'(<th scope="col"[^>]*>)([^<]*)'
    return re.sub(heading, lambda found: found[1] + found[2].replace("_", "_<wbr>"), table)


def _only(column: pd.Series) -> str:
    """Return the distinct values of a column as one text."""
    return ", ".join(dict.fromkeys(str(value) for value in column.dropna()))


def _counts(data: FigureData) -> str:
    """Return `9 of 9 runs done, 3 variants, 3 seeds`."""
    runs = evaluated.trained(data.runs)
    done, others = int((runs["state"] == "done").sum()), len(data.runs) - len(runs)
    parts = [f"{done} of {_number(len(runs), 'run')} done", _number(len(data.trained), "variant")]
    parts += [_number(runs["seed"].nunique(), "seed")]
    return ", ".join([*parts, f"{_number(others, 'network')} only evaluated"] if others else parts)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _figure(drawn: Drawn, folder: Path, sharp: float = SHARP, quality: int = FIGURE_QUALITY) -> dict[str, Any]:
    """Return a drawn figure for the page: a smaller copy of the PNG file embedded, the name of the PDF file.

    Args:
        drawn: The figure.
        folder: The page's folder.
        sharp: Embedded pixels per pixel on the page; lines need more than photographs.
        quality: WebP quality of the copy.
    """
    pdf, png = (next(file for file in drawn.files if file.suffix == suffix) for suffix in (".pdf", ".png"))
    with Image.open(png) as picture:
        scale = SCREEN / round(picture.info["dpi"][0])
        width, height = round(picture.width * scale), round(picture.height * scale)
        uri = _picture(picture.convert("RGB"), (round(width * sharp), round(height * sharp)), quality)
    shown = {"uri": uri, "pdf": _path(pdf, folder), "width": width, "height": height}
    return {"name": drawn.name, "caption": drawn.caption, "spots": drawn.spots, **shown}


def _sample(sample: Sample, benchmark: str) -> dict[str, Any]:
    height, width = sample.pictures[0].shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    shown: dict[str, Any] = {"sample": sample, "benchmark": benchmark, "width": size[0], "height": size[1]}
    for name, picture in zip(COLUMNS, sample.pictures, strict=True):
        shown[name] = _picture(Image.fromarray(picture), size, QUALITY)
    return shown


def _picture(picture: Image.Image, size: tuple[int, int], quality: int) -> str:
    """Return a picture as a `data:` address, scaled to `size` in pixels."""
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=quality, method=2)  # higher methods take longer for a few percent
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _path(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _variants(data: FigureData, commands: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield each variant with the values of its differing keys, its runs and its command."""
    for variant, name in data.names.items():
        whole = data.runs_of(variant)
        runs = whole[["run", "state"]].astype(str)
        yield {
            "name": name,
            "is_reference": variant == data.reference,
            "values": ["–" if pd.isna(value := whole[key].iloc[0]) else text(value) for key in data.keys],
            "runs": [
                {"name": "/".join(run.split("/")[-2:]), "state": state} for run, state in runs.itertuples(index=False)
            ],
            "command": commands.get(variant, ""),
        }


def _facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the origin of the runs as names and values, without empty ones."""
    times = [str(time) for name in ("started", "finished") for time in runs[name].dropna()]
    dates = sorted({time[:10] for time in times})
    done = runs["state"] == "done"
    minutes = pd.to_numeric(runs["seconds"][done], errors="coerce").median() / 60
    facts = {
        "Commit": _only(runs["commit"].astype("string").str.replace(r"^([0-9a-f]{10})[0-9a-f]*", r"\1", regex=True)),
        "Hardware": _only(runs["hardware"]),
        "PyTorch": _only(runs["torch"]),
        "Updates": _only(runs["steps"].astype("Int64")),
        "Training time": "" if pd.isna(minutes) else f"{minutes:.1f} min (median of the runs)",
        "Date of the runs": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
    }
    return [(name, value) for name, value in facts.items() if value]
