"""The router that looks at the image and learns apart."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from daair.models import training
from daair.models.daair_naf import DaAIRNAF, MergedExperts
from daair.models.image_router import STATISTICS, ImageRouter
from daair.models.training import Learner, Stage


def router(count: int = 3, **options) -> ImageRouter:
    torch.manual_seed(0)
    return ImageRouter(8, count, **({"width": 4, "hidden": 8, "tile": 16, "clean_every": 0} | options))


def noisy(labels: torch.Tensor, size: int = 16) -> torch.Tensor:
    """Return smooth images with noise of a strength of each label's own."""
    smooth = torch.rand(len(labels), 3, 1, 1).expand(-1, -1, size, size)
    return (smooth + 0.1 * labels[:, None, None, None] * torch.randn(len(labels), 3, size, size)).clamp(0, 1)


def test_it_learns_noise_levels_and_tiles_vote_for_them():
    model = router(tile=16).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        labels = torch.randint(0, 3, (16,))
        loss = model.loss(noisy(labels), labels, torch.zeros(16, 3, 16, 16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    labels = torch.arange(3).repeat(8)
    gates = model.eval()(torch.zeros(()), noisy(labels, 40)).gates
    assert (gates.argmax(1) == labels).float().mean() > 0.9


def test_in_training_the_label_decides():
    model = router().train()
    labels = torch.tensor([2, 0])
    routing = model(torch.zeros(()), torch.rand(2, 3, 16, 16), labels)
    assert torch.equal(routing.index, labels) and torch.equal(routing.gates, torch.eye(3)[labels])
    used = model.eval()(torch.zeros(()), torch.rand(2, 3, 16, 16), labels).gates
    assert not torch.equal(used, torch.eye(3)[labels]), "labels must not help in use"


def test_without_teacher_forcing_crops_are_routed_as_in_use():
    model, image, labels = router(teacher_forcing=0.5), torch.rand(64, 3, 16, 16), torch.arange(64) % 3
    model.norm.running_mean.normal_()
    used = model.eval()(torch.zeros(()), image).gates
    kept = model.norm.running_mean.clone()
    gates = model.train()(torch.zeros(()), image, labels).gates
    told = (gates == torch.eye(3)[labels]).all(1)
    assert 16 < told.sum() < 48
    torch.testing.assert_close(gates[~told], used[~told])
    assert torch.equal(model.norm.running_mean, kept), "a crop that is only routed must not be learned from"
    model.teacher_forcing = 0.0
    torch.testing.assert_close(model(torch.zeros(()), image, labels).gates, used)


@settings(max_examples=10)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_gates_of_every_size_sum_to_one(height, width):
    gates = router().eval()(torch.zeros(()), torch.rand(2, 3, height, width)).gates
    torch.testing.assert_close(gates.sum(1), torch.ones(2))


def test_equal_tiles_vote_as_one_with_sharpened_probabilities():
    model, tile = router(sharpness=2.0).eval(), torch.rand(1, 3, 16, 16)
    one = model.logits(tile).softmax(1).square()
    torch.testing.assert_close(model.vote(tile.repeat(1, 1, 2, 3)).softmax(1), one / one.sum())


def test_statistics_are_finite_for_flat_images_and_values_outside_the_range():
    for image in (torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 7.0), torch.randn(1, 3, 16, 16)):
        found = router().statistics(image)
        assert found.shape == (1, STATISTICS) and found.isfinite().all()


@pytest.mark.parametrize("middle", [0, 1])
def test_a_network_with_it_trains_in_two_stages_that_share_no_parameter(middle):
    made = partial(ImageRouter, width=4, hidden=8)
    model = DaAIRNAF(4, (1,), middle, (1,), MergedExperts(3, 2), made)
    training.check(model)
    first, second = model.stages()
    parts = [training.trainable(model, stage) for stage in (first, second)]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    assert parts[0] | parts[1] == {name for name, _ in model.named_parameters()}
    assert first.share + second.share == pytest.approx(1) and model.terms == ("label",)
    images = {name: torch.rand(4, 3, 16, 16) for name in ("input", "target")}
    batch = images | {"label": torch.tensor([0, 1, 2, 0])}
    learned = Learner(model, first)(batch)
    assert learned.image is None and learned.terms["label"].ndim == 0
    learned.terms["label"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == parts[0]
    model.zero_grad()
    learned = Learner(model, second)(batch)
    assert learned.terms == {} and torch.equal(learned.gates[0].argmax(1), batch["label"])
    learned.image.sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == parts[1]


def test_a_degradation_that_was_seen_seldom_is_as_likely_in_use():
    labels = torch.tensor([0] * 30 + [1] * 2)
    model, plain = router(2, adjustment=1.0).train(), router(2, adjustment=0.0)
    model.loss(torch.rand(32, 3, 16, 16), labels, torch.rand(32, 3, 16, 16))
    assert model.seen.tolist() == [30, 2]
    plain.load_state_dict(model.state_dict())
    tile = torch.rand(1, 3, 16, 16)
    one, other = (net.eval().vote(tile) for net in (model, plain))
    odds = (one - other).diff(dim=1) / model.sharpness
    torch.testing.assert_close(odds, torch.tensor([[31 / 3]]).log())


def test_a_router_that_knows_clean_images_holds_back_the_change_of_them():
    torch.manual_seed(0)
    made = partial(ImageRouter, width=4, hidden=8, tile=16, clean_every=2)
    model = DaAIRNAF(4, (1,), 1, (1,), MergedExperts(2, 2), made).train()
    for parameter in model.parameters():
        parameter.data = parameter + 0.1 * torch.randn_like(parameter)
    stage = model.stages()[0]
    optimizer = torch.optim.Adam(model.router.parameters(), 1e-2)
    for _ in range(60):
        labels = torch.randint(0, 2, (16,))
        batch = {"input": noisy(1 + labels), "target": noisy(0 * labels), "label": labels}
        optimizer.zero_grad()
        Learner(model, stage)(batch).terms["label"].backward()
        optimizer.step()
    assert model.router.seen[2] == 60 * 8, "every second crop is seen clean too"
    clean, degraded = noisy(torch.zeros(8).long(), 32), noisy(torch.ones(8).long(), 32)
    model.eval()
    for image, least, most in ((clean, 0.0, 0.1), (degraded, 0.9, 1.0)):
        routing = model.router(None, image)
        assert least <= routing.kept.mean() <= most
        torch.testing.assert_close(routing.gates.sum(1), torch.ones(8))
    change = (model(clean) - clean).abs().amax((1, 2, 3))
    model.router.forward = lambda *_: routing._replace(kept=None)  # the same network without doubt
    assert change.mean() < 0.1 * (model(clean) - clean).abs().amax((1, 2, 3)).mean()


@pytest.mark.parametrize("size", [4, 8, 16, 20])
def test_clean_crops_count_as_one_in_so_many_however_few_a_process_has(size):
    """Eight processes with four crops each teach the class of clean images as one process with 32 does."""
    model = router(clean_every=16).eval()  # the batch norm of training would mix the two parts
    labels, images, clean = torch.arange(size) % 3, torch.rand(size, 3, 16, 16), torch.rand(size, 3, 16, 16)
    apart = [
        F.cross_entropy(model.logits(images), labels),
        F.cross_entropy(model.logits(clean[::16]), labels[::16] * 0 + 3),
    ]
    share = 1 / 16
    torch.testing.assert_close(model.loss(images, labels, clean), (apart[0] + share * apart[1]) / (1 + share))
    model.train().loss(images, labels, clean)
    assert model.seen[:3].sum() == size and model.seen[3] == size / 16


def test_without_a_class_of_clean_images_nothing_is_held_back():
    assert router().eval()(None, torch.rand(1, 3, 16, 16)).kept is None
    assert router(clean_every=3).train()(None, torch.rand(1, 3, 16, 16), torch.tensor([1])).kept is None


@pytest.mark.parametrize(
    ("size", "processes", "text"),
    [
        (1, 1, "train.batch_size: 1 for 1 process, but stage router needs 2 images for each process"),
        (2, 2, "train.batch_size: 2 for 2 processes, but stage router needs 2 images for each process"),
    ],
)
def test_a_single_image_for_a_process_is_refused_before_the_norm_does(size, processes, text):
    """Batch norm has no statistics of one image; the router's stage alone looks at them."""

    def made(**options) -> DaAIRNAF:
        stage = Stage("router", 0.1, ("router.*",), **options)
        return DaAIRNAF(4, (1,), 1, (1,), MergedExperts(3, 2), partial(ImageRouter, pretraining=stage))

    with pytest.raises(ValueError, match=f"^{text}$"):
        training.check(made(), (), processes, {"train.batch_size": size})
    training.check(made(), (), processes, {"train.batch_size": 2 * processes})
    with pytest.raises(ValueError, match=f"^model: stage router: batch_size: {processes} for"):
        training.check(made(batch_size=processes), (), processes, {"train.batch_size": 64})
