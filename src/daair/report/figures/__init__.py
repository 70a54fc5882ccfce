"""Figures of a study for a paper: vector PDF and PNG, from collated runs and what their folders hold.

Only what the data can support is drawn; `draw` says of everything else why not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daair.report.figures.style import Drawn

if TYPE_CHECKING:
    from daair.report.figures.study import Study
    from daair.report.frame import Collated

__all__ = ["Drawn", "draw", "study_of"]


def draw(
    collated: "Collated",
    folder: str | Path,
    *,
    runs: str | Path,
    rows: Sequence[str] = (),
    reference: str | None = None,
    metrics: Sequence[str] = ("psnr",),
    protocols: Sequence[str] | None = None,
) -> list[Drawn]:
    """Draw all figures of a study that its data supports, as `<folder>/<name>.pdf` and `.png`.

    Args:
        collated: the runs of one study.
        folder: for the files; made when missing. Files of other names in it are left alone.
        runs: the folder of all runs (`paths.runs`), for training curves, routing and pictures.
        rows: columns of the frame that name a variant; none = those in which the variants differ.
        reference: `variant` of the frame that others are compared with, if there is one.
        metrics: that are drawn against rank, experts, parameters and MACs.
        protocols: names; None = of each benchmark the one with the most rows.

    Returns:
        Every figure, drawn or not, in the order in which a report shows them.
    """
    from daair.report.figures import style

    with style.styled():
        return list(_all(study_of(collated, runs, rows, reference, protocols), Path(folder), metrics))


def study_of(
    collated: "Collated",
    runs: str | Path,
    rows: Sequence[str] = (),
    reference: str | None = None,
    protocols: Sequence[str] | None = None,
) -> "Study":
    """Return the study in the form in which single figures want it; arguments as for `draw`."""
    from daair.report import variants
    from daair.report.figures.study import Study, one_protocol
    from daair.report.frame import FACTS

    table = collated.runs
    keys = variants.differing(table, [name for name in table.columns if name not in FACTS])
    images = one_protocol(collated.images, protocols)
    return Study(table, images, Path(runs), tuple(keys), tuple(rows or keys), reference)


def _all(study: "Study", folder: Path, metrics: Sequence[str]) -> Iterator[Drawn]:
    from daair.report.figures.curves import curves
    from daair.report.figures.routing import routing
    from daair.report.figures.scores import KEYS, against, gain
    from daair.report.figures.strips import strips

    if study.images.empty:
        yield Drawn("scores", reason="no run has results")
    else:
        for metric in metrics:
            for what in KEYS:
                yield against(study, what, metric, folder)
        yield gain(study, folder)
    yield curves(study, folder)
    yield from routing(study, folder)
    if not study.images.empty:
        yield strips(study, folder)
