"""`task=profile`: compare the costs of models: parameters, MACs, latency, peak memory.

The models take turns, one forward pass each per round, so that a busy or throttled machine slows all of them alike. The
columns are measured as follows:

- *parameters*: in millions; structural zeros (padding of experts of unequal rank) are not counted.
- *MACs*: multiply-accumulates of one image in units of 10^9: half the operations counted by torch's flop counter, which
  counts convolutions and matrix products but no FFTs, norms and element-wise operations.
- *latency*: milliseconds per image of a forward pass in eval mode without gradients: median and quartiles over rounds.
- *memory*: peak in MiB of one forward pass: the model's parameters and buffers, and the largest sum of allocations
  during the pass, from the allocator's statistics on CUDA and from the torch profiler on the CPU. Scratch memory that
  libraries take from elsewhere is not included.
- *step*, with `profile.train_size`: time and memory of an update in training mode: forward pass, loss, backward pass
  and optimizer, in float32, on random crops of that size; the memory includes gradients and the optimizer's state.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from daair import checkpoint, components
from daair.engine.costs import TrainingStep, count_macs, count_parameters, interleaved_seconds, peak_memory
from daair.engine.devices import resolve_device
from daair.errors import UserError, first_line, reason
from daair.files import write_text
from daair.models.training import apply
from daair.report.writers import to_csv
from daair.runs.environment import commit_name, git_state, processor

if TYPE_CHECKING:
    from daair.config.jobs import Job
    from daair.config.schema import Profile

COLUMNS = ("model", "parameters_m", "gmacs", "latency_ms", "latency_q1_ms", "latency_q3_ms", "memory_mib")
"""Columns of `measure`; further columns in the CSV describe the machine and the settings."""

STEP_COLUMNS = ("step_ms", "step_q1_ms", "step_q3_ms", "step_memory_mib")
"""Columns of `measure_steps`."""


def profile(job: "Job") -> int:
    """Measure the models named in `job.config.profile.models`, print a table and write a CSV.

    Returns:
        Exit status: 0, or 1 if a model could not be measured (the others still are).

    Raises:
        UserError: No model is named, or the CSV cannot be written.
    """
    cfg = job.config
    device = resolve_device(cfg.device)
    models, failures = {}, []
    for name in dict.fromkeys(cfg.profile.models):
        try:
            models[name] = checkpoint.build(model_config(job, name))
        except Exception as error:  # a foreign model may fail in any way; the others are still measured
            failures.append(f"{name}: {first_line(error)}")
    for failure in failures:
        print(f"error: cannot build {failure}")
    if not models:
        return 1
    options = cfg.profile
    table = measure(models, options.size, options.batch_size, options.repeats, device)
    asked = {name: getattr(options, name) for name in ("size", "batch_size", "repeats")}
    if options.train_size:
        running = {name: model for name, model in models.items() if name in set(table.model[table.latency_ms.notna()])}
        steps = measure_steps(running, cfg.loss, cfg.optimizer, options, device)
        table = merge(table, steps)
        asked |= {"train_size": options.train_size, "train_batch_size": options.train_batch_size}
    table = table.assign(**asked, **circumstances(device))
    show(table)
    path = Path(options.output or Path(cfg.paths.runs) / "profile.csv")
    try:
        write_text(path, to_csv(table))
    except OSError as error:
        raise UserError(f"profile.output: cannot write {path}: {error.strerror}") from None
    broken = table["error"].dropna() if "error" in table else []
    print(f"profiled {len(models) - len(broken)} of {len(models) + len(failures)} models: {path}")
    return 1 if failures or len(broken) else 0


def model_config(job: "Job", name: str) -> dict[str, Any]:
    """Return the `model` config of the option `name`, with what the user set of its parts, such as `experts.count=3`.

    The option that the job itself was composed with keeps the keys that the user set, such as `model.channels=48`.
    """
    if job.config.choices.get("model") == name:
        return job.config.model
    from omegaconf import OmegaConf

    parts = [o for o in job.overrides if re.split(r"[.=@]", o.lstrip("+~"))[0] in job.config.parts]
    composed = job.composer.compose([f"model={name}", *parts])
    return OmegaConf.to_container(composed.model, resolve=True, throw_on_missing=True)


def measure(
    models: Mapping[str, nn.Module],
    size: int = 224,
    batch_size: int = 1,
    repeats: int = 10,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Measure the forward passes of models in turns.

    Args:
        models: The networks by name; they are moved to the device, in eval mode. Those that need labels are given 0.
        size: Height and width of the input in pixels.
        batch_size: Images per forward pass.
        repeats: Rounds in which every model runs once, after one warm-up round.
        device: The device to run on.

    Returns:
        One row per model in the given order, with columns `COLUMNS`. A model that fails has a row with an `error` and
        no values; the column exists only then.
    """
    device = torch.device(device)
    try:
        x = torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
        labels = torch.zeros(batch_size, dtype=torch.long, device=device)  # for a router that needs them
    except RuntimeError as error:  # the first allocation
        text = f"{batch_size} x {size} x {size} pixels are {12e-9 * batch_size * size**2:.3g} GB"
        raise UserError(f"profile.batch_size, profile.size: {text}, for which there is no memory") from error
    rows, passes = {}, {}
    with torch.inference_mode():
        for name, model in models.items():
            model = model.to(device).eval()
            try:
                rows[name] = {
                    "parameters_m": count_parameters(model) / 1e6,
                    "gmacs": count_macs(model, x[:1], labels[:1]) / 1e9,
                    "memory_mib": peak_memory(model, x, labels) / 2**20,
                }
                passes[name] = partial(apply, model, x, labels)
            except Exception as error:
                rows[name] = {"error": reason(error)}
        seconds = interleaved_seconds(passes, repeats, device)
    for name, times in seconds.items():
        rows[name] |= dict(zip(COLUMNS[3:6], _milliseconds(times, batch_size), strict=True))
    return _frame(rows, COLUMNS)


def measure_steps(
    models: Mapping[str, nn.Module],
    loss: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    options: "Profile",
    device: torch.device,
) -> pd.DataFrame:
    """Measure updates of models in turns, each in its last stage; return rows like those of `measure`.

    Args:
        models: The networks by name, on the device; their weights change.
        loss: Config node of the image loss.
        optimizer: Config node of the optimizer.
        options: Crop size, crops of an update, rounds.
        device: The device of the networks.
    """
    rows: dict[str, dict[str, Any]] = {}
    steps = {}
    for name, model in models.items():
        try:
            image_loss, optimizer_of = components.build(loss), components.build(optimizer)
            step = TrainingStep(model, image_loss, optimizer_of, options.train_size, options.train_batch_size)
            rows[name] = {"step_memory_mib": step.peak_memory() / 2**20}
            steps[name] = step
        except Exception as error:
            rows[name] = {"error": f"training step: {reason(error)}"}
    for name, times in interleaved_seconds(steps, options.repeats, device).items():
        rows[name] |= dict(zip(STEP_COLUMNS, _milliseconds(times, options.train_batch_size), strict=False))
    return _frame(rows, ("model", *STEP_COLUMNS))


def merge(forward: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return the tables of `measure` and `measure_steps` as one; an error in either becomes the row's error."""
    table = forward.merge(steps, on="model", how="left", suffixes=("", "_of_step"))
    if "error_of_step" in table:
        table["error"] = table["error"].fillna(table.pop("error_of_step"))
    return table


def _milliseconds(seconds: Sequence[float], images: int) -> tuple[float, float, float]:
    """Return the median and the quartiles of `seconds` for one of `images`, in milliseconds."""
    each = [1000 * s / images for s in seconds]
    q1, median, q3 = statistics.quantiles(each, method="inclusive") if len(each) > 1 else each * 3
    return median, q1, q3


def _frame(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    failed = any("error" in row for row in rows.values())
    named = [{"model": name, **row} for name, row in rows.items()]
    return pd.DataFrame(named, columns=[*columns, *(["error"] if failed else [])])


def circumstances(device: torch.device) -> dict[str, str | int]:
    """Return what affects times besides the model: device, hardware, threads, torch, commit (`+` if dirty)."""
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit_name(git_state(), 12),
    }


def show(table: pd.DataFrame) -> None:
    """Print the measured columns."""
    first, trained = table.iloc[0], "step_ms" in table
    title = f"{first['size']} x {first['size']} pixels, batch {first['batch_size']}"
    if trained:
        title += f"; training step: {first['train_size']} x {first['train_size']}, batch {first['train_batch_size']}"
    title += f"; {first['hardware']}, {first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    out = Table(title=title, title_justify="left")
    headings = ["parameters, M", "GMACs", "latency, ms/image", "quartiles", "peak memory, MiB"]
    if trained:
        headings += ["training step, ms/image", "quartiles", "peak memory, MiB"]
    for heading in ("model", *headings):
        out.add_column(heading, justify="left" if heading == "model" else "right")
    for row in table.itertuples():
        if getattr(row, "error", None) and isinstance(row.error, str):
            out.add_row(row.model, row.error)
            continue
        cells = [f"{row.parameters_m:.2f}", f"{row.gmacs:.2f}", f"{row.latency_ms:.1f}"]
        cells += [f"{row.latency_q1_ms:.1f} - {row.latency_q3_ms:.1f}", f"{row.memory_mib:.0f}"]
        if trained:
            quartiles = f"{row.step_q1_ms:.1f} - {row.step_q3_ms:.1f}"
            cells += [f"{row.step_ms:.1f}", quartiles, f"{row.step_memory_mib:.0f}"]
        out.add_row(row.model, *cells)
    terminal = Console().is_terminal
    Console(width=None if terminal else 200).print(out)  # a file or pipe has no width of its own
    print("MACs: FFTs are not counted. Memory: model plus peak of one forward pass, or of one update.")
