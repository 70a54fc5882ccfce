"""Evaluation on benchmarks: one row per image, in the benchmark's protocol.

A row: benchmark, protocol, image, width, height (after the protocol's crop), input_psnr, input_ssim, psnr, ssim (dB and
1, of the degraded and of the restored image against the clean one), step (updates of the network, empty if unknown).
Several processes share the images and end up with the rows that one process would have.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from daair import checkpoint, components
from daair.config import benchmarks_of
from daair.data.benchmarks import Item, load_benchmark, why_missing
from daair.data.mix import Mix
from daair.engine.progress import Reporter
from daair.engine.setup import make_accelerator
from daair.errors import UserError
from daair.files import replacing
from daair.metrics import PROTOCOLS
from daair.pictures import comparison
from daair.runs import tables
from daair.runs.mirror import Mirror
from daair.runs.record import Record
from daair.schema import Config

Samples = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # benchmark -> input, restored, clean


def evaluate(cfg: Config) -> int:
    """`task=evaluate`: measure `cfg.checkpoint` on `cfg.benchmarks`; returns the exit status.

    The rows of a run folder are merged into its results.csv; those of a lone file go to `cfg.output`, by default
    `<paths.runs>/evaluate/<file name>/`.

    Raises:
        UserError: nothing to load, unknown benchmarks, missing data.
    """
    accelerator = make_accelerator(device=cfg.device, num_processes=cfg.launch.num_processes, threads=cfg.train.threads)
    reporter = Reporter(accelerator.is_main_process)
    benchmarks = benchmarks_of(cfg)
    if not benchmarks:
        raise UserError("benchmarks: none is given; e.g. benchmarks=[demo_noise25]")
    root = cfg.mix.get("root")
    items = [item for benchmark in benchmarks for item in load_benchmark(benchmark, root)]
    if components.is_foreign(cfg.model):
        model = checkpoint.build(cfg.model)
        checkpoint.load_weights(model, checkpoint.find_weights(cfg.checkpoint))
        model.eval()
    else:
        model = checkpoint.load(cfg.checkpoint)
    source = Path(cfg.checkpoint)
    folder = source if source.is_dir() else Path(cfg.output or f"{cfg.paths.runs}/evaluate/{source.stem}")
    record = Record(folder, writer=accelerator.is_main_process)
    with record.lock():
        rows, samples = measure(model, items, accelerator, reporter)
        keep(record, rows, samples)
    if accelerator.is_main_process:
        tables.show(tables.per_benchmark(rows), reporter.console)
        reporter.say(f"one row per image: {record.results_file}\npictures:          {record.samples}")
    return 0


def finish(
    cfg: Config, mix: Mix, record: Record, accelerator: Accelerator, reporter: Reporter, mirror: Mirror | None = None
) -> int:
    """The end of a training run: measure what is not measured yet, show all, mark the run as done."""
    reasons = {benchmark: why_missing(benchmark, mix.root) for benchmark in benchmarks_of(cfg)}
    for reason in filter(None, reasons.values()):
        reporter.say(f"not evaluated: {reason}")
    already = set(stored["benchmark"]) if (stored := record.results()) is not None else set()
    todo = [benchmark for benchmark, reason in reasons.items() if reason is None and benchmark.name not in already]
    if todo:
        model = checkpoint.load(record.folder)
        items = [item for benchmark in todo for item in load_benchmark(benchmark, mix.root)]
        keep(record, *measure(model, items, accelerator, reporter))
    record.update(state="done", step=cfg.train.steps, message="")
    if accelerator.is_main_process:
        summary(record, reporter, mirror)
    return 0


def summary(record: Record, reporter: Reporter, mirror: Mirror | None) -> None:
    """Print the table of a finished run, where its files are and what to type next."""
    rows = record.results()
    if rows is not None:
        table = tables.per_benchmark(rows)
        tables.show(table, reporter.console)
        if mirror is not None:
            scores = {
                f"test/{row.benchmark}/{name}": getattr(row, name)
                for row in table.itertuples()
                for name in ("psnr", "ssim")
            }
            mirror.summarise(scores)
            pictures = sorted(record.samples.glob("*.png"))
            mirror.log_images(record.status().step, {f"samples/{path.stem}": path for path in pictures})
    reporter.say(
        f"run folder   {record.folder}\n"
        f"pictures     {record.samples / 'comparison.png'}\n"
        f"per image    {record.results_file}\n"
        f"restore your own:  python run.py task=restore checkpoint={record.folder} input=IMAGE_OR_DIR output=DIR"
    )


@torch.inference_mode()
def measure(
    model: nn.Module, items: Sequence[Item], accelerator: Accelerator, reporter: Reporter
) -> tuple[pd.DataFrame, Samples]:
    """Restore all images, shared by the processes; every process gets all rows, in the order of `items`.

    Images go through the network one by one, whole and in float32, whatever the training precision.

    Returns:
        The rows (see the module's text), and the first image of each benchmark.

    Raises:
        UserError: an unreadable file, or an oracle router that knows no such degradation.
        RuntimeError: the gathered rows are not exactly one per image.
    """
    model = model.to(accelerator.device).eval()
    share = range(accelerator.process_index, len(items), accelerator.num_processes)
    rows, samples, seen = [], [], set()
    with reporter.progress("evaluate", len(share)) as bar:
        for i in share:
            item = items[i]
            degraded, clean = item.pair()
            images = _to_tensor(degraded).to(accelerator.device)
            labels = _labels(model, item)
            restored = model(images) if labels is None else model(images, labels.to(accelerator.device))
            restored = restored[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            rows.append((i, _row(model, item, degraded, restored, clean)))
            if item.benchmark not in seen:
                seen.add(item.benchmark)
                samples.append((i, item.benchmark, (degraded / 255, restored, clean / 255)))
            bar.advance(item.benchmark, images=1)
    rows = sorted(gather_object(rows), key=lambda row: row[0])
    if [i for i, _ in rows] != list(range(len(items))):
        raise RuntimeError(f"{len(rows)} rows for {len(items)} images after gathering")
    first: Samples = {}
    for _, name, triple in sorted(gather_object(samples), key=lambda sample: sample[0]):
        first.setdefault(name, triple)
    return pd.DataFrame([row for _, row in rows]), first


def keep(record: Record, rows: pd.DataFrame, samples: Samples) -> None:
    """Merge rows into results.csv (a benchmark's new rows replace its old ones) and draw `samples/comparison.png`."""
    if not record.writer:
        return
    stored = record.results()
    if stored is not None:
        measured = set(zip(rows["benchmark"], rows["protocol"], strict=True))
        old = [pair not in measured for pair in zip(stored["benchmark"], stored["protocol"], strict=True)]
        rows = pd.concat([stored[old], rows], ignore_index=True) if any(old) else rows
    with replacing(record.results_file) as temporary:
        rows.to_csv(temporary, index=False)
    notes = {name: _notes(triple) for name, triple in samples.items()}
    comparison(record.samples / "comparison.png", samples, notes=notes, height=256)


def _row(model: nn.Module, item: Item, degraded: np.ndarray, restored: np.ndarray, clean: np.ndarray) -> dict:
    protocol = PROTOCOLS[item.protocol]
    return {
        "benchmark": item.benchmark,
        "protocol": item.protocol,
        "image": item.name,
        "width": clean.shape[1],
        "height": clean.shape[0],
        "input_psnr": protocol.psnr(degraded, clean),
        "input_ssim": protocol.ssim(degraded, clean),
        "psnr": protocol.psnr(restored, clean),
        "ssim": protocol.ssim(restored, clean),
        "step": getattr(model, "step", None),
    }


def _labels(model: nn.Module, item: Item) -> Tensor | None:
    """The image's label as the network numbers it; None for a network that does not need one."""
    names = getattr(model, "labels", None)
    if not getattr(model, "needs_labels", False):
        return None
    label = item.label or f"of no named degradation (set benchmarks.{item.benchmark}.label)"
    if label not in names:
        raise UserError(
            f"benchmark {item.benchmark} is {label}, which this network's oracle was not trained on ({names})"
        )
    return torch.tensor([names.index(label)])


def _notes(triple: Sequence[np.ndarray]) -> list[str]:
    psnr = PROTOCOLS["promptir"].psnr
    return [f"{psnr(triple[0], triple[2]):.2f} dB", f"{psnr(triple[1], triple[2]):.2f} dB", ""]


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
