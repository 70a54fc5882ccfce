"""How often do the tests of a table find a difference where there is none, and where there is one?

    python experiments/statistics/levels.py [STUDIES]    writes experiments/statistics/levels.csv and levels.png

STUDIES (3000) tables of differences are drawn for each line; 13 s of processor time (533 s by the clock beside other
work, Intel Xeon, one thread). A table is 34 images by as many seeds: `delta` + image + seed + residual, all normal, in
dB. Each of two variants has a spread between its seeds of `spread` and a residual of
0.2 per image and seed, so their differences have sqrt(2) times as much. `images` is the spread over images of the true
difference, 0 for identical methods.

A rate is the share of tables that get a star at p < alpha: at 0.05, as a lone test, and at 0.05/18, which Holm's
correction asks of the first of 18 tests. The tests: `star`, that of the tables (`daair.report.statistics.crossed`);
`satterthwaite`, crossed random effects alone; `bootstrap`, images and seeds resampled, percentiles (a fifth of the
tables, only for three seeds, delta 0 and 0.05); `images`, a t test over images after averaging over seeds, which stands
for Wilcoxon's.
"""

import csv
import sys
import time
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from daair.report.statistics import crossed  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).parent
IMAGES, RESIDUAL, TESTS, RESAMPLES = 34, 0.2, 18, 400
SPREADS, DELTAS, SEEDS, OF_IMAGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.1, 0.2, 0.5, 1.0), (3, 5, 10), (0.0, 0.3)
ALPHAS = {"one": 0.05, "first_of_18": 0.05 / TESTS}


def draw(rng: np.random.Generator, count: int, seeds: int, spread: float, of_image: float) -> np.ndarray:
    """Return `count` tables of differences without a mean, (count, IMAGES, seeds)."""
    parts = ((IMAGES, seeds), RESIDUAL * 2**0.5), ((IMAGES, 1), of_image), ((1, seeds), spread * 2**0.5)
    return sum(size * rng.standard_normal((count, *shape)) for shape, size in parts)


def satterthwaite(tables: np.ndarray) -> np.ndarray:
    """Return p of crossed random effects alone; as in `crossed`, without the t test over seeds."""
    images, seeds = tables.shape[1:]
    mean = tables.mean((1, 2), keepdims=True)
    image, seed = tables.mean(2, keepdims=True) - mean, tables.mean(1, keepdims=True) - mean
    freedom = np.array([[images - 1], [seeds - 1], [(images - 1) * (seeds - 1)]])
    sums = seeds * image**2, images * seed**2, (tables - mean - image - seed) ** 2
    squares = np.array([part.sum((1, 2)) for part in sums]) / freedom
    total = np.maximum(squares[0] + squares[1] - squares[2], squares[:2].max(0))
    t = np.abs(mean[:, 0, 0]) / np.sqrt(total / (images * seeds))
    return 2 * stats.t.sf(t, total**2 / (squares**2 / freedom).sum(0))


def bootstrap(tables: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return whether the percentiles of means of resampled images and resampled seeds exclude 0, at 95 %."""
    count, images, seeds = tables.shape
    of_images = rng.multinomial(images, np.full(images, 1 / images), (count, RESAMPLES)) / images
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), (count, RESAMPLES)) / seeds
    means = ((of_images @ tables) * of_seeds).sum(2)
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return low * high > 0


def rates(tables: np.ndarray, delta: float, rng: np.random.Generator) -> dict[str, float]:
    """Return the share of stars by each test."""
    tables = tables + delta
    p = {
        "star": crossed(tables, 0.05)[0],
        "satterthwaite": satterthwaite(tables),
        "images": stats.ttest_1samp(tables.mean(2), 0, axis=1).pvalue,
    }
    found = {f"{test}_{name}": (p[test] < alpha).mean() for test in p for name, alpha in ALPHAS.items()}
    # The bootstrap takes long and is only shown where nothing differs, with three seeds.
    if delta or tables.shape[2] > 3:
        return found | {"bootstrap_one": float("nan")}
    return found | {"bootstrap_one": bootstrap(tables[: len(tables) // 5], rng).mean()}


def plot(lines: list[dict]) -> None:
    """Draw false stars with three seeds against the spread, and power against the number of seeds and the spread."""
    figure, (level, power) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
    looks = {"star": "the table's star", "satterthwaite": "Satterthwaite alone", "bootstrap": "two-way bootstrap",
             "images": "over images only (before)"}  # fmt: skip
    null = [line for line in lines if line["delta"] == 0 and line["seeds"] == 3 and line["images"] == 0]
    for marker, (test, name) in zip("osv^", looks.items(), strict=True):
        rate = [100 * line[f"{test}_one"] for line in null]
        level.plot(range(len(null)), rate, marker=marker, markersize=4, linewidth=1, label=name)
    level.axhline(5, color="black", linewidth=0.6, linestyle=":")
    level.set(ylabel="false stars / %", title="no difference, three seeds, p < 0.05", yscale="symlog")
    level.set_yticks([0, 1, 5, 20, 100], ["0", "1", "5", "20", "100"])
    level.set_ylim(0, 130)
    for colour, seeds in zip(("#0072b2", "#d55e00", "#009e73"), SEEDS, strict=True):
        for style, name in (("-", "one"), ("--", "first_of_18")):
            shown = [e for e in lines if (e["delta"], e["seeds"], e["images"]) == (0.2, seeds, 0)]
            label = f"{seeds} seeds, {'one test' if name == 'one' else '18 tests'}"
            rate = [100 * line[f"star_{name}"] for line in shown]
            power.plot(range(len(shown)), rate, style, color=colour, linewidth=1, marker="o", markersize=3, label=label)
    power.set(ylabel="stars / %", title="a difference of 0.2 dB")
    power.set_ylim(0, 150)  # room for the legend
    power.set_yticks(range(0, 101, 20))
    for axis in (level, power):
        axis.set_xticks(range(len(SPREADS)), [f"{spread:g}" for spread in SPREADS])
        axis.set_xlabel("spread between seeds / dB")
        axis.legend(fontsize=6, frameon=False, ncols=1 if axis is level else 2)
    figure.savefig(HERE / "levels.png", dpi=150)


def main() -> None:
    """Draw all tables, write the rates, and draw the figure."""
    count, begin, lines = int(sys.argv[1]) if len(sys.argv) > 1 else 3000, time.perf_counter(), []
    rng = np.random.default_rng(0)
    for seeds, of_image, spread in product(SEEDS, OF_IMAGES, SPREADS):
        tables = draw(rng, count, seeds, spread, of_image)
        for delta in DELTAS:
            setting = {"seeds": seeds, "images": of_image, "spread": spread, "delta": delta}
            lines.append(setting | {name: round(rate, 4) for name, rate in rates(tables, delta, rng).items()})
    with open(HERE / "levels.csv", "w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(lines)
    plot(lines)
    null = [line for line in lines if line["delta"] == 0]
    print(f"largest rate of false stars: {max(line['star_one'] for line in null):.3f} at p < 0.05")
    print(f"{time.perf_counter() - begin:.0f} s, of which {time.process_time():.0f} s on a processor")


if __name__ == "__main__":
    main()
