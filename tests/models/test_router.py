"""Routers: what they return, what their losses mean, and that they compute in float32."""

import pytest
import torch
from torch import Tensor, nn

from daair.models.daair import DaAIR
from daair.models.experts import ExpertLayout
from daair.models.router import Oracle, Routing, Soft, Top1, Uniform
from daair.models.training import Learner, Stage, routed


@pytest.mark.parametrize("router", [Top1, Soft, Uniform, Oracle])
def test_shapes_and_weights(router: type) -> None:
    torch.manual_seed(0)
    routing = router(channels=6, count=4)(torch.randn(3, 6, 5, 5), torch.rand(3, 3, 40, 40), torch.tensor([0, 3, 1]))
    assert routing.gates.shape == (3, 4) and routing.gates.dtype == torch.float32
    assert torch.all(routing.gates >= 0) and torch.all(routing.gates.sum(dim=1) <= 1 + 1e-6)
    assert routing.aux.shape == ()
    if routing.index is not None:
        assert torch.equal((routing.gates > 0).sum(dim=1), torch.ones(3, dtype=torch.int64))
        assert torch.equal(routing.gates.argmax(dim=1), routing.index)


def test_top1_takes_the_largest_logit_and_is_noisy_only_in_training() -> None:
    torch.manual_seed(0)
    router, y = Top1(channels=6, count=4, noise=50.0), torch.randn(64, 6, 5, 5)
    expected = router.linear(y.mean(dim=(2, 3))).argmax(dim=1)
    assert not torch.equal(router.train()(y).index, expected)
    assert torch.equal(router.eval()(y).index, expected)
    assert router.eval()(y).aux == 0


def test_balance_loss_is_low_when_balanced_and_high_when_collapsed() -> None:
    torch.manual_seed(0)
    router = Top1(channels=4, count=4)
    router.linear.weight.data, router.linear.bias.data = 8 * torch.eye(4), torch.zeros(4)
    balanced = torch.eye(4).repeat(4, 1)[:, :, None, None]
    collapsed = torch.eye(4)[:1].repeat(16, 1)[:, :, None, None]
    assert router.train()(balanced).aux.item() < 0.05
    # One expert has everything: both squared variations are N - 1 = 3.
    assert router(collapsed).aux.item() == pytest.approx(3.0, abs=0.05)


def test_load_is_the_chance_to_be_chosen_under_fresh_noise() -> None:
    """Equation 9 of Shazeer et al. by simulation: redraw the noise of expert 0 alone."""
    torch.manual_seed(0)
    router = Top1(channels=3, count=3, importance=0.0, load=1.0)
    logits = torch.tensor([[0.2, 0.3, 0.1]])
    noisy = torch.tensor([[0.1, 0.5, 0.0]])
    probabilities = noisy.softmax(dim=1)
    aux = router._balance(logits, noisy, probabilities, probabilities.argmax(dim=1, keepdim=True))
    draws = logits + router.noise * torch.randn(400_000, 1)
    chance = torch.stack(
        [(draws[:, i] > noisy[0, [j for j in range(3) if j != i]].max()).float().mean() for i in range(3)]
    )
    assert aux.item() == pytest.approx((chance.var(correction=0) / chance.mean() ** 2).item(), rel=0.02)


def test_gate_weighting_lets_the_image_loss_reach_the_router() -> None:
    for weighted in (True, False):
        router = Top1(channels=4, count=3, weight_by_gate=weighted, importance=0.0, load=0.0)
        routing = router.train()(torch.randn(5, 4, 2, 2))
        (routing.gates.sum() + routing.aux).backward()
        assert (router.linear.weight.grad is not None and router.linear.weight.grad.abs().sum() > 0) == weighted


def test_one_expert_needs_no_balance() -> None:
    assert Top1(channels=4, count=1).train()(torch.randn(5, 4, 2, 2)).aux == 0


@pytest.mark.parametrize("router", [Top1, Soft])
def test_float32_under_autocast(router: type) -> None:
    torch.manual_seed(0)
    module, y = router(channels=6, count=4).eval(), torch.randn(3, 6, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = module(y)
    assert inside.gates.dtype == torch.float32
    torch.testing.assert_close(inside.gates, module(y).gates, rtol=0, atol=0)


def test_oracle_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="router=oracle needs the degradation label"):
        Oracle(channels=4, count=3)(torch.randn(2, 4, 2, 2))


class ByBrightness(nn.Module):
    """A router of somebody else, which looks at the image: dark ones go to the first expert, bright ones to the last.

    The normalised features do not show brightness.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count, self.seen = count, []

    def forward(self, features: Tensor, image: Tensor, labels: Tensor | None) -> Routing:
        self.seen.append((features.shape, image.shape, labels))
        index = (image.mean(dim=(1, 2, 3)) * self.count).long().clamp(max=self.count - 1)
        gates = torch.zeros(len(image), self.count).scatter(1, index[:, None], 1.0)
        return Routing(index, gates, gates.new_zeros(()))


def test_a_router_is_given_the_features_the_image_and_in_training_the_labels() -> None:
    sizes = {"channels": 8, "encoder_blocks": (1, 1, 1, 1), "decoder_blocks": (1, 1, 1), "heads": (1, 1, 2, 2)}
    model = DaAIR(**sizes, experts=ExpertLayout(count=3, rank=2), router=ByBrightness)
    x = torch.tensor([0.05, 0.5, 0.95])[:, None, None, None].expand(3, 3, 20, 28) + 0.01 * torch.rand(3, 3, 20, 28)
    batch = {"input": x, "label": torch.tensor([2, 0, 1])}
    learned = Learner(model.train(), Stage())(batch)
    assert learned.gates.argmax(dim=-1).eq(torch.arange(3)).all(), "in every learner"
    router = model.encoder[1][0].dale.router
    features, image, labels = router.seen[-1]
    assert (features, image) == ((3, 16, 12, 16), x.shape) and labels.tolist() == [2, 0, 1]
    assert routed(model.eval(), x, batch["label"]).gates.argmax(dim=-1).eq(torch.arange(3)).all()
    assert router.seen[-1][2] is None, "nobody tells the label in use"
