"""Recycling units: which entries change, which stay, and what the network computes afterwards."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lopgym.agents.initialisers import torch_default
from lopgym.agents.reset_units import outgoing_columns, reset_units
from tests.learners import LEARNERS, assert_bitwise, observe, one_layer, q_learner, snapshot, train


def _trained(name):
    make, stem = LEARNERS[name]
    learner = make(stem)
    train(learner, [], 5, stem=stem)
    return learner, stem


def _mask(layer, *units):
    mask = torch.zeros(len(layer.incoming.weight), dtype=torch.bool)
    mask[list(units)] = True
    return mask


def _expected_changes(learner, layer, mask):
    """Spell out, entry by entry, where a reset may write: parameter -> bool mask of its shape."""
    changes = {layer.incoming.weight: torch.zeros_like(layer.incoming.weight, dtype=torch.bool)}
    changes[layer.incoming.bias] = mask.clone()
    for u in mask.nonzero().flatten().tolist():
        changes[layer.incoming.weight][u] = True
    for module in layer.outgoing:
        touched = torch.zeros_like(module.weight, dtype=torch.bool)
        block = module.weight.shape[1] // len(mask)
        for u in mask.nonzero().flatten().tolist():
            touched[:, u * block : (u + 1) * block] = True
        changes[module.weight] = touched
    return changes


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("name", LEARNERS)
def test_exactly_the_units_entries_change(name, moments):
    """In weights and in Adam's moments, the units' rows and columns change, and nothing else by a bit."""
    learner, _ = _trained(name)
    for layer in learner.layers:
        before, mask = snapshot(learner), _mask(layer, 0, 2)
        assert reset_units(learner, layer, mask, moments=moments) == 2
        after, expected = snapshot(learner), _expected_changes(learner, layer, mask)
        for key, parameter in learner.network.named_parameters():
            touched = expected.get(parameter, torch.zeros_like(parameter, dtype=torch.bool))
            assert torch.equal(before[f"network.{key}"][~touched], after[f"network.{key}"][~touched]), key
            for memory in ("exp_avg", "exp_avg_sq"):
                old, new = (state[f"optimizer.{key}.{memory}"] for state in (before, after))
                assert torch.equal(old[~touched], new[~touched])
                assert torch.equal(new[touched], torch.zeros_like(new[touched]) if moments else old[touched])
            assert after[f"optimizer.{key}.step"] == 5
        for key in (k for k in before if k.startswith("target.")):
            assert torch.equal(before[key], after[key])


@pytest.mark.parametrize("name", LEARNERS)
def test_new_weights_are_the_initialisers(name):
    """Incoming rows are those that the layer's initialiser draws; biases and outgoing columns are 0."""
    learner, _ = _trained(name)
    for layer in learner.layers:
        mask, state = _mask(layer, 1), learner.rng.get_state()
        drawn, _ = layer.initialiser(layer.incoming, torch.Generator().set_state(state))
        reset_units(learner, layer, mask)
        assert torch.equal(layer.incoming.weight[1], drawn[1])
        assert layer.incoming.bias[1] == 0
        for module in layer.outgoing:
            block = module.weight.shape[1] // len(mask)
            assert not module.weight[:, block : 2 * block].any()


@pytest.mark.parametrize("name", LEARNERS)
def test_silent_units_are_replaced_without_a_trace(name):
    """If nothing reads the units, what the network computes stays the same bit for bit."""
    learner, stem = _trained(name)
    inputs = observe(stem, 32, torch.Generator().manual_seed(3))
    for layer in learner.layers:
        mask = _mask(layer, 0, 1)
        with torch.no_grad():
            for module in layer.outgoing:
                module.weight[:, outgoing_columns(module, mask)] = 0.0
        before = learner.network(inputs)
        reset_units(learner, layer, mask)
        for head, after in learner.network(inputs).items():
            assert torch.equal(before[head], after)


@pytest.mark.parametrize("name", LEARNERS)
def test_compensation_is_exact_for_constant_units(name):
    """A unit without incoming weights is as good as a bias: replacing it with compensation changes nothing."""
    learner, stem = _trained(name)
    inputs = observe(stem, 32, torch.Generator().manual_seed(3))
    for layer in learner.layers:
        mask, constant = _mask(layer, 0, 2), torch.zeros(len(layer.incoming.weight))
        with torch.no_grad():
            layer.incoming.weight[mask] = 0.0
            layer.incoming.bias[mask] = torch.tensor([0.7, 1.3])
        constant[mask] = torch.tensor([0.7, 1.3])
        before = learner.network(inputs)
        reset_units(learner, layer, mask, compensate=constant)
        for head, after in learner.network(inputs).items():
            torch.testing.assert_close(after, before[head], rtol=1e-5, atol=1e-5)
            assert after.abs().max() > 0.01


def test_flattened_convolution_by_hand():
    """Channel 1 of 2, flattened from 2 x 3 pixels, is columns 6 to 11 of the linear map behind it."""
    module = nn.Linear(12, 3)
    assert outgoing_columns(module, torch.tensor([False, True])).nonzero().flatten().tolist() == [6, 7, 8, 9, 10, 11]
    image = torch.zeros(1, 2, 2, 3)
    image[0, 1] = 1.0
    assert torch.equal(image.flatten(1)[0].bool(), outgoing_columns(module, torch.tensor([False, True])))


def test_uneven_columns_are_refused():
    """A module that cannot read the layer's units in equal blocks is an error in one line."""
    with pytest.raises(ValueError, match=r"reads 12 columns: not one equal block for each of 5 units"):
        outgoing_columns(nn.Linear(12, 3), torch.ones(5, dtype=torch.bool))


def test_no_units_is_no_event():
    """An empty mask draws nothing and writes nothing."""
    learner, _ = _trained("q-mlp")
    before, state = snapshot(learner), learner.rng.get_state()
    layer = learner.layers[0]
    assert reset_units(learner, layer, _mask(layer), compensate=torch.ones(6), target=True) == 0
    assert_bitwise(before, snapshot(learner))
    assert torch.equal(state, learner.rng.get_state())


def test_target_gets_the_same_units():
    """With `target`, the target's rows equal the network's, its columns are silent, the rest is its own."""
    learner, _ = _trained("q-conv")
    layer = learner.layers[1]
    mask, before = _mask(layer, 1), snapshot(learner)
    reset_units(learner, layer, mask, compensate=torch.ones(4), target=True)
    online, lagging = learner.network.trunks["q"].blocks, learner.target.trunks["q"].blocks
    assert torch.equal(online[1].incoming.weight[1], lagging[1].incoming.weight[1])
    assert not lagging[1].incoming.weight[1].equal(before["target.trunks.q.blocks.1.incoming.weight"][1])
    assert torch.equal(lagging[1].incoming.weight[0], before["target.trunks.q.blocks.1.incoming.weight"][0])
    assert not lagging[2].incoming.weight[:, 4:8].any()
    fed = before["target.trunks.q.blocks.2.incoming.weight"][:, 4:8].sum(1)  # of its own weights, not of the network's
    torch.testing.assert_close(lagging[2].incoming.bias, before["target.trunks.q.blocks.2.incoming.bias"] + fed)


def test_every_head_is_silenced():
    """A trunk under two heads loses the unit in both."""
    learner = q_learner()
    layer = learner.layers[-1]
    second = nn.Linear(5, 2)
    shared = type(layer)(layer.name, layer.incoming, layer.activation, (*layer.outgoing, second), torch_default)
    reset_units(learner, shared, _mask(layer, 3))
    assert not second.weight[:, 3].any()
    assert not layer.outgoing[0].weight[:, 3].any()
    assert second.weight[:, :3].all()


@pytest.mark.parametrize(
    ("make", "memory"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum_buffer"),
        (lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True), "max_exp_avg_sq"),
        (lambda p: torch.optim.Adam(p, lr=0.1, fused=True), "exp_avg_sq"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1), "square_avg"),
    ],
)
def test_any_memory_of_the_parameters_shape_is_forgotten(make, memory):
    """Momentum buffers and second moments of other optimizers are zeroed for the reset units and for no others."""
    learner = one_layer([[1.0], [2.0]], [[1.0, 1.0]])
    learner.optimizer = make(list(learner.network.parameters()))
    for _ in range(3):
        learner.optimizer.zero_grad()
        learner.network(torch.ones(4, 1)).pow(2).mean().backward()
        learner.optimizer.step()
    hidden, head = learner.network.hidden, learner.network.head
    reset_units(learner, learner.layers[0], torch.tensor([False, True]))
    state = learner.optimizer.state
    for kept, forgotten in (
        state[hidden.weight][memory].flatten(),
        state[hidden.bias][memory],
        state[head.weight][memory][0],
    ):
        assert kept != 0
        assert forgotten == 0


@settings(max_examples=25)
@given(chosen=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 2**31))
def test_a_reset_is_idempotent_up_to_the_draw(chosen, seed):
    """Whatever the mask, a second reset changes only the units' incoming rows: what is silent is silent."""
    learner = q_learner(seed=seed % 7)
    layer, mask = learner.layers[0], torch.tensor(chosen)
    assert reset_units(learner, layer, mask, compensate=torch.ones(6)) == sum(chosen)
    before = snapshot(learner)
    assert reset_units(learner, layer, mask, compensate=torch.ones(6)) == sum(chosen)
    after = snapshot(learner)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == ({"network.trunks.q.blocks.0.incoming.weight"} if any(chosen) else set())
