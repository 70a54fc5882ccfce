"""Measures what a network costs: parameters, multiply-accumulates, seconds and peak memory of a forward pass."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from daair.models.training import apply


def costs(model: nn.Module, size: int = 224) -> dict[str, int | None]:
    """Return what a model in eval mode costs: `parameters`, and `macs` of one image of `size` x `size`.

    Nothing is computed: tensors are fake and only have shapes. `macs` is None for a network that cannot do so.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():  # the weights are real, and looked at only
        image, label = torch.empty(1, 3, size, size, device=device), torch.zeros(1, dtype=torch.long, device=device)
        try:
            macs = count_macs(model, image, label)
        except Exception:  # whatever a network may do that needs numbers
            macs = None
    return {"parameters": count_parameters(model), "macs": macs}


def interleaved_seconds(
    models: Mapping[str, nn.Module], x: Tensor, repeats: int, labels: Tensor | None = None
) -> dict[str, list[float]]:
    """Return the seconds of `repeats` forward passes of each model on `x` (B, 3, H, W), the models taking turns."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(repeats + 1):  # the first round warms up
        for name, model in models.items():
            _synchronize(x.device)
            began = time.perf_counter()
            apply(model, x, labels)
            _synchronize(x.device)
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers the model has: as `num_parameters()` says, which may know of padding, else counted."""
    count = getattr(model, "num_parameters", None)
    return count() if callable(count) else sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> int:
    """Count the multiply-accumulates of a forward pass on `x` (B, 3, H, W), without FFTs and element-wise work."""
    counter = FlopCounterMode(display=False)
    with counter:
        apply(model, x, labels)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def peak_memory(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> int:
    """Measure the peak bytes of a forward pass on `x` (B, 3, H, W): the model plus what the pass allocates at most."""
    own = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    return own + peak_of_allocations(lambda x: apply(model, x, labels), x)


def peak_of_allocations(model: Callable[[Tensor], Any], x: Tensor) -> int:
    """Return the peak bytes that `model(x)` allocates, x (B, 3, H, W), on top of what was there before."""
    if x.device.type == "cuda":
        _synchronize(x.device)
        before = torch.cuda.memory_allocated(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        model(x)
        _synchronize(x.device)
        return torch.cuda.max_memory_allocated(x.device) - before
    return _peak_of_cpu_allocations(model, x)


def _peak_of_cpu_allocations(model: Callable[[Tensor], Any], x: Tensor) -> int:
    """Return the largest running sum of the allocations and releases that torch's profiler exports."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it tells of every start and, without a GPU, of an error
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        model(x)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    memory = [e for e in events if e.get("name") == "[memory]" and e["args"].get("Device Type") == 0]  # 0: the CPU
    live = peak = 0
    for event in sorted(memory, key=lambda e: e["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
