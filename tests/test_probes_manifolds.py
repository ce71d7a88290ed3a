"""Manifolds: what probes of clones read where the clones are planted, and against second implementations."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.clone_normal import clone_normal
from lopgym.probes.clones import FROZEN, clone_fraction, clusters, have_clones, resemblance
from lopgym.probes.cloning import cloned, jittered
from lopgym.probes.cloning_r2 import cloning_r2, explained
from lopgym.probes.cloning_r2_backward import cloning_r2_backward
from lopgym.probes.contraction import contraction
from lopgym.probes.distance_to_clones import distance_to_clones
from lopgym.probes.distance_to_frozen import distance_to_frozen
from lopgym.probes.effective_dof import effective_dof
from lopgym.probes.escape_rate import escape_rate
from lopgym.probes.nearest_clone import nearest_clone
from lopgym.probes.preactivation_offset import preactivation_offset
from lopgym.probes.rank_recovery import rank_recovery
from lopgym.probes.tangency import normal_part, tangency
from tests.planted import KINDS, MAKE_ACTIVATION, UNITS, Concatenated, Planted, plant

Matrix = NDArray[np.float64]
NETWORKS = pytest.mark.parametrize(
    ("kind", "activation"),
    [pytest.param(k, a, id=f"{k}-{a().__class__.__name__}") for k in KINDS for a in MAKE_ACTIVATION],
)
PARTITION = {name: [u // 2 for u in range(2 * UNITS)] for name in ("hidden0", "hidden1")}
DOUBLE = torch.float64


def _cloned(kind: str, activation: Callable[[], nn.Module], **options: Any) -> Planted:
    found, halves = plant(kind, activation, dtype=DOUBLE), 2 if "crelu" in kind else 1
    return Planted(cloned(found.network, halves=halves, **options), found.observations, found.targets)


def _labels(captures: Captures) -> dict[str, Tensor]:
    return {name: clusters(resemblance(h, captures.errors[name])) for name, h in captures.activations.items()}


# The surgery.


@NETWORKS
@pytest.mark.parametrize("options", [{}, {"copies": 3}, {"shares": [0.3, 0.7]}], ids=["equal", "three", "unequal"])
def test_cloning_preserves_the_function(
    kind: str, activation: Callable[[], nn.Module], options: dict[str, object]
) -> None:
    """Of every layer kind and activation, to rounding; and the original is left alone."""
    before = plant(kind, activation, dtype=DOUBLE)
    held = {name: value.clone() for name, value in before.network.state_dict().items()}
    after = _cloned(kind, activation, **options)
    torch.testing.assert_close(after.network(before.observations), before.network(before.observations))
    assert all(torch.equal(value, held[name]) for name, value in before.network.state_dict().items())
    assert after.network.first.weight.shape[0] == UNITS * int(str(options.get("copies", 2)))


def test_scaled_clones_carry_their_factor_out_too() -> None:
    """By hand: 1 and 3 times in; 1 / 10 and 3 / 10 times out, so that 1 + 9 tenths add up."""
    network = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    twin = cloned(network, scales=[1.0, 3.0])
    torch.testing.assert_close(twin[0].weight, network[0].weight * torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(twin[0].bias, network[0].bias * torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(twin[2].weight, network[2].weight * torch.tensor([[0.1, 0.3]]))
    assert twin[2].bias is not network[2].bias
    assert torch.equal(twin[2].bias, network[2].bias)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [0.5, 0.6]}, "add up to 1.1, not 1"),
        ({"copies": 3, "shares": [0.5, 0.5]}, "3 copies take as many"),
        ({"scales": [1.0, -1.0]}, "scales above 0"),
        ({"scales": [1.0, 2.0]}, "layer norm"),
    ],
)
def test_surgery_that_would_change_the_function_is_refused(options: dict[str, object], message: str) -> None:
    """In one line that says what came."""
    with pytest.raises(ValueError, match=message):
        _cloned("layer_norm", nn.ReLU, **options)


def test_only_a_chain_with_hidden_units_is_cloned() -> None:
    """Not one map, nor a grouped convolution, nor two maps side by side."""
    side_by_side = nn.ModuleList([nn.Linear(5, 4), nn.Linear(5, 4)])
    for network in (nn.Linear(2, 2), nn.Sequential(nn.Conv1d(2, 2, 1, groups=2), nn.Linear(2, 2)), side_by_side):
        with pytest.raises(ValueError, match="chain of two or more"):
            cloned(network)


def test_jitter_is_of_the_stated_size() -> None:
    """Relative to the root mean square of each tensor."""
    network = nn.Linear(100, 100)
    moved = jittered(network, 0.01, torch.Generator().manual_seed(0))
    assert ((moved.weight - network.weight).norm() / network.weight.norm()).item() == pytest.approx(0.01, rel=0.05)


# Detection.


@NETWORKS
def test_every_unit_that_lives_has_its_clone(kind: str, activation: Callable[[], nn.Module]) -> None:
    """Cloned twice: clusters are the pairs, wherever the network's own units did not resemble each other."""
    plain, twice = plant(kind, activation, dtype=DOUBLE).captures(), _cloned(kind, activation).captures()
    for name, labels in _labels(twice).items():
        assert torch.equal(labels, _labels(plain)[name].repeat_interleave(2))
    live = {name: (labels != FROZEN).double().mean().item() for name, labels in _labels(twice).items()}
    assert clone_fraction(twice.activations, twice.errors) == pytest.approx(live)
    assert nearest_clone(twice.activations, twice.errors) == pytest.approx(dict.fromkeys(live, 1.0))
    assert max(distance_to_clones(twice.weights, twice.activations, twice.outgoing).values()) == 0.0


@NETWORKS
def test_clones_are_told_from_mere_copies(kind: str, activation: Callable[[], nn.Module]) -> None:
    """An exact clone's gradient is tangent and its R^2 is 1; of an unequal split neither is."""
    equal, unequal = _cloned(kind, activation).captures(), _cloned(kind, activation, shares=[0.3, 0.7]).captures()
    read, off = (
        {
            "forward": cloning_r2(c.activations, c.errors, partition=PARTITION),
            "backward": cloning_r2_backward(c.activations, c.errors, partition=PARTITION),
            "tangency": tangency(c.loss_gradients, c.activations, c.errors, c.outgoing, partition=PARTITION),
        }
        for c in (equal, unequal)
    )
    assert read["tangency"].keys() == {"hidden0", "hidden1", "head"}
    assert max(read["tangency"].values()) < 1e-14
    for which in ("forward", "backward"):
        assert min(read[which].values()) == pytest.approx(1.0, abs=1e-12)
    assert min(off["forward"].values()) == pytest.approx(1.0, abs=1e-12)
    assert max(off["backward"].values()) < 0.9
    assert off["tangency"]["hidden1"] > 0.1


def test_the_normal_share_of_an_unequal_split() -> None:
    """By hand: gradients .3 and .7 of one are .5 -+ .2 of it: .08 / .58 of their square, wherever clones are found."""
    captures = _cloned("linear", nn.Tanh, shares=[0.3, 0.7]).captures()
    read = clone_normal(captures.activations, captures.errors, captures.loss_gradients)
    assert read == pytest.approx({"hidden0": 0.08 / 0.58, "hidden1": 0.08 / 0.58}, rel=1e-3)


def test_scaled_clones_are_invariant_at_their_own_scale() -> None:
    """In proportion to their activations they move together, though not equally."""
    captures = _cloned("linear", nn.ReLU, scales=[1.0, 3.0]).captures()
    read = clone_normal(captures.activations, captures.errors, captures.loss_gradients)
    assert max(read.values()) < 1e-20
    assert clone_fraction(captures.activations, captures.errors)["hidden0"] > 0.5
    unit = tangency(
        captures.loss_gradients, captures.activations, captures.errors, captures.outgoing, partition=PARTITION
    )
    assert min(unit.values()) > 0.1


def test_jitter_hides_clones_by_degrees() -> None:
    """A thousandth is not seen, three tenths are; distance, nearest clone and degrees of freedom move steadily."""
    exact = _cloned("linear", nn.Tanh)
    rows = []
    for size in (0.0, 1e-3, 0.03, 0.3, 1.0):
        network = jittered(exact.network, size, torch.Generator().manual_seed(0))
        c = Planted(network, exact.observations, exact.targets).captures()
        rows.append(
            [
                clone_fraction(c.activations, c.errors)["hidden0"],
                nearest_clone(c.activations, c.errors)["hidden0"],
                -distance_to_clones(c.weights, c.activations, c.outgoing)["hidden0"],
                -effective_dof(c.activations, c.errors, c.inputs, c.weights, c.outgoing)["hidden0"],
            ]
        )
    for falling in zip(*rows, strict=True):
        assert list(falling) == sorted(falling, reverse=True)
        assert falling[0] > falling[-1]
    assert rows[0][0] == rows[1][0] == 1.0
    assert rows[-1][0] < 0.3


def test_duplicates_that_are_told_apart_are_no_clones() -> None:
    """The activations agree; the errors are at right angles."""
    h = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    e = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert clone_fraction({"h": h}, {"h": e}) == {"h": 0.0}
    assert clone_fraction({"h": h}, {"h": h}) == {"h": 1.0}


def test_likeness_does_not_chain() -> None:
    """By hand: 1 is like 0, 2 is like 1 but not like 0, so it leads; 3 is like both and joins the first."""
    c = torch.eye(4)
    for u, v in ((0, 1), (1, 2), (0, 3), (2, 3)):
        c[u, v] = c[v, u] = 0.99
    assert clusters(c).tolist() == [0, 0, 1, 0]
    assert have_clones(clusters(c)).tolist() == [True, True, False, True]
    assert clusters(torch.zeros(3, 3)).tolist() == [FROZEN] * 3


def _numpy_clusters(h: Matrix, e: Matrix, threshold: float = 0.95) -> list[int]:
    """Cluster as the text says, unit by unit."""

    def cosine(a: Matrix, b: Matrix) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    leaders: list[int] = []
    labels = []
    for u in range(h.shape[1]):
        x, frozen = h[:, u] - h[:, u].mean(), not e[:, u].any()
        if frozen or np.abs(x).max() < 1e-12:
            labels.append(FROZEN)
            continue
        for label, v in enumerate(leaders):
            if min(cosine(x, h[:, v] - h[:, v].mean()), cosine(e[:, u], e[:, v])) > threshold:
                labels.append(label)
                break
        else:
            labels.append(len(leaders))
            leaders.append(u)
    return labels


@given(st.integers(0, 2**32 - 1))
def test_clusters_are_those_of_a_second_implementation(seed: int) -> None:
    """On noisy copies of three units, with dead, untold and constant ones."""
    rng = np.random.default_rng(seed)
    said, told = rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    who = rng.integers(3, size=12)
    h = said[:, who] + 0.3 * rng.normal(size=(30, 12)) * rng.integers(2, size=12)
    e = told[:, who] * rng.uniform(0.1, 9, size=12)
    h[:, 0], e[:, 1], h[:, 2] = 0.0, 0.0, 3.0
    found = clusters(resemblance(torch.from_numpy(h), torch.from_numpy(e)))
    assert found.tolist() == _numpy_clusters(h, e)


# R^2 and tangency, against loops.


def _numpy_r2(h: Matrix, labels: list[int]) -> float:
    chosen = [u for u, label in enumerate(labels) if labels.count(label) > 1 and label != FROZEN]
    within, total = [], []
    for row in h:
        for u in chosen:
            within.append((row[u] - np.mean([row[v] for v in chosen if labels[v] == labels[u]])) ** 2)
            total.append((row[u] - np.mean([row[v] for v in chosen])) ** 2)
    return float(1 - np.mean(within) / np.mean(total))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1.0, 1e30]))
def test_r2_is_that_of_a_second_implementation(seed: int, size: float) -> None:
    """For labels in any order, with units that share no cluster."""
    rng = np.random.default_rng(seed)
    labels = [0, 2, 0, 1, FROZEN, 2, 2, FROZEN]
    h = size * rng.normal(size=(7, len(labels)))
    assert explained(torch.from_numpy(h), torch.tensor(labels)) == pytest.approx(_numpy_r2(h, labels), rel=1e-9)


def test_r2_where_nothing_is_to_be_explained() -> None:
    """Nobody shares a cluster: 0. All are equal, or silent: 1."""
    h = torch.ones(4, 3)
    assert explained(h, torch.tensor([0, 1, FROZEN])) == 0.0
    assert explained(h, torch.tensor([0, 0, 0])) == explained(0 * h, torch.tensor([0, 0, 0])) == 1.0


def test_a_partition_must_fit_the_layers() -> None:
    """Names and numbers of units."""
    captures = plant("linear", nn.ReLU).captures()
    with pytest.raises(ValueError, match="labels 2 units of 'hidden0', which has 8"):
        cloning_r2(captures.activations, captures.errors, partition={"hidden0": [0, 0]})
    with pytest.raises(ValueError, match="labels 1 units of 'hidde', which has 0"):
        cloning_r2(captures.activations, captures.errors, partition={"hidde": [0]})


@pytest.mark.parametrize("kind", KINDS)
def test_the_normal_part_is_a_projection_off_block_constant_matrices(kind: str) -> None:
    """What cloning writes is tangent; P_N is idempotent, symmetric, and of the rank that counting gives."""
    captures = _cloned(kind, nn.ReLU).captures()
    labels = {name: torch.tensor(ids) for name, ids in PARTITION.items()}
    channels = {name: h.shape[1] for name, h in captures.activations.items()}

    def project(direction: dict[str, Tensor]) -> dict[str, Tensor]:
        return normal_part(direction, labels, captures.outgoing, channels)

    rng = torch.Generator().manual_seed(0)
    one, two = (
        {name: torch.randn(w.shape, generator=rng, dtype=DOUBLE) for name, w in captures.weights.items()}
        for _ in range(2)
    )
    normal, once, other = project(dict(captures.weights)), project(one), project(two)
    for name, weights in captures.weights.items():
        assert normal[name].norm() < 1e-14 * weights.norm()
        torch.testing.assert_close(project(once)[name], once[name])
        torch.testing.assert_close((once[name] * two[name]).sum(), (one[name] * other[name]).sum())
    small = plant(kind, nn.ReLU, dtype=DOUBLE).captures().weights
    for name, weights in captures.weights.items():
        eye = torch.eye(weights.numel(), dtype=DOUBLE).reshape(-1, *weights.shape)
        trace = sum(project({name: e})[name].flatten()[i].item() for i, e in enumerate(eye))
        assert trace == pytest.approx(weights.numel() - small[name].numel())


class Forked(nn.Module):
    """Two hidden layers side by side, the first of them CReLU's, and a head that reads both."""

    def __init__(self) -> None:
        """Build it, every unit of both layers twice."""
        super().__init__()
        self.left, self.right, self.head = nn.Linear(5, 6), nn.Linear(5, 4), nn.Linear(16, 2)
        self.left_activation, self.right_activation = Concatenated(nn.ReLU()), nn.Tanh()
        with torch.no_grad():
            for own in (*self.left.parameters(), *self.right.parameters()):
                own.copy_(own[::2].repeat_interleave(2, 0))
            self.head.weight.copy_(self.head.weight[:, ::2].repeat_interleave(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 5) to (B, 2)."""
        left, right = self.left_activation(self.left(x)), self.right_activation(self.right(x))
        outputs: Tensor = self.head(torch.cat([left, right], dim=1))
        return outputs


def test_a_head_reads_several_layers_side_by_side() -> None:
    """Its columns are told apart by layer, half and cluster; the second layer's follow both halves of the first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, x = Forked().double(), torch.randn(40, 5, dtype=DOUBLE)
    layers = {name: (getattr(network, name), getattr(network, f"{name}_activation")) for name in ("left", "right")}
    pairs = {"left": [0, 0, 1, 1, 2, 2], "right": [0, 0, 1, 1]}

    def captures() -> Captures:
        outgoing = {"left": ("head",), "right": ("head",)}
        loss = lambda x: (network(x) - 1).square().sum(dim=1)  # noqa: E731
        return Captures(network, layers, {"head": network.head}, x, outgoing=outgoing, loss=loss)

    c = captures()
    read = tangency(c.loss_gradients, c.activations, c.errors, c.outgoing, partition=pairs)
    assert max(read.values()) < 1e-14
    labels, channels = {name: torch.tensor(ids) for name, ids in pairs.items()}, {"left": 12, "right": 4}
    weights = network.head.weight.detach()
    normal = normal_part({"head": weights}, labels, c.outgoing, channels)["head"]
    assert normal.norm() < 1e-14
    eye = torch.eye(32, dtype=DOUBLE).reshape(-1, 2, 16)
    trace = sum(normal_part({"head": e}, labels, c.outgoing, channels)["head"].flatten()[i] for i, e in enumerate(eye))
    assert float(trace) == pytest.approx(2 * (16 - 6 - 2))
    assert distance_to_clones(c.weights, c.activations, c.outgoing) == {"left": 0.0, "right": 0.0}
    with torch.no_grad():
        network.head.weight[:, [12, 14]] += 1.0
    c = captures()
    assert distance_to_clones(c.weights, c.activations, c.outgoing)["left"] == 0.0
    assert distance_to_clones(c.weights, c.activations, c.outgoing)["right"] > 0.1


def test_what_is_frozen_or_read_in_groups_is_left_out() -> None:
    """A layer whose weights take no gradient, and a convolution of several groups, have no tangency; others have."""
    planted = plant("linear", nn.ReLU)
    planted.network.first.requires_grad_(False)
    c = planted.captures()
    assert clone_normal(c.activations, c.errors, c.loss_gradients).keys() == {"hidden1"}
    assert tangency(c.loss_gradients, c.activations, c.errors, c.outgoing).keys() == {"hidden1", "head"}
    grouped = {"a": torch.ones(4, 3), "b": torch.ones(4, 3)}  # b reads two of a's four channels, and a bias
    labels = {"a": torch.arange(4), "b": torch.arange(4)}
    assert normal_part(grouped, labels, {"a": ["b"]}, {"a": 4, "b": 4}).keys() == {"a"}


# Degrees of freedom.


def _total(captures: Captures) -> float:
    """Return the network's degrees of freedom: its layers' and heads' weighted by their parameters."""
    of = effective_dof(captures.activations, captures.errors, captures.inputs, captures.weights, captures.outgoing)
    sizes = {name: w.numel() for name, w in captures.weights.items()}
    return sum(of[name] * sizes[name] for name in sizes) / sum(sizes.values())


def test_a_network_without_clones_or_frozen_units_is_free() -> None:
    """All of its parameters count; of its clone, as many as before."""
    plain, twice = plant("linear", nn.Tanh, dtype=DOUBLE).captures(), _cloned("linear", nn.Tanh).captures()
    assert _total(plain) == 1.0
    smaller, larger = (sum(w.numel() for w in c.weights.values()) for c in (plain, twice))
    assert _total(twice) == pytest.approx(smaller / larger)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_units_take_their_readers_weights_along(kind: str) -> None:
    """Three of the second layer's 8: their rows, and the columns that read them."""
    planted = plant(kind, nn.ReLU, dtype=DOUBLE)
    with torch.no_grad():
        planted.network.second.weight[:3] = 0.0
        planted.network.second.bias[:3] = 0.0 if "crelu" in kind else -1.0
    c = planted.captures()
    read = effective_dof(c.activations, c.errors, c.inputs, c.weights, c.outgoing)
    halves = 2 if "crelu" in kind else 1
    live = {name: int(labels.max()) + 1 for name, labels in _labels(c).items()}
    assert live["hidden1"] == 5
    columns = c.weights["hidden1"].shape[1] - 1
    assert read["hidden1"] == pytest.approx(5 * (columns * live["hidden0"] / 8 + 1) / (8 * (columns + 1)))
    assert read["head"] == pytest.approx((5 * halves + 1) / (8 * halves + 1))


def test_inputs_that_do_not_vary_count_for_nothing() -> None:
    """Two of the five observations are constant: 3 of 5 columns and the bias are left."""
    planted = plant("linear", nn.Tanh, dtype=DOUBLE)
    planted.observations[:, 1:3] = torch.tensor([0.0, 4.0], dtype=DOUBLE)
    c = planted.captures()
    assert effective_dof(c.activations, c.errors, c.inputs, c.weights, c.outgoing)["hidden0"] == pytest.approx(4 / 6)


# Layers: rank recovery, offset, contraction.


def test_rank_recovery_and_offset_by_hand() -> None:
    """Of z = -1, 1, 3 into ReLU: E f'^2 = 2/3, Var z = 8/3, Var f = 14/9, so 8/7 - 1; offset 1 over (8/3)^(1/2)."""
    z = torch.tensor([[-1.0, -5.0], [1.0, -5.0], [3.0, -6.0]])
    layer = {"h": z}, {"h": z.relu()}, {"h": (z > 0).float()}
    assert rank_recovery(*layer)["h"] == pytest.approx(8 / 7 - 1)  # the dead unit is left out
    assert preactivation_offset({"h": z[:, :1]})["h"] == pytest.approx(1 / math.sqrt(8 / 3))
    assert preactivation_offset({"h": torch.full((5, 2), 0.1)}) == {"h": 0.0}


def test_rank_recovery_of_two_halves_adds_their_variances() -> None:
    """CReLU of a symmetric z: Var f of each half as of ReLU, slopes 1 throughout: the same as ReLU's."""
    z = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    both = rank_recovery({"h": z}, {"h": torch.cat([z, -z], dim=1).relu()}, {"h": torch.ones_like(z)})
    one = rank_recovery({"h": z}, {"h": z.relu()}, {"h": (z > 0).float()})
    assert both == pytest.approx(one)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_contraction_is_that_of_a_second_implementation(seed: int, samples: int) -> None:
    """All pairs, in loops."""
    rng = np.random.default_rng(seed)
    x, h = rng.normal(size=(samples, 4)), rng.normal(size=(samples, 3))
    pairs = list(itertools.combinations(range(samples), 2))
    before, after = (float(np.mean([np.linalg.norm(m[i] - m[j]) for i, j in pairs])) for m in (x, h))
    read = contraction({"h": torch.from_numpy(x)}, {"h": torch.from_numpy(h)})
    assert read["h"] == pytest.approx(after / before)


def test_contraction_of_a_map_that_halves() -> None:
    """Of 5,000 rows too, of which some 250 are looked at; and of inputs that do not vary."""
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    assert contraction({"h": x}, {"h": x / 2})["h"] == pytest.approx(0.5)
    assert contraction({"h": torch.ones(4, 2)}, {"h": torch.ones(4, 2)}) == {"h": 0.0}


@NETWORKS
def test_all_of_them_leave_the_network_as_it_was(kind: str, activation: Callable[[], nn.Module]) -> None:
    """Weights, gradients, mode and the random stream; and every value is finite."""
    planted = _cloned(kind, activation)
    before, state = {n: p.clone() for n, p in planted.network.state_dict().items()}, torch.get_rng_state()
    functions = (
        clone_fraction, clone_normal, cloning_r2, cloning_r2_backward, contraction, distance_to_clones,
        distance_to_frozen, effective_dof, escape_rate, nearest_clone, preactivation_offset, rank_recovery, tangency,
    )  # fmt: skip
    values = measure(planted.captures(), {function.__name__: function for function in functions})
    assert all(math.isfinite(value) for value in values.values())
    assert all(torch.equal(p, before[n]) for n, p in planted.network.state_dict().items())
    assert planted.network.training
    assert all(p.grad is None for p in planted.network.parameters())
    assert torch.equal(torch.get_rng_state(), state)
