"""Clone release: what the theory says of clones, used."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lopgym.agents.mitigations.clone_release import CloneRelease
from lopgym.agents.mitigations.likeness import change_bound, likeness, rows_of
from lopgym.agents.mitigations.witness import Witness, look
from lopgym.probes.cloning import cloned, jittered
from tests.bench import (
    DTYPES,
    NETWORKS,
    ROUNDING,
    SAMPLES,
    Bench,
    mlp,
    normed,
    relative,
    sweep,
)


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
    sweep(bench, CloneRelease(every=1, batch=SAMPLES, threshold=1 - 1e-6))
    assert bench.reports["released_units"] == live * (copies - 1) // copies > 0
    assert relative(bench.outputs(), before) < ROUNDING[dtype] * (1 if name != "layer_norm" else 5)


@DTYPES
def test_release_of_scaled_clones_preserves_the_function(dtype):
    """Of factors 1 and 3, the larger one survives, and reads the smaller one's weights times a third."""
    network = cloned(mlp(), scales=[1.0, 3.0])
    bench = Bench(network, dtype=dtype)
    before, head, rows = bench.outputs(), network[4].weight.clone(), network[2].weight.clone()
    sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    assert relative(bench.outputs(), before) < ROUNDING[dtype]
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
    sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    torch.testing.assert_close(network[2].weight.detach(), torch.tensor([[3.0, 0.0]]).double())
    torch.testing.assert_close(network[2].bias.detach(), torch.tensor([8.0]).double())


@pytest.mark.parametrize("padding", [0, 1])
def test_a_border_reads_no_offset(padding):
    """Behind padding an offset is no bias, so none is fitted: what that changes is within the bound, and bounded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        maps = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3, padding=padding), nn.Linear(75 if padding else 27, 2)
    network = nn.Sequential(maps[0], nn.LeakyReLU(1.0), maps[1], nn.ReLU(), nn.Flatten(), maps[2]).double()
    with torch.no_grad():
        network[0].weight[1::2], network[0].bias[1::2] = network[0].weight[::2], network[0].bias[::2] + 0.1
    bench = Bench(network, (2, 7, 7))
    before = bench.outputs()
    sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    change = (bench.outputs() - before).square().sum(dim=1).mean().sqrt().item()
    assert bench.reports["released_units/q.hidden0"] == 2
    assert change <= bench.reports["change_bound"] + 1e-12
    assert (change > 1e-3) == bool(padding)


def test_release_gives_degrees_of_freedom_back():
    """Exact clones leave a third of them; ten steps later gradient descent has all the released ones in use."""
    released, stuck = Bench(cloned(mlp()), lr=0.05), Bench(cloned(mlp()), lr=0.05)
    assert released.dof() == stuck.dof() < 0.5
    sweep(released, CloneRelease(every=1, batch=SAMPLES))
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
    sweep(bench, CloneRelease(every=1, batch=SAMPLES, threshold=0.98))
    change = (bench.outputs() - before).square().sum(dim=1).mean().sqrt().item()
    assert bench.reports["released_units"] > 5
    assert 0 < change < bench.reports["change_bound"] < loose * change


def test_the_bound_is_the_formula():
    """sum_v ||W_v|| std(h_v) sqrt(1 - rho^2), by NumPy's correlations, and what a reader is given changes by less."""
    network = jittered(cloned(mlp()), 0.03, torch.Generator().manual_seed(3)).double()
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
    bench = Bench(cloned(mlp()), optimizer=torch.optim.Adam)
    for _ in range(3):
        bench.update()
    memory = bench.learner.optimizer.state[bench.network[2].weight]["exp_avg_sq"]
    before = memory.clone()
    sweep(bench, CloneRelease(every=3, batch=SAMPLES))
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
        bench = Bench(cloned(mlp()))
        before, said = copy.deepcopy(bench.learner.target.state_dict()), bench.outputs()
        sweep(bench, CloneRelease(every=1, batch=SAMPLES, target=asked))
        after = bench.learner.target.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in after) != asked
        assert relative(bench.learner.target(bench.x).detach(), said) < 1e-12


def test_behind_a_norm_clones_keep_their_rows():
    """Their statistics would move: only what reads them changes, and they part by themselves."""
    bench = Bench(cloned(normed()), lr=0.05)
    rows = bench.network[0].weight.clone()
    sweep(bench, CloneRelease(every=1, batch=SAMPLES))
    assert torch.equal(bench.network[0].weight, rows)
    assert "change_bound" in bench.reports  # of the last layer; behind it there is no norm
    for _ in range(20):
        bench.update()
    first, second = bench.network[0].weight[::2], bench.network[0].weight[1::2]
    assert ((first - second).norm(dim=1) > 1e-5).sum() >= 6


def test_a_witness_hears_nothing_but_learning():
    """Acting, probing and what comes after `close` leave it as it is."""
    bench = Bench(mlp())
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
