"""The environment of a run: commit, machine and versions of packages."""

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from daair.runs.own_code import own_code

PACKAGES = ("daair", "torch", "torchvision", "accelerate", "timm", "piq", "hydra-core", "omegaconf", "numpy", "wandb")


def environment(config: Mapping[str, Any]) -> dict:
    """Return the commit (and whether the tree was dirty), host, processor, GPUs, threads, versions and command.

    Args:
        config: The run's config; the user's own code that it names is told by a digest (`daair.runs.own_code`).
    """
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "git": git_state(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "own_code": own_code(config),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


@cache
def git_state() -> dict | None:
    """Return `{"commit": sha, "dirty": bool}` of the source tree, or None outside a git checkout.

    The first call in a process counts, so that it describes the code that was imported then.
    """
    folder = Path(__file__).resolve().parent
    commit = (_git(folder, "rev-parse", "HEAD") or "").strip()
    # An installed package may lie inside another repository (.venv/lib/...), whose commit says nothing about it.
    if not commit or _git(folder, "ls-files", "--error-unmatch", __file__) is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed or _new_files())}


def commit_name(git: Mapping[str, Any] | None, digits: int = 40) -> str:
    """Return the commit of a `git_state`, with a `+` if the tree was dirty; empty outside a checkout."""
    return f"{git['commit'][:digits]}{'+' if git.get('dirty') else ''}" if git and git.get("commit") else ""


@cache
def git_diff() -> str:
    """Return the uncommitted changes and new source files as a patch; empty without any, or outside a git checkout.

    Bytes that are not UTF-8 are kept as surrogates (`errors="surrogateescape"`).
    """
    if git_state() is None:
        return ""
    how = ("diff", "--no-color", "--no-ext-diff")
    parts = [_git(_tree(), *how, "HEAD")]
    parts += [_git(_tree(), *how, "--no-index", "--", os.devnull, name, differs=True) for name in _new_files()]
    return "".join(filter(None, parts))


def _tree() -> Path:
    return Path(__file__).resolve().parents[3]


def _new_files() -> list[str]:
    """Return the source files that git neither tracks nor ignores."""
    found = _git(_tree(), "ls-files", "-z", "--others", "--exclude-standard", "src", "run.py") or ""
    return [name for name in found.split("\0") if name]


def processor() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware(device: str, processor: str | None) -> str | None:
    """Return what a run worked on: its GPUs, or its processor, each with the number of processes that shared it.

    Args:
        device: As in `Status.device`: `cpu`, `2 x cpu`, `2 x NVIDIA H100`, or empty before the run has started.
        processor: Name of the processor; None if it is unknown.
    """
    if not device.endswith("cpu"):
        return device or processor
    return device.removesuffix("cpu") + processor if processor else device


def _git(folder: Path, *arguments: str, differs: bool = False) -> str | None:
    """Return what git prints; None if it fails, for which status 1 does not stand if `differs`."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="surrogateescape") if done.returncode in (0, int(differs)) else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
