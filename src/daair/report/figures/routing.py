"""Draw which expert took which degradation: a heat map for each learner of a network."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from daair.files import safe_name
from daair.metrics.information import normalised_mutual_information
from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import Drawn

DECODER = (2, 1, 0)
"""Levels of the decoder in the order of its learners; those of the encoder come before, 0 to 3."""


def draw_routing(data: FigureData, folder: Path, variants: Sequence[str]) -> Iterator[Drawn]:
    """Draw a figure for each of the variants, for its lowest seed with routing."""
    drawn = False
    for variant in variants:
        for row in data.runs_of(variant).to_dict("records"):
            last = last_routing(data.metrics(str(row["run"])))
            if last is not None:
                yield _draw(data, variant, row, *last, folder)
                drawn = True
                break
    if not drawn:
        yield Drawn("routing", reason="no run has logged a routing matrix (networks without experts have none)")


def last_routing(lines: list[dict]) -> tuple[int, list[str], np.ndarray] | None:
    """Return the last routing in a run's metrics: step, D degradations, (L, N, D) shares; None if there is none.

    A share is the fraction of a degradation's images that an expert took, so the shares of each degradation sum to 1.
    """
    for line in reversed(lines):
        learners = (line.get("routing/utilisation") or {}).get("learners")
        if learners:
            shares = np.array(learners, dtype=float)
            labels = [name.removeprefix("val/psnr/") for name in line if name.startswith("val/psnr/")]
            count = shares.shape[2]
            return line["step"], labels if len(labels) == count else [str(i + 1) for i in range(count)], shares
    return None


def learner_names(encoder_blocks: str, decoder_blocks: str, count: int) -> list[str]:
    """Return `encoder 1`, ..., `decoder 1`, or `encoder 2.3` if a level has several blocks.

    Level 1 has full resolution.

    Args:
        encoder_blocks, decoder_blocks: Blocks of each level as JSON lists, as in the collated frame.
        count: Number of learners; if the blocks do not account for it, the names are `learner 1`, ...
    """
    try:
        encoder, decoder = json.loads(encoder_blocks), json.loads(decoder_blocks)
    except (TypeError, ValueError):
        encoder, decoder = [], []
    levels = [("encoder", i, blocks) for i, blocks in enumerate(encoder)]
    levels += [("decoder", i, decoder[i]) for i in DECODER if i < len(decoder)]
    names = [
        f"{part} {level + 1}.{block + 1}" if blocks > 1 else f"{part} {level + 1}"
        for part, level, blocks in levels
        for block in range(blocks)
    ]
    return names if len(names) == count else [f"learner {i + 1}" for i in range(count)]


def _draw(
    data: FigureData, variant: str, row: dict, step: int, labels: list[str], shares: np.ndarray, folder: Path
) -> Drawn:
    names = learner_names(row.get("model.encoder_blocks"), row.get("model.decoder_blocks"), len(shares))
    per_row = min(len(shares), 4 if len(shares) <= 8 else 6)
    experts = shares.shape[1]
    height = 0.75 + min(1.3, 0.16 * experts + 0.2)
    figure, axes = style.panels(len(shares), per_row=per_row, height=height, width=style.PAGE)
    information = [normalised_mutual_information(share) if share.sum() else 0.0 for share in shares]
    for i, (axis, share, name) in enumerate(zip(axes, shares, names, strict=True)):
        image = axis.imshow(share, cmap=style.SHARES, vmin=0, vmax=1, aspect="auto")
        axis.set_title(f"{name}: NMI {information[i]:.2f}", fontsize=7)
        axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=6)
        axis.set_yticks(range(experts), [str(k + 1) for k in range(experts)], fontsize=6)
        axis.tick_params(length=0)
        axis.grid(False)
        axis.spines[:].set_visible(False)
        if i % per_row == 0:
            axis.set_ylabel("expert", fontsize=7)
        if i < len(shares) - per_row:
            axis.set_xticklabels([])
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01, aspect=25)
    bar.set_label("share of the degradation's images", fontsize=7)
    bar.outline.set_visible(False)
    figure.suptitle(f"{data.names[variant]}, seed {row['seed']}: mean NMI {np.mean(information):.2f}", fontsize=8)
    caption = (
        f"Routing of {data.names[variant]}, seed {row['seed']}, after {step} updates, on the validation crops. NMI: "
        f"normalised mutual information of expert and degradation, 0 independent, 1 one to one; its mean over learners "
        f"is {_over_seeds(data, variant)}."
    )
    return style.save(figure, folder, f"routing_{safe_name(data.names[variant].replace(' ', '-'))}", caption)


def _over_seeds(data: FigureData, variant: str) -> str:
    """Return the last logged mutual information over the seeds: `0.41 ± 0.03 (3 seeds)`."""
    values = []
    for run in data.runs_of(variant)["run"].astype(str):
        logged = [line.get("routing/mutual_information") for line in data.metrics(run)]
        values += [value for value in logged if value is not None][-1:]
    series = pd.Series(values, dtype=float)
    spread = series.std()
    return f"{series.mean():.2f}" + ("" if math.isnan(spread) else f" ± {spread:.2f} ({len(series)} seeds)")
