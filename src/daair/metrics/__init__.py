"""The table of metrics: everything that the program knows about a metric stands in its one entry here.

Config schema, rows of results.csv, tables, figures and statistics read `METRICS`. To add a metric, add an entry: every
metric is then measured with `metrics=[psnr,ssim,NAME]`, on the degraded image too (column `input_NAME`), and shown with
`collate.metrics=[NAME]`. An installed package adds metrics by entry points of the group `daair.metrics`, each of which
names a `Metric`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daair.metrics.perceptual import PiqNetwork
from daair.metrics.protocols import PROTOCOLS, Protocol

if TYPE_CHECKING:
    import torch

__all__ = [
    "METRICS", "PROTOCOLS", "Metric", "Protocol", "Score", "derived", "optional_columns", "required_columns",
]  # fmt: skip

Score = Callable[[Protocol, NDArray, NDArray], float]
"""Computes a metric of an image against the clean one, both (H, W, 3), by a protocol."""


@dataclass(frozen=True)
class Metric:
    """One metric. It has exactly one of `compute`, `network` and `derive`.

    Attributes:
        name: As in configs and as a column of results.csv.
        header: As in the headings of tables and figures.
        unit: Empty if it has none.
        digits: Decimals in tables.
        higher_is_better: The direction.
        compute: Computes it from two images.
        network: The network with which it is computed, where it is made by one; its weights may be missing here.
        derive: Computes its column from those that are always measured; linear, so that it holds for means as well.
        always: Whether every evaluation measures it, asked for or not.
    """

    name: str
    header: str
    unit: str
    digits: int
    higher_is_better: bool
    compute: Score | None = None
    network: PiqNetwork | None = None
    derive: Callable[[Any], Any] | None = None
    always: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of results.csv that it has: of the degraded image and of the restored one."""
        return () if self.derive else (f"input_{self.name}", self.name)

    def missing(self) -> str | None:
        """Return in one line what it lacks on this machine; None if it can be computed."""
        return self.network.missing() if self.network else None

    def score(self, device: "torch.device | str" = "cpu") -> Score:
        """Return the function that computes it.

        Raises:
            UserError: Weights are missing or damaged.
        """
        return self.network.load(device) if self.network else self.compute


def mean_absolute_error(protocol: Protocol, image: NDArray, reference: NDArray) -> float:
    """Return the mean absolute difference over pixels and channels, of images in [0, 1]."""
    image, reference = protocol.compared(image, reference)
    return float(np.mean(np.abs(image - reference)))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", 2, higher_is_better=True, compute=Protocol.psnr, always=True),
        Metric("ssim", "SSIM", "", 4, higher_is_better=True, compute=Protocol.ssim, always=True),
        Metric("gain", "gain", "dB", 2, higher_is_better=True, derive=lambda rows: rows["psnr"] - rows["input_psnr"]),
        Metric("mae", "MAE", "", 4, higher_is_better=False, compute=mean_absolute_error),
        Metric("lpips", "LPIPS", "", 4, higher_is_better=False, network=PiqNetwork("lpips", "LPIPS")),
        Metric("dists", "DISTS", "", 4, higher_is_better=False, network=PiqNetwork("dists", "DISTS")),
    )
}
"""All metrics by name, in the order in which tables show them."""


def required_columns() -> list[str]:
    """Return the columns that every results.csv has: the degraded images' metrics, then the restored images'."""
    always = [metric.columns for metric in METRICS.values() if metric.always]
    return [of_input for of_input, _ in always] + [of_restored for _, of_restored in always]


def optional_columns() -> list[str]:
    """Return the columns of the metrics that are only measured where they are asked for."""
    return [name for metric in METRICS.values() if not metric.always for name in metric.columns]


def derived() -> list[Metric]:
    """Return the metrics that are computed from columns; no results.csv has them."""
    return [metric for metric in METRICS.values() if metric.derive]


def _add_installed() -> None:
    """Add the metrics of installed packages; one that cannot be loaded is left out with a warning."""
    for point in entry_points(group="daair.metrics"):
        try:
            metric = point.load()
            METRICS.setdefault(metric.name, metric)
        except Exception as error:  # importing another package may fail in any way
            warnings.warn(f"metric {point.name} ({point.value}) cannot be loaded: {error}", stacklevel=2)


_add_installed()
