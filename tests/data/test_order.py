"""Epochs visit all images equally often, in proportions to the sample; samplers partition them among processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daair.data.order import Epochs, StepSampler, apportion
from daair.errors import UserError


@given(
    tasks=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=4).filter(
        lambda tasks: any(count for _, count in tasks)
    ),
    epochs=st.integers(1, 5),
)
def test_epochs(tasks, epochs):
    """Exact counts in each epoch; over several, the images of a task differ by at most one visit."""
    sizes, counts = zip(*tasks, strict=True)
    order = Epochs(sizes, counts, seed=3)
    visits = [np.zeros(size, int) for size in sizes]
    for epoch in range(epochs):
        labels, images = order.order(epoch)
        assert len(labels) == len(order) == sum(counts)
        assert np.bincount(labels, minlength=len(counts)).tolist() == list(counts)
        for task, size in enumerate(sizes):
            visits[task] += np.bincount(images[labels == task], minlength=size)
    assert all(times.max() - times.min() <= 1 for times in visits)


def test_epochs_are_functions_of_seed_and_number():
    one, two = (Epochs([50, 7], [40, 20], seed=1) for _ in range(2))
    ahead = [one.at(epoch, 5) for epoch in (0, 3, 9)]
    assert [two.at(epoch, 5) for epoch in (9, 3, 0)] == ahead[::-1]
    assert not np.array_equal(one.order(0)[0], one.order(1)[0])
    assert not np.array_equal(one.order(0)[1], Epochs([50, 7], [40, 20], seed=2).order(0)[1])


@given(total=st.integers(20, 10_000), weights=st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(any))
def test_apportion(total, weights):
    counts = apportion(total, weights)
    assert all((count > 0) == (weight > 0) for count, weight in zip(counts, weights, strict=True))
    assert abs(sum(counts) - total) < len(weights)
    exact = [total * weight / sum(weights) for weight in weights]
    assert all(abs(count - share) <= 1 for count, share in zip(counts, exact, strict=True))


@given(
    share=st.integers(1, 5), world=st.integers(1, 5), start=st.integers(0, 20), length=st.integers(0, 6),
    stop_at=st.integers(0, 6),
)  # fmt: skip
def test_step_sampler_partitions(share, world, start, length, stop_at):
    """Ranks together take every counter of a micro-batch once; stopping and going on changes nothing."""
    batch = share * world
    ranks = [list(StepSampler(batch, rank, world, start, start + length)) for rank in range(world)]
    assert [len(StepSampler(batch, r, world, start, start + length)) for r in range(world)] == [length] * world
    for step, parts in enumerate(zip(*ranks, strict=True), start=start):
        assert [k for part in parts for k in part] == list(range(step * batch, (step + 1) * batch))
        assert {len(part) for part in parts} == {share}
    middle = start + min(stop_at, length)
    resumed = [*StepSampler(batch, 0, world, start, middle), *StepSampler(batch, 0, world, middle, start + length)]
    assert resumed == ranks[0]


def test_step_sampler_refuses_uneven_shares():
    with pytest.raises(UserError, match="^batch_size: 30 cannot be shared evenly by 4 processes"):
        StepSampler(30, 0, 4, 0, 1)
