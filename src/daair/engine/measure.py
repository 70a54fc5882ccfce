"""Measure a network on images in three overlapping stages: read, restore, compare.

The network runs in the main thread, once for each distinct crop of an image. A few threads meanwhile read and degrade
the next image and compute the metrics of the previous ones. Several processes share the images and end up with the same
rows as a single process.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from daair.config.schema import Evaluate
from daair.data.benchmarks import Item
from daair.data.mix import label_in
from daair.engine.devices import tf32
from daair.engine.inference import Restorer, local_processes
from daair.engine.memory import free_bytes
from daair.engine.progress import Reporter
from daair.engine.sample_choice import SampleChoice
from daair.errors import UserError, one_line, reason
from daair.metrics import METRICS, PROTOCOLS, Score, required_columns
from daair.models.training import needs_labels
from daair.pixels import to_float
from daair.runs.results import ARITHMETIC
from daair.runs.samples import Sample

Pictures = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # benchmark -> input, restored, clean
Key = tuple[int, int, int]  # position of a row: benchmark, protocol, image
A, B = TypeVar("A"), TypeVar("B")


@dataclass(frozen=True)
class Crop:
    """One crop of one image, (H, W, 3).

    Attributes:
        item: The image.
        keys: Positions of the rows, by the names of the protocols that use this crop.
        degraded, clean: Pixels, uint8 or float32; see `daair.pixels`.
        restored: Pixels, float32 in [0, 1]; None before restoration.
        tile: Side of the tiles in pixels, 0 for the whole image at once.
    """

    item: Item
    keys: Mapping[str, Key]
    degraded: np.ndarray
    clean: np.ndarray
    restored: np.ndarray | None = None
    tile: int = 0


@torch.inference_mode()
@tf32(False)
def measure(
    model: nn.Module,
    items: Sequence[Item],
    accelerator: Accelerator,
    reporter: Reporter,
    options: Evaluate,
    protocols: Sequence[str] | None = None,
    metrics: Iterable[str] = (),
    restorer: Restorer | None = None,
    lost: list[str] | None = None,
    measured: Callable[[], None] = lambda: None,
) -> tuple[pd.DataFrame, Pictures, list[Sample]]:
    """Restore and measure all images, shared by the processes; every process returns all rows.

    Images go through the network one by one, in float32 for every training precision, without TensorFloat-32.

    Args:
        model: Maps images (1, 3, H, W), white at 1, to images; may have `labels`, `needs_labels` and `step`.
        items: Images of benchmarks.
        accelerator: Device and processes.
        reporter: Shows the progress.
        options: Tiles, memory, threads, sample images.
        protocols: Names of the protocols for every image; None = each benchmark's own.
        metrics: Names of metrics in addition to those that are always measured; one whose weights are missing is left
            out, with a printed line.
        restorer: The network as returned by `make_restorer`; None = one is made.
        lost: Takes a line for each image that is unreadable or too small, and is left out of what is returned; None =
            such an image is an error.
        measured: Called after each image of this process.

    Returns:
        The rows (see `daair.engine.evaluate`) by benchmark, then protocol, then image; the first image of each
        benchmark; and the sample images (`daair.engine.sample_choice`).

    Raises:
        UserError: A file, or with `lost` every file of a benchmark, is unreadable or too small, the network fails or
            does not return an image, or an oracle router does not know the degradation; raised in every process.
        RuntimeError: The gathered rows are not exactly one per image and protocol.
    """
    scores = _scores(metrics, accelerator, reporter)
    restorer = restorer or make_restorer(model, accelerator, options, reporter)
    keys = _places(items, protocols)
    share = range(accelerator.process_index, len(items), accelerator.num_processes)
    rows_of = partial(_rows, scores=scores, facts={"step": getattr(model, "step", None), ARITHMETIC: "float32"})
    part = _measure_share(items, keys, share, restorer, rows_of, options, reporter, measured)
    gone = _agree(part, items)
    if lost is None and gone:
        raise UserError(gone[min(gone)])
    if lost is not None:
        lost += gone.values()
    rows = sorted((row for row in gather_object(part.rows) if row[0][-1] not in gone), key=lambda row: row[0])
    if [key for key, _ in rows] != sorted(key for i, at in enumerate(keys) if i not in gone for key in at.values()):
        raise RuntimeError(f"{len(rows)} rows for {sum(map(len, keys))} pairs of image and protocol after gathering")
    first: Pictures = {}
    for i, name, triple in sorted(gather_object(list(part.first.values())), key=lambda sample: sample[0]):
        if i not in gone:
            first.setdefault(name, triple)
    return pd.DataFrame([row for _, row in rows]), first, part.choice.gather()


@dataclass(frozen=True)
class Part:
    """What one process has measured.

    Attributes:
        choice: The sample images.
        rows: Rows with their positions.
        first: By benchmark the first readable image: its number, the benchmark, and its pictures.
        gone: By number the images that are unreadable or too small, with the reason.
        failures: Errors that are not of one image.
    """

    choice: SampleChoice
    rows: list[tuple[Key, dict[str, Any]]] = field(default_factory=list)
    first: dict[str, tuple[int, str, tuple[np.ndarray, ...]]] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def _measure_share(
    items: Sequence[Item],
    keys: Sequence[Mapping[str, Key]],
    share: Sequence[int],
    restorer: Restorer,
    rows_of: Callable[[Crop], list[tuple[Key, dict[str, Any]]]],
    options: Evaluate,
    reporter: Reporter,
    measured: Callable[[], None],
) -> Part:
    """Restore and measure the images of one process."""
    part = Part(SampleChoice(options.pictures, options.shown))
    with ThreadPoolExecutor(options.workers) as pool, reporter.progress("evaluate", len(share)) as bar:

        def restored() -> Iterator[Crop]:
            for i, crops in zip(share, ahead(pool, 1, lambda i: _try(_read, items[i], keys[i]), share), strict=True):
                if isinstance(crops, UserError):
                    part.gone[i], crops = str(crops), []
                for crop in crops:
                    yield (done := _restore(crop, restorer))
                    if crop is crops[0]:
                        triple = crop.degraded, done.restored, crop.clean
                        part.first.setdefault(crop.item.benchmark, (i, crop.item.benchmark, triple))
                bar.advance(items[i].benchmark, images=1)
                measured()

        try:
            for crop, scored in ahead(pool, options.workers, lambda crop: (crop, _try(rows_of, crop)), restored()):
                if isinstance(scored, UserError):
                    part.gone[min(crop.keys.values())[-1]] = str(scored)
                    continue
                part.choice.consider(crop, scored)
                part.rows.extend(scored)
        except UserError as error:  # gathered later, so that all processes stop together
            part.failures.append(str(error))
    return part


def _agree(part: Part, items: Sequence[Item]) -> dict[int, str]:
    """Return the images of all processes that could not be measured, by number.

    Raises:
        UserError: A process failed, or nothing of a benchmark could be measured.
    """
    if failures := gather_object(part.failures):
        raise UserError(failures[0])
    gone = dict(sorted(gather_object(list(part.gone.items()))))
    measured = {item.benchmark for i, item in enumerate(items) if i not in gone}
    if text := next((text for i, text in gone.items() if items[i].benchmark not in measured), None):
        raise UserError(text)
    return gone


def ahead(pool: Executor, count: int, function: Callable[[A], B], things: Iterable[A]) -> Iterator[B]:
    """Yield `map(function, things)`, with up to `count` results computed in advance by the pool."""
    pending: deque = deque()
    for thing in things:
        pending.append(pool.submit(function, thing))
        if len(pending) > count:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _try(function: Callable[..., B], *arguments: Any) -> B | UserError:
    """Return what a function returns, or the `UserError` that it raises."""
    try:
        return function(*arguments)
    except UserError as error:
        return error


def make_restorer(model: nn.Module, accelerator: Accelerator, options: Evaluate, reporter: Reporter) -> Restorer:
    """Return the restorer of the images, with tiles as in the options."""
    if options.tile != "auto":
        return Restorer(model, accelerator.device, options.tile, options.overlap)
    restorer = Restorer(model, accelerator.device, None, options.overlap, reporter.say)
    free = options.memory * free_bytes(accelerator.device, local_processes(accelerator.num_processes))
    affordable = restorer.affordable(free)
    restorer.pixels = min(gather_object([affordable]))  # the tiles of an image do not depend on its process
    return restorer


def _restore(crop: Crop, restorer: Restorer) -> Crop:
    """Return the crop with its restored image."""
    image = torch.from_numpy(to_float(crop.degraded)).permute(2, 0, 1)[None]
    label = _label(restorer.network, crop.item)
    restored, tile = restorer(image, label, f"{crop.item.benchmark}: {crop.item.name}")
    return replace(crop, restored=restored[0].clamp(0, 1).permute(1, 2, 0).numpy(), tile=tile)


def _label(model: nn.Module, item: Item) -> int | None:
    """Return the number of the image's label in the network; None if the network does not need one."""
    if not needs_labels(model):
        return None
    label = item.label or f"of no named degradation (set benchmarks.{item.benchmark}.label)"
    if (known := label_in(label, model.labels)) is None:
        raise UserError(
            f"benchmark {item.benchmark} is {label}, which this network's oracle was not trained on ({model.labels})"
        )
    return model.labels.index(known)


def _scores(metrics: Iterable[str], accelerator: Accelerator, reporter: Reporter) -> dict[str, Score]:
    """Return the functions of the metrics that are always measured, then of `metrics` that every process has."""
    always = {name: metric.score() for name, metric in METRICS.items() if metric.always}
    others = {}
    for name in [name for name in METRICS if name in metrics and name not in always]:
        reasons = [reason for reason in gather_object([METRICS[name].missing()]) if reason]
        if reasons:
            reporter.say(reasons[0])
        else:
            others[name] = METRICS[name].score(accelerator.device)
    return always | others


def _places(items: Sequence[Item], protocols: Sequence[str] | None) -> list[dict[str, Key]]:
    """Return, for each image, the positions of its rows by protocol."""
    order = {name: k for k, name in enumerate(dict.fromkeys(item.benchmark for item in items))}
    names = [list(dict.fromkeys(protocols or [item.protocol])) for item in items]
    return [{name: (order[item.benchmark], k, i) for k, name in enumerate(names[i])} for i, item in enumerate(items)]


def _read(item: Item, keys: Mapping[str, Key]) -> list[Crop]:
    """Return the image's distinct crops, each with the protocols that use it.

    Crops of equal shape are equal, such as all crops of an image whose sides are multiples already.
    """
    crops: dict[tuple[int, ...], Crop] = {}
    for _, same in itertools.groupby(sorted(keys, key=_multiple), key=_multiple):
        names = list(same)
        degraded, clean = item.pair(PROTOCOLS[names[0]])
        served = {name: keys[name] for name in names}
        known = crops.get(clean.shape)
        crops[clean.shape] = Crop(item, {**known.keys, **served} if known else served, degraded, clean)
    return sorted(crops.values(), key=lambda crop: min(crop.keys.values()))


def _multiple(protocol: str) -> int:
    return PROTOCOLS[protocol].multiple


def _rows(crop: Crop, scores: Mapping[str, Score], facts: Mapping[str, Any]) -> list[tuple[Key, dict[str, Any]]]:
    """Return the crop's rows, one per protocol."""
    rows = []
    for name, key in crop.keys.items():
        row: dict[str, Any] = {
            "benchmark": crop.item.benchmark,
            "protocol": name,
            "image": crop.item.name,
            "width": crop.clean.shape[1],
            "height": crop.clean.shape[0],
            "tile": crop.tile,
        }
        row |= dict.fromkeys(required_columns()) | facts
        for metric, score in scores.items():
            of_input, of_restored = METRICS[metric].columns
            try:
                row[of_input] = score(PROTOCOLS[name].of_inputs, crop.degraded, crop.clean)
                row[of_restored] = score(PROTOCOLS[name], crop.restored, crop.clean)
            except Exception as error:  # a metric of another package may raise any error, and other processes wait
                # A ValueError says what is wrong with the image, such as one smaller than SSIM's window.
                text = one_line(error) if isinstance(error, ValueError) else reason(error)
                raise UserError(f"{crop.item.benchmark}: {crop.item.name}: {metric}: {text}") from error
        rows.append((key, row))
    return rows
