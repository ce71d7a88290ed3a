"""Ways out: how fast clones part and how far units are from being frozen, against second implementations."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.distance_to_frozen import distance_to_frozen, distances_to_silence
from lopgym.probes.escape_rate import escape_rate, escape_rates
from tests.planted import KINDS, MAKE_ACTIVATION, UNITS, Concatenated, Planted, plant

Matrix = NDArray[np.float64]
NETWORKS = pytest.mark.parametrize(
    ("kind", "activation"),
    [pytest.param(k, a, id=f"{k}-{a().__class__.__name__}") for k in KINDS for a in MAKE_ACTIVATION],
)
DOUBLE = torch.float64


# Escape rates.


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_escape_rates_are_those_of_the_matrices_written_out(seed: int, ins: int, outs: int, curved: bool) -> None:
    """By singular values, or eigenvalues of the block, one unit at a time."""
    rng = torch.Generator().manual_seed(seed)
    x, f, g, c = (torch.randn(20, n, generator=rng, dtype=DOUBLE) for n in (ins, 4, outs, 4))
    f[:, 0] = 0.0
    found = escape_rates(x, f, g, c if curved else None, steps=ins + outs)
    for u in range(4):
        m = torch.einsum("bi,b,bk->ik", x, f[:, u], g) / 20
        a = torch.einsum("bi,b,bj->ij", x, c[:, u], x) / 40 if curved else torch.zeros(ins, ins, dtype=DOUBLE)
        block = torch.cat([torch.cat([a, m], dim=1), torch.cat([m.T, torch.zeros(outs, outs)], dim=1)])
        expected = max(0.0, -torch.linalg.eigvalsh(block)[0].item())
        assert found[u].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_ten_steps_find_the_rate_of_wide_layers() -> None:
    """Of 64 units between 32 inputs and 64 readers, each to 2 % and their median to 1 %, without structure to help."""
    rng = torch.Generator().manual_seed(0)
    x, z, g = (torch.randn(256, n, generator=rng) for n in (33, 64, 64))
    slopes = (z > 0).float()
    exact = torch.stack([torch.linalg.matrix_norm((x * slopes[:, [u]]).T @ g / 256, 2) for u in range(64)]).double()
    found = escape_rates(x, slopes, g)
    assert (found <= exact * (1 + 1e-6)).all()  # Ritz values come from below
    assert (found / exact).min() > 0.98
    assert (found.median() / exact.median()).item() == pytest.approx(1.0, abs=0.01)


def _split_apart(planted: Planted, layer: str, unit: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """Split a unit in two equal ones; return the mean loss by how far they moved apart, and in how many directions."""
    network, halves = planted.network, 2 if isinstance(planted.network.first_activation, Concatenated) else 1
    names = ("first", "second") if layer == "hidden0" else ("second", "head")
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    weight, bias, read = (parameters[f"{names[p > 1]}.{'bias' if p == 1 else 'weight'}"] for p in range(3))
    out = read.reshape(len(read), halves, UNITS, -1)
    sizes = [weight[0].numel(), 1, out[:, :, 0].numel()]

    def loss(apart: Tensor) -> Tensor:
        w, b, v = (part / math.sqrt(2) for part in apart.split(sizes))
        w, b, v = w.reshape(weight[:1].shape), b, v.reshape(out[:, :, :1].shape)

        def split(whole: Tensor, part: Tensor, axis: int, share: float) -> Tensor:
            one = whole.narrow(axis, unit, 1) * share
            left, right = whole.narrow(axis, 0, unit), whole.narrow(axis, unit + 1, whole.shape[axis] - unit - 1)
            return torch.cat([left, one + part, one - part, right], dim=axis)

        moved = {
            f"{names[0]}.weight": split(weight, w, 0, 1.0),
            f"{names[0]}.bias": split(bias, b, 0, 1.0),
            f"{names[1]}.weight": split(out, v, 2, 0.5).flatten(1),
        }
        outputs: Tensor = torch.func.functional_call(network, parameters | moved, (planted.observations,))
        return (outputs - planted.targets).square().sum(dim=1).mean()

    return loss, sum(sizes)


SPLIT = {"linear": ("hidden0", "hidden1"), "layer_norm": ("hidden1",), "convolution_norm": ("hidden1",)}


@NETWORKS
def test_the_escape_rate_is_that_of_the_unit_split(kind: str, activation: Callable[[], nn.Module]) -> None:
    """By the Hessian of autograd, every unit split one by one: the median of all of them, to 1e-9.

    Of images that are flattened and of two halves too; a unit behind a norm cannot be split alone.
    """
    planted = plant(kind, activation, dtype=DOUBLE)
    read = measure(planted.captures(), {"escape_rate": partial(escape_rate, steps=200)})
    layers = SPLIT.get(kind, ("hidden0", "hidden1"))
    assert read.keys() == {f"escape_rate/{layer}" for layer in layers}
    for layer in layers:
        rates = []
        for unit in range(UNITS):
            loss, size = _split_apart(planted, layer, unit)
            hessian = torch.autograd.functional.hessian(loss, torch.zeros(size, dtype=DOUBLE), vectorize=True)
            rates.append(-torch.linalg.eigvalsh(hessian)[0])
        expected = torch.stack(rates).quantile(0.5).item()
        assert expected > 0
        assert read[f"escape_rate/{layer}"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("last", "samples"), [(nn.Conv2d(8, 3, 1), 9), (nn.Conv2d(8, 3, 2), 0), (nn.Conv2d(8, 3, 3), 1)]
)
def test_escape_of_a_convolution_that_a_convolution_reads(last: nn.Conv2d, samples: int) -> None:
    """Where its places do not overlap: a kernel of 1, or one as large as the image; else it is left out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 8, 2), nn.ReLU(), last).double()
    x = torch.randn(20, 2, 4, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    captures = Captures(
        network,
        {"h": (network[0], network[1])},
        {"head": last},
        x,
        loss=lambda x: (network(x) - 1).square().sum(dim=(1, 2, 3)),
    )
    read = measure(captures, {"escape_rate": partial(escape_rate, steps=200)})
    if not samples:
        assert read == {}
        return
    z = captures.pre_activations["h"].reshape(20, 9, 8)
    windows = captures.inputs["h"].reshape(20, 9, -1)
    g = captures.errors["head"].reshape(20, samples, 3)
    into = "bpi,bp,bpk->ik" if samples == 9 else "bpi,bp,bqk->ipk"
    rates = [
        torch.linalg.matrix_norm(torch.einsum(into, windows, (z[..., u] > 0).double(), g).flatten(1) / 20, 2)
        for u in range(8)
    ]
    assert read["escape_rate/h"] == pytest.approx(torch.stack(rates).quantile(0.5).item(), rel=1e-9)


def test_lines_do_not_pay_for_the_curvature() -> None:
    """Curvatures of exactly 0 give the very numbers that none give."""
    rng = torch.Generator().manual_seed(0)
    x, f, g = (torch.randn(20, n, generator=rng) for n in (33, 4, 17))
    assert torch.equal(escape_rates(x, f, g, 0 * f, steps=5), escape_rates(x, f, g, steps=5))


# Distance to frozen.


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_the_distance_to_frozen_is_that_of_a_second_implementation(kind: str) -> None:
    """By SciPy's non-negative least squares: the distance to a cone is the length of the nearest combination of x_b."""
    c = plant(kind, nn.ReLU, dtype=DOUBLE).captures()
    for layer, reader, places in (("hidden0", "hidden1", 4 if kind == "convolution" else 1), ("hidden1", "head", 1)):
        x, w = c.inputs[layer], c.weights[layer]
        combinations = [torch.from_numpy(nnls(x.T.numpy(), row.numpy())[0]) for row in w]
        exact = torch.stack([(x.T @ combination).norm() for combination in combinations])
        found = distances_to_silence(x, w, steps=3000)
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=0.0)
        quick = distances_to_silence(x, w)
        assert (quick <= exact * (1 + 1e-9)).all()
        assert (quick >= 0.9 * exact).all()
        out = c.weights[reader][:, :-1].reshape(-1, UNITS, places).square().sum(dim=(0, 2))
        whole = (exact / (w.square().sum(dim=1) + out).sqrt())[exact > 0].quantile(0.5).item()
        read = measure(c, {"distance_to_frozen": partial(distance_to_frozen, steps=3000)})
        assert read[f"distance_to_frozen/{layer}"] == pytest.approx(whole, rel=1e-6)


def test_the_distance_to_frozen_falls_to_zero_as_units_are_pushed_down() -> None:
    """Farther down is nearer; where all are silent it is 0, and dead units beside live ones do not count."""
    read = []
    for shift in (0.0, 0.25, 0.5, 0.75, 100.0):
        planted = plant("linear", nn.ReLU, dtype=DOUBLE)
        with torch.no_grad():
            planted.network.first.bias -= shift
        read.append(measure(planted.captures(), {"d": distance_to_frozen})["d/hidden0"])
    assert read == sorted(read, reverse=True)
    assert 1 > read[0] > read[3] > read[4] == 0.0
    x, z = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, -1.0], [-4.0, -1.0]])
    one = {"h": x}, {"h": z.T}, {"h": z}, {"h": (z > 0).float()}, {"h": ()}, ("h",)
    assert distance_to_frozen(*one) == {"h": pytest.approx(3 / 5)}


def test_the_distance_to_frozen_is_of_rectifiers_alone() -> None:
    """Not of what never is flat, of what is so in the limit or of both halves, nor behind a norm."""
    for kind, activation, layers in (
        ("linear", nn.ReLU, {"hidden0", "hidden1"}),
        ("layer_norm", nn.ReLU, {"hidden1"}),
        ("crelu", nn.ReLU, set[str]()),
        ("linear", nn.LeakyReLU, set[str]()),
        ("linear", nn.Tanh, set[str]()),
        ("linear", nn.GELU, set[str]()),
    ):
        read = measure(plant(kind, activation).captures(), {"": distance_to_frozen})
        assert read.keys() == {f"/{layer}" for layer in layers}
