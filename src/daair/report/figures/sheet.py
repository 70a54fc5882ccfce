"""A figure of pictures and words at places of their own, without axes: laid out at once, and quick to draw."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from daair.report.figures import style

LEFT, GAP, LINE = 0.18, 0.04, 0.1
"""Inches: room for the words at the left, between pictures, and for a line of words."""

DPI = 170
"""Of pictures and PNG files: photographs of noise take most of the time of `task=collate` with more."""

FONT = 6
"""Size of all words in points."""

ERRORS = "inferno"
"""Colour map of differences, from black to white."""

Box = tuple[int, int, int]


class Sheet:
    """A figure in which pictures and words have their places in inches from the upper left corner.

    Args:
        width, height: Its size in inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.figure, self.size = Figure(figsize=(width, height)), (width, height)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self._whole()

    def _whole(self) -> None:
        self.axes.set(xlim=(0, self.size[0]), ylim=(self.size[1], 0))

    def picture(
        self, picture: np.ndarray, x: float, y: float, width: float, height: float, resampling: int = Image.NEAREST
    ) -> None:
        """Show a picture, uint8, (H, W, 3), in the resolution of the file, which viewers need not scale."""
        size = max(1, round(width * DPI)), max(1, round(height * DPI))
        scaled = np.asarray(Image.fromarray(picture).resize(size, resampling))
        place = (x, x + width, y + height, y)
        self.axes.imshow(scaled, extent=place, aspect="auto", interpolation="none")
        self._whole()

    def frames(self, boxes: Sequence[Box], x: float, y: float, inches: float) -> None:
        """Draw the squares into a picture, whose pixels have so many inches."""
        for k, (left, top, side) in enumerate(boxes):
            self.frame(x + left * inches, y + top * inches, side * inches, style.COLOURS[k % len(style.COLOURS)])

    def frame(self, x: float, y: float, side: float, colour: str) -> None:
        """Draw the frame of a square."""
        self.axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=colour, linewidth=0.8))

    def words_above(self, words: str, x: float, y: float) -> None:
        """Write words that end above `y`, with their middle at `x`."""
        self.axes.text(x, y - GAP / 2, words, fontsize=FONT, ha="center", va="bottom")

    def words_at_left(self, words: str, y: float) -> None:
        """Write words along the left edge, with their middle at `y`."""
        self.axes.text(LEFT / 2, y, words, rotation=90, fontsize=FONT, ha="center", va="center")

    def scale(self, largest: float, x: float, y: float, width: float, height: float) -> None:
        """Draw the scale of the differences in the middle of a place."""
        bar, thick = np.linspace(0, 1, 256)[None], min(0.1, height / 4)
        shades = (matplotlib.colormaps[ERRORS](bar)[..., :3] * 255).astype(np.uint8)
        middle = y + height / 2 - thick
        self.picture(shades, x + 0.1 * width, middle, 0.8 * width, thick)
        for at, text in ((0.1, "0"), (0.9, f"≥ {largest:.0f} of 255")):
            side = "left" if at == 0.1 else "right"
            self.axes.text(x + at * width, middle + thick + 0.02, text, fontsize=FONT, ha=side, va="top")
