"""What the processes of a distributed training do together, so that together they train as one process would.

Each process has an equal part of a batch, and data-parallel training averages the gradients of all. Every function here
also works in a process that is alone. Shape legend: B images of this process, W processes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """Return the number of this process, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gathered(x: Tensor) -> Tensor:
    """Return the `x` (B, ...) of all processes, one behind the other; without gradient."""
    x, (_, count) = x.detach(), world()
    if count == 1:
        return x
    shares = [torch.empty_like(x) for _ in range(count)]
    distributed.all_gather(shares, x.contiguous())
    return torch.cat(shares)


def mean_of_all(x: Tensor) -> Tensor:
    """Return the mean of `x` (any shape) over the processes; its gradient reaches this process's `x` undivided.

    The average that data-parallel training takes of the gradients is the missing division. So a loss of this mean has
    the gradient that it would have in one process, and nothing is sent in the backward pass.
    """
    _, count = world()
    if count == 1:
        return x
    total = x.detach().clone()
    distributed.all_reduce(total)
    return with_value(x, total / count)


def with_value(x: Tensor, value: Tensor) -> Tensor:
    """Return `value`, with the gradient of `x` of the same shape."""
    return x + (value - x).detach()


def own_part(batch: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Return this process's part, (B, ...), of what `draw(W * B)` draws at random for the images of all processes.

    The generators of all processes are in the same state at the start of each micro-batch (see `daair.engine.setup`),
    so an image gets the same random numbers whichever process has it.

    Args:
        batch: B.
        draw: returns (n, ...) for n images; called in every process.
    """
    rank, count = world()
    whole = draw(count * batch)
    return whole if count == 1 else whole[rank * batch : (rank + 1) * batch]
