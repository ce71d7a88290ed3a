"""Values of the probes of units: by hand, by a second implementation, and on networks with planted flaws."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.dead import dead_fraction
from lopgym.probes.dormant import dormant_fraction
from lopgym.probes.dormant_overlap import dormant_overlap
from lopgym.probes.frozen import frozen_fraction
from lopgym.probes.grama import grama
from lopgym.probes.saturated import saturated_fraction
from lopgym.probes.slopes import slopes
from lopgym.probes.stagnant import stagnant_fraction, update_activities
from lopgym.probes.utility import contributions, utility_quantile
from lopgym.probes.volatile import volatile_fraction
from lopgym.probes.zero_fraction import zero_fraction

# A second implementation, in NumPy and loops, written from the formulas and not from the code under test.

Matrix = NDArray[np.float64]


def _numpy_quiet(h: Matrix, tau: float) -> set[int]:
    sizes = [sum(abs(x) for x in unit) / len(unit) for unit in h.T]
    return {u for u, size in enumerate(sizes) if size <= tau * sum(sizes) / len(sizes)}


def _numpy_overlap(now: Matrix, before: Matrix, tau: float) -> float:
    was = _numpy_quiet(before, tau)
    return len(was & _numpy_quiet(now, tau)) / len(was) if was else 0.0


def _numpy_saturated(h: Matrix, signal: Matrix, threshold: float, share: float) -> float:
    count = 0
    for unit, pull in zip(h.T, signal.T, strict=True):
        size = max(sum(abs(x) for x in unit) / len(unit), 1e-12)
        count += sum(abs(g) / size < threshold for g in pull) > share * len(pull)
    return count / h.shape[1]


def _numpy_frozen(slope: Matrix, tau: float) -> float:
    return sum(max(abs(x) for x in unit) <= tau for unit in slope.T) / slope.shape[1]


def _numpy_activities(w: Matrix, w0: Matrix) -> list[float]:
    moved = [
        float(np.linalg.norm(a - b)) / max(np.linalg.norm(a), np.linalg.norm(b), 1e-300)
        for a, b in zip(w, w0, strict=True)
    ]
    return [x / (sum(moved) / len(moved)) for x in moved]


def _numpy_utilities(h: Matrix, readers: list[Matrix], places: int) -> list[float]:
    units = h.shape[1]
    sizes = [sum(abs(x) for x in unit) / len(unit) for unit in h.T]
    return [sizes[u] * sum(abs(w[:, u * places : (u + 1) * places]).sum() for w in readers) for u in range(units)]


def _layer(seed: int, rows: int = 60, units: int = 24) -> Matrix:
    """Draw a layer whose units are of many sizes, some silent, some now and then."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, units)) * 10.0 ** rng.uniform(-5, 1, size=units)
    x[:, rng.random(units) < 0.15] = 0.0
    return np.where(rng.random((rows, units)) < 0.2, 0.0, x)


def _tensor(x: Matrix, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(x).to(dtype)


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_second_implementation(seed: int, dtype: torch.dtype) -> None:
    """Five probes of activations and derivatives against NumPy and loops."""
    h, other = _tensor(_layer(seed), dtype), _tensor(_layer(seed + 100), dtype)
    exact, exact_other = h.double().numpy(), other.double().numpy()
    now, then = {"h": h}, {"h": other}
    assert {
        "zero": zero_fraction(now)["h"],
        "overlap": dormant_overlap(now, then)["h"],
        "saturated": saturated_fraction(now, then, threshold=0.3, share=0.7)["h"],
        "frozen": frozen_fraction(now)["h"],
        "grama": grama(now)["h"],
    } == {
        "zero": pytest.approx(sum(x == 0 for x in exact.flat) / exact.size),
        "overlap": _numpy_overlap(exact, exact_other, 0.025),
        "saturated": _numpy_saturated(exact, exact_other, 0.3, 0.7),
        "frozen": _numpy_frozen(exact, 1e-3),
        "grama": len(_numpy_quiet(exact, 0.01)) / 24,
    }


@DTYPES
@pytest.mark.parametrize("seed", range(5))
def test_updates_and_utilities_agree_with_a_second_implementation(seed: int, dtype: torch.dtype) -> None:
    """Activities and contributions, unit by unit, and what the probes make of them."""
    w, h = _tensor(_layer(seed, 24, 9), dtype), _tensor(_layer(seed + 100), dtype)
    w0 = w + _tensor(_layer(seed + 200, 24, 1), dtype) * 1e-2
    activities = np.array(_numpy_activities(w.double().numpy(), w0.double().numpy()))
    np.testing.assert_allclose(update_activities(w, w0).numpy(), activities, rtol=1e-9)
    assert stagnant_fraction({"h": w}, {"h": w0})["h"] == (activities < 0.25).mean()
    assert volatile_fraction({"h": w}, {"h": w0})["h"] == (activities > 3).mean()
    wide, narrow = _tensor(_layer(seed + 300, 5, 24 * 4 + 1), dtype), _tensor(_layer(seed + 400, 3, 24), dtype)
    for readers, places in (([wide], 4), ([narrow, narrow[:2]], 1)):
        utilities = _numpy_utilities(h.double().numpy(), [r.double().numpy() for r in readers], places)
        named = {f"reader{i}": reader for i, reader in enumerate(readers)}
        for q in (0.0, 0.1, 0.5, 1.0):
            found = utility_quantile({"h": h}, named, {"h": (*named,)}, quantile=q)
            assert found["h"] == pytest.approx(np.quantile(utilities, q) / np.mean(utilities), rel=1e-9)


def test_the_layers_of_those_tests_have_something_to_find() -> None:
    """Or the agreement would be between zeros, or ones."""
    pairs = [({"h": _tensor(_layer(s))}, {"h": _tensor(_layer(s + 100))}) for s in range(5)]
    for values in (
        [zero_fraction(h)["h"] for h, _ in pairs],
        [dormant_overlap(h, other)["h"] for h, other in pairs],
        [saturated_fraction(h, other, threshold=0.3, share=0.7)["h"] for h, other in pairs],
        [frozen_fraction(h)["h"] for h, _ in pairs],
        [grama(h)["h"] for h, _ in pairs],
    ):
        assert any(0 < value < 1 for value in values)


# By hand.


def test_zero_fraction_counts_entries() -> None:
    """Exactly zero, of either sign; two units that take turns are as sparse as a dead one and a live one."""
    assert zero_fraction({"h": torch.tensor([[0.0, -0.0, 1e-45, 1.0]])}) == {"h": 0.5}
    assert zero_fraction({"h": torch.eye(2)}) == zero_fraction({"h": torch.tensor([[0.0, 1.0]])}) == {"h": 0.5}


def test_overlap_is_a_share_of_those_who_were_dormant() -> None:
    """Of 3 dormant units 2 still are; a newly dormant one does not count; with none before, there is none."""
    before = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
    now = torch.tensor([[0.0, 0.0, 1.0, 0.0, 1.0]])
    assert dormant_overlap({"h": now}, {"h": before}) == {"h": 2 / 3}
    assert dormant_overlap({"h": now}, {"h": torch.ones(7, 5)}) == {"h": 0.0}
    assert dormant_overlap({"h": now * 0}, {"h": before}) == {"h": 1.0}
    assert dormant_overlap({"h": torch.tensor([[1.0, 3.0]])}, {"h": torch.tensor([[1.0, 3.0]])}, tau=0.5) == {"h": 1.0}


def test_saturated_means_more_than_the_share_and_less_than_the_threshold() -> None:
    """By hand, of 4 samples with E|h| = 2: no signal; signal on 1; exactly at the threshold; a silent unit, pulled at.

    A silent unit counts as 1e-12 large, so that any noticeable signal is large for it, and none is small.
    """
    h = torch.tensor([[-2.0, 4.0, 2.0, 0.0, 0.0], [2.0, 0.0, 2.0, 0.0, 0.0]] * 2, dtype=torch.float64)
    signal = torch.zeros(4, 5, dtype=torch.float64)
    signal[0, 1], signal[:, 2], signal[:, 3] = 1.0, 2e-4, 1e-15
    assert saturated_fraction({"h": h}, {"h": signal}) == {"h": 2 / 5}  # the first and the last
    assert saturated_fraction({"h": h}, {"h": signal}, share=0.75) == {"h": 2 / 5}  # 3 of 4 is not more than 75 %
    assert saturated_fraction({"h": h}, {"h": signal}, share=0.74) == {"h": 3 / 5}
    assert saturated_fraction({"h": h}, {"h": signal}, threshold=1.001e-4) == {"h": 3 / 5}
    assert saturated_fraction({"h": h}, {"h": signal}, threshold=1e-2) == {"h": 4 / 5}


def test_frozen_means_flat_on_every_sample() -> None:
    """By hand: flat; flat but once; falling steeply; at the threshold, of either sign; beyond it."""
    slope = torch.tensor([[0.0, 0.0, -1.0, 1e-3, 2e-3], [0.0, 1.0, -1.0, -1e-3, 0.0]], dtype=torch.float64)
    assert frozen_fraction({"h": slope}) == {"h": 2 / 5}
    assert frozen_fraction({"h": slope}, tau=0.0) == {"h": 1 / 5}
    assert frozen_fraction({"h": slope}, tau=1.0) == {"h": 1.0}


def test_grama_averages_magnitudes() -> None:
    """By hand: |e| averages (2, 0.01, 0.006), of which 1 % of the mean, 0.00672, is above the last alone.

    Opposite pulls do not cancel, and a score of tau itself is inactive.
    """
    assert grama({"h": torch.tensor([[2.0, 0.01, 0.012], [-2.0, -0.01, 0.0]])}) == {"h": 1 / 3}
    assert grama({"h": torch.tensor([[1.0, 3.0]])}, tau=0.5) == {"h": 0.5}
    assert grama({"h": torch.tensor([[1.0, 3.0]])}, tau=0.4999) == {"h": 0.0}
    assert grama({"h": torch.zeros(2, 3)}, tau=0.0) == {"h": 1.0}


def test_activity_is_relative_to_the_longer_of_both_weights() -> None:
    """By hand: 5 of 10, 0 of 1, 2 of 2 from nothing, 2 of 2 to nothing, nothing of nothing: on average 0.5."""
    w = torch.tensor([[6.0, 8.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    w0 = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
    assert update_activities(w, w0).tolist() == [1.0, 0.0, 2.0, 2.0, 0.0]
    assert stagnant_fraction({"h": w}, {"h": w0}) == {"h": 2 / 5}
    assert stagnant_fraction({"h": w}, {"h": w0}, threshold=1.0) == {"h": 2 / 5}  # less than, not up to
    assert volatile_fraction({"h": w}, {"h": w0}, threshold=1.9) == {"h": 2 / 5}
    assert volatile_fraction({"h": w}, {"h": w0}, threshold=2.0) == {"h": 0.0}


def test_a_layer_that_stands_still_is_stagnant() -> None:
    """And not volatile; layers without a last measurement are left out."""
    w = {"a": torch.ones(3, 2), "b": torch.ones(3, 2)}
    assert stagnant_fraction(w, {"a": torch.ones(3, 2)}) == {"a": 1.0}
    assert volatile_fraction(w, {"a": torch.ones(3, 2)}) == {"a": 0.0}


def test_utility_by_hand() -> None:
    """E|h| = (1, 2, 3), read by |w| = (1 + 4, 3, 0): 5, 6 and 0 of on average 11 / 3; the bias of 9 does not count."""
    h = torch.tensor([[1.0, -4.0, 3.0], [-1.0, 0.0, 3.0]])
    weights = {"next": torch.tensor([[-1.0, 0.0, 0.0, 9.0]]), "head": torch.tensor([[4.0, -3.0, 0.0]])}
    read = {"h": ("next", "head")}
    assert contributions(h, torch.tensor([[-1.0, 4.0], [0.0, -3.0], [0.0, 0.0]])).tolist() == [5.0, 6.0, 0.0]
    values = [utility_quantile({"h": h}, weights, read, quantile=q)["h"] for q in (0.0, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([0.0, 15 / 11, 16.5 / 11, 18 / 11])
    assert utility_quantile({"h": h, "i": h}, weights, read | {"i": ()}, quantile=0.0) == {"h": 0.0}


def test_utility_where_a_map_reads_two_layers() -> None:
    """By hand: 3 and 1 of the first, on average 2; 7 and 35 of the second, on average 21."""
    h = {"left": torch.ones(1, 2), "right": torch.ones(1, 2)}
    read = {"left": ("head",), "right": ("head",)}
    values = utility_quantile(h, {"head": torch.tensor([[3.0, 1.0, 7.0, 35.0, 9.0]])}, read, quantile=0.0)
    assert values == pytest.approx({"left": 1 / 2, "right": 1 / 3})


@pytest.mark.parametrize("columns", [2, 5])
def test_utility_refuses_what_does_not_read_the_layer(columns: int) -> None:
    """Too few columns, or columns of something else beside; one line that names both numbers."""
    with pytest.raises(ValueError, match=f"^head has {columns} columns, which do not fit h, 3 units$"):
        utility_quantile({"h": torch.ones(1, 3)}, {"head": torch.ones(1, columns)}, {"h": ("head",)})


# Planted networks: the flaw is built in, the reading follows from it.

UNITS, LOW, HIGH = 8, (0, 1), (2,)  # pushed far down and far up


class CReLU(nn.Module):
    """Both halves of a number, side by side."""

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, U, ...) to (B, 2U, ...)."""
        return torch.cat([z.relu(), (-z).relu()], dim=1)


ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    # name -> module, share of units frozen and dead, with two of eight pushed down and one pushed up
    "relu": (nn.ReLU, 2 / 8, 2 / 8),
    "leaky": (nn.LeakyReLU, 0.0, 0.0),
    "elu": (nn.ELU, 2 / 8, 0.0),
    "gelu": (nn.GELU, 2 / 8, 2 / 8),
    "silu": (nn.SiLU, 2 / 8, 2 / 8),
    "tanh": (nn.Tanh, 3 / 8, 0.0),
    "sigmoid": (nn.Sigmoid, 3 / 8, 2 / 8),
    "crelu": (CReLU, 0.0, 3 / 16),
}
KINDS = ("linear", "layer_norm", "convolution")


@torch.no_grad()
def _planted(activation: nn.Module, kind: str, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Build map, norm, activation, flattening and head, with units pushed down and up by 30."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(UNITS * (2 if isinstance(activation, CReLU) else 1) * (16 if kind == "convolution" else 1), 3)
        incoming = nn.Conv2d(1, UNITS, 3) if kind == "convolution" else nn.Linear(36, UNITS)
    norm = nn.LayerNorm(UNITS) if kind == "layer_norm" else nn.Identity()
    shape = nn.Unflatten(1, (1, 6, 6)) if kind == "convolution" else nn.Identity()
    shifted = norm if isinstance(norm, nn.LayerNorm) else incoming
    shifted.bias[list(LOW)] = -30.0
    shifted.bias[list(HIGH)] = 30.0
    return nn.Sequential(shape, incoming, norm, activation, nn.Flatten(), head).to(dtype)


def _observations(dtype: torch.dtype = torch.float32, samples: int = 40) -> Tensor:
    return torch.randn(samples, 36, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def _losses(network: nn.Sequential, x: Tensor) -> Tensor:
    """Return each sample's squared distance to a target of its own, (B,)."""
    targets = torch.randn(len(x), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(x.dtype)
    losses: Tensor = (network(x) - targets).square().sum(dim=1)
    return losses


def _captures(network: nn.Sequential, previous: dict[str, dict[str, Tensor]] | None = None) -> Captures:
    """Return captures of a planted network."""
    x = _observations(next(network.parameters()).dtype)
    return Captures(
        network,
        {"h": (network[1], network[3])},
        {"head": network[-1]},
        x,
        loss=lambda x: _losses(network, x),
        previous=previous,
    )


def _read(network: nn.Sequential, previous: dict[str, dict[str, Tensor]] | None = None) -> dict[str, float]:
    probes = {
        "zero": zero_fraction,
        "dead": dead_fraction,
        "frozen": frozen_fraction,
        "saturated": saturated_fraction,
        "grama": grama,
        "utility": utility_quantile,
    }
    later = {"overlap": dormant_overlap, "stagnant": stagnant_fraction, "volatile": volatile_fraction}
    values = measure(_captures(network, previous), probes | later if previous else probes)
    return {tag.removesuffix("/h"): value for tag, value in values.items()}


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_units_far_down_or_up_are_frozen_where_the_activation_is_flat(name: str, kind: str, dtype: torch.dtype) -> None:
    """Frozen by slope and not by magnitude: ELUs and tanhs at their ends are, though they are not dead."""
    make, frozen, dead = ACTIVATIONS[name]
    read = _read(_planted(make(), kind, dtype))
    assert (read["frozen"], read["dead"]) == (frozen, dead)


@DTYPES
@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_frozen_units_are_pulled_at_by_nothing(name: str, kind: str, dtype: torch.dtype) -> None:
    """GraMa reads the same units as the slope does, and of a ReLU the weights' gradient is exactly zero there."""
    make, frozen, _ = ACTIVATIONS[name]
    network = _planted(make(), kind, dtype)
    captures = _captures(network)
    assert grama(captures.errors, tau=1e-3)["h"] == frozen
    still = (captures.loss_gradients["h"] == 0).all(dim=1)
    assert still.double().mean() <= frozen
    assert name != "relu" or still.tolist() == [True] * 2 + [False] * 6


def test_behind_a_layer_norm_a_unit_that_is_off_is_still_pulled_at() -> None:
    """It is frozen, but its weights move the statistics that the others share."""
    read = _read(_planted(nn.ReLU(), "layer_norm"))
    assert (read["frozen"], read["grama"]) == (2 / 8, 0.0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_one_sample_thaws_a_unit(name: str) -> None:
    """Of 40, one on which the units pushed away are back near 0."""
    activation = ACTIVATIONS[name][0]()
    z = _captures(_planted(activation, "linear")).pre_activations["h"].clone()
    z[7] = 0.1
    assert frozen_fraction({"h": slopes(activation, z)}) == {"h": 0.0}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_saturated_means_unread_and_not_flat(name: str, kind: str) -> None:
    """Dead ReLUs and tanhs at their ends have a signal; four units without outgoing weights have none, nor any use."""
    network = _planted(ACTIVATIONS[name][0](), kind)
    before = _read(network)
    network[-1].weight.reshape(3, UNITS, -1)[:, 4:] = 0.0
    after = _read(network)
    assert (before["saturated"], after["saturated"]) == (0.0, 0.5)
    assert (before["utility"] == 0.0) == (name == "relu")
    assert after["utility"] == 0.0


@torch.no_grad()
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_utility_of_a_network_is_that_of_its_parts(name: str) -> None:
    """Of a convolution by hand, place by place: the head reads a channel's 16 places, one after another."""
    network = _planted(ACTIVATIONS[name][0](), "convolution", torch.float64)
    h = network[:4](_observations(torch.float64))
    magnitudes, read = h.abs().mean(dim=(0, 2, 3)), network[-1].weight.abs().unflatten(1, (-1, 16)).sum(dim=(0, 2))
    expected = (magnitudes * read).quantile(0.1) / (magnitudes * read).mean()
    assert _read(network)["utility"] == pytest.approx(expected.item(), rel=1e-12)


def _trained(network: nn.Sequential) -> dict[str, dict[str, Tensor]]:
    """Take five steps of gradient descent, and return what a measurement would remember from before."""
    captures = _captures(network)
    remembered = {"activations": captures.activations, "weights": captures.weights}
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    for _ in range(5):
        optimizer.zero_grad()
        _losses(network, captures.observations).mean().backward()
        optimizer.step()
    return remembered


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "tanh"])
def test_frozen_units_stagnate(name: str, kind: str) -> None:
    """Under gradient descent the weights of frozen units stay; those that were dormant are again."""
    make, frozen, dead = ACTIVATIONS[name]
    network = _planted(make(), kind)
    remembered = _trained(network)
    activities = update_activities(_captures(network).weights["h"], remembered["weights"]["h"])
    still = (activities < 1e-6).double().mean().item()
    read = _read(network, remembered)
    assert read["stagnant"] >= still == frozen
    assert read["overlap"] == (1.0 if dead else 0.0)


def test_units_that_were_revived_are_volatile_and_no_longer_dormant() -> None:
    """The two dead ones, by a new bias; the others took small steps."""
    network = _planted(nn.ReLU(), "linear")
    remembered = _trained(network)
    assert _read(network, remembered)["overlap"] == 1.0
    with torch.no_grad():
        network[1].bias[list(LOW)] = 0.5
    read = _read(network, remembered)
    assert (read["volatile"], read["overlap"]) == (2 / 8, 0.0)


# Properties.

SEEDS = st.integers(0, 2**32 - 1)


def _matrix(seed: int, rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(derandomize=True, max_examples=40)
@given(SEEDS, st.integers(1, 20), st.integers(1, 12), st.floats(-3, 3))
def test_a_relu_is_frozen_where_it_is_silent(seed: int, rows: int, units: int, offset: float) -> None:
    """At tau = 0 the same units as dormant at tau = 0, unless the layer says nothing at all: then all are."""
    z = _matrix(seed, rows, units) + offset * _matrix(seed + 1, 1, units)
    frozen = frozen_fraction({"h": (z > 0).double()}, tau=0.0)
    assert frozen == dormant_fraction({"h": z.relu()}, tau=0.0)


@settings(derandomize=True, max_examples=40)
@given(SEEDS, st.floats(0, 2), st.floats(0, 2))
def test_fractions_are_monotone_in_their_thresholds(seed: int, a: float, b: float) -> None:
    """More is frozen, inactive, saturated or stagnant at a higher threshold, less volatile."""
    low, high = sorted((a, b))
    x, y = {"h": _matrix(seed, 12, 6)}, {"h": _matrix(seed + 1, 12, 6)}
    assert frozen_fraction(x, tau=low)["h"] <= frozen_fraction(x, tau=high)["h"]
    assert grama(x, tau=low)["h"] <= grama(x, tau=high)["h"]
    assert saturated_fraction(x, y, threshold=low)["h"] <= saturated_fraction(x, y, threshold=high)["h"]
    assert stagnant_fraction(x, y, threshold=low)["h"] <= stagnant_fraction(x, y, threshold=high)["h"]
    assert volatile_fraction(x, y, threshold=low)["h"] >= volatile_fraction(x, y, threshold=high)["h"]


@settings(derandomize=True, max_examples=40)
@given(SEEDS, st.integers(1, 9), st.integers(-20, 20))
def test_activities_average_one_and_ignore_each_units_scale(seed: int, units: int, power: int) -> None:
    """Of any layer that moved: the mean is 1, and a unit ten times as heavy that moves ten times as far is the same."""
    w, w0 = _matrix(seed, units, 4), _matrix(seed + 1, units, 4)
    found, factors = update_activities(w, w0), 10.0 ** torch.arange(units)[:, None] * 10.0**power
    assert found.mean().item() == pytest.approx(1.0)
    torch.testing.assert_close(update_activities(w * factors, w0 * factors), found)
