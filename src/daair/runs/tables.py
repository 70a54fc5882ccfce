"""Tables of results: from per-image rows to one line per benchmark."""

import pandas as pd
from rich.console import Console
from rich.table import Table

KEYS = ["benchmark", "protocol"]
COLUMNS = {
    "benchmark": "benchmark",
    "protocol": "protocol",
    "images": "images",
    "tile": "tile",
    "input_psnr": "input PSNR",
    "input_ssim": "input SSIM",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "gain": "gain dB",
    "input_lpips": "input LPIPS",
    "lpips": "LPIPS",
    "input_dists": "input DISTS",
    "dists": "DISTS",
}
"""Columns and their headings; those that a table lacks are left out."""

DIGITS = {"input_psnr": 2, "psnr": 2, "gain": 2}
WHOLE = "whole"


def per_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the images of each benchmark and protocol, in the order of first appearance.

    Args:
        rows: per-image rows, see `daair.engine.evaluate`.

    Returns:
        Columns benchmark, protocol, images, tile (see `tiles`), input_psnr, input_ssim, psnr, ssim (dB and 1), gain
        (dB), and the perceptual metrics that the rows have. Means with unequal `tile` do not compare.
    """
    measured = [name for name in COLUMNS if name in rows and name not in (*KEYS, "tile")]
    groups = rows.groupby(KEYS, sort=False)
    means = groups[measured].mean()
    means.insert(0, "images", groups.size())
    means.insert(1, "tile", pd.Series(tiles(rows)))
    means["gain"] = means["psnr"] - means["input_psnr"]
    return means.reset_index()


def tiles(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """How the images of each benchmark and protocol were restored: `whole`, in tiles of `512` pixels, `whole+512`."""
    sides = rows["tile"].fillna(0).astype(int) if "tile" in rows else pd.Series(0, index=rows.index)
    groups = sides.groupby([rows[key] for key in KEYS], sort=False)
    return {pair: "+".join(str(side or WHOLE) for side in sorted(set(group))) for pair, group in groups}


def show(table: pd.DataFrame, console: Console, title: str | None = None) -> None:
    """Print a table of `per_benchmark`."""
    names = _shown(table)
    out = Table(title=title, title_justify="left")
    for name in names:
        out.add_column(COLUMNS[name], justify="left" if name in KEYS else "right", no_wrap=True)
    for row in _cells(table, names):
        out.add_row(*row)
    console.print(out)


def to_markdown(table: pd.DataFrame) -> str:
    """The same as a Markdown table."""
    names = _shown(table)
    lines = ["| " + " | ".join(COLUMNS[name] for name in names) + " |"]
    lines.append("|" + "|".join(" --- " if name in KEYS else " ---: " for name in names) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in _cells(table, names)]
    return "\n".join(lines) + "\n"


def _shown(table: pd.DataFrame) -> list[str]:
    """Its columns; that of tiles only if there are any."""
    tiled = "tile" in table and (table["tile"] != WHOLE).any()
    return [name for name in COLUMNS if name in table and (name != "tile" or tiled)]


def _cells(table: pd.DataFrame, names: list[str]) -> list[list[str]]:
    def text(name: str, value: object) -> str:
        if name == "gain":
            return f"{value:+.2f}"
        return f"{value:.{DIGITS.get(name, 4)}f}" if isinstance(value, float) else str(value)

    return [[text(name, row[name]) for name in names] for _, row in table.iterrows()]
