"""Sheets of images with captions, such as input, restored and clean image side by side."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from daair.files import replacing
from daair.pixels import to_8_bit

COLUMNS = ("input", "restored", "clean")
HEIGHT = 192  # of each image in the sheet, in pixels
GAP, HEAD = 4, 20


def comparison(
    path: Path,
    rows: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str] = COLUMNS,
    notes: Mapping[str, Sequence[str]] | None = None,
    height: int = HEIGHT,
    captions: Mapping[str, str] | None = None,
) -> Path:
    """Write a sheet with one row per entry and one captioned image per column, atomically; return `path`.

    Args:
        path: The PNG or JPEG file.
        rows: Images (H, W, 3), uint8, or floating point with white at 1 that is clipped for display; one per column, by
            the name of the row.
        columns: Captions of the columns.
        notes: Further texts, such as a PSNR, one per image, by the name of the row.
        height: Height in pixels to which images are scaled; smaller images are enlarged without smoothing.
        captions: Texts by the name of the row. If given, each row has its name and its text above it, and the captions
            of the images do not contain the name.
    """
    font, bold = ImageFont.load_default(size=13), ImageFont.load_default(size=15)
    tiles: list[list[tuple[str, Image.Image]]] = []
    for name, images in rows.items():
        texts = (notes or {}).get(name, [""] * len(images))
        pairs = zip(columns, texts, images, strict=True)
        prefix = "" if captions else f"{name}: "
        tiles.append([(f"{prefix}{head} {text}".strip(), _scaled(image, height)) for head, text, image in pairs])
    width = max((sum(tile.width + GAP for _, tile in row) for row in tiles), default=0) + GAP
    heads = {name: textwrap.wrap(captions[name], max(20, width // 7)) for name in rows} if captions else {}
    above = [HEAD * (1 + len(heads[name])) if captions else 0 for name in rows]
    sheet = Image.new("RGB", (max(width, 1), len(tiles) * (height + HEAD + GAP) + sum(above) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    y = GAP
    for name, row, room in zip(rows, tiles, above, strict=True):
        if captions:
            draw.text((GAP + 2, y), name, fill="black", font=bold)
        for i, line in enumerate(heads.get(name, ())):
            draw.text((GAP + 2, y + (i + 1) * HEAD), line, fill="dimgray", font=font)
        x, y = GAP, y + room
        for text, tile in row:
            draw.text((x + 2, y + 2), text, fill="black", font=font)
            sheet.paste(tile, (x, y + HEAD))
            x += tile.width + GAP
        y += height + HEAD + GAP
    with replacing(path) as temporary:
        sheet.save(temporary)
    return path


def _scaled(image: np.ndarray, height: int) -> Image.Image:
    picture = Image.fromarray(to_8_bit(image))
    width = max(1, round(picture.width * height / picture.height))
    smooth = Image.Resampling.NEAREST if picture.height < height else Image.Resampling.LANCZOS
    return picture.resize((width, height), smooth)
