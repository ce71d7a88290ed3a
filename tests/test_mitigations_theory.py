"""Clone release and targeted escape: what the theory says of clones and frozen units, used."""

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lopgym.agents.chain import hidden_layers
from lopgym.agents.initialisers import torch_default
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations.clone_release import CloneRelease
from lopgym.agents.mitigations.columns import by_unit, pack, unpack
from lopgym.agents.mitigations.likeness import change_bound, likeness, rows_of
from lopgym.agents.mitigations.split_size import step_size, unlike
from lopgym.agents.mitigations.splitting import Clusters, Coupling, split
from lopgym.agents.mitigations.targeted_escape import TargetedEscape
from lopgym.agents.mitigations.waking import MARGIN, least_norm, nearest_rows, waking_shift
from lopgym.agents.mitigations.witness import Witness, look
from lopgym.agents.network import Halves
from lopgym.probes.captures import Captures
from lopgym.probes.cloning import cloned, jittered
from lopgym.probes.effective_dof import effective_dof
from lopgym.probes.escape_rate import escape_rates

SAMPLES = 128
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", [*ROUNDING], ids=["single", "double"])


def _crelu() -> nn.Module:
    return Halves(torch.relu, lambda z: torch.relu(-z))


def _mlp(activation: Callable[[], nn.Module] = nn.ReLU, sizes: tuple[int, ...] = (6, 8, 8, 3), seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wide = 2 if activation is _crelu else 1
        maps = [nn.Linear(sizes[0], sizes[1]), *(nn.Linear(wide * i, o) for i, o in itertools.pairwise(sizes[1:]))]
    return nn.Sequential(*(module for m in maps[:-1] for module in (m, activation())), maps[-1]).double()


def _conv(seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        maps = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3, stride=2), nn.Linear(16, 5), nn.Linear(5, 2)
    a, b, c, d = maps
    return nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), nn.Flatten(), c, nn.ReLU(), d).double()


def _crelu_conv():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        maps = nn.Conv2d(2, 3, 3), nn.Conv2d(6, 4, 3, stride=2), nn.Linear(32, 5), nn.Linear(10, 2)
    a, b, c, d = maps
    return nn.Sequential(a, _crelu(), b, _crelu(), nn.Flatten(), c, _crelu(), d).double()


def _normed(seed: int = 0):
    plain = _mlp(seed=seed)
    return nn.Sequential(plain[0], nn.LayerNorm(8), plain[1], plain[2], nn.LayerNorm(8), plain[3], plain[4]).double()


NETWORKS = {
    "mlp": (_mlp, (6,), 1),
    "conv": (_conv, (2, 7, 7), 1),
    "crelu": (lambda: _mlp(_crelu), (6,), 2),
    "crelu conv": (_crelu_conv, (2, 7, 7), 2),
    "layer_norm": (_normed, (6,), 1),
}


class Bench:
    """A network in training on a regression, with what the methods need of it."""

    def __init__(self, network: nn.Sequential, shape=(6,), dtype=torch.float64, lr=1e-3, optimizer=torch.optim.SGD):
        """Draw the data."""
        rng = torch.Generator().manual_seed(5)
        self.network = network.to(dtype)
        self.x = torch.randn(SAMPLES, *shape, generator=rng, dtype=torch.float64).to(dtype)
        with torch.no_grad():
            outputs = self.network(self.x).shape[1]
        self.y = torch.randn(SAMPLES, outputs, generator=rng, dtype=torch.float64).to(dtype)
        *body, head = self.network
        self.reports: dict[str, float] = {}
        self.learner = Learner(
            network=self.network,
            target=copy.deepcopy(self.network),
            optimizer=optimizer(self.network.parameters(), lr=lr),
            forward=self.network,
            layers=hidden_layers("q", body, [head], torch_default),
            heads={"q.head": head},
            observations=lambda n: self.x[:n],
            fresh=self.network.state_dict,
            rng=torch.Generator().manual_seed(0),
            report=self._add,
        )

    def _add(self, values):
        for what, value in values.items():
            self.reports[what] = self.reports.get(what, 0.0) + value

    def losses(self, x: Tensor) -> Tensor:
        """Half the squared error of each sample."""
        return (self.network(x) - self.y).square().sum(dim=1) / 2

    def update(self, *methods) -> None:
        """Take one step on all samples."""
        self.learner.updates += 1
        self.learner.optimizer.zero_grad()
        self.losses(self.x).mean().backward()
        self.learner.optimizer.step()
        for method in methods:
            method.after_step(self.learner)

    def captures(self) -> Captures:
        """Return what probes see of all samples."""
        layers = {layer.name: (layer.incoming, layer.activation) for layer in self.learner.layers}
        return Captures(self.network, layers, self.learner.heads, self.x, loss=self.losses)

    def heard(self) -> Witness:
        """Return a pass that was learned from."""
        witness = Witness()
        witness.listen(self.learner.layers)
        self.network.train()
        self.losses(self.x).mean().backward()
        witness.close()
        return witness

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Return what the network says of all samples."""
        return self.network(self.x)

    def dof(self) -> float:
        """Return the mean share of free parameters over layers."""
        c = self.captures()
        found = effective_dof(c.activations, c.errors, c.inputs, c.weights, c.outgoing)
        return float(np.mean([*found.values()]))


def _sweep(bench: Bench, method) -> None:
    bench.learner.updates = method.every
    method.after_step(bench.learner)


def _relative(after: Tensor, before: Tensor) -> float:
    return float((after - before).abs().max() / before.abs().max())


# Clone release.


@DTYPES
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("copies", [2, 3])
def test_release_of_exact_clones_preserves_the_function(copies, name, dtype):
    """Whatever stands between the layers; every unit but one of each live cluster is released."""
    make, shape, halves = NETWORKS[name]
    bench = Bench(cloned(make(), copies, halves=halves), shape, dtype)
    before = bench.outputs()
    live = sum(
        int((h.reshape(-1, len(layer.incoming.weight)).std(dim=0) > 0).sum())
        for layer, h in zip(bench.learner.layers, bench.captures().activations.values(), strict=True)
    )
    _sweep(bench, CloneRelease(every=1, batch=SAMPLES, threshold=1 - 1e-6))
    assert bench.reports["released_units"] == live * (copies - 1) // copies > 0
    assert _relative(bench.outputs(), before) < ROUNDING[dtype] * (1 if name != "layer_norm" else 5)


@DTYPES
def test_release_of_scaled_clones_preserves_the_function(dtype):
    """Of factors 1 and 3, the larger one survives, and reads the smaller one's weights times a third."""
    network = cloned(_mlp(), scales=[1.0, 3.0])
    bench = Bench(network, dtype=dtype)
    before, head, rows = bench.outputs(), network[4].weight.clone(), network[2].weight.clone()
    _sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    assert _relative(bench.outputs(), before) < ROUNDING[dtype]
    released = bench.network[4].weight[:, ::2].abs().sum(0) == 0
    assert released.sum() >= 6
    wanted = (head[:, 1::2] + head[:, ::2] / 3)[:, released]
    torch.testing.assert_close(bench.network[4].weight[:, 1::2][:, released], wanted)
    assert not (bench.network[2].weight[::2] == rows[::2])[released].any()


def test_release_moves_offsets_into_the_bias():
    """By hand, tanh units that saturate alike are none; h_1 = 0.5 h_0 + 2 is: weight 1 + 0.5 * 4, bias 2 * 4."""

    class Offset(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z + 0.0

    network = nn.Sequential(nn.Linear(1, 2), Offset(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[2.0], [1.0]]))
        network[0].bias.copy_(torch.tensor([0.0, 2.0]))
        network[2].weight.copy_(torch.tensor([[1.0, 4.0]]))
        network[2].bias.zero_()
    bench = Bench(network, (1,))
    _sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    torch.testing.assert_close(network[2].weight.detach(), torch.tensor([[3.0, 0.0]]).double())
    torch.testing.assert_close(network[2].bias.detach(), torch.tensor([8.0]).double())


def test_release_gives_degrees_of_freedom_back():
    """Exact clones leave a third of them; ten steps later gradient descent has all the released ones in use."""
    released, stuck = Bench(cloned(_mlp()), lr=0.05), Bench(cloned(_mlp()), lr=0.05)
    assert released.dof() == stuck.dof() < 0.5
    _sweep(released, CloneRelease(every=1, batch=SAMPLES))
    for _ in range(10):
        released.update()
        stuck.update()
    assert stuck.dof() < 0.5
    assert released.dof() > 0.9


@pytest.mark.parametrize(("name", "loose"), [("mlp", 30), ("conv", 300), ("crelu", 30), ("crelu conv", 300)])
@pytest.mark.parametrize("size", [0.003, 0.03])
def test_release_of_near_clones_stays_within_its_bound(size, name, loose):
    """What the outputs change, in root mean square, is at most what is logged, and not by orders less."""
    make, shape, halves = NETWORKS[name]
    network = jittered(cloned(make(), halves=halves), size, torch.Generator().manual_seed(3))
    bench = Bench(network, shape)
    before = bench.outputs()
    _sweep(bench, CloneRelease(every=1, batch=SAMPLES, threshold=0.98))
    change = (bench.outputs() - before).square().sum(dim=1).mean().sqrt().item()
    assert bench.reports["released_units"] > 5
    assert 0 < change < bench.reports["change_bound"] < loose * change


def test_the_bound_is_the_formula():
    """sum_v ||W_v|| std(h_v) sqrt(1 - rho^2), by NumPy's correlations, and what a reader is given changes by less."""
    network = jittered(cloned(_mlp()), 0.03, torch.Generator().manual_seed(3)).double()
    bench = Bench(network)
    layer, seen = bench.learner.layers[1], look(bench.learner, SAMPLES)
    h = seen.returned[layer.activation]
    like = likeness(rows_of(h, 16), SAMPLES, 0.98)
    table, head = h.numpy(), network[4].weight.detach().numpy()
    with np.errstate(invalid="ignore"):
        rho = np.corrcoef(table.T)
    expected, change = 0.0, np.zeros((SAMPLES, 3))
    for v in like.clones.nonzero()[:, 0].tolist():
        s = int(like.survivor[v])
        expected += np.linalg.norm(head[:, v]) * table[:, v].std() * math.sqrt(1 - rho[v, s] ** 2)
        slope, intercept = np.polyfit(table[:, s], table[:, v], 1)
        change += np.outer(slope * table[:, s] + intercept - table[:, v], head[:, v])
    assert like.clones.sum() > 2
    assert change_bound(layer.outgoing[0], like, 1) == pytest.approx(expected, rel=1e-6)
    assert np.sqrt((change**2).sum(axis=1).mean()) < expected


def test_release_zeroes_moments_of_what_starts_afresh_alone():
    """Adam forgets released rows and columns, and remembers survivors, whose gradient is the same as before."""
    bench = Bench(cloned(_mlp()), optimizer=torch.optim.Adam)
    for _ in range(3):
        bench.update()
    memory = bench.learner.optimizer.state[bench.network[2].weight]["exp_avg_sq"]
    before = memory.clone()
    _sweep(bench, CloneRelease(every=3, batch=SAMPLES))
    rows = (bench.network[4].weight == 0).all(dim=0)
    columns = (bench.network[2].weight[~rows] == 0).all(dim=0)
    assert rows.sum() >= 6
    assert columns.sum() >= 6
    assert not memory[rows].any()
    assert not memory[:, columns].any()
    assert torch.equal(memory[~rows][:, ~columns], before[~rows][:, ~columns])


def test_release_leaves_the_target_unless_asked():
    """With `target` the lagging copy of exact clones keeps its function, too; without, its every bit."""
    for asked in (False, True):
        bench = Bench(cloned(_mlp()))
        before, said = copy.deepcopy(bench.learner.target.state_dict()), bench.outputs()
        _sweep(bench, CloneRelease(every=1, batch=SAMPLES, target=asked))
        after = bench.learner.target.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in after) != asked
        assert _relative(bench.learner.target(bench.x).detach(), said) < 1e-12


def test_behind_a_norm_clones_keep_their_rows():
    """Their statistics would move: only what reads them changes, and they part by themselves."""
    bench = Bench(cloned(_normed()), lr=0.05)
    rows = bench.network[0].weight.clone()
    _sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    assert torch.equal(bench.network[0].weight, rows)
    assert "change_bound" in bench.reports  # of the last layer; behind it there is no norm
    for _ in range(20):
        bench.update()
    first, second = bench.network[0].weight[::2], bench.network[0].weight[1::2]
    assert ((first - second).norm(dim=1) > 1e-5).sum() >= 6


def test_a_witness_hears_nothing_but_learning():
    """Acting, probing and what comes after `close` leave it as it is."""
    bench = Bench(_mlp())
    witness = Witness()
    witness.listen(bench.learner.layers)
    with torch.no_grad():
        bench.network(bench.x)
    bench.network.eval()
    bench.losses(bench.x).mean().backward()
    assert not witness.given
    bench.network.train()
    bench.losses(bench.x).mean().backward()
    assert witness.asked.keys() == witness.given.keys() == {*bench.network}
    witness.close()
    witness.forget()
    bench.losses(bench.x).mean().backward()
    assert not witness.given


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


@pytest.mark.parametrize("share", [0.01, 0.25, 1.0])
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
    with torch.no_grad():
        layer.incoming.bias[:2] = -50.0
    bench.update()
    before, rows = bench.outputs(), layer.incoming.weight.clone()
    speak = (bench.captures().activations[layer.name] > 0).any(dim=0)
    method = TargetedEscape(every=1, batch=SAMPLES, threshold=1.0, share=0.3)
    _sweep(bench, method)
    assert bench.reports["woken_units"] >= 2
    assert _relative(bench.outputs(), before) < 1e-12
    said = bench.captures().activations[layer.name].reshape(SAMPLES, -1, len(layer.incoming.weight))
    heard = (said[:, :, :2] > 0).any(dim=1).double().mean(dim=0)
    assert (heard >= 0.3).all()
    assert (heard < 0.6).all()
    assert torch.equal(layer.incoming.weight[speak], rows[speak])
    assert not bench.learner.optimizer.state[layer.incoming.weight]["exp_avg"][:2].any()
    (reader,) = layer.outgoing
    assert not by_unit(reader.weight, len(layer.incoming.weight), 1)[:, :, :2].any()
    bench.update()
    assert by_unit(reader.weight, len(layer.incoming.weight), 1)[:, :, :2].abs().sum((0, 1, 3)).all()


def test_waking_adds_up_its_shifts():
    """By hand: one unit, two samples; x = (3, 4) and z = -26 is the nearer one, so v = 1.01 * (3, 4, 1)."""
    network = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-26.0)
    bench = Bench(network, (2,))
    bench.x = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).double()
    _sweep(bench, TargetedEscape(every=1, batch=2, share=0.5))
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
    bench = Bench(cloned(_mlp()))
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
    """Of ||theta|| t (1 + eta r)^-10, and by 1 + eta r or more in the next step of gradient descent."""
    bench = Bench(cloned(_mlp()), lr=0.05)
    method = TargetedEscape(every=1, batch=SAMPLES, threshold=1 - 2e-10, share=0.0)
    method.begin(bench.learner)
    theta = torch.cat([bench.network[0].weight, bench.network[0].bias[:, None], bench.network[2].weight.T], dim=1)
    theta = theta.detach().unflatten(0, (8, 2)).norm(dim=(1, 2))
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


def test_a_split_preserves_the_function_to_first_order():
    """A tenth of the length, a hundredth of the change."""
    changes = []
    for t in (1e-2, 1e-3):
        bench = Bench(cloned(_mlp(nn.Tanh)))
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
    freed, stuck = Bench(cloned(_mlp()), lr=0.05), Bench(cloned(_mlp()), lr=0.05)
    method = TargetedEscape(every=20, batch=SAMPLES)
    method.begin(freed.learner)
    for _ in range(200):
        freed.update(method)
        stuck.update()
    assert stuck.dof() < 0.5
    assert freed.dof() > 0.8


def test_adams_step_size_by_hand():
    """Lr / (sqrt(mean v) + eps), v corrected for its start; plain descent's is the learning rate."""
    bench = Bench(_mlp(), optimizer=torch.optim.Adam, lr=0.01)
    units = torch.tensor([True] + [False] * 7)
    layer = bench.learner.layers[0]
    assert step_size(bench.learner.optimizer, layer, units) == 0.01
    bench.update()  # after one step v is the squared gradient
    weight, bias, following = bench.network[0].weight.grad, bench.network[0].bias.grad, bench.network[2].weight.grad
    squares = torch.cat([weight[0], bias[:1], following[:, 0]]).square()
    expected = 0.01 / (squares.mean().sqrt().item() + 1e-8)
    assert step_size(bench.learner.optimizer, layer, units) == pytest.approx(expected)
    plain = Bench(_mlp(), lr=0.03)
    assert step_size(plain.learner.optimizer, plain.learner.layers[0], units) == 0.03


def test_behind_a_norm_escape_leaves_layers_alone():
    """And says so."""
    bench = Bench(cloned(_normed()))
    method = TargetedEscape(every=1, batch=SAMPLES)
    method.begin(bench.learner)
    bench.update()
    before = {key: value.clone() for key, value in bench.network.state_dict().items()}
    method.after_step(bench.learner)
    assert bench.reports["layers_left_alone"] == 2
    assert all(torch.equal(value, before[key]) for key, value in bench.network.state_dict().items())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.LeakyReLU, _crelu])
def test_units_that_cannot_freeze_are_never_woken(activation):
    """Their slope is nowhere 0, so a large bias makes them no frozen units."""
    bench = Bench(_mlp(activation))
    with torch.no_grad():
        bench.network[0].bias.fill_(-50.0)
    _sweep(bench, TargetedEscape(every=1, batch=SAMPLES))
    assert bench.reports["woken_units"] == 0


def test_escape_moves_the_target_if_asked():
    """By the very same change; a target that was equal stays equal."""
    bench = Bench(cloned(_mlp()), lr=0.0)
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
