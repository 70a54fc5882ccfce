"""Plans of random grids: nothing twice, nothing lost, never more than the pool holds."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daair import cli
from daair.config.identity import config_id
from daair.config.jobs import Composer, Job
from daair.config.schema import Config
from daair.config.validate import validate
from daair.errors import UserError
from daair.launch.plan import check_order, in_order, makespan, missing, ordered, processes, schedule, select
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
    data["experts"] = data["model"]["experts"]  # one part under two keys
    return Config.from_dict(data)


def pool_of(devices: int, room: int = 1) -> Pool:
    return Pool("cpu", tuple(map(str, range(devices))), room)


def job_in(folder: str, config: Config) -> Job:
    """A job whose folder is given, not made of its config."""
    return replace(Job.of(config), folder=Path(folder), id=Path(folder).parent.name)


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


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GRIDS, st.integers(3, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_random_grids(base, grid, devices, room, random):
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    configs = [variation(base, point) for point in points]
    pool = pool_of(devices, room)
    plan = select([Job.of(config) for config in configs], pool, "failed", nothing_done)

    # Every run once: those that differ in what makes a run; the others are named as skipped.
    distinct = {tuple(point.get(key) for key in (*IDENTITY, "seed")) for point in points}
    names = [job.name for job in plan.jobs]
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
    again = select([Job.of(config) for _, config in shuffled], pool, "failed", nothing_done)
    assert {job.name for job in again.jobs} == set(names)

    # The schedule: each run once, on as many different devices as it asks for, none of them ever holding too many.
    slots = schedule(plan.jobs, pool)
    assert sorted(slot.job.name for slot in slots) == sorted(names)
    assert all(len(set(slot.share.devices)) == processes(slot.job) for slot in slots)
    for moment in {slot.begin for slot in slots}:
        at_work = [slot for slot in slots if slot.begin <= moment < slot.end]
        for device in pool.devices:
            assert sum(device in slot.share.devices for slot in at_work) <= room
    assert set(pool.load.values()) == {0}
    asked = {
        job.name: job for job in reversed([Job.of(config) for config in configs])
    }  # of the same run the first counts
    assert makespan(plan.jobs, pool) <= makespan(list(asked.values())[::-1], pool) * (1 + 1e-6)


def test_the_largest_comes_first_only_where_that_ends_sooner(base):
    small, large = variation(base, {"train.steps": 10}), variation(base, {"train.steps": 40})
    jobs = [*(job_in(f"s/small-{i}/seed0", small) for i in range(4)), job_in("s/large-0/seed0", large)]
    assert [job.name for job in ordered(jobs, pool_of(2))][0] == "s/large-0/seed0"
    assert [job.name for job in ordered(jobs, pool_of(1))] == [job.name for job in jobs], "one device: all the same"


def test_listed_values_come_first_and_the_others_as_they_were(base):
    points = [{"model.experts.rank": rank, "seed": seed} for rank in (2, 4, 8) for seed in (0, 1)]
    jobs = [Job.of(variation(base, point)) for point in points]

    def order(**wanted):
        chosen = in_order(jobs, {key.replace("__", "."): values for key, values in wanted.items()})
        return [(job.config.model["experts"]["rank"], job.config.seed) for job in chosen]

    assert order(seed=(1,)) == [(2, 1), (4, 1), (8, 1), (2, 0), (4, 0), (8, 0)]
    assert order(experts__rank=("8", 4), seed=(1,)) == [(8, 1), (8, 0), (4, 1), (4, 0), (2, 1), (2, 0)]
    assert order() == [(2, 0), (2, 1), (4, 0), (4, 1), (8, 0), (8, 1)]
    check_order(jobs, {"experts.rank": (8,), "model": ("daair_tiny",), "label": (jobs[0].label,)})
    check_order(jobs, {"seed": (1, 2, 3)})  # part of a grid
    check_order(jobs, {"seed": (5, 6)})  # a study's own order, and seeds that are added to it
    for wanted, text in (
        ({"experts.rnk": (8,)}, "launch.order: experts.rnk is neither a config key nor a group of this sweep's runs"),
        ({"experts.rank": (16,)}, "launch.order: no run has experts.rank=16; they have 2, 4, 8"),
        ({"model": ("daair_smal",)}, "launch.order: no run has model=daair_smal; did you mean daair_tiny"),
    ):
        with pytest.raises(UserError, match=text):
            check_order(jobs, wanted)


def test_a_request_above_the_pool_is_refused(base):
    jobs = [Job.of(variation(base, point)) for point in ({}, {"launch.num_processes": 4})]
    with pytest.raises(UserError, match=r"launch.num_processes: .*/seed0 asks for 4 of 2 CPU slots; launch.slots=N"):
        select(jobs, pool_of(2), "failed", nothing_done)


@pytest.mark.parametrize(
    ("rerun", "run"),
    [("failed", ["queued", "running", "interrupted", "failed"]), ("none", ["queued", "running", "interrupted"])],
)
def test_what_is_run_again(base, rerun, run):
    def state_of(job: Job) -> Status:
        return Status(state=job.id[2:])

    states = ["queued", "running", "interrupted", "failed", "done"]
    jobs = [job_in(f"s/v-{state}/seed0", variation(base, {})) for state in states]
    plan = select(jobs, pool_of(1), rerun, state_of)
    assert [job.id[2:] for job in plan.jobs] == run
    assert [name.split("/")[1][2:] for name, _ in plan.skipped] == [state for state in states if state not in run]
    lacking = select(jobs, pool_of(1), rerun, state_of, lambda job: True)
    assert [job.id[2:] for job in lacking.jobs] == [*run, "done"], "a finished run that lacks measurements"
    everything = select(jobs, pool_of(1), "all", state_of)
    assert [job.id[2:] for job in everything.jobs] == states


def test_one_run_is_not_trained_for_two_sets_of_data(base):
    """They have the same id, since only the last part of a path belongs to it."""
    pairs = {"source": "paired", "degrade": None, "pairs": {"input": "/a/rainy", "target": "/a/clean"}}
    mix = {**base["mix"], "tasks": {"rain": pairs}}
    other = {**mix, "tasks": {"rain": {**pairs, "pairs": {"input": "/b/rainy", "target": "/a/clean"}}}}
    jobs = [job_in("s/v-0000000a/seed0", variation(base, {"mix": each})) for each in (mix, mix, other)]
    assert len(missing(jobs[:2], "failed", nothing_done)[0]) == 1
    with pytest.raises(UserError, match="^mix.tasks.rain.pairs.input: /a/rainy and /b/rainy would be one run, s/v-"):
        missing(jobs, "failed", nothing_done)


def test_only_trainings_are_launched(base):
    with pytest.raises(UserError, match="task=evaluate is not a training; add hydra/launcher=basic"):
        missing([Job.of(variation(base, {"task.name": "evaluate"}))], "failed", nothing_done)
