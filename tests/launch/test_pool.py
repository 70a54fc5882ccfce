"""Devices: masks, slots, threads, sharing."""

import pytest

from daair import cli
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.launch import pool as pools
from daair.launch.pool import Pool, choose_gpus, cpu_pool, find_pool, visible_gpus


@pytest.fixture(scope="module")
def config():
    composer = Composer(cli.conf_dir())
    return lambda *overrides: validate(composer.compose(["model=daair_tiny", *overrides]))


@pytest.mark.parametrize(
    ("mask", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3,5", 2, ["3", "5"]),
        ("GPU-8932f937, GPU-d1aa", 2, ["GPU-8932f937", "GPU-d1aa"]),
        ("MIG-4a1b", 1, ["MIG-4a1b"]),
        ("2,-1,3", 1, ["2"]),  # CUDA stops at the first that is none
        ("", 0, []),
        ("-1", 0, []),
    ],
)
def test_gpus_are_those_of_the_mask(monkeypatch, mask, count, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert visible_gpus({} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}) == expected


def test_devices_choose_within_the_mask():
    assert choose_gpus(["4", "6", "7"], None) == ("4", "6", "7")
    assert choose_gpus(["4", "6", "7"], [2, 0]) == ("7", "4")
    assert choose_gpus(["0"], ["MIG-1", "MIG-2"]) == ("MIG-1", "MIG-2")
    for visible, chosen, masked, text in (
        ([], None, False, "device: cuda is asked for"),
        ([], [99], False, r"launch.devices: \[99\] are asked for, but this machine has no CUDA device"),
        (["4"], [1], True, "launch.devices: no device 1; CUDA shows 1"),
        (["4"], ["GPU-9"], True, r"launch.devices: GPU-9 is not in CUDA_VISIBLE_DEVICES \(4\)"),
        (["4", "5"], [0, 0], True, "launch.devices: 4, 4 names a device twice"),
    ):
        with pytest.raises(UserError, match=text):
            choose_gpus(visible, chosen, masked)


def test_gpus_may_be_assumed_for_a_plan(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    pool = find_pool([config("launch.dry_run=true", "launch.assume_devices=2", "launch.runs_per_device=3")])
    assert (pool.kind, pool.devices, pool.room) == ("gpu", ("0", "1"), 3)
    assert str(pool) == "2 assumed GPUs (0, 1), 3 runs on each" and pool.copy().assumed
    with pytest.raises(UserError, match="NAME asks for 3 of 2 assumed GPUs .*; launch.assume_devices says how many"):
        pool.check(3, "NAME")
    with pytest.raises(UserError, match=r"^launch.assume_devices: needs launch.dry_run=true$"):
        config("launch.assume_devices=2")
    with pytest.raises(UserError, match=r"^launch.assume_devices: assumes GPUs, and device=cpu uses none$"):
        config("launch.assume_devices=2", "launch.dry_run=true", "device=cpu")


def test_a_run_gets_the_emptiest_devices_and_gives_them_back():
    pool = Pool("gpu", ("0", "1"), room=2)
    shares = [pool.take(1) for _ in range(4)]
    assert [share.devices for share in shares] == [("0",), ("1",), ("0",), ("1",)]
    assert pool.take(1) is None
    pool.give_back(shares[1])
    assert pool.take(2) is None and pool.take(1, alone=True) is None
    pool.give_back(shares[3])
    alone = pool.take(1, alone=True)
    assert alone.devices == ("1",) and pool.take(1) is None
    for share in (alone, shares[0], shares[2]):
        pool.give_back(share)
    assert pool.take(2).devices == ("0", "1")


def test_mig_devices_form_no_group():
    with pytest.raises(UserError, match="MIG devices cannot share a run"):
        Pool("gpu", ("MIG-1", "MIG-2")).check(2, "a")


def test_what_a_run_finds_in_its_environment(monkeypatch):
    for name in pools.THREADS:
        monkeypatch.delenv(name, raising=False)
    gpu = Pool("gpu", ("GPU-a", "GPU-b"))
    assert gpu.environment(gpu.take(2)) == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    cpu = Pool("cpu", ("0",), threads=3)
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    variables = cpu.environment(cpu.take(1))
    assert variables["CUDA_VISIBLE_DEVICES"] == ""
    assert (variables["OMP_NUM_THREADS"], variables["MKL_NUM_THREADS"]) == ("3", "1"), "the user's own stays"


@pytest.mark.parametrize(
    ("overrides", "runs", "cores", "slots", "threads"),
    [
        (["train.threads=1", "train.workers=1"], 9, 2, 1, 1),
        (["train.threads=1", "train.workers=0"], 9, 2, 2, 1),
        (["train.workers=1"], 9, 16, 8, 1),  # many runs: as many as fit
        (["train.workers=1"], 2, 16, 2, 7),  # few: the cores are shared out
        (["train.workers=2"], 1, 2, 1, 1),
        (["launch.num_processes=2", "train.workers=2"], 1, 2, 2, 1),  # asked for: crowded rather than refused
        (["launch.num_processes=4", "train.workers=2"], 1, 2, 2, 1),  # more than cores: the plan refuses it
    ],
)
def test_slots_leave_a_core_to_each_thread(config, overrides, runs, cores, slots, threads):
    pool = cpu_pool([config("train.batch_size=4", *overrides)] * runs, cores, None)
    assert (len(pool.devices), pool.threads) == (slots, threads)


def test_slots_can_be_set(config):
    assert len(cpu_pool([config()], 2, 5).devices) == 5


def test_the_pool_is_one_for_the_whole_sweep(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_pool([config("device=cpu")]).kind == "cpu"
    assert find_pool([config("launch.runs_per_device=3")]) == Pool("gpu", ("0", "1"), room=3)
    for overrides, text in (
        (["launch.slots=2"], "launch.slots: belongs to the whole sweep"),
        (["device=cpu"], "device: belongs to the whole sweep"),
    ):
        with pytest.raises(UserError, match=text):
            find_pool([config(), config(*overrides)])
    with pytest.raises(UserError, match="launch.devices: names GPUs, and device=cpu uses none"):
        find_pool([config("device=cpu", "launch.devices=[0]")])
