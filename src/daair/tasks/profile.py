"""`task=profile`: what models cost, side by side: parameters, MACs, latency, peak memory.

The models take turns, one forward pass each per round, so that a machine that is busy or throttles slows all of them
and not just one. How each column is measured:

- *parameters*: in millions; structural zeros (padding of experts of unequal rank) are not counted.
- *MACs*: multiply-accumulates of one image in units of 10^9: half the operations that torch's flop counter sees. It
  knows convolutions and matrix products; FFTs, norms, and everything element-wise count as nothing.
- *latency*: milliseconds per image of a forward pass in eval mode without gradients: median and quartiles over rounds.
- *memory*: peak in MiB of one forward pass: the model's own parameters and buffers, plus the most that was allocated at
  once on top of what was there before. On CUDA from the allocator's statistics, on the CPU from the allocations that
  the torch profiler records; scratch memory that libraries take from elsewhere is not in it.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from daair import checkpoint
from daair.engine.costs import count_macs, count_parameters, interleaved_seconds, peak_memory
from daair.engine.devices import resolve_device
from daair.errors import UserError
from daair.files import write_text
from daair.runs.environment import commit_name, git_state, processor

if TYPE_CHECKING:
    from daair.config.jobs import Composer, Job
    from daair.config.schema import Config

COLUMNS = ("model", "parameters_m", "gmacs", "latency_ms", "latency_q1_ms", "latency_q3_ms", "memory_mib")
"""Columns of `measure`; those that follow in the CSV describe the circumstances."""


def profile(job: "Job") -> int:
    """Measure the models named in `job.config.profile.models`, prints a table and writes a CSV.

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
            models[name] = checkpoint.build(model_config(cfg, name, job.composer))
        except Exception as error:  # a foreign model may fail in any way; the others are still measured
            failures.append(f"{name}: {str(error).strip() or type(error).__name__}")
    for failure in failures:
        print(f"error: cannot build {failure}")
    if not models:
        return 1
    options = cfg.profile
    table = measure(models, options.size, options.batch_size, options.repeats, device)
    asked = {"size": options.size, "batch_size": options.batch_size, "repeats": options.repeats}
    table = table.assign(**asked, **circumstances(device))
    show(table)
    path = Path(options.output or Path(cfg.paths.runs) / "profile.csv")
    try:
        write_text(path, table.to_csv(index=False))
    except OSError as error:
        raise UserError(f"profile.output: cannot write {path}: {error.strerror}") from None
    broken = table["error"].dropna() if "error" in table else []
    print(f"profiled {len(models) - len(broken)} of {len(models) + len(failures)} models: {path}")
    return 1 if failures or len(broken) else 0


def model_config(cfg: "Config", name: str, composer: "Composer") -> dict[str, Any]:
    """Return the `model` config of the option `name`, with those parts of `cfg` that it has, such as the router.

    The option that `cfg` itself was composed with keeps the keys that the user set, such as `model.channels=48`.
    """
    if cfg.choices.get("model") == name:
        return cfg.model
    from omegaconf import OmegaConf

    composed = composer.compose([f"model={name}"])
    for part, node in cfg.parts.items():
        if part in composed:
            OmegaConf.update(composed, part, node, merge=False, force_add=True)
    return OmegaConf.to_container(composed.model, resolve=True, throw_on_missing=True)


def measure(
    models: Mapping[str, nn.Module],
    size: int = 224,
    batch_size: int = 1,
    repeats: int = 10,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Measure models side by side.

    Args:
        models: the networks by name; they are moved to the device, in eval mode. One that needs labels is told 0.
        size: Height and width of the input in pixels.
        batch_size: Images per forward pass.
        repeats: Rounds in which every model runs once, after one round of warm-up.
        device: Where to run.

    Returns:
        One row per model in the given order, columns `COLUMNS`. A model that fails has a row with an `error`
        and nothing measured; the column exists only then.
    """
    device = torch.device(device)
    x = torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)  # for a router that must be told
    rows, running = {}, {}
    with torch.inference_mode():
        for name, model in models.items():
            model = model.to(device).eval()
            try:
                rows[name] = {
                    "model": name,
                    "parameters_m": count_parameters(model) / 1e6,
                    "gmacs": count_macs(model, x[:1], labels[:1]) / 1e9,
                    "memory_mib": peak_memory(model, x, labels) / 2**20,
                }
                running[name] = model
            except Exception as error:
                rows[name] = {"model": name, "error": f"{type(error).__name__}: {str(error).strip()}"}
        times = interleaved_seconds(running, x, repeats, labels)
    for name, seconds in times.items():
        ordered = [1000 * s / batch_size for s in seconds]
        q1, median, q3 = statistics.quantiles(ordered, method="inclusive") if repeats > 1 else ordered * 3
        rows[name] |= {"latency_ms": median, "latency_q1_ms": q1, "latency_q3_ms": q3}
    columns = [*COLUMNS, *(["error"] if len(running) < len(models) else [])]
    return pd.DataFrame(list(rows.values()), columns=columns)


def circumstances(device: torch.device) -> dict[str, str | int]:
    """What a measured time depends on besides the model: device, hardware, threads, torch, commit (`+` if dirty)."""
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit_name(git_state(), 12),
    }


def show(table: pd.DataFrame) -> None:
    """Print the measured columns for people."""
    first = table.iloc[0]
    out = Table(
        title=f"{first['size']} x {first['size']} pixels, batch {first['batch_size']}; {first['hardware']}, "
        f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}",
        title_justify="left",
    )
    for heading in ("model", "parameters, M", "GMACs", "latency, ms/image", "quartiles", "peak memory, MiB"):
        out.add_column(heading, justify="left" if heading == "model" else "right")
    for row in table.itertuples():
        if getattr(row, "error", None) and isinstance(row.error, str):
            out.add_row(row.model, row.error)
            continue
        quartiles = f"{row.latency_q1_ms:.1f} - {row.latency_q3_ms:.1f}"
        counts = (f"{row.parameters_m:.2f}", f"{row.gmacs:.2f}")
        out.add_row(row.model, *counts, f"{row.latency_ms:.1f}", quartiles, f"{row.memory_mib:.0f}")
    terminal = Console().is_terminal
    Console(width=None if terminal else 160).print(out)  # a file or pipe has no width to keep to
    print("MACs: FFTs are not counted. Memory: model plus peak of one forward pass.")
