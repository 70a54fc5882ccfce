"""Measure the costs of a network: parameters, multiply-accumulates, time and memory of a forward pass or an update."""

import copy
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from daair.losses import total_loss
from daair.models import training
from daair.models.training import apply


def costs(model: nn.Module, size: int = 224) -> dict[str, int | None]:
    """Return `parameters` of a model in eval mode and its `macs` for one image of `size` x `size`.

    The forward pass runs on tensors that have shapes but no values: with a copy of the network on PyTorch's `meta`
    device, or where that fails, on fake tensors, which take longer. A network that needs values, such as one whose
    router sends an image to one of several experts, gets an image of uniform noise; `macs` are then those of the
    experts that it chooses. `macs` is None if it fails on that too.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(1, dtype=torch.long)
    fake = FakeTensorMode(allow_non_fake_inputs=True)  # makes fake clones of real tensors; the weights stay real
    macs = None
    for place, mode in (("meta", nullcontext()), (device, fake), (device, nullcontext())):
        with suppress(Exception), torch.no_grad():  # a network may fail on values or on their absence
            network = copy.deepcopy(model).to(place) if place == "meta" else model
            with mode:
                macs = count_macs(network, image.to(place).clone(), label.to(place).clone())
            break
    return {"parameters": count_parameters(model), "macs": macs}


class TrainingStep:
    """A training update of a network on random crops: forward, backward and optimizer step.

    It stands for the network's last stage, without the loader, gradient clipping and averaged weights, whose costs are
    the same for every network.

    Args:
        model: The network, on its device; it is put into training mode.
        loss: Called as `loss(restored, target)`, see `daair.losses`.
        optimizer: Builds the optimizer from the parameters.
        size: Side of the square crops in pixels.
        batch_size: Crops of an update.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        size: int,
        batch_size: int,
    ) -> None:
        device = next(model.parameters()).device
        stage = training.stages(model)[-1]
        trained = training.trainable(model, stage)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        self.model, self.loss = model, loss.to(device)
        self.learner = training.Learner(model, stage).train()
        self.optimizer = optimizer([p for p in model.parameters() if p.requires_grad])
        generator = torch.Generator().manual_seed(0)
        images = ("input", "target") if training.views(model) == 1 else ("input", "target", "input2", "target2")
        self.batch = {name: torch.rand(batch_size, 3, size, size, generator=generator).to(device) for name in images}
        self.batch["label"] = torch.zeros(batch_size, dtype=torch.long, device=device)

    def __call__(self) -> None:
        """Make one update."""
        learned = self.learner(self.batch)
        total_loss(self.loss, learned.image, self.batch["target"], learned.terms)[0].backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if hasattr(self.model, "after_update"):
            with torch.no_grad():
                self.model.after_update()

    def peak_memory(self) -> int:
        """Return the peak bytes of an update: network, the optimizer's state, and the largest sum of allocations."""
        self()  # the optimizer has a state only after its first update
        state = [t for values in self.optimizer.state.values() for t in values.values() if isinstance(t, Tensor)]
        return _bytes(self.model) + sum(map(_size, state)) + peak_of_allocations(self, self.batch["label"].device)


def interleaved_seconds(
    passes: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of each of `passes`, run `repeats` times in turns after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(repeats + 1):
        for name, run in passes.items():
            _synchronize(device)
            began = time.perf_counter()
            run()
            _synchronize(device)
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters: the model's `num_parameters()`, which may exclude padding, else all of them."""
    count = getattr(model, "num_parameters", None)
    return count() if callable(count) else sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> int:
    """Return the multiply-accumulates of a forward pass on `x` (B, 3, H, W), without FFTs and element-wise work."""
    counter = FlopCounterMode(display=False)
    with counter:
        apply(model, x, labels)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations


def peak_memory(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> int:
    """Return the peak bytes of a forward pass on `x` (B, 3, H, W): the model and the largest sum of allocations."""
    return _bytes(model) + peak_of_allocations(lambda: apply(model, x, labels), x.device)


def peak_of_allocations(run: Callable[[], Any], device: torch.device) -> int:
    """Return the peak of the bytes that `run()` allocates on `device`."""
    if device.type == "cuda":
        _synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        _synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return _peak_of_cpu_allocations(run)


def _peak_of_cpu_allocations(run: Callable[[], Any]) -> int:
    """Return the largest running sum of allocations and releases in the trace of torch's profiler."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it prints each start and, without a GPU, an error
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
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


def _bytes(model: nn.Module) -> int:
    return sum(map(_size, (*model.parameters(), *model.buffers())))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
