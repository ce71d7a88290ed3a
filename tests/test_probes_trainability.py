"""Trainability: fitting, one step, random targets and intervals, on problems whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from lopgym.probes.fitting import Budget, Problem, Trainee, fit, whole_loss
from lopgym.probes.interval import interval
from lopgym.probes.trainability import (
    one_step_losses,
    one_step_plasticity,
    random_target_fit,
    random_targets,
)

LISTS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)


class Scalar(nn.Module):
    """y = w x, with a buffer that nothing may move."""

    def __init__(self, w: float) -> None:
        """Set the weight."""
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))
        self.register_buffer("fixed", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return self.w * x


def _squares(x: list[float], y: list[float]) -> Problem:
    """Regress y on x: the mean of (w x - y)^2."""
    inputs, targets = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    return Problem(len(x), lambda network, rows: (network(inputs[rows]) - targets[rows]).square().mean())


def _sgd(network: nn.Module, lr: float = 0.1) -> Trainee:
    return Trainee(network, torch.optim.SGD(network.parameters(), lr=lr))


def _noisy() -> tuple[Trainee, Problem]:
    """Return a network with dropout and batch statistics, trained by Adam that has a past, and its problem."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
        x, y = torch.randn(40, 3), torch.randn(40, 2)
    trainee = Trainee(network, torch.optim.Adam(network.parameters(), lr=1e-2))
    problem = Problem(40, lambda net, rows: (net(x[rows]) - y[rows]).square().mean())
    fit(trainee, problem, Budget(updates=3), seed=0)
    return trainee, problem


def _state(trainee: Trainee) -> list[Tensor]:
    moments = [torch.as_tensor(v) for state in trainee.optimizer.state.values() for v in state.values()]
    return [tensor.detach().clone() for tensor in [*trainee.network.state_dict().values(), *moments]]


def _equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


def test_gradient_descent_on_a_parabola() -> None:
    """By hand: L = w^2, each step multiplies w by 1 - 2 lr, so K steps multiply L by (1 - 2 lr)^(2 K)."""
    before, after = fit(_sgd(Scalar(3.0)), _squares([1.0], [0.0]), Budget(updates=7), seed=0)
    assert before == 9.0
    assert after == pytest.approx(9 * 0.8**14, rel=1e-12)


def test_long_gradients_are_clipped() -> None:
    """By hand: the gradient 2 w is 6, 5.9 ...; clipped to 1, five steps of 0.1 move w from 3 to 2.5."""
    _, after = fit(_sgd(Scalar(3.0)), _squares([1.0], [0.0]), Budget(updates=5, max_grad_norm=1.0), seed=0)
    assert after == pytest.approx(2.5**2, rel=1e-5)  # the clipping has an epsilon of 1e-6


def test_fitting_is_a_function_of_the_seed_and_takes_nobody_s_random_numbers() -> None:
    """Minibatches and dropout; and its losses are those of evaluation, whatever the mode was."""
    trainee, problem = _noisy()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = (fit(trainee.copy(), problem, Budget(updates=5), seed) for seed in (1, 1, 2))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)
    assert whole_loss(trainee.network.train(), problem) == whole_loss(trainee.network.eval(), problem) == first[0]


def test_a_copy_trains_itself_only() -> None:
    """Weights, statistics, moments and step counts of the original stay; those of the copy go on from there."""
    trainee, problem = _noisy()
    before, seen = _state(trainee), list[object]()
    trainee.optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    copy = trainee.copy()
    assert _equal(_state(copy), before)
    fit(copy, problem, Budget(updates=2), seed=0)
    assert _equal(_state(trainee), before)
    assert not _equal(_state(copy), before)
    assert {float(state["step"]) for state in copy.optimizer.state.values()} == {5.0}
    assert seen == []


def test_one_step_by_hand() -> None:
    """L = (w x - y)^2 with w = 1: a step at rate r leaves L (1 - 2 r x^2)^2, whatever y is."""
    before, after = one_step_losses(Scalar(1.0), _squares([1.0, 2.0, 3.0], [0.0, 0.0, 1.0]), 0.1)
    assert before.tolist() == [1.0, 4.0, 4.0]
    factors = [0.8**2, 0.2**2, 0.8**2]
    assert after.tolist() == pytest.approx([b * f for b, f in zip([1.0, 4.0, 4.0], factors, strict=True)], rel=1e-12)
    assert one_step_plasticity(before, after).tolist() == pytest.approx([1 - f for f in factors], rel=1e-12)


@pytest.mark.parametrize(("rate", "plasticity"), [(0.0, 0.0), (0.5, 1.0), (1e-3, 1 - 0.998**2), (1.0, 0.0), (9.0, 0.0)])
def test_one_step_too_short_right_and_too_long(rate: float, plasticity: float) -> None:
    """At x = 1 the rate 1/2 solves the sample, 1 jumps to the mirror image, more makes it worse and counts as 0."""
    before, after = one_step_losses(Scalar(1.0), _squares([1.0], [0.0]), rate)
    assert one_step_plasticity(before, after).item() == pytest.approx(plasticity, abs=1e-12)


def test_one_step_of_what_is_learned_already() -> None:
    """Nothing left to learn is no want of plasticity; a step that spoils it is."""
    zero = torch.zeros(2)
    assert one_step_plasticity(zero, torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.0]


def test_a_dead_network_has_no_plasticity_at_one_step() -> None:
    """No gradient reaches it: exactly 0, where its living twin has some."""
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(4, 2))
        network[2].weight.fill_(1.0)
        network[0].bias.fill_(0.5)
    x = torch.ones(3, 2)
    problem = Problem(3, lambda net, rows: net(x[rows]).square().mean())
    assert one_step_plasticity(*one_step_losses(network, problem, 1e-2)).min() > 0.1
    with torch.no_grad():
        network[0].bias.fill_(-100.0)
        network[2].weight.fill_(1.0)
    shifted = Problem(3, lambda net, rows: (net(x[rows]) - 1).square().mean())
    assert one_step_plasticity(*one_step_losses(network, shifted, 1e-2)).tolist() == [0.0] * 3


def test_one_step_leaves_the_network_alone() -> None:
    """Weights, batch statistics, mode, gradients and random numbers."""
    trainee, problem = _noisy()
    trainee.optimizer.zero_grad()
    before, state = _state(trainee), torch.get_rng_state()
    one_step_losses(trainee.network, problem, 0.1)
    assert _equal(_state(trainee), before)
    assert trainee.network.training
    assert all(p.grad is None for p in trainee.network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_random_targets_are_a_function_of_the_observation_that_looks_random() -> None:
    """The same output, the same target; half a thousandth apart, no relation. Their law is the arcsine's."""
    outputs = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort(dim=0).values
    targets = random_targets(outputs)
    assert torch.equal(random_targets(outputs.flip(0)).flip(0), targets)
    assert stats.kstest(targets[:, 0].numpy(), stats.arcsine(-1, 2).cdf).pvalue > 0.01
    assert abs(np.corrcoef(targets[1:, 0], targets[:-1, 0])[0, 1]) < 0.07  # three standard errors


def test_random_target_fit_by_hand() -> None:
    """Targets 0, 2 and 4 about their mean: 8. Missed by 1 each: 3, so 5/8; the mean itself 0; constant targets."""
    targets = torch.tensor([[0.0], [2.0], [4.0]])
    assert random_target_fit(targets + 1, targets) == 0.625
    assert random_target_fit(torch.full_like(targets, 2.0), targets) == 0.0
    assert random_target_fit(targets, targets) == 1.0
    flat = torch.ones(3, 1)
    assert (random_target_fit(flat, flat), random_target_fit(targets, flat)) == (1.0, 0.0)


@settings(derandomize=True, max_examples=50)
@given(LISTS)
def test_random_target_fit_is_the_coefficient_of_determination(values: list[float]) -> None:
    """Of a least-squares line, whose R^2 is the square of Pearson's correlation: NumPy's."""
    y = np.array(values)
    x = np.arange(len(y), dtype=np.float64)
    if np.ptp(y) < 1e-3:
        return
    line = np.polyval(np.polyfit(x, y, 1), x)
    found = random_target_fit(torch.from_numpy(line[:, None]), torch.from_numpy(y[:, None]))
    assert found == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-6)


@pytest.mark.parametrize("repeats", range(2, 42))
def test_intervals_are_student_s(repeats: int) -> None:
    """Against SciPy, with odd and even degrees of freedom."""
    values = np.random.default_rng(repeats).normal(3, 2, repeats)
    low, high = stats.t.interval(0.95, repeats - 1, values.mean(), stats.sem(values))
    assert interval(values.tolist()) == pytest.approx((values.mean(), low, high), rel=1e-9)


def test_intervals_of_many_repeats_are_the_normal_s() -> None:
    """1.96 standard errors."""
    values = np.random.default_rng(0).normal(size=5000)
    found = interval(values.tolist())
    assert (found.high - found.mean) / stats.sem(values) == pytest.approx(1.96, abs=2e-3)


def test_one_repeat_has_no_interval() -> None:
    """It is refused, and repeats that agree have none of any width."""
    with pytest.raises(ValueError, match="at least 2 repeats, not 1"):
        interval([1.0])
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    assert math.isnan(interval([1.0, math.nan]).mean)
