"""The data of a study in the form that figures need."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from daair.metrics import METRICS
from daair.metrics.finite import not_finite
from daair.report import contents, evaluated
from daair.report.aggregate import Axis, text
from daair.report.figures.style import SEVERAL
from daair.report.folders import LeftOut
from daair.report.frame import FACTS, Collated
from daair.report.names import Names
from daair.report.table import differing_keys
from daair.runs import samples
from daair.runs.record import Record
from daair.runs.samples import Sample


@dataclass(frozen=True)
class FigureData:
    """The data of a study for figures and the report.

    Attributes:
        runs: A row per run, see `daair.report.frame`.
        images: A row per run, benchmark and image, with one protocol for each benchmark; of the runs that a table
            shows, which are done, and of networks that were only evaluated.
        folder: The folder of all runs (`paths.runs`).
        keys: Config keys in which the variants differ.
        rows: Columns that name a variant.
        reference: The variant that others are compared with, or None.
        left_out: What is not among the runs, and why.
        headings: What benchmarks are called.
    """

    runs: pd.DataFrame
    images: pd.DataFrame
    folder: Path
    keys: tuple[str, ...]
    rows: tuple[str, ...]
    reference: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    headings: Names = field(default_factory=Names)

    @cached_property
    def names(self) -> dict[str, str]:
        """Return the name of each variant, in order."""
        return variant_names(self.runs, self.rows)

    @cached_property
    def trained(self) -> set[str]:
        """The variants that the study trained; the others were only evaluated."""
        return set(evaluated.trained(self.runs)["variant"].astype(str))

    @cached_property
    def benchmarks(self) -> list[str]:
        """Return the names of the benchmarks, in the order of the results."""
        return [str(name) for name in self.images["benchmark"].unique()]

    @cached_property
    def protocols(self) -> list[str]:
        """Return the names of the metric protocols."""
        return [str(name) for name in self.images["protocol"].unique()]

    @cached_property
    def means(self) -> pd.DataFrame:
        """Return the means of the finite values over the images: a row per run and benchmark, a column per metric."""
        owners = self.images[["run", "benchmark"]]
        values = self.images[self._strange.columns].mask(self._strange)
        return owners.join(values).groupby(["run", "benchmark"], observed=True, sort=False).mean()

    @cached_property
    def _strange(self) -> pd.DataFrame:
        """Return which values of the metrics are not finite."""
        return not_finite(self.images, [name for name in METRICS if name in self.images])

    def left_out_note(self, metric: str) -> str:
        """Return a sentence for a caption if values of a metric are in no mean, else an empty text."""
        count = int(self._strange[metric].sum())
        return f" Without {count} value{'s' if count > 1 else ''} not finite." if count else ""

    def scores(self, metric: str) -> pd.DataFrame:
        """Return means over the images by variant and seed, a column per benchmark; NaN where a run has no results."""
        scores = self.means[metric].unstack("benchmark")
        scores.columns = scores.columns.astype(str)
        owners = self.runs.set_index("run").loc[scores.index]
        scores.index = pd.MultiIndex.from_arrays([owners["variant"].astype(str), owners["seed"]])
        return scores[self.benchmarks]

    @cached_property
    def has_average(self) -> bool:
        """Whether an average over the benchmarks means something, as a table decides; also if there is only one."""
        columns = Axis(["benchmark"], [(name,) for name in self.benchmarks])
        return len(self.benchmarks) == 1 or bool(contents.averages(None, columns, self.images))

    def averages(self, metric: str) -> pd.Series:
        """Return the mean over all benchmarks by variant and seed, for runs that were measured on all of them.

        It is empty if the benchmarks are not comparable.
        """
        scores = self.scores(metric) if self.has_average else self.scores(metric)[:0]
        return scores.mean(axis=1, skipna=False).dropna()

    def ranked(self, metric: str) -> pd.Series:
        """Return the averages over benchmarks and seeds by variant, without variants with values that are not finite.

        Without those values a mean would be of other images.
        """
        strange = self.runs[self.runs["run"].isin(self.images["run"][self._strange[metric]])]["variant"]
        means = self.averages(metric).groupby(level=0).mean()
        return means[~means.index.isin(strange.astype(str))]

    def best(self, metric: str = "psnr") -> str | None:
        """Return the variant with the best average over seeds and benchmarks; of trained ones, if any."""
        means = self.ranked(metric)
        means = means[[variant in self.trained for variant in means.index]] if self.trained else means
        return None if means.empty else str(means.idxmax() if METRICS[metric].higher_is_better else means.idxmin())

    def leading(self) -> list[str]:
        """Return the reference and the best variant by average PSNR, as far as there are such; else the first."""
        best = None if self.images.empty else self.best()
        found = list(dict.fromkeys(variant for variant in (self.reference, best) if variant in self.names))
        return found or list(self.names)[:1]

    def few(self) -> list[str]:
        """Return at most `SEVERAL` variants in order: all with results, or the reference and the best by PSNR."""
        return self._few[0]

    def few_note(self) -> str:
        """Return a sentence for a caption if `few` leaves variants out, else an empty text."""
        shown, which = self._few
        return f" Shown: {which}, {len(shown)} of {len(self.names)} variants." if len(shown) < len(self.names) else ""

    @cached_property
    def _few(self) -> tuple[list[str], str]:
        """Return the variants of `few`, and which ones these are."""
        means = self.ranked("psnr").sort_values(ascending=False, kind="stable")
        measured = self.scores("psnr").dropna().index.get_level_values(0)
        ordered = [variant for variant in self.names if variant in measured]
        which = "those with results on all benchmarks" if ordered else "the first"
        ordered = ordered or list(self.names)
        if len(ordered) <= SEVERAL:
            return ordered, which
        first = [self.reference] if self.reference in ordered else []
        chosen = list(dict.fromkeys([*first, *means.index, *ordered]))[:SEVERAL]
        which = ("the reference and " if first else "") + ("the first" if means.empty else "the best by average PSNR")
        return [variant for variant in ordered if variant in chosen], which

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Return the positions in `runs` of each variant's runs."""
        groups = self.runs.groupby("variant", observed=True, sort=False).indices
        return {str(variant): places for variant, places in groups.items()}

    def runs_of(self, variant: str) -> pd.DataFrame:
        """Return the rows of a variant's runs, sorted by seed."""
        return self.runs.iloc[self._places[variant]].sort_values("seed")

    def record(self, run: str) -> Record:
        """Return the record of a run."""
        return Record(self.folder / run)

    @cached_property
    def pictured(self) -> tuple[dict, list[Sample]]:
        """Return a run with images of extreme gains: one of the reference, else of the best variant, else of any other.

        Returns:
            The run's row with its variant's `name`, and its samples in the order of the study's benchmarks; ({}, []) if
            no run has samples.
        """
        order = {name: i for i, name in enumerate(self.benchmarks)}
        for variant in dict.fromkeys([*self.leading(), *self.few()]):
            for row in self.runs_of(variant).to_dict("records"):
                of_run = samples.find(self.record(str(row["run"])).samples, "*_gain.png")
                if found := [sample for sample in of_run if sample.benchmark in order]:
                    return {**row, "name": self.names[variant]}, sorted(found, key=lambda s: order[s.benchmark])
        return {}, []

    @cached_property
    def _metrics(self) -> dict[str, list[dict]]:
        return {}

    def metrics(self, run: str) -> list[dict]:
        """Return the lines of a run's metrics.jsonl; each file is read only once, and only if needed."""
        if run not in self._metrics:
            self._metrics[run] = self.record(run).metrics()
        return self._metrics[run]

    def seeds_note(self) -> str:
        """Return how many seeds were measured: `3 seeds`, `2 to 3 seeds`, or that one seed has no spread."""
        measured = evaluated.trained(self.runs[self.runs["run"].isin(self.images["run"].unique())])
        if measured.empty:
            return "one network for each row"
        counts = measured.groupby("variant", observed=True)["seed"].nunique()
        low, high = int(counts.min()), int(counts.max())
        if high == 1:
            return "one seed, so no spread is known"
        return f"{high} seeds" if low == high else f"{low} to {high} seeds"


def figure_data(
    collated: Collated,
    runs: str | Path,
    rows: Sequence[str] = (),
    reference: str | None = None,
    protocols: Sequence[str] | None = None,
    headings: Names | None = None,
) -> FigureData:
    """Return the data of a study for figures and the report.

    Args:
        collated: The study's runs.
        runs: The folder of all runs (`paths.runs`), for training curves, routing and sample images.
        rows: Columns of the frame that name a variant; empty = those in which the variants differ.
        reference: `variant` that others are compared with, or None.
        protocols: Names of protocols to choose from; None = all. Each benchmark is shown by the one with the most rows.
        headings: What benchmarks are called; None = their own names.
    """
    table = collated.runs
    keys = differing_keys(evaluated.trained(table), [name for name in table.columns if name not in FACTS])
    done = table.loc[(table["state"] == "done") | ~evaluated.is_trained(table), "run"]
    images = one_protocol(collated.images[collated.images["run"].isin(done)], protocols)
    return FigureData(
        runs=table,
        images=images,
        folder=Path(runs),
        keys=tuple(keys),
        rows=tuple(rows or keys),
        reference=reference,
        left_out=collated.left_out,
        headings=headings or Names(),
    )


def one_protocol(images: pd.DataFrame, wanted: Sequence[str] | None = None) -> pd.DataFrame:
    """Return, of the `wanted` protocols (None = all), the rows of the one with the most rows for each benchmark."""
    images = images[images["protocol"].isin(list(wanted))] if wanted else images
    counts = images.groupby(["benchmark", "protocol"], observed=True, sort=False).size()
    best = set(counts.groupby(level=0, observed=True, sort=False).idxmax())
    numbers = images.groupby(["benchmark", "protocol"], observed=True, sort=False).ngroup()
    return images[numbers.isin([i for i, pair in enumerate(counts.index) if pair in best])]


def variant_names(runs: pd.DataFrame, rows: Sequence[str]) -> dict[str, str]:
    """Return the name of each variant in figures, in the order of `runs`: `count 5, rank 8`.

    Args:
        runs: The runs, as in `Collated.runs`.
        rows: Columns that tell the variants apart. The id is added if they do not suffice; if empty, the label is the
            name.
    """
    short, names, ids, others = _short(rows), {}, {}, evaluated.names(runs)
    for row in runs.drop_duplicates("variant").to_dict("records"):
        parts = [_key_and_value(short[key], row[key]) for key in rows if not pd.isna(row[key])]
        names[row["variant"]] = others.get(row["variant"]) or ", ".join(parts) or str(row["label"])
        ids[row["variant"]] = row["id"]
    times = Counter(names.values())
    return {variant: name if times[name] == 1 else f"{name} ({ids[variant]})" for variant, name in names.items()}


def _key_and_value(key: str, value: object) -> str:
    """Return `rank 8`; for texts only the value (`top1`), which needs no explanation."""
    return value if isinstance(value, str) else f"{key} {text(value)}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each dotted key if no other key ends with it, else the whole key."""
    short = {key: key.rpartition(".")[2] for key in keys}
    ends = list(short.values())
    return {key: end if ends.count(end) == 1 else key for key, end in short.items()}
