"""Routers: what they return, what their losses mean, and that they compute in float32."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from daair.models import processes
from daair.models.balance import Balance, dense_shares, hard_shares
from daair.models.daair import DaAIR
from daair.models.experts import ExpertLayout
from daair.models.router import Oracle, Routing, Soft, Top1, Uniform, noise_like
from daair.models.training import Learner, Stage, routed


@pytest.mark.parametrize("router", [Top1, Soft, Uniform, Oracle])
def test_shapes_and_weights(router: type) -> None:
    torch.manual_seed(0)
    routing = router(channels=6, count=4)(torch.randn(3, 6, 5, 5), torch.rand(3, 3, 40, 40), torch.tensor([0, 3, 1]))
    assert routing.gates.shape == (3, 4) and routing.gates.dtype == torch.float32
    assert torch.all(routing.gates >= 0) and torch.all(routing.gates.sum(dim=1) <= 1 + 1e-6)
    assert routing.aux.shape == ((2, 4) if router is Top1 else ())
    if routing.index is not None:
        assert torch.equal((routing.gates > 0).sum(dim=1), torch.ones(3, dtype=torch.int64))
        assert torch.equal(routing.gates.argmax(dim=1), routing.index)


def test_top1_takes_the_largest_logit_and_is_noisy_only_in_training() -> None:
    torch.manual_seed(0)
    router, y = Top1(channels=6, count=4, noise=50.0), torch.randn(64, 6, 5, 5)
    expected = router.linear(y.mean(dim=(2, 3))).argmax(dim=1)
    assert not torch.equal(router.train()(y).index, expected)
    assert torch.equal(router.eval()(y).index, expected)
    assert router.eval()(y).aux.eq(0).all() and loss(router, y) == 0


def loss(router: Top1, y: Tensor) -> Tensor:
    """L_aux of a network whose only learner has this router."""
    router.balance.after_update()
    return router.balance(router(y).aux[None])


@pytest.mark.parametrize("kind", ["dense", "hard"])
def test_balance_loss_is_low_when_balanced_and_high_when_collapsed(kind: str) -> None:
    torch.manual_seed(0)
    router = Top1(channels=4, count=4, balance=kind)
    router.linear.weight.data, router.linear.bias.data = 8 * torch.eye(4), torch.zeros(4)
    balanced = torch.eye(4).repeat(4, 1)[:, :, None, None]
    collapsed = torch.eye(4)[:1].repeat(16, 1)[:, :, None, None]
    assert loss(router.train(), balanced).item() < 0.05
    # One expert has everything: both squared variations (of the unbiased variance) are N = 4.
    assert loss(router, collapsed).item() == pytest.approx(4.0, abs=0.06)


@pytest.mark.parametrize("shares", [dense_shares, hard_shares])
def test_load_is_the_chance_to_be_chosen_under_fresh_noise(shares: Callable) -> None:
    """By simulation: an expert's noise is drawn anew, against all former draws or (hard) those of the others alone."""
    torch.manual_seed(0)
    logits, noisy, noise = torch.tensor([[0.2, 0.3, 0.1]]), torch.tensor([[0.1, 0.5, 0.0]]), 1 / 3
    draws = logits + noise * torch.randn(400_000, 1)
    own = shares is dense_shares
    rivals = [max(noisy[0, j] for j in range(3) if own or j != i) for i in range(3)]
    chance = [(draws[:, i] > rival).float().mean().item() for i, rival in enumerate(rivals)]
    assert shares(logits, noisy, noise)[1].tolist() == pytest.approx(chance, abs=0.003)


def test_importance_is_of_clean_dense_gates_or_of_the_chosen_noisy_ones() -> None:
    logits, noisy = torch.tensor([[0.2, 0.3], [1.0, 0.0]]), torch.tensor([[0.9, 0.5], [1.5, 0.0]])
    torch.testing.assert_close(dense_shares(logits, noisy, 0.5)[0], logits.softmax(dim=1).mean(dim=0))
    gates = noisy.softmax(dim=1)[:, 0].mean()
    torch.testing.assert_close(hard_shares(logits, noisy, 0.5)[0], torch.stack([gates, 0 * gates]))


def test_balance_is_the_mean_or_the_sum_over_the_learners() -> None:
    shares = torch.rand(3, 2, 4)
    each = torch.stack([Balance(0.3, 0.2)(one[None]) for one in shares])
    expected = 0.3 * shares[:, 0].var(dim=1) / shares[:, 0].mean(dim=1) ** 2
    expected = expected + 0.2 * shares[:, 1].var(dim=1) / shares[:, 1].mean(dim=1) ** 2
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(Balance(0.3, 0.2)(shares), each.mean())
    torch.testing.assert_close(Balance(0.3, 0.2, reduce="sum")(shares), each.sum())


def test_balance_counts_all_micro_batches_of_an_update_and_none_of_the_last_one() -> None:
    """At the last micro-batch, value and gradient are those of the whole batch."""
    parts = torch.rand(3, 2, 2, 5)
    balance, local = Balance(), Balance(scope="local")
    for part in parts[:2]:
        balance(part)
    last = parts[2].clone().requires_grad_()
    whole = parts.clone().requires_grad_()
    together = balance(last)
    expected = Balance()(whole.mean(dim=0))
    torch.testing.assert_close(together, expected)
    together.backward()
    expected.backward()
    torch.testing.assert_close(last.grad / 3, whole.grad[2])  # the loop divides by the number of micro-batches
    balance.after_update()
    torch.testing.assert_close(balance(parts[0]), Balance()(parts[0]))
    for part in parts[:2]:
        torch.testing.assert_close(local(part), Balance()(part))


@pytest.mark.parametrize("scope", ["global", "local"])
def test_balance_of_two_processes_is_that_of_one(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients that data-parallel training averages are those of the whole batch; so is the noise."""
    parts = torch.rand(2, 3, 2, 5)
    whole = parts.clone().requires_grad_()
    expected = Balance()(whole.mean(dim=0))
    expected.backward()
    torch.manual_seed(0)
    noise = noise_like(torch.empty(8, 5))
    monkeypatch.setattr(processes.distributed, "all_reduce", lambda x: x.copy_(parts.sum(dim=0)))
    gradients = []
    for rank in range(2):
        monkeypatch.setattr(processes, "world", lambda rank=rank: (rank, 2))
        torch.manual_seed(0)
        assert torch.equal(noise_like(torch.empty(4, 5)), noise[4 * rank : 4 * rank + 4])
        own = parts[rank].clone().requires_grad_()
        aux = Balance(scope=scope)(own)
        aux.backward()
        gradients.append(own.grad / 2)
        assert torch.isclose(aux, expected) == (scope == "global")
    assert torch.allclose(torch.stack(gradients), whole.grad, atol=1e-7) == (scope == "global")


def test_gate_weighting_lets_the_image_loss_reach_the_router() -> None:
    for weighted in (True, False):
        router = Top1(channels=4, count=3, weight_by_gate=weighted, importance=0.0, load=0.0)
        routing = router.train()(torch.randn(5, 4, 2, 2))
        (routing.gates.sum() + router.balance(routing.aux[None])).backward()
        assert (router.linear.weight.grad is not None and router.linear.weight.grad.abs().sum() > 0) == weighted


def test_one_expert_needs_no_balance() -> None:
    for kind in ("dense", "hard"):
        assert loss(Top1(channels=4, count=1, balance=kind).train(), torch.randn(5, 4, 2, 2)) == 0


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
