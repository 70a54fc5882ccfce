"""Draw, for each benchmark, the images with the largest and smallest gain before and after restoration."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import Drawn
from daair.runs import samples
from daair.runs.pictures import COLUMNS
from daair.runs.samples import EXTREMES, Sample

PIXELS = 260
"""Longest side of an image in the figure: about 230 dots per inch, so that the PDF stays small."""

DPI = 230
"""Of the PNG: more would only enlarge the images."""


def draw_before_after(data: FigureData, folder: Path) -> Drawn:
    """Draw input, restored and clean images of the reference variant, else of the best; a row per benchmark."""
    name = "before_after"
    run, found = choose_run(data)
    if not found:
        return Drawn(name, reason="no run has kept pictures (evaluate.pictures); task=evaluate keeps them")
    benchmarks = list(dict.fromkeys(sample.benchmark for sample in found))
    by_place = {(sample.benchmark, sample.which): sample for sample in found}
    ratio = max(sample.pictures[0].shape[0] / sample.pictures[0].shape[1] for sample in found)
    height = (style.PAGE - 0.7) / 6 * min(ratio, 1.2) + 0.25
    figure, axes = style.panels(6 * len(benchmarks), per_row=6, height=height, width=style.PAGE)
    for i, axis in enumerate(axes):
        axis.set_axis_off()
        benchmark, which, column = benchmarks[i // 6], EXTREMES[i % 6 // 3], i % 3
        if sample := by_place.get((benchmark, which)):
            axis.imshow(_small(sample.pictures[column]), interpolation="none")
            axis.set_title(_title(sample, column), fontsize=6, pad=2)
            if column == 0:
                place = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 6, "transform": axis.transAxes}
                axis.text(-0.03, 0.5, f"{data.headings.of(benchmark)}\n{which} gain", **place)
    caption = (
        f"Images with the largest (left) and smallest (right) PSNR gain of each benchmark; {shown_name(run)}. "
        "Figures are of whole images, of which the middle is shown."
    )
    return style.save(figure, folder, name, caption, dpi=DPI)


def choose_run(data: FigureData) -> tuple[dict, list[Sample]]:
    """Return a run with images of extreme gains: one of the reference, else of the best variant, else of any other.

    Returns:
        The run's row with its variant's `name`, and its samples in the order of the study's benchmarks; ({}, []) if no
        run has samples.
    """
    order = {name: i for i, name in enumerate(data.benchmarks)}
    for variant in dict.fromkeys([*data.leading(), *data.few()]):
        for row in data.runs_of(variant).to_dict("records"):
            of_run = samples.find(data.record(str(row["run"])).samples)
            found = [sample for sample in of_run if sample.benchmark in order and sample.which in EXTREMES]
            if found:
                return {**row, "name": data.names[variant]}, sorted(found, key=lambda s: order[s.benchmark])
    return {}, []


def shown_name(run: dict) -> str:
    """Return what `choose_run` chose, for readers: its name, and its seed if it has one."""
    return run["name"] if pd.isna(run["seed"]) else f"{run['name']}, seed {run['seed']}"


def _title(sample: Sample, column: int) -> str:
    figures = (f"{sample.input_psnr:.2f} dB", f"{sample.psnr:.2f} dB", "")
    return f"{COLUMNS[column]} {figures[column]}".strip()


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(image)
