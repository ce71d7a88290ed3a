"""Planted flaws: what every probe of units and clones reads of them, for every layer kind and activation, by hand."""

import copy
import math
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import nn

from lopgym.probes.captures import measure
from lopgym.probes.clone_normal import clone_normal
from lopgym.probes.clones import clone_fraction
from lopgym.probes.cloning import cloned, jittered
from lopgym.probes.cloning_r2 import cloning_r2
from lopgym.probes.cloning_r2_backward import cloning_r2_backward
from lopgym.probes.dead import dead_fraction
from lopgym.probes.distance_to_clones import distance_to_clones
from lopgym.probes.distance_to_frozen import distance_to_frozen
from lopgym.probes.dormant import dormant_fraction
from lopgym.probes.duplicate import duplicate_fraction
from lopgym.probes.effective_dof import effective_dof
from lopgym.probes.escape_rate import escape_rate
from lopgym.probes.frozen import frozen_fraction
from lopgym.probes.grama import grama
from lopgym.probes.nearest_clone import nearest_clone
from lopgym.probes.saturated import saturated_fraction
from lopgym.probes.tangency import tangency
from lopgym.probes.zero_gradient import zero_gradient_fraction
from tests.planted import KINDS, MAKE_ACTIVATION, PLACES, UNITS, Planted, plant

Make = Callable[[], nn.Module]
Readings = dict[str, float]

SEED, SAMPLES = 38, 120  # a seed by which no unit of a fresh network is dead or nearly a clone by chance
FLAWED = 5  # of the first layer's 8 units, so that a median is theirs
SHARE = FLAWED / UNITS
FAR = 800.0  # exp(-FAR) is 0 in double precision
PARTITION = {name: [u // 2 for u in range(2 * UNITS)] for name in ("hidden0", "hidden1")}
SPLIT = 0.08 / 0.58  # of a gradient's square that shares of .3 and .7 give .5 -+ .2 of: (.2^2 + .2^2) / (.3^2 + .7^2)

PROBES = {
    "dead": dead_fraction,
    "dormant": partial(dormant_fraction, tau=1e-6),  # units that are FAR off make others look quiet
    "frozen": frozen_fraction,
    "saturated": partial(saturated_fraction, threshold=1e-9),
    "grama": partial(grama, tau=1e-3),
    "zero_gradient": zero_gradient_fraction,
    "duplicate": duplicate_fraction,
    "clones": clone_fraction,
    "nearest": nearest_clone,
    "clone_distance": distance_to_clones,
    "frozen_distance": distance_to_frozen,
    "dof": effective_dof,
    "normal": clone_normal,
    "tangency": tangency,
    "told_tangency": partial(tangency, partition=PARTITION),
    "r2": cloning_r2,
    "told_r2": partial(cloning_r2, partition=PARTITION),
    "told_r2_backward": partial(cloning_r2_backward, partition=PARTITION),
    "escape": partial(escape_rate, steps=40),
}
SILENT_BELOW = (nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU)  # what they return far below 0 is 0
FLAT_BELOW = (*SILENT_BELOW, nn.ELU, nn.Tanh)
FLAT_ABOVE = (nn.Sigmoid, nn.Tanh)
LINES = (nn.ReLU, nn.LeakyReLU)

NETWORKS = pytest.mark.parametrize(
    ("kind", "activation"),
    [pytest.param(k, a, id=f"{k}-{a().__class__.__name__}") for k in KINDS for a in MAKE_ACTIVATION],
)


def _read(planted: Planted, *, told: bool = False) -> Readings:
    """Measure all of them; those that are told the partition where it fits."""
    captures = planted.captures()
    vars(captures)["gradients"] = captures.loss_gradients  # as of training on this very batch
    return measure(captures, {name: probe for name, probe in PROBES.items() if told or not name.startswith("told")})


@cache
def _plain(kind: str, activation: Make) -> tuple[Planted, Readings]:
    """Build a network whose units differ as much as they can: orthogonal weights, no default's small ones."""
    planted = plant(kind, activation, dtype=torch.float64)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(SEED)
        for affine in (planted.network.first, planted.network.second, planted.network.head):
            nn.init.orthogonal_(affine.weight, gain=2.0)
            nn.init.uniform_(affine.bias, 0.0, 0.5)
        observations = torch.randn(SAMPLES, *planted.observations.shape[1:], dtype=torch.float64)
        targets = torch.randn(SAMPLES, *planted.targets.shape[1:], dtype=torch.float64)
    planted = Planted(planted.network, observations, targets)
    return planted, _read(planted)


def _halves(kind: str) -> int:
    return 2 if "crelu" in kind else 1


def _places(kind: str) -> int:
    return PLACES if "convolution" in kind else 1


def _flawed(kind: str, activation: Make, spoil: Callable[[Planted], None]) -> Readings:
    """Spoil a copy of the plain network, and let the second layer's bias make up for what it is given on average."""
    planted = copy.deepcopy(_plain(kind, activation)[0])
    before = planted.captures().pre_activations["hidden1"].mean(dim=0)
    with torch.no_grad():
        spoil(planted)
        planted.network.second.bias += before - planted.captures().pre_activations["hidden1"].mean(dim=0)
    return _read(planted)


def _incoming(planted: Planted) -> list[torch.Tensor]:
    """Return gain and shift of the flawed units: those of the norm, if there is one."""
    network = planted.network
    last = network.first if isinstance(network.norm, nn.Identity) else network.norm
    return [last.weight[:FLAWED], last.bias[:FLAWED]]


def _push(planted: Planted, *, by: float) -> None:
    _incoming(planted)[1].add_(by)


def _mute(planted: Planted) -> None:
    for part in _incoming(planted):
        part.zero_()


def _unread(planted: Planted) -> None:
    halves = planted.network.head.in_features // UNITS
    planted.network.second.weight.reshape(UNITS, halves, UNITS, -1)[:, :, :FLAWED] = 0.0


def _expect(
    read: Readings,
    kind: str,
    *,
    silent: float = 0.0,
    frozen: bool = False,
    unread: bool = False,
    constant: bool = False,
) -> None:
    """Compare what the first layer's probes read with what follows from the construction.

    Args:
        read: by probe and layer.
        kind: of layer.
        silent: share of the flawed units' halves that return 0.
        frozen: the flawed units are flat.
        unread: nobody reads them.
        constant: they do not vary.
    """
    norm = "norm" in kind
    still = SHARE * ((frozen or unread) and not norm)  # behind a norm they move the others' statistics
    free = UNITS - FLAWED * (constant or (unread and not norm))
    columns = UNITS * _halves(kind) * _places(kind)
    expected = {
        "dead": SHARE * silent,
        "dormant": SHARE * silent,
        "frozen": SHARE * frozen,
        "saturated": SHARE * unread,
        "grama": still,
        "zero_gradient": still,
        "duplicate": 0.0,
        "clones": 0.0,
        "r2": 0.0,
        "tangency": 0.0,
        "normal": 0.0,
        "dof": free / UNITS,
    }
    assert {name: read[f"{name}/hidden0"] for name in expected} == pytest.approx(expected, abs=1e-14)
    assert read["nearest/hidden0"] < 0.95
    assert read["clone_distance/hidden0"] > 0
    # What reads them: the weights by which it reads what is 0 do not move, and what is constant is but a bias.
    assert read["zero_gradient/hidden1"] == pytest.approx(SHARE * silent * columns / (columns + 1))
    assert read["dof/hidden1"] == pytest.approx((columns * free / UNITS + 1) / (columns + 1))
    assert read["dof/head"] == pytest.approx(1.0)
    assert ("escape/hidden0" in read) is not norm
    assert norm or (read["escape/hidden0"] > 0) is not frozen


@NETWORKS
def test_before_planting_nothing_is_read(kind: str, activation: Make) -> None:
    """No unit is dead, frozen or a clone, all parameters are free: what is read below is what was planted."""
    read = _plain(kind, activation)[1]
    for name in ("dead", "dormant", "frozen", "saturated", "grama", "zero_gradient", "duplicate", "clones", "r2"):
        assert all(value == 0 for tag, value in read.items() if tag.startswith(f"{name}/")), name
    assert all(value == pytest.approx(1.0) for tag, value in read.items() if tag.startswith("dof/"))
    assert all(value < 1e-14 for tag, value in read.items() if tag.startswith("tangency/"))


@NETWORKS
@pytest.mark.parametrize("way", [-1, 1], ids=["down", "up"])
def test_units_far_off(way: int, kind: str, activation: Make) -> None:
    """Far below 0 or far above: dead where the activation ends at 0, saturated where it is flat, else alive.

    CReLU's halves stand at opposite ends, so its unit is frozen only where both ends are flat.
    """
    ends = [way, -way][: _halves(kind)]
    silent = sum(end < 0 and activation in SILENT_BELOW for end in ends) / len(ends)
    flat = all(activation in (FLAT_BELOW if end < 0 else FLAT_ABOVE) for end in ends)
    read = _flawed(kind, activation, partial(_push, by=way * FAR))
    _expect(read, kind, silent=silent, frozen=flat, constant=flat)
    # A bias of 800 is nearly all there is of a unit: 1 in a thousand of it tells it from the next.
    assert (read["clone_distance/hidden0"] < 0.01) is ("norm" not in kind)
    rectified = activation is nn.ReLU and kind in ("linear", "convolution")
    assert ("frozen_distance/hidden0" in read) is rectified


@NETWORKS
def test_units_that_say_nothing(kind: str, activation: Make) -> None:
    """Incoming weights and bias are 0: dead where f(0) = 0, and frozen where f'(0) = 0, as torch has it of ReLU."""
    read = _flawed(kind, activation, _mute)
    _expect(read, kind, silent=float(activation is not nn.Sigmoid), frozen=activation is nn.ReLU, constant=True)
    assert read["clone_distance/hidden0"] > 0.05


@NETWORKS
def test_units_that_nobody_reads(kind: str, activation: Make) -> None:
    """Outgoing weights are 0: alive and not frozen, but saturated as the authors mean it, and without a gradient."""
    _expect(_flawed(kind, activation, _unread), kind, unread=True)


def _twice(kind: str, activation: Make, jitter: float = 0.0, **options: list[float]) -> Readings:
    plain = _plain(kind, activation)[0]
    network = cloned(plain.network, halves=_halves(kind), **options)
    moved = jittered(network, jitter, torch.Generator().manual_seed(0)) if jitter else network
    return _read(Planted(moved, plain.observations, plain.targets), told=True)


def _expect_twins(read: Readings, kind: str) -> None:
    """Compare what is read of both layers where each unit has a clone, however exact."""
    columns = 2 * UNITS * _halves(kind)
    dof = {"hidden0": 0.5, "head": (columns / 2 + 1) / (columns + 1)}
    columns *= _places(kind)
    dof["hidden1"] = (columns / 2 + 1) / (columns + 1) / 2
    assert {name: read[f"dof/{name}"] for name in dof} == pytest.approx(dof)
    for layer in ("hidden0", "hidden1"):
        assert {read[f"{name}/{layer}"] for name in ("duplicate", "clones")} == {1.0}
        quiet = {read[f"{n}/{layer}"] for n in ("dead", "dormant", "frozen", "saturated", "grama", "zero_gradient")}
        assert quiet == {0.0}


@NETWORKS
def test_clones(kind: str, activation: Make) -> None:
    """Exact ones of equal shares: on the manifold, by every probe, and their gradient is tangent to it."""
    read = _twice(kind, activation)
    _expect_twins(read, kind)
    for layer in ("hidden0", "hidden1"):
        assert read[f"clone_distance/{layer}"] == 0.0
        for name in ("nearest", "r2", "told_r2", "told_r2_backward"):
            assert read[f"{name}/{layer}"] == pytest.approx(1.0, abs=1e-12)
        assert read[f"normal/{layer}"] < 1e-20
    for layer in ("hidden0", "hidden1", "head"):
        assert read[f"tangency/{layer}"] < 1e-13
        assert read[f"told_tangency/{layer}"] < 1e-13
    if activation in LINES and "norm" not in kind:  # what reads it is told half the error, twice: 1 / 2 of sqrt(2)
        rate = _plain(kind, activation)[1]["escape/hidden0"] * math.sqrt(0.5)
        assert read["escape/hidden0"] == pytest.approx(rate, rel=1e-9)


@NETWORKS
def test_jittered_clones(kind: str, activation: Make) -> None:
    """Clones to a thousandth: still found, and told from exact ones by every probe that has no threshold."""
    read = _twice(kind, activation, jitter=1e-3)
    _expect_twins(read, kind)
    for layer in ("hidden0", "hidden1"):
        assert 1e-5 < read[f"clone_distance/{layer}"] < 2e-3
        for name in ("nearest", "r2", "told_r2", "told_r2_backward"):
            assert 1e-9 < 1 - read[f"{name}/{layer}"] < 0.02
        assert 1e-12 < read[f"normal/{layer}"] < 1e-2
        assert 1e-6 < read[f"told_tangency/{layer}"] < 0.1


@NETWORKS
def test_unequal_splits(kind: str, activation: Make) -> None:
    """Shares of .3 and .7: they say the same, but are told .3 and .7 of one thing, and no manifold keeps them."""
    read = _twice(kind, activation, shares=[0.3, 0.7])
    for layer in ("hidden0", "hidden1"):
        assert read[f"duplicate/{layer}"] == 1.0
        assert read[f"told_r2/{layer}"] == pytest.approx(1.0, abs=1e-12)
        assert read[f"told_r2_backward/{layer}"] < 0.95
    plain = _plain(kind, activation)[0].captures()
    own = plain.weights["hidden0"].square().sum(dim=1)
    out = plain.weights["hidden1"][:, :-1].reshape(UNITS, _halves(kind), UNITS, -1).square().sum(dim=(0, 1, 3))
    out = 2 * out  # by either clone of a reader
    nearest = (0.08 * out / (2 * own + 0.58 * out)).sqrt().amin().item()
    assert read["clone_distance/hidden0"] == pytest.approx(nearest, rel=1e-9)
    told = ["hidden1"] if "norm" in kind else ["hidden0", "hidden1"]
    for layer in told:  # behind a norm, what moves the others' statistics comes on top
        assert read[f"clones/{layer}"] == 1.0
        assert read[f"nearest/{layer}"] == pytest.approx(1.0, abs=1e-12)
        assert read[f"tangency/{layer}"] == pytest.approx(read[f"told_tangency/{layer}"])
    if "norm" in kind:
        assert read["told_tangency/hidden0"] > 0.3
    else:
        _expect_twins(read, kind)
        assert read["normal/hidden0"] == pytest.approx(SPLIT)
        assert read["tangency/hidden0"] == pytest.approx(math.sqrt(SPLIT))
        assert read["tangency/hidden1"] > 0.3


def test_a_group_norm_keeps_its_groups() -> None:
    """Cloned, a group holds twice as many units with the same statistics, and gain and shift go with the unit."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 6, 2), nn.GroupNorm(3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 2))
        nn.init.normal_(network[1].weight)
        nn.init.normal_(network[1].bias)
        x = torch.randn(5, 2, 4, 4)
    twin = cloned(network)
    assert (twin[1].num_groups, twin[1].num_channels) == (3, 12)
    torch.testing.assert_close(twin(x), network(x))
    with pytest.raises(ValueError, match="group norm"):
        cloned(network, scales=[1.0, 2.0])
