"""The bank against N separate plain experts, written from the figure and nothing else."""

import pytest
import torch
from timm.optim import Muon
from torch import Tensor, nn

from daair.models.experts import Expert, ExpertBank, ExpertLayout


class NaiveExpert(nn.Module):
    """Overview figure of arXiv 2405.15475: Proj C -> R, 1x1, then h * kxk(h) (depth-wise), 1x1."""

    def __init__(self, project: Tensor, mix_in: Tensor, depthwise: Tensor, bias: Tensor, mix_out: Tensor) -> None:
        super().__init__()
        rank, channels = project.shape
        k, groups = depthwise.shape[-1], rank if depthwise.dim() == 3 else 1
        self.project = nn.Conv2d(channels, rank, 1, bias=False)
        self.mix_in = nn.Conv2d(rank, rank, 1, bias=False)
        self.depthwise = nn.Conv2d(rank, rank, k, padding=k // 2, groups=groups)
        self.mix_out = nn.Conv2d(rank, rank, 1, bias=False)
        with torch.no_grad():
            self.project.weight.copy_(project[:, :, None, None])
            self.mix_in.weight.copy_(mix_in[:, :, None, None])
            self.depthwise.weight.copy_(depthwise.reshape(self.depthwise.weight.shape))
            self.depthwise.bias.copy_(bias)
            self.mix_out.weight.copy_(mix_out[:, :, None, None])

    def forward(self, y: Tensor) -> Tensor:
        h = self.mix_in(self.project(y))
        return self.mix_out(h * self.depthwise(h))

    def gradients(self) -> list[Tensor]:
        layers = (self.project, self.mix_in, self.depthwise)
        weights = [layer.weight.grad for layer in layers]
        return [*weights, self.depthwise.bias.grad, self.mix_out.weight.grad]


LAYOUTS = {
    "constant": ExpertLayout(count=3, rank=4, layout="constant"),
    "pyramid": ExpertLayout(count=4, rank=3, layout="pyramid", kernel=5),
    "spread": ExpertLayout(count=4, rank=3, layout="spread"),
    "dense": ExpertLayout(count=4, rank=3, layout="spread", depthwise=False),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("level", [0, 2])
def test_bank_computes_what_separate_experts_do(layout: ExpertLayout, level: int) -> None:
    torch.manual_seed(0)
    channels, ranks = 16, layout.expert_ranks(level)
    bank = ExpertBank(channels, ranks, layout.kernel).double()
    naive = [NaiveExpert(*bank.expert_parameters(i)).double() for i in range(layout.count)]
    index = torch.tensor([1, 0, 1, layout.count - 1, 2])
    ours = torch.randn(5, channels, 9, 7, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    weight = torch.randn(5, max(ranks), 9, 7, dtype=torch.float64)

    out = bank(ours, index)
    expected = torch.zeros_like(out)
    for b, i in enumerate(index.tolist()):
        expected[b, : ranks[i]] = naive[i](theirs[b : b + 1])[0]
    torch.testing.assert_close(out, expected)

    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    stacks = [bank.project.grad, bank.mix_in.grad, bank.depthwise.grad, bank.bias.grad, bank.mix_out.grad]
    for i, expert in enumerate(naive):
        used = i in index.tolist()
        for stack, gradient, own in zip(stacks, expert.gradients(), bank.expert_parameters(i), strict=True):
            part = stack[i][tuple(slice(n) for n in own.shape)]
            if used:
                torch.testing.assert_close(part.reshape(-1), gradient.reshape(-1))
            else:
                assert part.abs().sum() == 0


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_all_experts_at_once_agree_with_one_by_one(layout: ExpertLayout) -> None:
    torch.manual_seed(1)
    bank = ExpertBank(8, layout.expert_ranks(1), layout.kernel).double()
    y = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    every = bank.forward_all(y)
    for i in range(layout.count):
        torch.testing.assert_close(every[:, i], bank(y, torch.tensor([i, i])))


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, Muon])
@pytest.mark.parametrize("depthwise", [True, False])
def test_padding_of_smaller_experts_stays_zero_through_training(depthwise: bool, optimizer: type) -> None:
    torch.manual_seed(2)
    bank = ExpertBank(8, (2, 4, 6, 6), depthwise=depthwise)
    assert bank.num_padding > 0
    optimizer = optimizer(bank.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        out = bank(torch.randn(4, 8, 4, 4), torch.tensor([0, 1, 2, 3]))
        (out - torch.ones_like(out)).square().mean().backward()
        optimizer.step()
        bank.after_update()
        optimizer.zero_grad()
    total = sum(int((p != 0).sum()) for p in bank.parameters())
    assert total == sum(p.numel() for p in bank.parameters()) - bank.num_padding


@pytest.mark.parametrize("depthwise", [True, False])
def test_expert_is_a_bank_of_one(depthwise: bool) -> None:
    torch.manual_seed(3)
    expert, bank = Expert(8, 4, depthwise=depthwise), ExpertBank(8, (4,), depthwise=depthwise)
    with torch.no_grad():
        for own, stacked in zip(expert.parameters(), bank.parameters(), strict=True):
            stacked[0].copy_(own)
    y = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(expert(y), bank(y, torch.zeros(2, dtype=torch.int64)))


def test_ranks_of_the_layouts() -> None:
    assert [ExpertLayout(rank=8, layout="constant").rank_at(level) for level in range(4)] == [8, 8, 8, 8]
    assert [ExpertLayout(rank=8).rank_at(level) for level in range(4)] == [8, 16, 32, 64]
    assert ExpertLayout(count=4, rank=8, layout="spread").expert_ranks(1) == (4, 8, 12, 16)
    assert ExpertLayout(count=8, rank=2, layout="spread").expert_ranks(0) == (1, 1, 1, 1, 1, 1, 1, 2)


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="experts.kernel: must be odd, got 4"):
        ExpertLayout(kernel=4)
