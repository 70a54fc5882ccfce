"""`task=doctor`: check what a training needs on this machine: a line for each check, with a remedy for what fails.

A check imports what it needs itself, so that a package that is missing or broken becomes a line of the table.
"""

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from daair.config.jobs import Job
from daair.errors import UserError, reason

if TYPE_CHECKING:
    from daair.config.schema import Config

PYTHON = (3, 11)
"""The oldest Python that works."""

SHOWN = ("torch", "torchvision", "accelerate", "timm", "hydra-core", "numpy", "wandb")
"""Packages whose versions are shown; those of all others are checked as well."""

DRIVER = Path("/proc/driver/nvidia/version")
SHARED_MEMORY = Path("/dev/shm")
SHARED_GB = 0.25
"""Least free shared memory for the batches of the loader's workers; a container often has 0.06 GB."""

DISK_GB = 1.0
"""Least free disk space; a run with its checkpoints takes some hundred MB."""

CROP = 64
"""Side of the crops in pixels of the training step."""


class Diagnosis(NamedTuple):
    """What a check found.

    Attributes:
        state: `ok`; `missing`, which only stops those who want it; `broken`, which a training needs.
        told: What was found.
        remedy: What to do about it.
    """

    state: Literal["ok", "missing", "broken"]
    told: str
    remedy: str = ""


def doctor(job: Job) -> int:
    """Print a line for each check, and return the exit status: 1 if something that is needed is broken, else 0."""
    found = []
    for name, check in CHECKS.items():
        try:
            finding = check(job)
        except Exception as error:  # whatever is broken, the other checks go on
            finding = Diagnosis("broken", reason(error), REMEDIES.get(name, "make setup"))
        if finding is None:
            continue
        found.append(finding)
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        print(f"{finding.state:<8} {name:<18} {finding.told}{remedy}", flush=True)
    counts = {state: sum(finding.state == state for finding in found) for state in ("ok", "missing", "broken")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return 1 if counts["broken"] else 0


def python(job: Job) -> Diagnosis:
    """Check the version of Python."""
    told = f"{platform.python_version()}, {sys.executable}"
    remedy = f"make PYTHON=/path/to/python{'.'.join(map(str, PYTHON))} setup"
    return Diagnosis("ok", told) if sys.version_info >= PYTHON else Diagnosis("broken", told, remedy)


def packages(job: Job) -> Diagnosis:
    """Check that all required packages are installed in versions that fit."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("daair") or ()]
    except PackageNotFoundError:
        return Diagnosis("missing", "daair is not installed, so the versions it needs are unknown", "pip install -e .")
    wrong = []
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            if not one.specifier.contains(version(one.name), prereleases=True):
                wrong.append(f"{one.name} {version(one.name)} is not {one.specifier}")
        except PackageNotFoundError:
            wrong.append(f"{one.name} is not installed")
    if wrong:
        return Diagnosis("broken", ", ".join(wrong), REMEDIES["packages"])
    return Diagnosis("ok", ", ".join(f"{name} {version(name)}" for name in SHOWN))


def gpus(job: Job) -> Diagnosis:
    """Check that torch can use the GPUs of this machine, unless `device=cpu` leaves them alone."""
    import torch

    cuda = torch.version.cuda
    if job.config.device == "cpu":
        return Diagnosis("ok", "not looked for, since device=cpu")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        shown = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
        return Diagnosis("ok", f"{shown}; CUDA {cuda}")
    if DRIVER.exists():
        built = f"CUDA {cuda}" if cuda else "the CPU alone"
        remedy = "a newer driver, a torch for this one (pytorch.org), or device=cpu"
        return Diagnosis("broken", f"there is an NVIDIA driver, but torch, built for {built}, finds no GPU", remedy)
    state = "broken" if job.config.device == "cuda" else "missing"
    return Diagnosis(state, "none", "trainings use the CPU with device=auto or device=cpu")


def processes(job: Job) -> Diagnosis:
    """Let a process group of one process add up a number, with Gloo and on a GPU with NCCL as well."""
    import torch
    from torch import distributed

    gpu = job.config.device != "cpu" and torch.cuda.is_available()
    for backend, device in {"gloo": "cpu", **({"nccl": "cuda"} if gpu else {})}.items():
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
        try:
            distributed.all_reduce(torch.ones(1, device=device))
        finally:
            distributed.destroy_process_group()
    if gpu:
        return Diagnosis("ok", f"Gloo, NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}")
    return Diagnosis("ok", "Gloo; NCCL is for GPUs")


def shared_memory(job: Job) -> Diagnosis:
    """Check the shared memory, through which the loader's workers pass batches."""
    if not SHARED_MEMORY.is_dir():
        return Diagnosis("ok", f"no {SHARED_MEMORY} on this system")
    free = shutil.disk_usage(SHARED_MEMORY).free / 1e9
    told = f"{free:.2f} GB free in {SHARED_MEMORY}"
    if free < SHARED_GB and job.config.train.workers:
        return Diagnosis("broken", told, "start the container with --shm-size=8g, or set train.workers=0")
    return Diagnosis("ok", told)


def disk(job: Job) -> Diagnosis:
    """Check that files can be written where the runs go, and that there is space."""
    runs = Path(job.config.paths.runs).resolve()
    folder = next(one for one in (runs, *runs.parents) if one.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return Diagnosis("broken", f"{runs}: cannot write there: {error.strerror}", REMEDIES["disk"])
    free = shutil.disk_usage(folder).free / 1e9
    told = f"{free:.1f} GB free for {runs}"
    return Diagnosis("ok", told) if free >= DISK_GB else Diagnosis("broken", told, REMEDIES["disk"])


def tracking(job: Job) -> Diagnosis:
    """Check that Weights & Biases accepts the user's key, if `logger.mode=online` needs one."""
    from daair.runs.mirror import sign_in

    if (mode := job.config.logger.mode) != "online":
        return Diagnosis("ok", f"logger.mode={mode} needs no login; logger.mode=online checks it")
    try:
        sign_in()
    except UserError as error:
        return Diagnosis("missing", f"{error}; runs are logged offline", "wandb login")
    return Diagnosis("ok", "logged in")


def data(job: Job) -> Diagnosis:
    """Name the data sets under `mix.root`."""
    from daair.data.datasets import locate_all
    from daair.data.listing import check_folder

    root = job.config.mix.get("root")
    if root is None:
        return Diagnosis("missing", "mix.root=DIR is not given; mix=demo needs no data", "see docs/data.md")
    try:
        names = [one.dataset.name for one in locate_all(check_folder(root)) if one.holds_images()]
    except UserError as error:
        return Diagnosis("broken", str(error), "mix.root=DIR is the folder with the data sets (docs/data.md)")
    if not names:
        return Diagnosis("missing", f"{root}: no known data set", "docs/data.md has the names of the folders")
    return Diagnosis("ok", f"{len(names)} in {root}: {', '.join(names)}")


def step_on_cpu(job: Job) -> Diagnosis:
    """Make a training step on the CPU."""
    return step(job, "cpu")


def step_on_gpu(job: Job) -> Diagnosis | None:
    """Make a training step on the first GPU; without one there is no finding."""
    import torch

    if job.config.device == "cpu" or not torch.cuda.is_available():
        return None
    return step(job, "cuda")


def step(job: Job, device: str) -> Diagnosis:
    """Make an update of `daair_tiny` with random crops.

    Raises:
        ValueError: No weight has changed, or some are not finite.
    """
    import time

    import torch

    from daair import checkpoint, components
    from daair.engine.costs import TrainingStep

    config = tiny(job)
    model = checkpoint.build(config.model).to(device)
    update = TrainingStep(model, components.build(config.loss), components.build(config.optimizer), CROP, 2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    start = time.perf_counter()
    update()
    after = [parameter.detach() for parameter in model.parameters()]
    if not all(torch.isfinite(parameter).all() for parameter in after):
        raise ValueError("weights are not finite after it")
    if all(map(torch.equal, before, after)):
        raise ValueError("no weight has changed")
    return Diagnosis("ok", f"daair_tiny, 2 crops of {CROP} pixels, {time.perf_counter() - start:.1f} s")


def tiny(job: Job) -> "Config":
    """Return the checked config of `model=daair_tiny` with the defaults."""
    from daair.config.validate import validate

    return validate(job.composer.compose(["model=daair_tiny"]))


CHECKS: dict[str, Callable[[Job], Diagnosis | None]] = {
    "python": python,
    "packages": packages,
    "GPUs": gpus,
    "process groups": processes,
    "shared memory": shared_memory,
    "disk": disk,
    "Weights & Biases": tracking,
    "data sets": data,
    "step on CPU": step_on_cpu,
    "step on GPU": step_on_gpu,
}
"""The checks in the order in which they are printed."""

REMEDIES = {
    "packages": "make setup, or pip install -e .",
    "GPUs": "install torch again: make setup",
    "process groups": "one process works without; for several set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME",
    "disk": "choose another place with paths.runs=DIR",
    "step on GPU": "try device=cpu; if that works, it is the driver or the GPU",
}
"""What to do when a check fails; otherwise `make setup`."""
