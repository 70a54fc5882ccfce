"""Tables of results for readers: of one run, a line per benchmark; of a study, a line per variant."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd
from rich.console import Console

from daair.report import writers
from daair.report.cells import AVERAGE, COSTS, COSTS_COLUMN, MEASURES
from daair.report.pivot import Study
from daair.report.published import Beside
from daair.report.writers import Block, Cell

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
"""Columns of a run's table and their headings; those that a table lacks are left out."""

DIGITS = {"input_psnr": 2, "psnr": 2, "gain": 2}
WHOLE = "whole"


def per_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean over the images of each benchmark and protocol, in the order of first appearance.

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


def show(table: pd.DataFrame, console: Console, title: str = "") -> None:
    """Print a table of `per_benchmark`."""
    writers.show(_run_block(table, title), console)


def to_markdown(table: pd.DataFrame) -> str:
    """Return the same as a Markdown table."""
    return writers.to_markdown([_run_block(table)])


def _run_block(table: pd.DataFrame, title: str = "") -> Block:
    tiled = "tile" in table and (table["tile"] != WHOLE).any()
    names = [name for name in COLUMNS if name in table and (name != "tile" or tiled)]

    def text(name: str, value: object) -> str:
        if name == "gain":
            return f"{value:+z.2f}"
        return f"{value:.{DIGITS.get(name, 4)}f}" if isinstance(value, float) else str(value)

    rows = [[Cell(text(name, row[name])) for name in names] for _, row in table.iterrows()]
    return Block(title, [COLUMNS[name] for name in names], rows, names=len(KEYS))


def study_blocks(study: Study, published: Sequence[Beside] = ()) -> list[Block]:
    """Return a study's table, a block per metric; the first block has the costs as well."""
    cells = {(line.row, line.column, line.metric): line for line in study.numbers.itertuples()}
    costs = [name for name in COSTS if name in set(study.numbers["metric"])]
    blocks = []
    for i, metric in enumerate(study.plan.metrics):
        columns = [*range(len(study.columns)), *([-1] if study.has_average else [])]
        delta = columns[-1] if study.reference is not None and (study.has_average or len(columns) == 1) else None
        header = [*study.plan.rows, *(" ".join(study.columns[c]) if c >= 0 else AVERAGE for c in columns)]
        header += ["Δ" if c is None or c >= 0 else f"Δ {AVERAGE}" for c in [delta] if c is not None]
        shown = costs if i == 0 else []
        header += [heading + (f", {unit}" if unit else "") for heading, unit, _, _ in (COSTS[name] for name in shown)]
        rows = []
        for row, names in enumerate(study.rows):
            line = [Cell(name) for name in names]
            line += [_figure(cells[row, column, metric], study) for column in columns]
            line += [_delta(cells[row, delta, metric], study)] if delta is not None else []
            line += [_cost(cells.get((row, COSTS_COLUMN, name)), name) for name in shown]
            rows.append(line)
        apart = list(_apart(study, published, metric, columns, len(header), shown, delta is not None))
        blocks.append(Block(_title(metric), header, rows, len(study.plan.rows), apart, "as published" if apart else ""))
    return blocks


def notes(study: Study) -> Iterator[str]:
    """Yield what a reader must know to read a study's table, in sentences."""
    images, runs = study.images, study.runs
    measured = runs[runs["run"].isin(images["run"])]
    counts = images.groupby(["benchmark", "protocol"], observed=True, sort=False)["image"].nunique()
    sizes = ", ".join(f"{benchmark} {count}" for (benchmark, _), count in counts.items())
    seeds = sorted(runs["seed"].unique().tolist())
    if len(seeds) > 1:
        figure = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))} of the mean over images"
    else:
        figure = f"seed {seeds[0]}, mean over images"
    yield f"Protocol {_listed(images['protocol'])}; {figure} ({sizes})."
    yield from _of_inputs(images)
    if study.has_average:
        yield "Average: mean over the columns."
    yield "Bold: best, underlined: second, of the rounded means; equal ones share a rank."
    if study.reference is not None:
        yield from _of_tests(study)
    yield " ".join(filter(None, [_budget(measured), f"Hardware: {_listed(measured['hardware'])}.", _origin(measured)]))
    if "macs" in set(study.numbers["metric"]):
        yield "MACs of one 224 × 224 image; images/s: crops per second in training."
    yield from study.notes


def _of_inputs(images: pd.DataFrame) -> Iterator[str]:
    """Yield what the degraded images have, against which every figure above is a gain or a loss."""
    once = images.drop_duplicates(["benchmark", "protocol", "image"])
    told = []
    for name in ("psnr", "ssim"):
        heading, unit, digits, _ = MEASURES[name]
        if f"input_{name}" not in once or once[f"input_{name}"].isna().all():
            continue
        means = once.groupby(["benchmark", "protocol"], observed=True, sort=False)[f"input_{name}"].mean()
        several = means.index.get_level_values("protocol").nunique() > 1
        figures = [f"{' '.join(key) if several else key[0]} {mean:z.{digits}f}" for key, mean in means.items()]
        told.append(f"{heading} {', '.join(figures)}{f' {unit}' if unit else ''}")
    if told:
        yield f"Degraded inputs: {'; '.join(told)}."


def numbers_csv(study: Study) -> str:
    """`Study.numbers` with names in place of positions, full precision, a line per row, column and metric."""
    table = study.numbers.copy()
    names = [dict(zip(study.plan.rows, row, strict=True)) for row in study.rows]
    columns = {i: " ".join(name) for i, name in enumerate(study.columns)} | {-1: AVERAGE}
    for k, key in enumerate(study.plan.rows):
        table.insert(k, key, [names[row][key] for row in table["row"]])
    table["column"] = table["column"].map(columns).fillna("")
    table["reference"] = table["row"] == study.reference if study.reference is not None else False
    return table.drop(columns="row").to_csv(index=False)


def _title(metric: str) -> str:
    heading, unit, _, more = MEASURES[metric]
    return f"{heading} {'↑' if more else '↓'}" + (f" ({unit})" if unit else "")


def _figure(line, study: Study) -> Cell:
    digits = MEASURES[line.metric][2]
    count = "" if line.seeds == line.expected else f" ({line.seeds}/{line.expected})"
    if not line.seeds:
        return Cell(f"–{count}")
    mark = "*" if line.p_holm < study.plan.alpha else ""
    spread = f" ± {line.sd:.{digits}f}" if line.seeds > 1 else ""
    return Cell(f"{line.mean:z.{digits}f}{mark}{spread}{count}", line.rank == 1, line.rank == 2, line.mean)


def _delta(line, study: Study) -> Cell:
    if line.row == study.reference:
        return Cell("ref.")
    if pd.isna(line.delta):
        return Cell("–")
    return Cell(f"{line.delta:+z.{MEASURES[line.metric][2]}f}".replace("-", "−"), value=line.delta)


def _cost(line, name: str) -> Cell:
    _, _, digits, divisor = COSTS[name]
    return Cell("–") if line is None or not line.seeds else Cell(f"{line.mean / divisor:.{digits}f}", value=line.mean)


def _apart(
    study: Study,
    published: Sequence[Beside],
    metric: str,
    columns: Sequence[int],
    width: int,
    costs: Sequence[str],
    delta: bool,
) -> Iterator[list[Cell]]:
    """Yield published rows of one block, as wide as its own."""
    for one in published:
        figures = [one.figures.get((metric, column)) for column in columns]
        if any(figures):
            line = [Cell(one.method.name), *[Cell()] * (len(study.plan.rows) - 1)]
            line += [Cell("–") if figure is None else Cell(figure, value=float(figure)) for figure in figures]
            line += [Cell()] * delta
            line += [Cell(one.method.parameters if name == "parameters" else "") for name in costs]
            yield line + [Cell()] * (width - len(line))


def _of_tests(study: Study) -> Iterator[str]:
    tests = study.numbers["p"].notna().sum()
    named = ", ".join(f"{key} = {name}" for key, name in zip(study.plan.rows, study.rows[study.reference], strict=True))
    yield (
        f"* differs from {named} (ref.): Wilcoxon signed-rank test, paired over images after averaging over seeds, "
        f"Holm's correction over all {tests} tests, p < {study.plan.alpha:g}. Δ: difference to it."
    )
    enough = 2 + math.floor(math.log2(1 / study.plan.alpha))  # the smallest p of n images is 2 / 2^n
    if study.numbers["paired_images"].min() < enough:
        yield f"Fewer than {enough} images cannot reach p < {study.plan.alpha:g}, whatever they show."


def _budget(runs: pd.DataFrame) -> str:
    """Return updates and crops, as far as they are the same for all."""
    keys = ("train.steps", "train.batch_size", "train.accumulation", "mix.patch")
    steps, batch, accumulation, patch = (runs[key].dropna().unique() if key in runs else () for key in keys)
    if len(steps) != 1:
        return ""
    text = f"{steps[0]:,.0f} updates"
    if len(batch) == 1 and len(accumulation) == 1:
        text += f" of {batch[0] * accumulation[0]:.0f} crops"
        text += f" of {patch[0]:.0f} pixels" if len(patch) == 1 else ""
    return text + "."


def _origin(runs: pd.DataFrame) -> str:
    """Return commits and dates."""
    commits = dict.fromkeys(text[:7] + ("+" if text.endswith("+") else "") for text in runs["commit"].dropna())
    days = sorted({text[:10] for text in (*runs["started"].dropna(), *runs["finished"].dropna())})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "unknown"
    return f"Commit {', '.join(commits) or 'unknown'}; runs of {when}."


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, values.dropna().unique())) or "unknown"
