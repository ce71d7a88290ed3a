"""Rank recovery: what an activation does to correlated units, by the formulas where they hold and where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes.rank_recovery import rank_recovery_strengths

GRID = torch.special.ndtri((torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000)[:, None]  # Gaussian quantiles
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {  # f, alpha uncentred, alpha centred
    "relu": (torch.relu, 0.0, 0.4669),
    "leaky": (lambda z: nn.functional.leaky_relu(z, 0.1), 0.0, 0.3428),
    "gelu": (nn.functional.gelu, 0.0720, 0.3188),
    "tanh": (torch.tanh, 0.1778, 0.1778),
    "steep tanh": (lambda z: torch.tanh(3 * z), 1.1043, 1.1043),
    "relu below": (lambda z: torch.relu(z - 1), 1.1058, 1.3195),
    "relu above": (lambda z: torch.relu(z + 1), -0.5629, 0.1202),
}


def _slope(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_strengths_of_standard_normal_pre_activations(name: str) -> None:
    """Centred, as the probe has it, and the paper's about 0, in which every linear kink at 0 has none."""
    f, uncentred, centred = FUNCTIONS[name]
    slope = _slope(f, GRID)
    assert rank_recovery_strengths(GRID, f(GRID), slope).item() == pytest.approx(centred, abs=2e-4)
    about_zero = slope.square().mean() / f(GRID).square().mean() - 1
    assert about_zero.item() == pytest.approx(uncentred, abs=2e-4)


def _correlation(f: Callable[[Tensor], Tensor], rho: float) -> float:
    """Return the centred correlation of f(X) and f(Y) where X and Y correlate by `rho`, by quadrature."""
    x = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    weight = torch.exp(-x.square() / 2)
    weight /= weight.sum()
    y = rho * x[:, None] + math.sqrt(1 - rho * rho) * x
    product = weight @ ((f(x)[:, None] * f(y)) @ weight)
    mean, square = weight @ f(x), weight @ f(x).square()
    return ((product - mean.square()) / (square - mean.square())).item()


@pytest.mark.parametrize(("name", "tolerance"), [("tanh", 1e-3), ("steep tanh", 1e-2), ("relu", 1e-2), ("gelu", 1e-3)])
def test_the_activation_decorrelates_by_the_strength(name: str, tolerance: float) -> None:
    """1 - corr f = (1 + alpha) epsilon as epsilon goes to 0; kinks come there more slowly."""
    f, _, alpha = FUNCTIONS[name]
    assert (1 - _correlation(f, 1 - 1e-4)) / 1e-4 == pytest.approx(1 + alpha, rel=tolerance)


def _rank(correlation: float, units: int = 100) -> float:
    """Return the entropy rank of the eigenvalues of a matrix with one correlation throughout."""
    shares = torch.full((units,), (1 - correlation) / units, dtype=torch.float64)
    shares[0] += correlation
    return torch.special.entr(shares).sum().exp().item()


def test_the_rank_rises_by_alpha_epsilon_log() -> None:
    """er(C_f) / er(C) - 1 is alpha epsilon ln(n / epsilon) for tanh and, centred, for ReLU, within 6 % at 1e-3."""
    epsilon = 1e-3
    for name in ("tanh", "relu"):
        f, uncentred, alpha = FUNCTIONS[name]
        gain = _rank(_correlation(f, 1 - epsilon)) / _rank(1 - epsilon) - 1
        assert gain == pytest.approx(alpha * epsilon * math.log(100 / epsilon), rel=0.06)
        assert uncentred in (0.0, alpha)  # about 0, ReLU is predicted to gain nothing


def test_the_rank_does_not_fall_to_one_plus_alpha_epsilon() -> None:
    """The paper's main text, read literally, takes the rank from a linear layer; its excess grows by 1 + alpha."""
    f, _, alpha = FUNCTIONS["tanh"]
    excess, left = _rank(1 - 1e-4) - 1, _rank(_correlation(f, 1 - 1e-4)) - 1
    assert left / excess == pytest.approx(1 + alpha, rel=0.02)
    assert left > 5 * alpha * excess
    identity = rank_recovery_strengths(GRID, GRID, torch.ones_like(GRID)).item()
    assert identity == pytest.approx(0.0, abs=1e-12)
