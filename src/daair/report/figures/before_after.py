"""Draw, for each benchmark, the images with the largest and smallest gain before and after restoration."""

from pathlib import Path

import pandas as pd
from PIL import Image

from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.sheet import DPI, GAP, LEFT, LINE, Sheet
from daair.report.figures.style import Drawn
from daair.runs.pictures import COLUMNS
from daair.runs.samples import EXTREMES, Sample

ACROSS = (style.PAGE - LEFT) / (len(EXTREMES) * len(COLUMNS)) - GAP
"""Width of a picture in inches."""

TALLEST = 1.2
"""Largest height of a picture, as a multiple of its width; taller ones are narrower."""


def draw_before_after(data: FigureData, folder: Path) -> Drawn:
    """Draw input, restored and clean images of the reference variant, else of the best; a row per benchmark."""
    name = "before_after"
    run, found = data.pictured
    if not found:
        return Drawn(name, reason="no run has kept pictures (evaluate.pictures); task=evaluate keeps them")
    by_benchmark: dict[str, list[Sample]] = {}
    for sample in found:
        by_benchmark.setdefault(sample.benchmark, []).append(sample)
    heights = [max(_size(sample)[1] for sample in samples) for samples in by_benchmark.values()]
    sheet = Sheet(style.PAGE, sum(heights) + len(heights) * (LINE + 2 * GAP) + LINE + GAP)
    for i, which in enumerate(EXTREMES):
        sheet.words_above(f"{which} gain", LEFT + (i + 0.5) * len(COLUMNS) * (ACROSS + GAP), LINE + GAP)
    y = LINE + GAP
    for (benchmark, samples), height in zip(by_benchmark.items(), heights, strict=True):
        y += LINE + GAP
        sheet.words_at_left(data.headings.of(benchmark), y + height / 2)
        for sample in samples:
            _place(sheet, sample, y, height)
        y += height + GAP
    caption = (
        f"Images with the largest (left) and smallest (right) PSNR gain of each benchmark; {shown_name(run)}. "
        "Figures are of whole images, of which the middle is shown."
    )
    return style.save(sheet.figure, folder, name, caption, dpi=DPI)


def shown_name(run: dict) -> str:
    """Return the run of `FigureData.pictured`, for readers: its name, and its seed if it has one."""
    return run["name"] if pd.isna(run["seed"]) else f"{run['name']}, seed {run['seed']}"


def _size(sample: Sample) -> tuple[float, float]:
    """Return width and height in inches of each picture of a sample."""
    height, width = sample.pictures[0].shape[:2]
    narrow = min(1.0, TALLEST * width / height)
    return ACROSS * narrow, ACROSS * narrow * height / width


def _place(sheet: Sheet, sample: Sample, y: float, height: float) -> None:
    """Show the three pictures of a sample beside each other, in the middle of a row of this height."""
    width, own = _size(sample)
    first = LEFT + EXTREMES.index(sample.which) * len(COLUMNS) * (ACROSS + GAP)
    figures = (f"{sample.input_psnr:.2f} dB", f"{sample.psnr:.2f} dB", "")
    for k, (picture, name, figure) in enumerate(zip(sample.pictures, COLUMNS, figures, strict=True)):
        middle, top = first + k * (ACROSS + GAP) + ACROSS / 2, y + (height - own) / 2
        sheet.picture(picture, middle - width / 2, top, width, own, Image.Resampling.LANCZOS)
        sheet.words_above(f"{name} {figure}".strip(), middle, top)
