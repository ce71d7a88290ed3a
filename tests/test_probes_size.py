"""Size, motion and normality: what these probes read on matrices whose answer is known."""

import itertools
import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lopgym.probes import probes
from lopgym.probes.distance_from_init import distance_from_init
from lopgym.probes.effective_learning_rate import effective_learning_rate
from lopgym.probes.feature_norm import feature_norm
from lopgym.probes.normality import MOST, order_statistics
from lopgym.probes.shapiro import coefficients
from lopgym.probes.update_norm import update_norm
from lopgym.probes.wasserstein_from_init import wasserstein_from_init

Matrix = NDArray[np.float64]
Probe = Callable[[dict[str, Tensor]], dict[str, float]]
Layer = dict[str, Tensor]
SEEDS = st.integers(0, 2**32 - 1)


def _matrix(seed: int, rows: int, columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Size and motion.


def test_motion_by_hand() -> None:
    """From (3, 4) to (3, -4): 8 of 5; a layer that comes to life moves by all that it is, one at rest by nothing."""
    before = {"h": torch.tensor([[3.0, 4.0]]), "born": torch.zeros(1, 2), "none": torch.zeros(1, 2)}
    after = {"h": torch.tensor([[3.0, -4.0]]), "born": torch.tensor([[0.0, 2.0]]), "none": torch.zeros(1, 2)}
    assert update_norm(after, before) == {"h": 8.0, "born": 2.0, "none": 0.0}
    assert effective_learning_rate(after, before) == {"h": 1.6, "born": 1.0, "none": 0.0}
    assert effective_learning_rate(before, after) == {"h": 1.6, "born": 1.0, "none": 0.0}


@pytest.mark.parametrize("probe", [update_norm, effective_learning_rate, wasserstein_from_init])
def test_layers_without_a_past_are_left_out(probe: Callable[[Layer, Layer], dict[str, float]]) -> None:
    """As an agent's head may have been frozen, and so have no initial weights."""
    now = {"h": torch.ones(2, 2), "head": torch.ones(1, 2)}
    assert probe(now, {"head": torch.zeros(1, 2)}) == {"head": 1.0 if probe is not update_norm else math.sqrt(2)}


def test_motion_of_small_steps_on_large_weights_survives_single_precision() -> None:
    """Differences are taken in doubles: a step of one rounding is seen."""
    w = torch.full((1, 4), 1e4)
    moved = torch.nextafter(w, torch.full_like(w, torch.inf))
    assert effective_learning_rate({"h": moved}, {"h": w})["h"] == pytest.approx(2**-10 / 1e4, rel=1e-6)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_scaling_a_layer_moves_it_by_the_share_that_it_grew_or_shrank(seed: int, factor: float) -> None:
    """|1 - c| / max(1, c), whatever the weights; turning it round is the furthest, 2."""
    w = _matrix(seed, 3, 4)
    assert effective_learning_rate({"h": w * factor}, {"h": w})["h"] == pytest.approx(
        abs(1 - factor) / max(1, factor), abs=1e-12
    )
    assert effective_learning_rate({"h": -w}, {"h": w})["h"] == pytest.approx(2.0, rel=1e-15)


@given(SEEDS, st.integers(1, 5))
def test_the_wasserstein_distance_is_the_cheapest_matching(seed: int, size: int) -> None:
    """Of all ways to pair p weights with p initial ones, tried one by one."""
    w, w0 = _matrix(seed, 1, size), _matrix(seed ^ 1, 1, size)
    cheapest = min(
        math.sqrt(sum((x - y) ** 2 for x, y in zip(w[0].tolist(), pairing, strict=True)) / size)
        for pairing in itertools.permutations(w0[0].tolist())
    )
    assert wasserstein_from_init({"h": w}, {"h": w0})["h"] == pytest.approx(cheapest, rel=1e-12)


@given(SEEDS, st.floats(-10, 10))
def test_the_wasserstein_distance_sees_shifts_and_not_who_is_who(seed: int, shift: float) -> None:
    """Moving all numbers by c costs |c|, in whatever places they lie; it never exceeds the distance."""
    w0 = _matrix(seed, 4, 5)
    shuffled = w0.flatten()[torch.randperm(20, generator=torch.Generator().manual_seed(seed))].view(5, 4).T
    moved = wasserstein_from_init({"h": shuffled + shift}, {"h": w0})["h"]
    assert moved == pytest.approx(abs(shift), rel=1e-9, abs=1e-12)
    assert moved <= distance_from_init({"h": shuffled + shift}, {"h": w0})["h"] / math.sqrt(20) + 1e-12


def test_feature_norm_by_hand() -> None:
    """Lengths 5 and 13: of samples, not of units, and the mean of lengths, not the length of the mean."""
    h = torch.tensor([[3.0, 4.0], [-5.0, -12.0]])
    assert feature_norm({"h": h, "dead": torch.zeros(3, 2)}) == {"h": 9.0, "dead": 0.0}
    assert feature_norm({"h": torch.full((2, 4), 1e30)})["h"] == pytest.approx(2e30)


# Normality, against SciPy, unit by unit.


def _of_pre_activations(probe: Callable[..., dict[str, float]]) -> Probe:
    """Let a probe of order statistics be given pre-activations, (B, U)."""
    return lambda z, **options: probe({name: order_statistics(rows) for name, rows in z.items()}, **options)


shapiro, kolmogorov_smirnov, anderson_darling, excess_kurtosis = (
    _of_pre_activations(probes[name].make)
    for name in ("shapiro", "kolmogorov_smirnov", "anderson_darling", "excess_kurtosis")
)


def _scipy_shapiro(z: Matrix) -> float:
    return 1 - float(scipy.stats.shapiro(z).statistic)


def _scipy_kolmogorov_smirnov(z: Matrix) -> float:
    return float(scipy.stats.kstest((z - z.mean()) / z.std(ddof=1), "norm").statistic)


def _scipy_anderson_darling(z: Matrix) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its p-value is to come another way; only A^2 is read
        return float(scipy.stats.anderson(z, "norm").statistic)


def _scipy_excess_kurtosis(z: Matrix) -> float:
    return min(abs(float(scipy.stats.kurtosis(z))), 10.0)


# How far SciPy may be: its quantiles in Royston's algorithm have 7 digits; the others differ by rounding alone.
AGAINST_SCIPY: list[tuple[Probe, Callable[[Matrix], float], float]] = [
    (shapiro, _scipy_shapiro, 5e-7),
    (kolmogorov_smirnov, _scipy_kolmogorov_smirnov, 1e-12),
    (anderson_darling, _scipy_anderson_darling, 1e-9),
    (excess_kurtosis, _scipy_excess_kurtosis, 1e-9),
]
NORMALITY = [probe for probe, _, _ in AGAINST_SCIPY]
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": torch.clone,
    "far from 0": lambda z: 40 + 3 * z,
    "two humps": lambda z: z + 4 * z.sign(),
    "skewed": torch.exp,
    "tails": lambda z: z**5,
    "rectified": torch.relu,
    "rounded": torch.round,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 11, 12, 50, 999, 5000])
@pytest.mark.parametrize(("probe", "scipy_one", "tolerance"), AGAINST_SCIPY)
def test_one_unit_agrees_with_scipy(
    probe: Probe, scipy_one: Callable[[Matrix], float], tolerance: float, n: int, shape: str
) -> None:
    """Small and large batches of seven shapes."""
    z = SHAPES[shape](_matrix(n, n, 1))
    if z.min() == z.max():
        pytest.skip("SciPy has no answer for a constant")
    assert probe({"h": z})["h"] == pytest.approx(scipy_one(z[:, 0].numpy()), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("probe", "scipy_one", "tolerance"), AGAINST_SCIPY)
def test_a_layer_is_the_median_of_its_units_that_vary(
    probe: Probe, scipy_one: Callable[[Matrix], float], tolerance: float, dtype: torch.dtype
) -> None:
    """Of units of all shapes, and two that are constant, one of them but for rounding."""
    columns = [shape(_matrix(3, 200, 1)) for shape in SHAPES.values()]
    z = torch.cat(columns, dim=1).to(dtype)
    expected = float(np.median([scipy_one(unit) for unit in z.double().numpy().T]))
    still = torch.full((200, 2), 0.1, dtype=dtype)
    still[7, 1] = torch.nextafter(still[7, 1], torch.ones((), dtype=dtype))
    assert probe({"h": torch.cat([z, still], dim=1)})["h"] == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("probe", NORMALITY)
def test_an_even_number_of_units_has_its_median_half_way(probe: Probe) -> None:
    """Not the lower of the middle two."""
    z = torch.cat([_matrix(0, 100, 1), _matrix(0, 100, 1).exp()], dim=1)
    one, other = probe({"h": z[:, :1]})["h"], probe({"h": z[:, 1:]})["h"]
    assert one < other
    assert probe({"h": z})["h"] == pytest.approx((one + other) / 2, rel=1e-12)


@pytest.mark.parametrize("probe", NORMALITY)
def test_large_batches_are_read_in_part(probe: Probe) -> None:
    """Every second or third row, so that the places of all images count: as many as the approximation allows."""
    z = _matrix(0, 2 * MOST + 1, 2)
    assert probe({"h": z}) == probe({"h": z[::3]})
    assert probe({"h": z[:-1]}) == probe({"h": z[:-1:2]})
    assert probe({"h": z[:MOST]}) != probe({"h": z[:MOST:2]})


@pytest.mark.parametrize("probe", NORMALITY)
def test_what_does_not_vary_has_no_shape(probe: Probe) -> None:
    """No unit that varies, or too few samples to see a shape: 0. A diverged unit is not passed over."""
    assert probe({"h": torch.full((50, 3), 0.1), "few": _matrix(0, 2, 3)}) == {"h": 0.0, "few": 0.0}
    z = _matrix(0, 50, 3)
    for bad in (math.nan, math.inf):
        z[4, 1] = bad
        assert math.isnan(probe({"h": z})["h"])


@pytest.mark.parametrize("probe", NORMALITY)
def test_gaussian_units_look_more_gaussian_than_any_others(probe: Probe) -> None:
    """The median of 31 units of 500 samples, which is far from chance."""
    z = _matrix(5, 500, 31)
    gaussian = probe({"h": z})["h"]
    for shape in ("two humps", "skewed", "tails", "rectified"):
        assert probe({"h": SHAPES[shape](z)})["h"] > 2 * gaussian


def test_normality_by_hand() -> None:
    """Two values in equal number: kurtosis 1; a gap of 1/2 less the tail beyond one deviation; and a lone outlier."""
    coin = {"h": torch.tensor([-1.0, 1.0]).repeat(500)[:, None]}
    assert excess_kurtosis(coin)["h"] == pytest.approx(2.0, rel=1e-12)
    assert kolmogorov_smirnov(coin)["h"] == pytest.approx(0.5 - scipy.stats.norm.cdf(-1), abs=1e-3)
    lone = {"h": torch.zeros(1000, 1).index_fill(0, torch.tensor([3]), 1.0)}
    assert excess_kurtosis(lone)["h"] == 10.0
    assert excess_kurtosis(lone, cap=1e6)["h"] == pytest.approx(1000 - 3, abs=3)
    assert shapiro(lone)["h"] > 0.95


@given(st.integers(3, 300))
def test_royston_coefficients_weigh_order_and_nothing_else(n: int) -> None:
    """Antisymmetric, rising and of length one: W of any sample is at most 1, and 1 of the coefficients themselves."""
    a = coefficients(n).numpy()
    assert np.allclose(a, -a[::-1], rtol=0, atol=1e-15)
    assert np.all(np.diff(a) > 0)
    assert float(a @ a) == pytest.approx(1.0, rel=1e-14)
    assert shapiro({"h": torch.from_numpy(a)[:, None]})["h"] == pytest.approx(0.0, abs=1e-14)
