"""Draw an image of each benchmark as every method restores it: whole, its error, and enlarged squares of it."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from daair.errors import UserError
from daair.files import safe_name
from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.sheet import DPI, ERRORS, GAP, LEFT, LINE, Box, Sheet
from daair.report.figures.style import Drawn
from daair.runs import samples
from daair.runs.samples import SHOWN, Sample

NAME = "methods"
"""The files are called `methods_<benchmark>`."""

PER_LINE, WIDEST = 7, 1.4
"""Most pictures beside each other, and the largest width of one in inches."""

MOST = 99.5
"""Per cent of the differences that the scale reaches; a few sharp edges would otherwise leave the rest black."""


@dataclass(frozen=True)
class Kept:
    """One image as several methods restore it.

    Attributes:
        benchmark: Its benchmark.
        by_name: The sample of each variant by the variant's name.
        seeds: Seeds of the networks.
        without: Names of the variants that kept another image, or this one with another input.
    """

    benchmark: str
    by_name: Mapping[str, Sample]
    seeds: tuple[int, ...]
    without: tuple[str, ...]

    @cached_property
    def one(self) -> Sample:
        """The sample of the first variant."""
        return next(iter(self.by_name.values()))

    @cached_property
    def pictures(self) -> dict[str, np.ndarray]:
        """The pictures by their titles: the input, that of each variant, the clean one; uint8, (H, W, 3)."""
        before = f"input\n{self.one.input_psnr:.2f} dB"
        named = {f"{name}\n{sample.psnr:.2f} dB": sample.pictures[1] for name, sample in self.by_name.items()}
        return {before: self.one.pictures[0], **named, "clean": self.one.pictures[2]}

    @cached_property
    def errors(self) -> list[np.ndarray]:
        """The absolute difference of each picture but the clean one from it, mean over channels, 0 to 255, (H, W)."""
        *others, clean = (picture.astype(np.int16) for picture in self.pictures.values())
        return [np.abs(picture - clean).mean(axis=2) for picture in others]

    @cached_property
    def largest(self) -> float:
        """The end of the scale of differences; it is that of the restored images, since haze would hide their own."""
        return max(1.0, float(np.percentile(self.errors[1:], MOST)))


def draw_methods(data: FigureData, folder: Path, crops: Mapping[str, Sequence[Box]] | None = None) -> Iterator[Drawn]:
    """Draw a figure for each benchmark: input, every variant, clean, their differences from it, and enlarged squares.

    Args:
        data: The study. Of more variants than a figure can hold it shows the reference and the best ones.
        folder: Folder for the files.
        crops: By benchmark the left and top pixel and the side of squares of the whole image, to be enlarged;
            benchmarks that are not shown are ignored.

    Returns:
        The figures; one whose squares are not within the picture that runs have kept has this as its reason.
    """
    kept = {benchmark: found for benchmark in data.benchmarks if (found := _kept(data, benchmark))}
    for benchmark, found in kept.items():
        try:
            boxes = [_within(box, found) for box in (crops or {}).get(benchmark, ())]
            yield _draw(found, boxes, folder, data)
        except UserError as error:
            yield Drawn(f"{NAME}_{benchmark}", reason=str(error))
    if lacking := [data.headings.of(benchmark) for benchmark in data.benchmarks if benchmark not in kept]:
        reason = f"no run has kept a picture of {', '.join(lacking)}; measure them again with evaluate.shown"
        yield Drawn(NAME, reason=f"{reason} (docs/tables.md)")


def _kept(data: FigureData, benchmark: str) -> Kept | None:
    """Return the image of a benchmark that most variants have kept, each from its first seed; None without any."""
    measured, found = set(data.images["run"].unique()), {}
    for variant in data.few():
        runs = data.runs_of(variant)
        for run, seed in zip(runs["run"], runs["seed"], strict=True):
            file = data.record(str(run)).sample_file(benchmark, SHOWN)
            if run in measured and file.is_file() and (sample := samples.read(file)):
                found[data.names[variant]] = _as_in_table(sample, data, run), seed
                break
    if not found:
        return None
    same = {name: (sample.image, *map(np.ndarray.tobytes, sample.pictures[::2])) for name, (sample, _) in found.items()}
    images = list(same.values())
    most = max(images, key=images.count)
    chosen = {name: one for name, one in found.items() if same[name] == most}
    seeds = sorted({int(seed) for _, seed in chosen.values() if not pd.isna(seed)})
    without = tuple(name for name in found if name not in chosen)
    return Kept(benchmark, {name: sample for name, (sample, _) in chosen.items()}, tuple(seeds), without)


def _as_in_table(sample: Sample, data: FigureData, run: str) -> Sample:
    """Return a sample with the PSNR of the protocol that the study shows, which may not be that of the sample."""
    rows = data.images
    own = rows[(rows["run"] == run) & (rows["benchmark"] == sample.benchmark) & (rows["image"] == sample.image)]
    if own.empty:
        return sample
    return replace(sample, psnr=float(own["psnr"].iloc[0]), input_psnr=float(own["input_psnr"].iloc[0]))


def _within(box: Box, kept: Kept) -> Box:
    """Return a square of the whole image as one of the kept picture.

    Raises:
        UserError: It is not within the kept picture.
    """
    (left, top, side), one = box, kept.one
    height, width = one.pictures[0].shape[:2]
    x, y = left - one.left, top - one.top
    if min(x, y) < 0 or x + side > width or y + side > height:
        raise UserError(
            f"collate.crops.{kept.benchmark}: [{left}, {top}, {side}] is not within the picture that runs keep of "
            f"{one.image}, x from {one.left} to {one.left + width} and y from {one.top} to {one.top + height}; "
            "task=evaluate checkpoint=RUN evaluate.pictures=... keeps more of it"
        )
    return x, y, side


def _draw(kept: Kept, boxes: Sequence[Box], folder: Path, data: FigureData) -> Drawn:
    """Draw the figure of one image, in lines of at most `PER_LINE` pictures with their errors and squares."""
    pictures = list(kept.pictures.items())
    lines = -(-len(pictures) // PER_LINE)
    per_line = -(-len(pictures) // lines)
    across = min(WIDEST, (style.PAGE - LEFT) / per_line - GAP)
    high = across * pictures[0][1].shape[0] / pictures[0][1].shape[1]
    letters = int(across * 20)
    titles = [[part for line in title.split("\n") for part in textwrap.wrap(line, letters)] for title, _ in pictures]
    room = LINE * max(map(len, titles)) + GAP
    below = room + 2 * (high + GAP) + len(boxes) * (across + GAP)  # of a line
    sheet = Sheet(LEFT + per_line * (across + GAP), lines * below + GAP)
    for i, ((_, picture), title) in enumerate(zip(pictures, titles, strict=True)):
        x, y = LEFT + i % per_line * (across + GAP), i // per_line * below + room
        sheet.words_above("\n".join(title), x + across / 2, y)
        sheet.picture(picture, x, y, across, high, Image.Resampling.LANCZOS)
        sheet.frames(boxes, x, y, across / picture.shape[1])
        if i % per_line == 0:
            sheet.words_at_left("difference", y + 1.5 * high + GAP)
        y += high + GAP
        if i < len(kept.errors):
            shades = matplotlib.colormaps[ERRORS](_scaled(kept.errors[i], across, high) / kept.largest)
            sheet.picture((shades[..., :3] * 255).astype(np.uint8), x, y, across, high)
        else:
            sheet.scale(kept.largest, x, y, across, high)
        for k, (left, top, side) in enumerate(boxes):
            down = y + high + GAP + k * (across + GAP)
            sheet.picture(picture[top : top + side, left : left + side], x, down, across, across)
            sheet.frame(x, down, across, style.COLOURS[k % len(style.COLOURS)])
    return style.save(sheet.figure, folder, f"{NAME}_{safe_name(kept.benchmark)}", _caption(kept, boxes, data), dpi=DPI)


def _scaled(error: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return the differences in the resolution of the file, as means over the pixels that become one."""
    size = max(1, round(width * DPI)), max(1, round(height * DPI))
    return np.asarray(Image.fromarray(error.astype(np.float32)).resize(size, Image.Resampling.BOX))


def _caption(kept: Kept, boxes: Sequence[Box], data: FigureData) -> str:
    parts = [f"{kept.one.image} of {data.headings.of(kept.benchmark)}, with the PSNR of the whole image"]
    parts.append("below it the absolute difference from the clean image, mean over the channels")
    if boxes:
        parts.append(f"and the framed square{'' if len(boxes) == 1 else 's'} enlarged")
    text = ", ".join(parts) + "."
    if kept.seeds:
        text += f" Seed {style.listed([str(seed) for seed in kept.seeds])}."
    if kept.without:
        text += f" Without {style.listed(kept.without)}, which kept another image or another input."
    return text + data.few_note()
