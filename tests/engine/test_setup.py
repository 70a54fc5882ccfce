"""What a run is told that goes on with another number of processes, and the memory of its updates."""

import ctypes
import multiprocessing
import os
import resource
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from daair.engine.devices import tf32
from daair.engine.setup import (
    NUMBERS,
    Stop,
    change_of_processes,
    check_environment,
    keep_freed_memory,
    name_interface,
)
from daair.errors import UserError


@pytest.mark.parametrize(
    ("before", "scope", "network", "text"),
    [
        (None, "local", nn.BatchNorm2d(1), None),
        (4, "local", nn.BatchNorm2d(1), None),
        (2, "global", nn.ReLU(), "; nothing else changes"),
        (2, "global", nn.Sequential(nn.BatchNorm1d(1)), "; a batch norm of the network sees fewer images"),
        (2, "local", nn.ReLU(), "; scope=local now balances 8 instead of 16 images at a time, another loss"),
    ],
)
def test_change_of_processes(before: int | None, scope: str, network: nn.Module, text: str | None) -> None:
    cfg = SimpleNamespace(train=SimpleNamespace(batch_size=32), model={}, parts={"router": {"scope": scope}, "x": {}})
    line = change_of_processes(before, cfg, 4, network)
    assert line is None if text is None else line.startswith("warning: 2 processes trained") and text in line


@pytest.mark.parametrize(
    ("nccl", "gloo", "taken"),
    [("lo", None, "lo"), ("=lo", None, "lo"), ("^lo", None, None), ("none0", None, None), ("lo", "eth7", "eth7")],
)
def test_gloo_uses_the_interface_that_is_named_for_nccl(
    monkeypatch: pytest.MonkeyPatch, nccl: str, gloo: str | None, taken: str | None
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", nccl)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")  # removed at the end, whatever the function sets
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    if gloo is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", gloo)
    name_interface()
    assert os.environ.get("GLOO_SOCKET_IFNAME") == taken


def test_processes_wait_for_each_other_as_long_as_the_config_says() -> None:
    launch = SimpleNamespace(group_timeout=77, grace=40)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        stop = Stop(SimpleNamespace(num_processes=2), SimpleNamespace(launch=launch))
        assert stop._group._get_backend(torch.device("cpu")).options._timeout == timedelta(seconds=77)
    finally:
        torch.distributed.destroy_process_group()


def test_measuring_is_without_tf32_and_leaves_the_setting() -> None:
    torch.backends.cudnn.allow_tf32 = True

    @tf32(False)
    def measure() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    assert measure() == (False, False)
    assert torch.backends.cudnn.allow_tf32


def faults_of_buffers(keep: bool, answer) -> None:
    """Put the page faults of buffers of 64 MiB that are made and freed again and again."""
    if keep:
        keep_freed_memory()
    for turn in range(30):
        if turn == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**24, np.float32)
    answer.put(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs the C library of GNU")
def test_freed_memory_is_used_again_without_page_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    context, faults = multiprocessing.get_context("fork"), {}
    for keep in (True, False):
        process = context.Process(target=faults_of_buffers, args=(keep, answer := context.SimpleQueue()))
        process.start()
        faults[keep] = answer.get()
        process.join()
    assert faults[True] < 100, "the memory was mapped anew"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    process = context.Process(target=faults_of_buffers, args=(True, answer := context.SimpleQueue()))
    process.start()
    assert answer.get() == pytest.approx(faults[False], rel=0.5), "the user's own setting stays"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: the environment variable is no number; unset it: unset WORLD_SIZE"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x: the environment variable is no number; unset it: unset RANK"),
        (
            {"RANK": "1", "WORLD_SIZE": "2"},
            "WORLD_SIZE: of 2 processes the environment does not have LOCAL_RANK, MASTER_PORT, MASTER_ADDR; "
            "if this is the only process: unset RANK WORLD_SIZE",
        ),
        ({"RANK": "3"}, None),
        (dict.fromkeys(("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"), "2"), None),
    ],
)
def test_what_is_left_over_in_the_environment_is_told(monkeypatch, given, text) -> None:
    for name in (*NUMBERS, "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if text is None:
        check_environment()
        return
    with pytest.raises(UserError) as caught:
        check_environment()
    assert str(caught.value) == text
