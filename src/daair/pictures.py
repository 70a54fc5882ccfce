"""Pictures that people look at: labelled strips of input | restored | clean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from daair.files import replacing

COLUMNS = ("input", "restored", "clean")
HEIGHT = 192  # of each image in the sheet, in pixels
GAP, HEAD = 4, 20


def comparison(
    path: Path,
    rows: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str] = COLUMNS,
    notes: Mapping[str, Sequence[str]] | None = None,
    height: int = HEIGHT,
) -> Path:
    """Write a sheet with one row per entry and one captioned image per column, atomically; returns `path`.

    Args:
        path: the PNG or JPEG file.
        rows: images (H, W, 3), float in [0, 1], one per column, by the row's name.
        columns: captions.
        notes: further words per image, e.g. its PSNR, by the row's name.
        height: to which images are scaled, in pixels; smaller ones are enlarged without smoothing.
    """
    font = ImageFont.load_default(size=13)
    tiles: list[list[tuple[str, Image.Image]]] = []
    for name, images in rows.items():
        texts = notes.get(name, [""] * len(images)) if notes else [""] * len(images)
        pairs = zip(columns, texts, images, strict=True)
        tiles.append([(f"{name}: {head} {text}".strip(), _scaled(image, height)) for head, text, image in pairs])
    width = max((sum(tile.width + GAP for _, tile in row) for row in tiles), default=0) + GAP
    sheet = Image.new("RGB", (max(width, 1), len(tiles) * (height + HEAD + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, row in enumerate(tiles):
        x, y = GAP, GAP + i * (height + HEAD + GAP)
        for text, tile in row:
            draw.text((x + 2, y + 2), text, fill="black", font=font)
            sheet.paste(tile, (x, y + HEAD))
            x += tile.width + GAP
    with replacing(path) as temporary:
        sheet.save(temporary)
    return path


def _scaled(image: np.ndarray, height: int) -> Image.Image:
    picture = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
    width = max(1, round(picture.width * height / picture.height))
    smooth = Image.Resampling.NEAREST if picture.height < height else Image.Resampling.LANCZOS
    return picture.resize((width, height), smooth)
