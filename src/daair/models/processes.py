"""Operations over the processes of a distributed training, which make it equal to training in one process.

Each process has an equal part of a batch, and data-parallel training averages the gradients of all. Every function here
also works in a single process. Shape legend: B images of this process, W processes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """Return the number of this process and the number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gathered(x: Tensor) -> Tensor:
    """Return the concatenated `x` (B, ...) of all processes, without gradient."""
    x, (_, count) = x.detach(), world()
    if count == 1:
        return x
    shares = [torch.empty_like(x) for _ in range(count)]
    distributed.all_gather(shares, x.contiguous())
    return torch.cat(shares)


def mean_of_all(x: Tensor) -> Tensor:
    """Return the mean of `x` (any shape) over the processes; its gradient reaches this process's `x` undivided.

    Data-parallel training averages the gradients, which is the missing division. A loss of this mean therefore has
    the same gradient as in one process, and nothing is sent in the backward pass.
    """
    _, count = world()
    if count == 1:
        return x
    total = x.detach().clone()
    distributed.all_reduce(total)
    return with_value(x, total / count)


@torch.no_grad()
def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Set the tensors of all processes to the values of process 0, in place, by one broadcast for each type."""
    if world()[1] == 1:
        return
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == kind]
        values = torch.cat([tensor.reshape(-1) for tensor in alike])
        distributed.broadcast(values, src=0)
        for tensor, part in zip(alike, values.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def with_value(x: Tensor, value: Tensor) -> Tensor:
    """Return `value`, with the gradient of `x` of the same shape."""
    return x + (value - x).detach()


def own_part(batch: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Return this process's part, (B, ...), of what `draw(W * B)` draws at random for the images of all processes.

    The generators of all processes are in the same state at the start of each micro-batch (see `daair.engine.setup`),
    so the random numbers of an image do not depend on its process.

    Args:
        batch: B.
        draw: Returns (n, ...) for n images; called in every process.
    """
    rank, count = world()
    whole = draw(count * batch)
    return whole if count == 1 else whole[rank * batch : (rank + 1) * batch]
