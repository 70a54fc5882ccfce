"""`task=preview`: show a mix's degradations in one image, a row for each: clean | weak | medium | strong.

A photograph is degraded many times as a whole. The draws at the 90, 50 and 10 % quantiles of input PSNR are shown (see
`daair.data.strength`), cropped to a window in the middle and not scaled. The same command writes the same image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from daair import components
from daair.data.decoded import Decoded
from daair.data.images import read_rgb
from daair.data.strength import STRENGTHS, strengths
from daair.engine.progress import Reporter
from daair.errors import UserError, naming_full_keys
from daair.runs.pictures import comparison

if TYPE_CHECKING:
    from daair.config.jobs import Composer, Job
    from daair.config.schema import Config

FORMATS = (".png", ".jpg", ".jpeg")


def preview(job: "Job") -> int:
    """Write the contact sheet to `job.config.output` and print the input PSNRs as a table.

    Returns:
        Exit status 0.

    Raises:
        UserError: The photograph cannot be read, the mix lacks its data, a degradation fails or does not return an
            image, or the file cannot be written.
    """
    cfg = job.config
    path = Path(cfg.output or Path(cfg.paths.runs) / "preview" / f"{cfg.mix.get('name', 'mix')}.png")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"output: {path}: must be a picture file ({', '.join(FORMATS)})")
    reporter = Reporter()
    nodes = chosen(cfg, job.composer)
    name, photograph = clean_photograph(cfg)
    rows, notes, captions = {}, {}, {}
    table = Table(title=f"{name}, {photograph.shape[1]}x{photograph.shape[0]}", title_justify="left")
    table.add_column("degradation", no_wrap=True)
    for strength in STRENGTHS:
        table.add_column(f"{strength} dB", justify="right", no_wrap=True)
    with reporter.progress("degrade", len(nodes)) as bar:
        for label, node in nodes.items():
            try:
                draws = strengths(photograph, components.build(node), f"{label}/{name}", cfg.preview.draws)
            except (ValueError, TypeError) as error:
                raise UserError(f"degradation {label}: {error}") from error
            pictures = [photograph, *(draw.image for draw in draws.values())]
            rows[label] = [window(picture, cfg.preview.size) for picture in pictures]
            decibels = [f"{draw.psnr:.2f}" for draw in draws.values()]
            notes[label] = ["", *(f"{text} dB" for text in decibels)]
            captions[label] = parameters(node)
            table.add_row(label, *decibels)
            bar.advance(label)
    try:
        comparison(path, rows, ("clean", *STRENGTHS), notes, rows[label][0].shape[0], captions)
    except OSError as error:
        raise UserError(f"output: cannot write {path}: {error.strerror}") from None
    reporter.console.print(table)
    reporter.say(f"contact sheet: {path}")
    return 0


def chosen(cfg: "Config", composer: "Composer") -> dict[str, Mapping[str, Any]]:
    """Return the config nodes of the degradations to show, by name; those of the mix keep the user's settings."""
    own = {name: task["degrade"] for name, task in cfg.mix["tasks"].items() if task.get("degrade") is not None}
    if cfg.preview.degradations is None:
        if not own:
            raise UserError("preview.degradations: missing; this mix makes none itself, so name some, or all")
        return own
    names = cfg.preview.degradations
    if names == "all":
        names = dict.fromkeys([*own, *composer.options("degradation")])
    further = [name for name in names if name not in own]
    nodes: Mapping[str, Any] = own
    if further:
        from omegaconf import OmegaConf

        composed = composer.compose([f"+degradation@further.{name}={name}" for name in further])
        nodes = own | OmegaConf.to_container(composed.further, resolve=True, throw_on_missing=True)
    return {name: nodes[name] for name in names}


def clean_photograph(cfg: "Config") -> tuple[str, np.ndarray]:
    """Return name and pixels, (H, W, 3), of `cfg.input`, or of the first held-out photograph of the mix."""
    if cfg.input is not None:
        if not isinstance(cfg.input, str):
            raise UserError("input: task=preview shows one photograph, not a list")
        return Path(cfg.input).name, read_rgb(cfg.input)
    source = components.build(cfg.mix["val"][0])
    with naming_full_keys("mix", ("root",)):
        name, picture = source.pictures(cfg.mix.get("root"))[0]
    return name, Decoded().read(picture)


def parameters(node: Mapping[str, Any]) -> str:
    """Return a degradation's parameters as text: `angle -30..30, width 2`; parts are joined by `then` or by `or`."""
    texts = []
    for name, value in node.items():
        if name in components.SPECIAL:
            continue
        if isinstance(value, Mapping):
            steps = (f"{step} ({parameters(inner)})" for step, inner in value.items() if isinstance(inner, Mapping))
            texts.append((", or " if name == "choices" else ", then ").join(steps))
        elif isinstance(value, list | tuple):
            texts.append(f"{name} {'..'.join(f'{end:g}' if isinstance(end, float) else str(end) for end in value)}")
        else:
            texts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(texts)


def window(image: np.ndarray, size: int | None) -> np.ndarray:
    """Return the middle `size` x `size` pixels of an image (H, W, 3), or all if it is smaller; None keeps all."""
    height, width = image.shape[:2]
    top, left = max(0, height - (size or height)) // 2, max(0, width - (size or width)) // 2
    return image[top : top + (size or height), left : left + (size or width)]
