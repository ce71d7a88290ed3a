"""Ranks and curvature: what these probes read on matrices and networks whose answer is known."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.effective_rank import effective_rank
from lopgym.probes.feature_rank import feature_rank
from lopgym.probes.hessian_top import hessian_top, largest_ritz_value
from lopgym.probes.hessian_trace import hessian_trace
from lopgym.probes.inverse_condition_number import inverse_condition_number
from lopgym.probes.ntk_rank import ntk_rank
from lopgym.probes.orthogonality_error import orthogonality_error
from lopgym.probes.participation_ratio import participation_ratio
from lopgym.probes.pca_rank import pca_rank
from lopgym.probes.srank import srank
from lopgym.probes.weight_stable_rank import weight_stable_rank

Matrix = NDArray[np.float64]

RANKS = {
    "effective_rank": effective_rank,
    "srank": srank,
    "pca_rank": pca_rank,
    "feature_rank": feature_rank,
    "participation_ratio": participation_ratio,
}
OF_WEIGHTS = {
    "stable": weight_stable_rank,
    "condition": inverse_condition_number,
    "orthogonality": orthogonality_error,
}
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _matrix(seed: int, rows: int, columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, columns, generator=_generator(seed), dtype=dtype)


def _ranks(h: Tensor) -> dict[str, float]:
    """Measure activations (B, U) as they are."""
    module = nn.Identity()
    captures = Captures(module, {"h": (module, module)}, {}, h)
    return {tag.removesuffix("/h"): value for tag, value in measure(captures, RANKS).items()}


def _of_weights(w: Tensor) -> dict[str, float]:
    """Measure weights (U, I) as they are, beside a bias that has no part in it."""
    module = nn.Linear(w.shape[1], w.shape[0], dtype=w.dtype)
    module.weight = nn.Parameter(w)
    captures = Captures(module, {}, {"h": module}, torch.zeros(1, w.shape[1], dtype=w.dtype))
    return {tag.removesuffix("/h"): value for tag, value in measure(captures, OF_WEIGHTS).items()}


# A second implementation, in NumPy, written from the formulas and not from the code under test.


def _spectrum(matrix: Matrix) -> Matrix:
    return np.linalg.svd(matrix, compute_uv=False)


def _numpy_pca_rank(h: Matrix) -> float:
    energy = _spectrum(h) ** 2
    return next(float(k) for k in range(1, len(energy) + 1) if energy[:k].sum() >= 0.99 * energy.sum())


def _numpy_participation(h: Matrix) -> float:
    c = np.cov(h, rowvar=False)
    return float(np.trace(c) ** 2 / np.trace(c @ c))


def _numpy_orthogonality(w: Matrix) -> float:
    squares = _spectrum(w) ** 2
    return float(np.std(squares) / np.mean(squares))  # of the Gram matrix, whose eigenvalues they are


def _entropy_rank(kernel: Matrix) -> float:
    eigenvalues = np.linalg.eigvalsh(kernel)
    p = [x / eigenvalues.sum() for x in eigenvalues if x > 0]
    return math.exp(-sum(x * math.log(x) for x in p))


def _features(seed: int, samples: int = 200, units: int = 24) -> Matrix:
    """Draw ReLU features of few factors: correlated, some dead, some quiet, of many sizes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(samples, 5)) @ rng.normal(size=(5, units)) + rng.normal(-2, 6, size=units)
    return np.maximum(z, 0) * 10.0 ** rng.uniform(-3, 0, size=units)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_ranks_agree_with_a_second_implementation(seed: int, dtype: torch.dtype) -> None:
    """Three ranks against NumPy; they differ, and from the full rank."""
    h = torch.from_numpy(_features(seed)).to(dtype)
    exact = h.double().numpy()
    expected = {
        "pca_rank": _numpy_pca_rank(exact),
        "feature_rank": float((_spectrum(exact) / math.sqrt(len(exact)) > 0.01).sum()),
        "participation_ratio": _numpy_participation(exact),
    }
    read = _ranks(h)
    assert {name: read[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert 1 < expected["pca_rank"] < expected["feature_rank"] < 24


@pytest.mark.parametrize("shape", [(24, 9), (9, 24), (12, 12)])
def test_spectra_of_weights_agree_with_a_second_implementation(shape: tuple[int, int]) -> None:
    """Three probes of tall, wide and square weights, each direction scaled otherwise."""
    w = _matrix(0, *shape) * torch.logspace(-1.5, 0, shape[1], dtype=torch.float64)
    exact = w.numpy()
    assert _of_weights(w) == pytest.approx(
        {
            "stable": np.linalg.norm(exact) ** 2 / np.linalg.norm(exact, 2) ** 2,
            "condition": 1 / np.linalg.cond(exact),
            "orthogonality": _numpy_orthogonality(exact),
        },
        rel=1e-9,
    )


def test_ranks_by_hand() -> None:
    """Orthogonal columns of mean 0 and lengths 20, 4, 1 over 4 samples: squares 400, 16, 1 of 417."""
    h = torch.tensor([[1.0, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]]) * torch.tensor([10.0, 2, 0.5])
    assert _ranks(h) == pytest.approx(
        {
            "effective_rank": math.exp(-sum(x / 25 * math.log(x / 25) for x in (20, 4, 1))),
            "srank": 3.0,  # 24 of 25 are 96 %
            "pca_rank": 2.0,  # 416 of 417 are 99.8 %
            "feature_rank": 3.0,
            "participation_ratio": 417**2 / (400**2 + 16**2 + 1),
        }
    )


def test_the_feature_rank_counts_lengths_by_sample() -> None:
    """Of 100 samples, root mean squares 0.02, 0.0100001 and 0.0099999: two are above the threshold."""
    h = torch.diag(torch.tensor([0.2, 0.100001, 0.099999], dtype=torch.float64))
    h = torch.cat([h, torch.zeros(97, 3, dtype=torch.float64)])
    assert _ranks(h)["feature_rank"] == 2.0


@given(SEEDS, st.integers(1, 8), st.integers(0, 8), DTYPES)
def test_k_equal_orthogonal_directions_have_rank_k(seed: int, k: int, zeros: int, dtype: torch.dtype) -> None:
    """Orthonormal columns of mean 0 beside dead units: by every definition, k."""
    columns = _matrix(seed, 16, k)
    q, _ = torch.linalg.qr(columns - columns.mean(dim=0))
    h = torch.cat([q, torch.zeros(16, zeros)], dim=1).to(dtype)
    assert _ranks(h) == pytest.approx(dict.fromkeys(RANKS, k), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dead_layer_has_rank_zero_and_a_constant_one_no_noise(value: float, dtype: torch.dtype) -> None:
    """Uncentred, a constant is one direction; centred, it is none: the rounding of the mean is no signal."""
    h = torch.full((1000, 6), value, dtype=dtype)
    read = _ranks(h)
    assert read.pop("participation_ratio") == 0.0
    h[7, 2] *= 1 + torch.finfo(dtype).eps
    assert _ranks(h)["participation_ratio"] == 0.0
    assert read == pytest.approx(dict.fromkeys(read, 1.0 if value else 0.0), abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_layer_has_no_rank(bad: float) -> None:
    """Not a number, and no exception that would end the run in place of the fault."""
    h = torch.randn(4, 3, generator=_generator(0))
    h[2, 1] = bad
    assert all(math.isnan(value) for value in _ranks(h).values())
    assert all(math.isnan(value) for value in _of_weights(h).values())


@given(SEEDS, st.integers(2, 20), st.integers(1, 12), st.integers(-30, 30), DTYPES)
def test_the_participation_ratio_lies_between_one_and_the_smaller_side(
    seed: int, rows: int, columns: int, power: int, dtype: torch.dtype
) -> None:
    """Of any layer that varies, however large or small its activations; a sample is lost to the mean."""
    ratio = _ranks(_matrix(seed, rows, columns, dtype) * 10.0**power)["participation_ratio"]
    assert 1 - 1e-9 <= ratio <= min(rows - 1, columns) + 1e-9


@given(SEEDS, st.integers(1, 10), st.integers(1, 10), st.floats(1e-3, 1e3))
def test_orthogonal_weights_are_well_conditioned_at_any_gain(seed: int, units: int, inputs: int, gain: float) -> None:
    """Orthonormal rows or columns times a gain: error 0, condition 1, stable rank the smaller side."""
    q, _ = torch.linalg.qr(_matrix(seed, max(units, inputs), min(units, inputs)))
    w = gain * (q if units >= inputs else q.T)
    expected = {"stable": min(units, inputs), "condition": 1.0, "orthogonality": 0.0}
    assert _of_weights(w) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [2, 5])
def test_one_direction_is_the_worst_conditioned(n: int) -> None:
    """All n singular values but one are 0; and no weights at all are no direction."""
    expected = {"stable": 1.0, "condition": 0.0, "orthogonality": math.sqrt(n - 1)}
    assert _of_weights(torch.ones(n, n + 3)) == pytest.approx(expected, abs=1e-7)
    assert _of_weights(torch.zeros(n, n)) == {"stable": 0.0, "condition": 0.0, "orthogonality": 0.0}


# The tangent kernel, against gradients of one sample at a time.


def _linear_network(outputs: int) -> tuple[nn.Sequential, dict[str, tuple[nn.Module, nn.Module]], Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6, bias=False), nn.ReLU(), nn.Linear(6, outputs))
    net.double()
    return net, {"a": (net[0], net[1]), "b": (net[2], net[3])}, _matrix(1, 12, 5)


def _convolution_network(outputs: int) -> tuple[nn.Sequential, dict[str, tuple[nn.Module, nn.Module]], Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, head = nn.Conv2d(2, 3, 2, stride=2, padding=1), nn.Linear(3 * 3 * 3, outputs)
    net = nn.Sequential(conv, nn.GELU(), nn.Flatten(), head).double()
    return net, {"a": (net[0], net[1])}, _matrix(1, 12, 2 * 5 * 5).reshape(12, 2, 5, 5)


NETWORKS = [_linear_network, _convolution_network]
Build = Callable[[int], tuple[nn.Sequential, dict[str, tuple[nn.Module, nn.Module]], Tensor]]


def _capture(build: Build, outputs: int, loss: Callable[[Tensor], Tensor]) -> tuple[Captures, nn.Sequential, Tensor]:
    """Return captures with the loss of each sample, a function of the network's outputs (B, A)."""
    network, layers, x = build(outputs)
    captures = Captures(network, layers, {"head": network[-1]}, x, loss=lambda x: loss(network(x)))
    return captures, network, x


def _jacobian(network: nn.Sequential, outputs: Tensor) -> Matrix:
    """Differentiate (B,) numbers by all parameters, one at a time: (B, p)."""
    parameters = list(network.parameters())
    rows = [torch.autograd.grad(output, parameters, retain_graph=True) for output in outputs]
    return np.stack([torch.cat([g.flatten() for g in row]).numpy() for row in rows])


def _rank_of(captures: Captures, samples: int = 256) -> float:
    return ntk_rank(captures.errors, captures.inputs, captures.outgoing, samples=samples)["head"]


@pytest.mark.parametrize("build", NETWORKS)
def test_the_ntk_is_that_of_one_output_whatever_its_loss(build: Build) -> None:
    """Squared errors of very different sizes and signs: the kernel is of the output, not of the loss."""
    targets = torch.logspace(-2, 2, 12, dtype=torch.float64) * torch.tensor([1.0, -1.0]).repeat(6)
    captures, network, x = _capture(build, 1, lambda f: (f[:, 0] - targets) ** 2)
    j = _jacobian(network, network(x)[:, 0])
    assert _rank_of(captures) == pytest.approx(_entropy_rank(j @ j.T), rel=1e-9)
    assert 1.1 < _rank_of(captures) < 12


@pytest.mark.parametrize("build", NETWORKS)
def test_the_ntk_is_that_of_the_output_that_the_loss_reads(build: Build) -> None:
    """The value of the action taken, as DQN's loss reads it; and the mixture that a cross entropy pulls at."""
    actions = torch.arange(12) % 3
    captures, network, x = _capture(
        build,
        3,
        lambda f: nn.functional.huber_loss(
            f[torch.arange(12), actions], torch.full((12,), 9.0, dtype=torch.float64), reduction="none"
        ),
    )
    j = _jacobian(network, network(x)[torch.arange(12), actions])
    assert _rank_of(captures) == pytest.approx(_entropy_rank(j @ j.T), rel=1e-9)

    captures, network, x = _capture(build, 3, lambda f: nn.functional.cross_entropy(f, actions, reduction="none"))
    pull = network(x).softmax(dim=1).detach() - nn.functional.one_hot(actions, 3)
    j = _jacobian(network, (network(x) * pull / pull.norm(dim=1, keepdim=True)).sum(dim=1))
    assert _rank_of(captures) == pytest.approx(_entropy_rank(j @ j.T), rel=1e-9)


def test_the_ntk_reads_samples_evenly_spaced() -> None:
    """At most 5 of 12: the first and every third."""
    captures, network, x = _capture(_linear_network, 1, lambda f: f[:, 0])
    j = _jacobian(network, network(x[::3])[:, 0])
    assert _rank_of(captures, samples=5) == pytest.approx(_entropy_rank(j @ j.T), rel=1e-9)


def test_the_ntk_is_read_by_head_unless_heads_share_layers() -> None:
    """Two networks side by side, as actor and critic are: each as if it were alone."""
    captures, _, _ = _capture(_linear_network, 1, lambda f: f[:, 0] ** 2)
    other, _, _ = _capture(_linear_network, 3, lambda f: f.square().sum(dim=1))
    errors = {f"actor.{name}": e for name, e in captures.errors.items()} | other.errors
    inputs = {f"actor.{name}": x for name, x in captures.inputs.items()} | other.inputs
    apart = {"actor.a": ("actor.b",), "actor.b": ("actor.head",), "a": ("b",), "b": ("head",)}
    expected = {"actor.head": _rank_of(captures), "head": _rank_of(other)}
    assert ntk_rank(errors, inputs, apart) == expected
    assert ntk_rank(errors, inputs, apart | {"b": ("head", "actor.head")}).keys() == {"actor.head+head"}
    assert ntk_rank(errors, {name: x for name, x in inputs.items() if "actor" in name}, apart).keys() == {"actor.head"}


@torch.no_grad()
def test_the_ntk_of_a_network_that_nothing_moves_has_rank_zero() -> None:
    """Where no loss pulls; a dead hidden layer leaves the head's bias, which is one way."""
    captures, _, _ = _capture(_linear_network, 1, lambda f: 0 * f[:, 0])
    assert _rank_of(captures) == 0.0
    captures, network, _ = _capture(_linear_network, 1, lambda f: f[:, 0])
    network[2].weight.zero_()
    assert _rank_of(captures) == pytest.approx(1.0, abs=1e-9)
    diverged = torch.full((3, 1), math.nan)
    assert math.isnan(ntk_rank({"head": diverged}, {"head": torch.ones(3, 2)}, {})["head"])


# Curvature, against the Hessian written out.


def _hessian(loss: Callable[[dict[str, Tensor]], Tensor], network: nn.Module) -> Matrix:
    """Write the Hessian out, (p, p), layer after layer."""
    own = {name: p.detach() for name, p in network.named_parameters()}
    blocks = torch.func.jacrev(torch.func.jacrev(loss))(own)
    flat = {(a, b): blocks[a][b].reshape(own[a].numel(), own[b].numel()) for a in own for b in own}
    written = torch.cat([torch.cat([flat[a, b] for b in own], dim=1) for a in own])
    return written.numpy()


def _curved() -> tuple[Captures, Matrix]:
    """Return captures of a small network and its Hessian."""
    targets = _matrix(3, 12, 1)[:, 0]
    captures, network, x = _capture(_linear_network, 1, lambda f: (f[:, 0] - targets) ** 2)

    def mean_loss(own: dict[str, Tensor]) -> Tensor:
        f: Tensor = torch.func.functional_call(network, own, (x,))
        return ((f[:, 0] - targets) ** 2).mean()

    return captures, _hessian(mean_loss, network)


def test_the_top_of_the_hessian_is_found() -> None:
    """Of 91 parameters: in at most 50 products; in too few a little less, never more."""
    captures, hessian = _curved()
    assert len(hessian) == 5 * 7 + 7 + 7 * 6 + 6 + 1
    top = np.linalg.eigvalsh(hessian)[-1]
    assert hessian_top(captures.hvp, captures.weights, _generator(0)) == {"network": pytest.approx(top, rel=1e-8)}
    few = hessian_top(captures.hvp, captures.weights, _generator(0), steps=4)["network"]
    assert 0.5 * top < few < (1 - 1e-8) * top


def test_the_trace_of_the_hessian_is_unbiased() -> None:
    """By layer, within 5 standard errors, 2 sum (off-diagonal)^2 over all draws; and nearer with more of them."""
    captures, hessian = _curved()
    ends = np.cumsum([w.numel() for w in captures.weights.values()])
    read = hessian_trace(captures.hvp, captures.weights, _generator(0), draws=400)
    error = math.sqrt(2 * (np.sum(hessian**2) - np.sum(np.diag(hessian) ** 2)) / 400)
    for name, end in zip(captures.weights, ends, strict=True):
        start = end - captures.weights[name].numel()
        assert read[name] == pytest.approx(np.trace(hessian[start:end, start:end]), abs=5 * error)
    assert 5 * error < 0.5 * np.trace(hessian)
    assert sum(read.values()) == pytest.approx(np.trace(hessian), abs=5 * error)


def test_frozen_layers_have_no_curvature() -> None:
    """They cannot move: the trace leaves them out, and the top is that of the rest."""
    captures, _ = _curved()
    full = hessian_top(captures.hvp, captures.weights, _generator(0))["network"]
    captures, network, _ = _capture(_linear_network, 1, lambda f: f[:, 0] ** 2)
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    assert hessian_trace(captures.hvp, captures.weights, _generator(0)).keys() == {"b", "head"}
    assert 0 < hessian_top(captures.hvp, captures.weights, _generator(0))["network"] != full


@given(SEEDS, st.integers(1, 12), st.integers(1, 15))
def test_ritz_values_stay_below_the_top_and_reach_it(seed: int, n: int, steps: int) -> None:
    """Of a random symmetric matrix, indefinite: by a space of any size, and one as large as the matrix."""
    half = _matrix(seed, n, n)
    symmetric = half + half.T
    top = torch.linalg.eigvalsh(symmetric)[-1].item()
    value = largest_ritz_value(lambda v: symmetric @ v, _matrix(seed, n, 2)[:, 1], steps)
    assert value <= top + 1e-9
    if steps >= n:
        assert value == pytest.approx(top, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("fill", [0.0, math.nan])
def test_a_flat_loss_has_no_top_and_a_diverged_one_none_either(fill: float) -> None:
    """0, and not a number without an exception."""
    weights = {"h": torch.ones(2, 3)}

    def hvp(direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.full_like(v, fill) for name, v in direction.items()}

    assert hessian_top(hvp, weights, _generator(0))["network"] == pytest.approx(fill, nan_ok=True)
    assert hessian_trace(hvp, weights, _generator(0))["h"] == pytest.approx(fill, nan_ok=True)
