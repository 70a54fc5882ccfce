"""Plans of random grids: nothing twice, nothing lost, never more than the pool holds."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daair import cli
from daair.config.identity import config_id
from daair.config.jobs import Composer
from daair.config.schema import Config
from daair.config.validate import validate
from daair.errors import UserError
from daair.launch.plan import Job, jobs_of, make_plan, makespan, ordered, schedule
from daair.launch.pool import Pool
from daair.runs.record import Status


@pytest.fixture(scope="module")
def base() -> dict:
    return validate(Composer(cli.conf_dir()).compose(["model=daair_tiny", "train.batch_size=24"])).to_dict()


def variation(base: dict, point: dict) -> Config:
    """The config of one point of a grid; `point` has dotted keys."""
    data = json.loads(json.dumps(base))
    for key, value in point.items():
        *parents, leaf = key.split(".")
        node = data
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return Config.from_dict(data)


def pool_of(devices: int, room: int = 1) -> Pool:
    return Pool("cpu", tuple(map(str, range(devices))), room)


def nothing_done(job: Job) -> Status:
    return Status()


GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "model.experts.rank": st.lists(st.integers(1, 16), min_size=1, max_size=3, unique=True),
        "optimizer.lr": st.lists(st.sampled_from([1e-4, 3e-4, 1e-3]), min_size=1, max_size=2, unique=True),
        "train.steps": st.lists(st.integers(1, 5000), min_size=1, max_size=3, unique=True),
        "launch.num_processes": st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=2, unique=True),
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    },
)
IDENTITY = ("model.experts.rank", "optimizer.lr", "train.steps")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GRIDS, st.integers(3, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_random_grids(base, grid, devices, room, random):
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    configs = [variation(base, point) for point in points]
    pool = pool_of(devices, room)
    plan = make_plan(jobs_of(configs), pool, "failed", nothing_done)

    # Every run once: those that differ in what makes a run; the others are named as skipped.
    distinct = {tuple(point.get(key) for key in (*IDENTITY, "seed")) for point in points}
    names = [job.name for job in plan.runs]
    assert len(names) == len(set(names)) == len(distinct)
    assert len(plan.skipped) == len(points) - len(distinct)
    assert {name for name, _ in plan.skipped} <= set(names)

    # Ids: distinct for distinct configs, the same whatever the order of keys and jobs.
    of_identity = {tuple(p.get(key) for key in IDENTITY): config_id(c) for p, c in zip(points, configs, strict=True)}
    assert len(set(of_identity.values())) == len(of_identity)
    shuffled = list(zip(points, configs, strict=True))
    random.shuffle(shuffled)
    for point, config in shuffled:
        turned = variation(base, dict(reversed(point.items())))
        assert config_id(turned) == config_id(config)
    again = make_plan(jobs_of([config for _, config in shuffled]), pool, "failed", nothing_done)
    assert {job.name for job in again.runs} == set(names)

    # The schedule: each run once, on as many different devices as it asks for, none of them ever holding too many.
    slots = schedule(plan.runs, pool)
    assert sorted(slot.job.name for slot in slots) == sorted(names)
    assert all(len(set(slot.share.devices)) == slot.job.processes for slot in slots)
    for moment in {slot.begin for slot in slots}:
        at_work = [slot for slot in slots if slot.begin <= moment < slot.end]
        for device in pool.devices:
            assert sum(device in slot.share.devices for slot in at_work) <= room
    assert set(pool.load.values()) == {0}
    asked = {job.name: job for job in reversed(jobs_of(configs))}  # of the same run the first counts
    assert makespan(plan.runs, pool) <= makespan(list(asked.values())[::-1], pool) * (1 + 1e-6)


def test_the_largest_comes_first_only_where_that_ends_sooner(base):
    small, large = variation(base, {"train.steps": 10}), variation(base, {"train.steps": 40})
    jobs = [Job(Path(f"s/small-{i}/seed0"), small) for i in range(4)] + [Job(Path("s/large-0/seed0"), large)]
    assert [job.name for job in ordered(jobs, pool_of(2))][0] == "s/large-0/seed0"
    assert [job.name for job in ordered(jobs, pool_of(1))] == [job.name for job in jobs], "one device: all the same"


def test_a_request_above_the_pool_is_refused(base):
    jobs = jobs_of([variation(base, {}), variation(base, {"launch.num_processes": 4})])
    with pytest.raises(UserError, match=r"launch.num_processes: .*/seed0 asks for 4 of 2 CPU slots; launch.slots=N"):
        make_plan(jobs, pool_of(2), "failed", nothing_done)


@pytest.mark.parametrize(
    ("rerun", "run"),
    [("failed", ["queued", "running", "interrupted", "failed"]), ("none", ["queued", "running", "interrupted"])],
)
def test_what_is_run_again(base, rerun, run):
    states = ["queued", "running", "interrupted", "failed", "done"]
    jobs = [Job(Path("s/v-0", state), variation(base, {})) for state in states]
    plan = make_plan(jobs, pool_of(1), rerun, lambda job: Status(state=job.folder.name))
    assert [job.folder.name for job in plan.runs] == run
    assert [name.rpartition("/")[2] for name, _ in plan.skipped] == [state for state in states if state not in run]
    everything = make_plan(jobs, pool_of(1), "all", lambda job: Status(state=job.folder.name))
    assert [job.folder.name for job in everything.runs] == states


def test_only_trainings_are_launched(base):
    with pytest.raises(UserError, match="task=evaluate is no training; add hydra/launcher=basic"):
        jobs_of([variation(base, {"task.name": "evaluate"})])
