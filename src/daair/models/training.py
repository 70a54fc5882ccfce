"""The interface between a network and its training.

A network that maps images to images, `forward(x)` with `x` (B, 3, H, W) in [0, 1], needs none of this and is trained on
the image loss alone. A network that needs more has some of these members, which the engine uses through this module.

| member | meaning | without it |
| --- | --- | --- |
| `learn(batch, stage) -> Learned` | images and further loss terms of a batch | `routed` or `forward` |
| `terms` | names of all terms that `learn` returns; each has a weight, `loss.terms.NAME` | none |
| `views` | crops of each image in a batch; with 2 there is another crop with the same degradation | 1 |
| `stages() -> Sequence[Stage]` | the parts of the training, in order | one stage for all parameters |
| `after_update()` | called in every process after each update of the parameters | nothing happens |
| `needs_labels` | whether `forward` and `routed` need the labels as second argument, also after training | false |
| `multiple` | to what multiple it pads the sides, by `layers.pad_to_multiple`; for `task=export` | found by trial |
| `least_side` | smallest side in pixels that it does not pad by itself, also of a module; for `task=export` | 1 |
| `routed(x, labels) -> Learned` | the images with the routers' gates, which validation counts | no gates |

A batch holds `input` and `target`, (B, 3, H, W) in [0, 1], and `label`, (B,) int64, the number of the degradation; with
two views `input2` and `target2` as well. `learn` is called in training only, with a process's share of the batch;
`daair.models.processes` has what processes do together: `gathered` brings together what all have, and `own_part` draws
random numbers that do not depend on how images are shared out. PyTorch's own, such as those of dropout, are the same in
all processes. `after_update` must do the same in every process. In training `routed` always gets
the labels.
What a user may want to change, such as the length of a stage, is an argument of the network (a `Stage` can be one).

Shape legend: B images, H x W pixels, L learners, N experts.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from daair.errors import UserError, suggestion


class Learned(NamedTuple):
    """The output of a network for a batch.

    Attributes:
        image: (B, 3, H, W), the restored images for the image loss; None in a stage without image loss.
        terms: Further loss terms by name, unweighted scalars.
        gates: (L, B, N) float32, the weight of each expert in each learner; None without experts.
    """

    image: Tensor | None
    terms: Mapping[str, Tensor] = {}
    gates: Tensor | None = None


@dataclass(frozen=True)
class Stage:
    """A part of the training, with its own optimizer and schedule.

    Args:
        name: Name of the stage, for `learn` and messages.
        share: Fraction of `train.steps`; the shares of all stages sum to 1.
        trainable: Patterns of the names of the trained parameters, such as `encoder.*`.
        lr: Factor of `optimizer.lr`.
        batch_size: Images of a batch; None = `train.batch_size`.
        least: Least number of images of a batch for each process; statistics over the batch need two.
    """

    name: str = "training"
    share: Annotated[float, Interval(ge=0, le=1)] = 1.0
    trainable: tuple[str, ...] = ("*",)
    lr: Annotated[float, Gt(0)] = 1.0
    batch_size: Annotated[int, Ge(1)] | None = None
    least: Annotated[int, Ge(1)] = 1


class Learner(nn.Module):
    """A network in one stage of its training; it is called with a batch, so that DDP covers the whole computation."""

    def __init__(self, network: nn.Module, stage: Stage) -> None:
        super().__init__()
        self.network, self.stage = network, stage

    def forward(self, batch: Mapping[str, Tensor]) -> Learned:
        """Return the network's output for a batch."""
        network = self.network
        if hasattr(network, "learn"):
            return network.learn(batch, self.stage)
        if hasattr(network, "routed"):
            return network.routed(batch["input"], batch["label"])
        return Learned(apply(network, batch["input"], batch["label"]))


def apply(network: nn.Module, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the restored images of `x` (B, 3, H, W); `labels` (B,) are only passed to a network that needs them.

    Raises:
        UserError: The network returns anything but images of the shape of `x`.
    """
    image = network(x, labels) if needs_labels(network) else network(x)
    if not isinstance(image, Tensor):
        raise UserError(f"model: {type(network).__name__} returns a {type(image).__name__} instead of images")
    if image.shape != x.shape:  # a loss would fit another shape to the clean images
        text = f"returns the shape {tuple(image.shape)} for images of shape {tuple(x.shape)}, which it must keep"
        raise UserError(f"model: {type(network).__name__} {text}")
    return image


def routed(network: nn.Module, x: Tensor, labels: Tensor | None = None) -> Learned:
    """Return the output of `apply`, with the gates if the network has routers."""
    if not hasattr(network, "routed"):
        return Learned(apply(network, x, labels))
    return network.routed(x, labels if needs_labels(network) else None)


def needs_labels(network: nn.Module) -> bool:
    """Return whether a network needs the degradation labels."""
    return getattr(network, "needs_labels", False)


def views(network: nn.Module) -> int:
    """Return the number of crops of each image that a network is trained on."""
    return getattr(network, "views", 1)


def terms(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the loss terms that a network adds to the image loss."""
    return tuple(getattr(network, "terms", ()))


def stages(network: nn.Module) -> list[Stage]:
    """Return the stages of a network's training that are not empty."""
    return [stage for stage in network.stages() if stage.share] if hasattr(network, "stages") else [Stage()]


def trainable(network: nn.Module, stage: Stage, freeze: Sequence[str] = ()) -> set[str]:
    """Return the names of the parameters that a stage trains: those that require a gradient, without frozen ones.

    Args:
        network: The network or its copy, with `requires_grad` as set by its constructor.
        stage: The stage.
        freeze: Patterns of names (`train.freeze`).
    """
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    return {name for name in names if matches(name, stage.trainable) and not matches(name, freeze)}


def idle(network: nn.Module) -> list[str]:
    """Return the names of the parameters that should learn, but that the backward pass has given no gradient."""
    return [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns (`*`, `?`, `[abc]`) matches the whole name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check(
    network: nn.Module,
    freeze: Sequence[str] = (),
    processes: int = 1,
    batch_sizes: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Check stages and frozen parameters; the network may be on the meta device.

    Args:
        network: The network.
        freeze: Patterns of names (`train.freeze`).
        processes: Number of processes that share a batch.
        batch_sizes: The sizes of the batches of stages without a size of their own, by config key.

    Raises:
        ValueError: They do not fit the network; the message begins with the config key.
    """
    names = [name for name, _ in network.named_parameters()]
    if not names:
        raise ValueError("model: has nothing to train; evaluate it with task=evaluate")
    for pattern in freeze:
        if not any(matches(name, [pattern]) for name in names):
            raise ValueError(f"train.freeze: {pattern} matches no parameter of the network{_meant(pattern, names)}")
    plan = stages(network)
    if abs(sum(stage.share for stage in plan) - 1) > 1e-6:
        shares = " + ".join(f"{stage.share:g}" for stage in plan)
        raise ValueError(f"model: the shares of its stages must sum to 1, not {shares}")
    if twice := [name for name, count in Counter(stage.name for stage in plan).items() if count > 1]:
        raise ValueError(f"model: {twice[0]} is the name of two stages, which must differ")  # `learn` looks at it
    if hasattr(network, "stages") and not (last := list(network.stages())[-1]).share:
        text = f"stage {last.name}, the last, has no part of the updates; lower the share of {plan[-1].name}"
        raise ValueError(f"model: {text}, which has {plan[-1].share:g}")
    for stage in plan:
        for pattern in stage.trainable:
            if not any(matches(name, [pattern]) for name in names):
                raise ValueError(f"model: stage {stage.name}: {pattern} matches no parameter{_meant(pattern, names)}")
        if not trainable(network, stage):
            raise ValueError("model: has nothing to train; evaluate it with task=evaluate")
        if not trainable(network, stage, freeze):
            raise ValueError(f"train.freeze: leaves nothing to train in stage {stage.name}")
        if stage.batch_size and stage.batch_size % processes:
            text = f"{stage.batch_size} images cannot be shared evenly by {processes} processes"
            raise ValueError(f"model: stage {stage.name}: batch_size: {text}")
        own = {f"model: stage {stage.name}: batch_size": stage.batch_size} if stage.batch_size else batch_sizes
        for key, size in own.items():
            if size // processes < stage.least:
                text = f"{size} for {processes} {'process' if processes == 1 else 'processes'}"
                raise ValueError(f"{key}: {text}, but stage {stage.name} needs {stage.least} images for each process")


def _meant(pattern: str, names: Collection[str]) -> str:
    return suggestion(pattern, [*names, *{f"{name.partition('.')[0]}.*" for name in names if "." in name}])
