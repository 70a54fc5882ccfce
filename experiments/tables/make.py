"""Typeset the tables of this folder from committed numbers, and take pictures of them.

    python experiments/tables/make.py        needs a LaTeX engine (pdflatex) and poppler's pdftoppm for the pictures

| file | numbers | look |
| --- | --- | --- |
| paper.tex | experiments/aio3_tiny/results.csv, conf/reference/aio3.csv | `PAPER`, by task=collate itself |
| peers.tex | experiments/peers_equal_time/table.csv | `PEERS` |

The runs of `peers_equal_time` no longer exist, but its table.csv has every number of a table. The runs' folder that
paper.tex is collated from is made of the committed rows. Pictures are also taken of the three tables of
experiments/rank/tables, which task=collate has written.
"""

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image, ImageChops

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(ROOT / "src"))

from daair.config.table_look import NamedTable, parse_table  # noqa: E402
from daair.report import latex, layout  # noqa: E402
from daair.report.aggregate import AVERAGE, AVERAGE_COLUMN, COSTS_COLUMN, NUMBERS, Axis  # noqa: E402
from daair.report.names import Names, read_names  # noqa: E402
from daair.report.table import StudyTable, TableSpec  # noqa: E402

NAMES = ROOT / "conf" / "reference" / "names.yaml"
METRICS = ("psnr", "ssim")

PAPER = (
    "collate.columns=[degradation,benchmark]",
    "benchmarks=[sots_outdoor,rain100l,cbsd68_sigma15,cbsd68_sigma25,cbsd68_sigma50]",
    "collate.rows=[label]",
    "collate.published=[aio3]",
    "collate.table.metrics_in=cells",
    "collate.table.decimals={ssim:3}",
    "collate.table.groups={Single task:[BRDNet,LPNet,FDGAN,MPRNet],"
    "All in one:[DL,AirNet,PromptIR,Gridformer,Art-PromptIR,DA-CLIP,UniProcessor,MoCE-IR-S,MoCE-IR,daair_naf_tiny]}",
    "collate.table.order={benchmark:[sots_outdoor,rain100l,cbsd68_sigma15]}",
    "collate.table.best=none",
    "collate.table.subsets=true",
    "collate.table.hide=[macs,images_per_second]",
    "collate.table.names={daair_naf_tiny:ours}",
    "collate.table.caption=Three degradations. PSNR (dB) / SSIM.",
)
"""How papers of this family print their comparison: PSNR and SSIM in a cell, groups, an average, papers' rows."""

PEERS: dict[str, Any] = {
    "caption": "Equally long training, three degradations. PSNR (dB) / SSIM.",
    "metrics_in": "cells",
    "decimals": {"ssim": 3},
    "groups": {
        "One network per task in their papers": ["SwinIR", "Restormer", "NAFNet"],
        "All in one": ["AirNet", "PromptIR", "AdaIR", "MoCE-IR", "DaAIR", "DaAIR-NAF"],
    },
    "hide": ["spread", "stars", "delta", "macs", "images_per_second", "steps"],
}
ABOUT_PEERS = (
    "Protocol promptir, mean over three seeds; 34 images of CBSD68, 50 of Rain100L. Bold: best, underlined: second."
)


def main() -> None:
    """Write the tables, and their pictures."""
    for name, text in texts():
        (HERE / f"{name}.tex").write_text(text, encoding="utf-8")
        picture(text, HERE / f"{name}.png")
        print(HERE / f"{name}.tex")
    for file in sorted((ROOT / "experiments" / "rank" / "tables").glob("*.tex")):
        picture(file.read_text(encoding="utf-8"), HERE / f"rank-{file.stem}.png")
        print(file)


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the LaTeX of each table."""
    yield "paper", paper()
    peers = parse_table(PEERS, "peers")
    yield "peers", typeset("peers_equal_time", "peers", peers, "label", ["benchmark"], [ABOUT_PEERS])


def typeset(study: str, label: str, look: NamedTable, key: str, columns: Sequence[str], notes: Sequence[str]) -> str:
    """Return a table in LaTeX from the numbers of a study's table.csv."""
    names = read_names(NAMES, look.names)
    table = from_csv(ROOT / "experiments" / study / "table.csv", key, columns, look.metrics, names)
    style = latex.Style(look.environment or "table*", look.caption or "", label, names.latex)
    return latex.to_latex(layout.blocks(table, (), look, names), notes, style)


def from_csv(file: Path, key: str, columns: Sequence[str], metrics: Sequence[str] | None, names: Names) -> StudyTable:
    """Return a study's table from its table.csv, which has a line for each of its numbers."""
    lines = pd.read_csv(file, dtype={key: str})
    rows = Axis([key], [(name,) for name in dict.fromkeys(lines[key])])
    rows = Axis(rows.keys, rows.names, len(rows.names))
    benchmarks = [name for name in dict.fromkeys(lines["column"].dropna()) if name != AVERAGE]
    values = {"benchmark": lambda name: name, "degradation": names.degradations.get}
    axis = Axis(list(columns), [tuple(values[column](name) for column in columns) for name in benchmarks])
    places = {name: i for i, name in enumerate(benchmarks)} | {AVERAGE: AVERAGE_COLUMN}
    numbers = lines.assign(
        row=lines[key].map({name: i for i, (name,) in enumerate(rows.names)}),
        column=lines["column"].map(places).fillna(COSTS_COLUMN).astype(int),
    ).reindex(columns=list(NUMBERS))
    numbers["not_finite"] = numbers["not_finite"].fillna(0)
    reference = lines.loc[lines["reference"], key].iloc[0]
    return StudyTable(
        file.parent.name, "", TableSpec((key,), columns, metrics or METRICS), rows, axis,
        rows.places[reference,], numbers, pd.DataFrame(), pd.DataFrame(), [],
        {AVERAGE_COLUMN: (AVERAGE, tuple(range(len(benchmarks))))},
    )  # fmt: skip


def paper() -> str:
    """Return the table that task=collate makes of the rows of aio3_tiny."""
    with tempfile.TemporaryDirectory() as runs:
        make_run(Path(runs))
        command = [sys.executable, ROOT / "run.py", "task=collate", "study=aio3_tiny", f"paths.runs={runs}", *PAPER]
        subprocess.run([*command, "collate.format=[tex]"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        return (Path(runs) / "aio3_tiny" / "table.tex").read_text(encoding="utf-8")


def make_run(runs: Path) -> None:
    """Make a run's folder of the committed rows and of what experiments/aio3_tiny/README.md says of the run."""
    folder = runs / "aio3_tiny" / "daair_naf_tiny-00000000" / "seed0"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "aio3_tiny" / "results.csv", folder)
    with open(folder / "results.csv", encoding="utf-8") as file:
        steps = int(next(csv.DictReader(file))["step"])
    train = {"steps": steps, "batch_size": 4, "accumulation": 1, "progressive": []}
    config = {"model": {}, "mix": {"patch": 64}, "train": train, "seed": 0, "choices": {"model": "daair_naf_tiny"}}
    status = {"state": "done", "step": steps, "steps": steps, "commit": "0a9a69f", "device": "cpu"}
    write(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write(folder / "status.json", status)
    write(folder / "environment.json", {"processor": "AMD EPYC"})
    write(folder / "summary.json", {"parameters": 885_921})


def write(file: Path, content: str | Mapping[str, Any]) -> None:
    """Write a text, or a mapping as JSON."""
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def picture(text: str, file: Path) -> None:
    """Compile a table and take a picture of it, without margins."""
    packages = r"\usepackage[paperwidth=21cm,paperheight=29cm,margin=1.5cm]{geometry}\usepackage{booktabs,graphicx}"
    with tempfile.TemporaryDirectory() as folder:
        body = rf"\pagestyle{{empty}}\begin{{document}}{text}\end{{document}}"
        write(Path(folder, "x.tex"), rf"\documentclass{{article}}{packages}{body}")
        quietly = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
        subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"], **quietly)
        subprocess.run(["pdftoppm", "-r", "130", "-gray", "-png", "-singlefile", "x.pdf", "x"], **quietly)
        with Image.open(Path(folder, "x.png")) as page:
            grey = page.convert("L")
        left, top, right, bottom = ImageChops.invert(grey).getbbox()
        grey.crop((left - 12, top - 12, right + 12, bottom + 12)).quantize(16).save(file, optimize=True)


if __name__ == "__main__":
    main()
