"""Values: what probes read on matrices and networks whose answer is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.dead import dead_fraction
from lopgym.probes.distance_from_init import distance_from_init
from lopgym.probes.dormant import dormancy_scores, dormant_fraction
from lopgym.probes.duplicate import duplicate_fraction
from lopgym.probes.duplicate_cosine import duplicate_cosine_fraction
from lopgym.probes.effective_rank import effective_rank
from lopgym.probes.gradient_norm import gradient_norm
from lopgym.probes.policy_entropy import policy_entropy
from lopgym.probes.srank import srank
from lopgym.probes.weight_norm import weight_norm
from lopgym.probes.zero_gradient import zero_gradient_fraction

UNIT_PROBES = {
    "dead": dead_fraction,
    "dormant": dormant_fraction,
    "duplicate": duplicate_fraction,
    "cosine": duplicate_cosine_fraction,
    "rank": effective_rank,
    "srank": srank,
}


# A second implementation, in NumPy and loops, written from the formulas and not from the code under test.


def _spectrum(h: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.svd(h, compute_uv=False)


def _numpy_effective_rank(h: NDArray[np.float64]) -> float:
    sigma = _spectrum(h)
    p = [s / sigma.sum() for s in sigma if s > 0]
    return math.exp(-sum(x * math.log(x) for x in p))


def _numpy_srank(h: NDArray[np.float64], delta: float = 0.01) -> float:
    sigma = _spectrum(h)
    return next(float(k) for k in range(1, len(sigma) + 1) if sigma[:k].sum() >= (1 - delta) * sigma.sum())


def _numpy_duplicates(h: NDArray[np.float64], threshold: float = 0.95) -> float:
    twins = set()
    for u, v in itertools.combinations(range(h.shape[1]), 2):
        if np.linalg.norm(h[:, u]) * np.linalg.norm(h[:, v]) * threshold < h[:, u] @ h[:, v]:
            twins |= {u, v}
    return len(twins) / h.shape[1]


def _numpy_dead(h: NDArray[np.float64]) -> float:
    return sum(sum(abs(x) < 1e-7 for x in unit) > 0.95 * len(unit) for unit in h.T) / h.shape[1]


def _numpy_dormant(h: NDArray[np.float64], tau: float = 0.025) -> float:
    means = [sum(abs(x) for x in unit) / len(unit) for unit in h.T]
    return sum(m / (sum(means) / len(means)) <= tau for m in means) / len(means)


def _features(seed: int, samples: int = 200, units: int = 24) -> NDArray[np.float64]:
    """Draw ReLU features of few factors: correlated, some dead, some quiet, of many sizes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(samples, 5)) @ rng.normal(size=(5, units)) + rng.normal(-2, 6, size=units)
    return np.maximum(z, 0) * 10.0 ** rng.uniform(-3, 1, size=units)


def _layer(h: Tensor) -> Captures:
    """Return captures of one layer with activations (B, U)."""
    module = nn.Identity()
    return Captures(module, {"h": (module, module)}, {}, h)


def _read(h: Tensor) -> dict[str, float]:
    """Measure activations (B, U) as they are."""
    return {tag.removesuffix("/h"): value for tag, value in measure(_layer(h), UNIT_PROBES).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_second_implementation(seed: int, dtype: torch.dtype) -> None:
    """Six probes against NumPy and loops."""
    h = torch.from_numpy(_features(seed)).to(dtype)
    exact = h.double().numpy()
    assert _read(h) == pytest.approx(
        {
            "dead": _numpy_dead(exact),
            "dormant": _numpy_dormant(exact),
            "duplicate": _numpy_duplicates(exact - exact.mean(axis=0)),
            "cosine": _numpy_duplicates(exact),
            "rank": _numpy_effective_rank(exact),
            "srank": _numpy_srank(exact),
        },
        rel=1e-6,
    )


def test_the_features_of_that_test_have_something_to_find() -> None:
    """Or the agreement would be between zeros."""
    found = [_read(torch.from_numpy(_features(seed))) for seed in range(5)]
    for name in ("dead", "dormant", "duplicate", "cosine"):
        assert max(values[name] for values in found) > 0
    assert all(1 < values["rank"] < 24 for values in found)


def test_dead_means_more_than_the_share_and_less_than_the_threshold() -> None:
    """By hand, of 20 samples: silent on all; silent on exactly 95 %, so alive; barely loud on all; loud."""
    h = torch.ones(20, 4)
    h[:, 0], h[:19, 1], h[:, 2] = 0.0, 0.0, 2e-7
    assert dead_fraction({"h": h}) == {"h": 0.25}
    assert dead_fraction({"h": h}, share=0.94) == {"h": 0.5}
    assert dead_fraction({"h": h}, threshold=1e-6) == {"h": 0.5}
    assert dead_fraction({"h": h}, threshold=2e-7) == {"h": 0.25}


def test_dormancy_takes_the_expectation_before_the_ratio() -> None:
    """By hand: |h| averages (1, 3) and 2 over both, though the second sample alone would divide by zero."""
    h = torch.tensor([[2.0, -6.0], [0.0, 0.0]])
    assert dormancy_scores(h).tolist() == [0.5, 1.5]
    assert dormant_fraction({"h": h}, tau=0.5) == {"h": 0.5}  # a score of tau itself is dormant
    assert dormant_fraction({"h": h}, tau=0.4999) == {"h": 0.0}
    assert dormant_fraction({"h": torch.zeros(3, 2)}) == {"h": 1.0}


def test_dormancy_of_a_convolution_is_by_channel() -> None:
    """(B, C, H, W) as it leaves the module is (B * H * W, C) laid out flat."""
    h = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dormancy_scores(h), dormancy_scores(h.permute(0, 2, 3, 1).reshape(-1, 3)))


def test_effective_rank_by_hand() -> None:
    """Of shares 1/2, 1/4 and 1/4 the entropy is 3/2 ln 2, the rank 2^(3/2)."""
    assert effective_rank({"h": torch.tensor([4.0, 2.0, 2.0])})["h"] == pytest.approx(2**1.5, rel=1e-15)


def test_srank_by_hand() -> None:
    """Sums 6, 9, 10 of 10: 60 %, 90 %, 100 %; reaching the share is enough."""
    sigma = {"h": torch.tensor([6.0, 3.0, 1.0])}
    assert [srank(sigma, delta=d)["h"] for d in (0.5, 0.4, 0.3, 0.1, 0.01, 0.0)] == [1, 1, 2, 2, 3, 3]


def test_srank_leaves_out_what_is_zero() -> None:
    """With delta = 0 it is the number of singular values above zero."""
    assert srank({"h": torch.tensor([3.0, 1e-9, 0.0, 0.0])}, delta=0.0) == {"h": 2.0}


def test_norms_and_distance_by_hand() -> None:
    """2, 3, 6 have length 7; a layer without initial weights has no distance; 1e30 squared does not overflow."""
    w = {"a": torch.tensor([[2.0, 3.0], [6.0, 0.0]]), "b": torch.ones(1, 4)}
    assert weight_norm(w) == gradient_norm(w) == {"a": 7.0, "b": 2.0}
    assert distance_from_init(w, {"b": torch.zeros(1, 4)}) == {"b": 2.0}
    assert weight_norm({"a": torch.full((4, 1), 1e30)})["a"] == pytest.approx(2e30)


def test_zero_gradient_by_hand() -> None:
    """Exactly zero, of either sign; the least number there is is not."""
    g = torch.tensor([[0.0, -0.0, 1e-45, 1.0]])
    assert zero_gradient_fraction({"h": g, "head": torch.zeros(2, 3)}) == {"h": 0.5, "head": 1.0}


def test_policy_entropy_by_hand() -> None:
    """Uniform over 4 actions is ln 4 = 2 ln 2, a fair coin ln 2, certainty 0: ln 2 on average."""
    p = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert policy_entropy(p)["policy"] == pytest.approx(math.log(2), rel=1e-15)


# Planted networks: the flaw is built in, the reading follows from it.

UNITS = 8


def _network(activation: nn.Module, *between: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        incoming = nn.Linear(5, UNITS)
        return nn.Sequential(incoming, *between, activation, nn.Linear(UNITS, 2)), incoming


def _observe(network: nn.Sequential, samples: int = 400) -> dict[str, float]:
    """Measure unit probes and gradients of a squared loss on Gaussian observations."""
    x = torch.randn(samples, 5, generator=torch.Generator().manual_seed(1))
    network(x).square().sum().backward()
    captures = Captures(
        network,
        {"h": (network[0], network[-2])},
        {"head": network[-1]},
        x,
        gradients={name: p.grad for name, p in network.named_parameters() if p.grad is not None},
    )
    values = measure(captures, UNIT_PROBES | {"zero": zero_gradient_fraction})
    return {tag.removesuffix("/h"): value for tag, value in values.items()}


def test_a_fresh_network_has_no_flaw() -> None:
    """The null against which the others are read."""
    network, _ = _network(nn.ReLU())
    read = _observe(network)
    assert {name: read[name] for name in ("dead", "dormant", "duplicate", "cosine", "zero", "zero/head")} == {
        "dead": 0.0, "dormant": 0.0, "duplicate": 0.0, "cosine": 0.0, "zero": 0.0, "zero/head": 0.0,
    }  # fmt: skip


@torch.no_grad()
def test_dead_relus_are_dead_dormant_and_without_gradient() -> None:
    """3 of 8: their own weights and bias, and of the head the 3 columns that read them, of 8 and a bias."""
    network, incoming = _network(nn.ReLU())
    incoming.bias[:3] = -100.0
    with torch.enable_grad():
        read = _observe(network)
    assert read["dead"] == read["dormant"] == read["zero"] == 3 / 8
    assert read["zero/head"] == pytest.approx(3 / 9)
    assert read["duplicate"] == read["cosine"] == 0.0
    assert 1 <= read["srank"] <= 5


@torch.no_grad()
def test_quiet_relus_are_dormant_but_not_dead() -> None:
    """They fire, a thousand times more softly than the others."""
    network, incoming = _network(nn.ReLU())
    incoming.weight[:2] *= 1e-3
    incoming.bias[:2] *= 1e-3
    with torch.enable_grad():
        read = _observe(network)
    assert (read["dormant"], read["dead"], read["zero"]) == (0.25, 0.0, 0.0)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 3.0, 1e-4])
def test_clones_are_duplicates_at_any_scale(scale: float) -> None:
    """A ReLU unit with incoming weights times c > 0 is the same unit, louder; two clones of one make a group of 3."""
    network, incoming = _network(nn.ReLU())
    alone = _read(network[:2](torch.randn(400, 5, generator=torch.Generator().manual_seed(1))))
    for clone in (5, 7):
        incoming.weight[clone], incoming.bias[clone] = scale * incoming.weight[0], scale * incoming.bias[0]
    with torch.enable_grad():
        read = _observe(network)
    assert read["duplicate"] == read["cosine"] == 3 / 8
    assert read["rank"] < alone["rank"]


@torch.no_grad()
def test_negative_clones_are_not_duplicates() -> None:
    """Opposite tanh units are one direction, and the rank knows; but they are not the same unit."""
    network, incoming = _network(nn.Tanh())
    incoming.weight[1], incoming.bias[1] = -incoming.weight[0], -incoming.bias[0]
    h = network[:2](torch.randn(400, 5, generator=torch.Generator().manual_seed(1)))[:, :2]
    read = _read(h)
    assert read["duplicate"] == read["cosine"] == 0.0
    assert (read["rank"], read["srank"]) == (pytest.approx(1.0, abs=1e-6), 1.0)


@torch.no_grad()
@pytest.mark.parametrize("bias", [9.0, 50.0])
def test_saturated_tanh_units_are_no_duplicates_but_point_the_same_way(bias: float) -> None:
    """Constant but for rounding: no centred twin; neither dead nor dormant; and frozen, at 50, without any gradient."""
    network, incoming = _network(nn.Tanh())
    incoming.weight[:4] *= 0.1
    incoming.bias[:4] = bias
    with torch.enable_grad():
        read = _observe(network)
    assert (read["dead"], read["dormant"], read["duplicate"]) == (0.0, 0.0, 0.0)
    assert read["cosine"] == 0.5
    assert read["zero"] == (0.5 if bias == 50 else 0.0)


def test_an_offset_deceives_the_cosine_alone() -> None:
    """Independent units with a mean of 5 standard deviations: duplicates by the uncentred cosine, none by correlation.

    The cosine of two such units is 25 / 26 = 0.96.
    """
    read = _read(torch.randn(5000, 8, generator=torch.Generator().manual_seed(0)) + 5.0)
    assert (read["cosine"], read["duplicate"]) == (1.0, 0.0)


@torch.no_grad()
def test_normalisation_stands_between_the_layer_and_its_activation() -> None:
    """An offset that all units share would kill them all, but LayerNorm takes it out; its own bias kills one."""
    network, incoming = _network(nn.ReLU(), norm := nn.LayerNorm(UNITS))
    incoming.bias -= 100.0
    norm.weight[3], norm.bias[3] = 0.0, -1.0
    with torch.enable_grad():
        read = _observe(network)
    assert read["dead"] == 1 / 8


@torch.no_grad()
def test_convolutions_are_read_by_channel() -> None:
    """Of four channels one is dead and two are clones."""
    conv, act = nn.Conv2d(1, 4, 3), nn.ReLU()
    rng = torch.Generator().manual_seed(0)
    conv.weight.copy_(torch.randn(conv.weight.shape, generator=rng))
    conv.bias.copy_(torch.tensor([-100.0, 0.0, 0.1, 0.0]))
    conv.weight[3] = conv.weight[1] * 2
    captures = Captures(nn.Sequential(conv, act), {"c": (conv, act)}, {}, torch.randn(50, 1, 6, 6, generator=rng))
    read = measure(captures, UNIT_PROBES)
    assert (read["dead/c"], read["dormant/c"], read["duplicate/c"], read["cosine/c"]) == (0.25, 0.25, 0.5, 0.5)
    assert 1 < read["rank/c"] <= 2.0 + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_layer_has_no_rank(bad: float, dtype: torch.dtype) -> None:
    """Not a number, and no exception that would end the run in place of the fault."""
    h = torch.ones(4, 3, dtype=dtype)
    h[2, 1] = bad
    read = _read(h)
    assert math.isnan(read["rank"])
    assert math.isnan(read["srank"])


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_layer_is_one_direction_and_no_duplicates(value: float, dtype: torch.dtype) -> None:
    """Rounding of the mean leaves no signal that could correlate."""
    read = _read(torch.full((1000, 6), value, dtype=dtype))
    assert read["duplicate"] == 0.0
    assert read["rank"] == pytest.approx(1.0 if value else 0.0, abs=1e-9)
    assert read["srank"] == (1.0 if value else 0.0)


# Properties.

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])


def _matrix(seed: int, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(SEEDS, st.integers(1, 12), st.integers(1, 12), st.integers(-30, 30), DTYPES)
def test_ranks_lie_between_one_and_the_smaller_side(
    seed: int, rows: int, columns: int, power: int, dtype: torch.dtype
) -> None:
    """Of any layer that is not dead, however large or small its activations."""
    read = _read(_matrix(seed, rows, columns, dtype) * 10.0**power)
    assert 1 - 1e-9 <= read["rank"] <= min(rows, columns) + 1e-9
    assert 1 <= read["srank"] <= min(rows, columns)


@given(SEEDS, st.integers(1, 8), st.integers(0, 8), DTYPES)
def test_k_equal_orthogonal_directions_have_rank_k(seed: int, k: int, zeros: int, dtype: torch.dtype) -> None:
    """Orthonormal columns beside dead units, rotated or not."""
    q, _ = torch.linalg.qr(_matrix(seed, 16, k, torch.float64))
    h = torch.cat([q, torch.zeros(16, zeros)], dim=1).to(dtype)
    read = _read(h)
    assert read["rank"] == pytest.approx(k, rel=1e-5)
    assert read["srank"] == k


@given(SEEDS, st.integers(2, 10), DTYPES)
def test_cloning_every_unit_leaves_the_rank(seed: int, units: int, dtype: torch.dtype) -> None:
    """[H, H] has H's singular values times sqrt(2), and zeros: no noise of rounding among them."""
    h = _matrix(seed, 40, units, dtype).relu()
    twice = torch.cat([h, h], dim=1)
    before, after = _read(h), _read(twice)
    assert after["rank"] == pytest.approx(before["rank"], rel=1e-9)
    assert after["srank"] == before["srank"]
    live = (h.amax(dim=0) > h.amin(dim=0)).double().mean().item()
    assert after["duplicate"] == after["cosine"] == pytest.approx(live)


@given(SEEDS, st.integers(1, 60), st.integers(1, 20), st.floats(0, 1), DTYPES)
def test_units_silent_throughout_are_dormant_at_zero_and_dead(
    seed: int, rows: int, units: int, silent: float, dtype: torch.dtype
) -> None:
    """Of a layer that is not dead: silent everywhere <=> dormant at tau = 0, and => dead."""
    h = _matrix(seed, rows, units, dtype)
    h[:, : int(silent * (units - 1))] = 0.0
    zero = (h == 0).all(dim=0).double().mean().item()
    assert dormant_fraction({"h": h}, tau=0.0)["h"] == zero
    assert zero <= dead_fraction({"h": h})["h"]


@given(SEEDS, st.floats(0, 2), st.floats(0, 2))
def test_more_is_dormant_at_a_higher_tau_and_duplicate_at_a_lower_threshold(seed: int, a: float, b: float) -> None:
    """Fractions are monotone in their thresholds."""
    low, high = sorted((a, b))
    h = {"h": _matrix(seed, 12, 6, torch.float32)}
    assert dormant_fraction(h, tau=low)["h"] <= dormant_fraction(h, tau=high)["h"]
    c = _layer(h["h"]).cosines
    assert duplicate_fraction(c, threshold=high)["h"] <= duplicate_fraction(c, threshold=low)["h"]


@given(SEEDS, st.integers(1, 20), st.integers(1, 9), st.floats(0, 50))
def test_entropy_lies_between_certainty_and_chance(seed: int, rows: int, actions: int, sharpness: float) -> None:
    """0 and ln A."""
    p = (_matrix(seed, rows, actions, torch.float64) * sharpness).softmax(dim=1)
    assert -1e-12 <= policy_entropy(p)["policy"] <= math.log(actions) + 1e-12


@given(SEEDS, st.integers(1, 40), st.integers(1, 40), DTYPES)
def test_singular_values_are_numpys(seed: int, rows: int, columns: int, dtype: torch.dtype) -> None:
    """As many, falling, and equal to 1e-7 of the largest."""
    h = _matrix(seed, rows, columns, dtype).relu()
    mine, theirs = _layer(h).singular_values["h"].numpy(), _spectrum(h.double().numpy())
    assert mine.shape == theirs.shape
    assert np.all(np.diff(mine) <= 0)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-7 * theirs[0] + 1e-300)


@given(SEEDS, st.integers(2, 30), st.integers(1, 20), DTYPES)
def test_correlations_are_numpys(seed: int, rows: int, columns: int, dtype: torch.dtype) -> None:
    """Pearson's coefficient as `numpy.corrcoef` gives it."""
    h = _matrix(seed, rows, columns, dtype)
    expected = np.atleast_2d(np.corrcoef(h.double().numpy(), rowvar=False))
    np.testing.assert_allclose(_layer(h).correlations["h"].numpy(), expected, atol=1e-9)
