"""Targeted escape: what the theory says of clones and frozen units, used."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations.columns import by_unit, pack, unpack
from lopgym.agents.mitigations.split_size import step_size, unlike
from lopgym.agents.mitigations.splitting import Clusters, Coupling, split
from lopgym.agents.mitigations.targeted_escape import TargetedEscape
from lopgym.agents.mitigations.waking import MARGIN, least_norm, nearest_rows, waking_shift
from lopgym.agents.reset_units import outgoing_columns
from lopgym.probes.cloning import cloned
from lopgym.probes.escape_rate import escape_rates
from tests.bench import (
    NETWORKS,
    SAMPLES,
    Bench,
    crelu,
    mlp,
    normed,
    relative,
    sweep,
)

# Targeted escape: waking.


def _shortest_by_trying(rows: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Try every set of constraints to be met with equality; keep the shortest solution that meets all."""
    best = None
    for size in range(1, len(rows) + 1):
        for chosen in itertools.combinations(range(len(rows)), size):
            v = np.linalg.lstsq(rows[[*chosen]], least[[*chosen]], rcond=None)[0]
            if (rows @ v >= least - 1e-9).all() and (best is None or np.linalg.norm(v) < np.linalg.norm(best)):
                best = v
    return best


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4))
def test_least_norm_is_the_best_of_all_active_sets(seed, n, width):
    """Against trying them all."""
    rng = np.random.default_rng(seed)
    rows = np.hstack([rng.normal(size=(n, width)), np.ones((n, 1))])
    least = rng.uniform(0.1, 3, size=1) - rows @ np.append(rng.normal(size=width), 0)  # rows u for some u
    least = np.maximum(least, 0.01) if n <= width else least
    expected = _shortest_by_trying(rows, least) if (least > 0).any() else np.zeros(width + 1)
    found = least_norm(torch.tensor(rows), torch.tensor(least)).numpy()
    assert (rows @ found >= least - 1e-8).all()
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=1e-6, abs=1e-9)


def test_least_norm_with_equal_and_dependent_rows():
    """Many one-hot samples are the same sample: no set of them is singular for it."""
    rows = torch.tensor([[1.0, 0.0, 1.0]] * 5 + [[0.0, 1.0, 1.0]] * 3 + [[1.0, 1.0, 1.0]]).double()
    weights = torch.tensor([-1.0, -2.0, -0.5]).double()
    shift = waking_shift(rows, weights)
    assert ((rows @ (weights + shift)) > 0).all()
    margin = MARGIN * float(-(rows @ weights).mean())
    expected = _shortest_by_trying(np.unique(rows.numpy(), axis=0), np.array([2.5, 1.5, 3.5]) + margin)
    assert shift.norm().item() == pytest.approx(np.linalg.norm(expected), rel=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.123, 0.25, 1.0])
def test_waking_lies_between_its_bounds(share):
    """No shorter than the n-th distance, no longer than a shift of the bias alone."""
    rng = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(100, 1, 5, generator=rng), torch.ones(100, 1, 1)], dim=2).double()
    weights = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -9.0]).double()
    rows = nearest_rows(x, weights, share)
    assert len(rows) == math.ceil(100 * share)
    length = waking_shift(rows, weights).norm().item()
    distances = ((x[:, 0] @ weights).abs() / x[:, 0].norm(dim=1)).sort().values
    z = rows @ weights
    assert distances[len(rows) - 1] <= length <= (-z).max() - MARGIN * z.mean()
    assert share > 0.01 or length == pytest.approx((1 + MARGIN) * distances[0].item(), rel=1e-6)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_frozen_units_wake_and_the_function_stays(name):
    """On at least `share` of the observations they speak; nothing of it is heard yet, and Adam has forgotten them."""
    make, shape, _ = NETWORKS[name]
    bench = Bench(make(), shape, optimizer=torch.optim.Adam)
    layer = bench.learner.layers[1]
    (reader,) = layer.outgoing
    for _ in range(3):
        bench.update()
    with torch.no_grad():
        layer.incoming.bias[:2] = -50.0
    state, columns = (
        bench.learner.optimizer.state,
        outgoing_columns(reader, torch.arange(len(layer.incoming.weight)) < 2),
    )
    before, rows = bench.outputs(), layer.incoming.weight.clone()
    assert state[layer.incoming.weight]["exp_avg"][:2].any()
    assert state[reader.weight]["exp_avg_sq"][:, columns].any()
    speak = (bench.captures().activations[layer.name] > 0).any(dim=0)
    method = TargetedEscape(every=1, batch=SAMPLES, threshold=1.0, share=0.3)
    sweep(bench, method)
    assert bench.reports["woken_units"] >= 2
    assert relative(bench.outputs(), before) < 1e-12
    said = bench.captures().activations[layer.name].reshape(SAMPLES, -1, len(layer.incoming.weight))
    heard = (said[:, :, :2] > 0).any(dim=1).double().mean(dim=0)
    assert (heard >= 0.3).all()
    assert (heard < 0.6).all()
    assert torch.equal(layer.incoming.weight[speak], rows[speak])
    for moment in ("exp_avg", "exp_avg_sq"):
        assert not state[layer.incoming.weight][moment][:2].any()
        assert not state[layer.incoming.bias][moment][:2].any()
        assert not state[reader.weight][moment][:, columns].any()
        assert state[reader.weight][moment][:, ~columns].any()
    assert not by_unit(reader.weight, len(layer.incoming.weight), 1)[:, :, :2].any()
    bench.update()
    assert by_unit(reader.weight, len(layer.incoming.weight), 1)[:, :, :2].abs().sum((0, 1, 3)).all()


def test_moments_of_woken_units_stay_if_asked():
    """Bit for bit."""
    bench = Bench(mlp(), optimizer=torch.optim.Adam)
    bench.update()
    with torch.no_grad():
        bench.network[2].bias[:2] = -50.0
    moments = [copy.deepcopy(bench.learner.optimizer.state[p]["exp_avg"]) for p in bench.network.parameters()]
    sweep(bench, TargetedEscape(every=1, batch=SAMPLES, threshold=1.0, moments=False))
    assert bench.reports["woken_units"] >= 2
    for parameter, moment in zip(bench.network.parameters(), moments, strict=True):
        assert torch.equal(bench.learner.optimizer.state[parameter]["exp_avg"], moment)


def test_what_frozen_units_said_all_the_time_goes_to_the_bias():
    """Of a rectifier whose floor is 0.7 they said that, and it is not lost; the target's readers follow if asked."""

    class Floor(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.relu(z) + 0.7

    bench = Bench(mlp(Floor))
    with torch.no_grad():
        for network in (bench.network, bench.learner.target):
            network[2].bias[:3] = -50.0
    before = bench.outputs()
    sweep(bench, TargetedEscape(every=1, batch=SAMPLES, threshold=1.0, target=True))
    assert bench.reports["woken_units"] >= 3
    assert not bench.network[4].weight[:, :3].any()
    assert relative(bench.outputs(), before) < 1e-12
    assert relative(bench.learner.target(bench.x).detach(), before) < 1e-12


def test_waking_adds_up_its_shifts():
    """By hand: one unit, two samples; x = (3, 4) and z = -26 is the nearer one, so v = 1.01 * (3, 4, 1)."""
    network = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-26.0)
    bench = Bench(network, (2,))
    bench.x = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).double()
    sweep(bench, TargetedEscape(every=1, batch=2, share=0.5))
    torch.testing.assert_close(network[0].weight.detach(), torch.tensor([[3.03, 4.04]]).double())
    assert network[0].bias.item() == pytest.approx(-26 + 1.01)
    assert bench.reports["waking_shift"] == pytest.approx(1.01 * math.sqrt(26))


# Targeted escape: splitting.


def _explicit(inputs: Tensor, slopes: Tensor, errors: Tensor) -> Tensor:
    """M_u = E[f'(z_u) x g^T] of each unit, (U, I + 1, K), sample by sample."""
    return sum(torch.einsum("u,i,k->uik", f, x, g) for f, x, g in zip(slopes, inputs, errors, strict=True)) / len(
        inputs
    )


def test_coupling_is_the_closed_form():
    """Against M_u written out; the rate of no direction exceeds that of the probe, which knows the fastest."""
    bench = Bench(cloned(mlp()))
    layer, c = bench.learner.layers[0], bench.captures()
    coupling = Coupling(layer, bench.heard(), 1)
    explicit = _explicit(c.inputs["q.hidden0"], c.derivatives["q.hidden0"], c.errors["q.hidden1"])
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(16, 7, generator=rng, dtype=torch.float64)
    b = torch.randn(16, 16, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(coupling.across(b), torch.einsum("uik,uk->ui", explicit, b))
    torch.testing.assert_close(coupling.back(a), torch.einsum("uik,ui->uk", explicit, a))
    labels = torch.arange(8).repeat_interleave(2)
    parting = split(coupling, Clusters(labels, torch.ones(16, dtype=torch.bool)), (a, b))
    fastest = escape_rates(c.inputs["q.hidden0"], c.derivatives["q.hidden0"], c.errors["q.hidden1"], steps=30)
    live = fastest > 1e-9
    assert (parting.rates <= fastest * (1 + 1e-9)).all()
    assert (parting.rates[live] > 0.3 * fastest[live]).all()


@pytest.mark.parametrize("name", ["mlp", "conv", "crelu", "crelu conv"])
def test_a_split_has_the_curvature_that_its_rate_says(name):
    """d^T H d = -rate, H the Hessian of the loss by automatic differentiation: of each cluster by itself."""
    make, shape, halves = NETWORKS[name]
    bench = Bench(cloned(make(), halves=halves), shape)
    hvp = bench.captures().hvp
    for layer in bench.learner.layers:
        units = len(layer.incoming.weight)
        labels = torch.arange(units // 2).repeat_interleave(2)
        readers = [m.weight for m in layer.outgoing]
        rng = torch.Generator().manual_seed(1)
        inside = layer.incoming.weight.flatten(1).shape[1] + 1
        outside = pack(readers, units, halves).shape[1]
        noise = tuple(torch.randn(units, n, generator=rng, dtype=torch.float64) for n in (inside, outside))
        parting = split(
            Coupling(layer, bench.heard(), halves), Clusters(labels, torch.ones(units, dtype=torch.bool)), noise
        )
        reader = next(n for n, m in _maps(bench.learner).items() if m is layer.outgoing[0])
        for cluster in (0, units // 2 - 1):
            mine = (labels == cluster)[:, None]
            columns = unpack(parting.outgoing * mine, readers, halves)[0].flatten(1)
            direction = {
                layer.name: parting.incoming * mine,
                reader: torch.cat([columns, torch.zeros(len(columns), 1, dtype=torch.float64)], dim=1),
            }
            assert sum(d.square().sum() for d in direction.values()) == pytest.approx(1.0)
            bent = sum((direction[n] * hvp(direction)[n]).sum().item() for n in direction)
            assert bent == pytest.approx(-parting.rates[2 * cluster].item(), rel=1e-6, abs=1e-12)


def _maps(learner: Learner) -> dict[str, nn.Module]:
    return {layer.name: layer.incoming for layer in learner.layers} | dict(learner.heads)


def _apart(bench: Bench) -> Tensor:
    """Return how far each pair of clones of the first layer is apart, incoming and outgoing."""
    rows = torch.cat([bench.network[0].weight, bench.network[0].bias[:, None]], dim=1)
    both = torch.cat([rows, bench.network[2].weight.T], dim=1).detach()
    return (both[::2] - both[1::2]).norm(dim=1) / math.sqrt(2)


def test_a_split_has_its_length_and_grows_as_it_says():
    """Its shorter side is t (1 + eta r)^-10 of its weights; it grows by 1 + eta r or more in the next step."""
    bench = Bench(cloned(mlp()), lr=0.05)
    method = TargetedEscape(every=1, batch=SAMPLES, threshold=1 - 2e-10, share=0.0)
    method.begin(bench.learner)
    inside = torch.cat([bench.network[0].weight, bench.network[0].bias[:, None]], dim=1).detach()
    outside = bench.network[2].weight.T.detach()
    theta = math.sqrt(2) * torch.minimum(*(side.unflatten(0, (8, 2)).norm(dim=(1, 2)) for side in (inside, outside)))
    c = bench.captures()
    fastest = escape_rates(c.inputs["q.hidden0"], c.derivatives["q.hidden0"], c.errors["q.hidden1"], steps=30)[::2]
    bench.update(method)
    method._witness.close()
    first = _apart(bench)
    split_ones = first > 0
    assert split_ones.sum() >= 6
    t = unlike(1 - 2e-10)
    assert t == pytest.approx(1e-5, rel=1e-6)
    size = (first / (theta * t))[split_ones]
    rates = (size**-0.1 - 1) / 0.05
    assert (rates > 0.3 * fastest[split_ones]).all()
    assert (rates < 1.1 * fastest[split_ones]).all()
    bench.update()
    growth = (_apart(bench) / first)[split_ones]
    assert (growth > 1 + 0.05 * rates * 0.8).all()


@pytest.mark.parametrize("gain", [0.001, 1.0, 1000.0])
def test_a_split_is_no_longer_than_it_takes(gain):
    """Clones that are read faintly, such as a policy's at its start, or loudly: no side moves by more than t of it."""
    network = cloned(mlp(sizes=(6, 8, 3)))
    with torch.no_grad():
        network[2].weight *= gain
    bench, t = Bench(network, lr=0.0), unlike(0.9)
    method = TargetedEscape(every=1, batch=SAMPLES, threshold=0.9, share=0.0)
    method.begin(bench.learner)
    rows, columns, said = network[0].weight.clone(), network[2].weight.clone(), bench.outputs()
    bench.update(method)
    assert bench.reports["split_units"] >= 12
    moved = [(now - was).norm() / was.norm() for now, was in ((network[0].weight, rows), (network[2].weight, columns))]
    assert 0.9 * t < max(moved) < 1.1 * t  # eta is 0, so nothing grows; biases are left out
    assert relative(bench.outputs(), said) < 0.1


def test_units_that_are_told_apart_are_not_split():
    """They say the same, but the gradient parts them by itself; told alike, up to a factor, they are split."""
    for share, split_units in ((-1.0, 0.0), (3.0, 8.0)):
        network = mlp(nn.Tanh, sizes=(6, 8, 3))
        with torch.no_grad():
            network[0].weight[1::2], network[0].bias[1::2] = network[0].weight[::2], network[0].bias[::2]
            network[2].weight[:, 1::2] = share * network[2].weight[:, ::2]
        bench = Bench(network)
        method = TargetedEscape(every=1, batch=SAMPLES)
        method.begin(bench.learner)
        bench.update(method)
        assert bench.reports["split_units"] == split_units


def test_units_are_split_before_others_wake():
    """What waking adds to the weights of a reader is no reason for a longer split."""
    moved = []
    for share in (0.0, 0.3):
        network = cloned(mlp())
        with torch.no_grad():
            network[2].bias[:4] = -1e3
        bench = Bench(network, lr=0.0)
        method = TargetedEscape(every=1, batch=SAMPLES, share=share)
        method.begin(bench.learner)
        before = network[0].weight.clone()
        bench.update(method)
        assert bench.reports["split_units"] >= 12
        assert (bench.reports["woken_units"] >= 4) == (share > 0)
        moved.append(network[0].weight - before)
    assert torch.equal(*moved)


def test_a_split_preserves_the_function_to_first_order():
    """A tenth of the length, a hundredth of the change."""
    changes = []
    for t in (1e-2, 1e-3):
        bench = Bench(cloned(mlp(nn.Tanh)))
        method = TargetedEscape(every=1, batch=SAMPLES, threshold=(1 - t**2) / (1 + t**2), share=0.0)
        method.begin(bench.learner)
        bench.update()
        before = bench.outputs()
        method.after_step(bench.learner)
        changes.append((bench.outputs() - before).norm().item())
        assert bench.reports["split_units"] >= 12
    assert 95 < changes[0] / changes[1] < 105


def test_clones_leave_their_manifold_for_good():
    """What gradient descent alone never does: the clones' activations part, degrees of freedom come back."""
    freed, stuck = Bench(cloned(mlp()), lr=0.05), Bench(cloned(mlp()), lr=0.05)
    method = TargetedEscape(every=20, batch=SAMPLES)
    method.begin(freed.learner)
    for _ in range(200):
        freed.update(method)
        stuck.update()
    assert stuck.dof() < 0.5
    assert freed.dof() > 0.8


def test_adams_step_size_by_hand():
    """Lr / (sqrt(mean v) + eps), v corrected for its start; plain descent's is the learning rate."""
    bench = Bench(mlp(), optimizer=torch.optim.Adam, lr=0.01)
    units = torch.tensor([True] + [False] * 7)
    layer = bench.learner.layers[0]
    assert step_size(bench.learner.optimizer, layer, units) == 0.01
    bench.update()  # after one step v is the squared gradient
    weight, bias, following = bench.network[0].weight.grad, bench.network[0].bias.grad, bench.network[2].weight.grad
    squares = torch.cat([weight[0], bias[:1], following[:, 0]]).square()
    expected = 0.01 / (squares.mean().sqrt().item() + 1e-8)
    assert step_size(bench.learner.optimizer, layer, units) == pytest.approx(expected)
    plain = Bench(mlp(), lr=0.03)
    assert step_size(plain.learner.optimizer, plain.learner.layers[0], units) == 0.03


def test_behind_a_norm_escape_leaves_layers_alone():
    """And says so."""
    bench = Bench(cloned(normed()))
    method = TargetedEscape(every=1, batch=SAMPLES)
    method.begin(bench.learner)
    bench.update()
    before = {key: value.clone() for key, value in bench.network.state_dict().items()}
    method.after_step(bench.learner)
    assert bench.reports["layers_left_alone"] == 2
    assert all(torch.equal(value, before[key]) for key, value in bench.network.state_dict().items())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.LeakyReLU, crelu])
def test_units_that_cannot_freeze_are_never_woken(activation):
    """Their slope is nowhere 0, so a large bias makes them no frozen units."""
    bench = Bench(mlp(activation))
    with torch.no_grad():
        bench.network[0].bias.fill_(-50.0)
    sweep(bench, TargetedEscape(every=1, batch=SAMPLES))
    assert bench.reports["woken_units"] == 0


def test_escape_moves_the_target_if_asked():
    """By the very same change; a target that was equal stays equal."""
    bench = Bench(cloned(mlp()), lr=0.0)
    with torch.no_grad():
        for network in (bench.network, bench.learner.target):
            network[2].bias[:2] = -50.0
    method = TargetedEscape(every=1, batch=SAMPLES, target=True)
    method.begin(bench.learner)
    bench.update(method)
    assert bench.reports["split_units"] > 0
    assert bench.reports["woken_units"] >= 2
    for own, lagging in zip(bench.network.parameters(), bench.learner.target.parameters(), strict=True):
        assert torch.equal(own, lagging)
