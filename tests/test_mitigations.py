"""What every mitigation must satisfy, and what each one computes. A new file is tested because it is registered."""

import copy
import inspect
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lopgym.agents.mitigations import HOOKS, SHAPERS, Mitigation, mitigations
from lopgym.agents.mitigations.cbp import ContinualBackprop, least, outgoing_magnitude
from lopgym.agents.mitigations.dropout import Dropout
from lopgym.agents.mitigations.fresh import Fresh
from lopgym.agents.mitigations.gradient_noise import GradientNoise
from lopgym.agents.mitigations.l2_init import L2Init
from lopgym.agents.mitigations.layer_norm import LayerNorm
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.shrink_perturb import ShrinkPerturb
from tests.learners import LEARNERS, assert_bitwise, backward, begin, observe, one_layer, q_learner, snapshot, train

METHODS = [pytest.param(entry, id=entry.name) for entry in mitigations]
NULLS = [pytest.param(entry, id=entry.name) for entry in mitigations if entry.facts["null"] is not None]

# Settings at which each method does a lot within 60 updates. A method that is missing here runs with its defaults.
LIVELY = {
    "redo": {"every": 5, "tau": 0.9, "batch": 16},
    "cbp": {"replacement_rate": 0.05, "maturity": 5},
    "shrink_perturb": {"optimizer": "reset_moments"},
    "layer_norm": {"affine": True},
}
# Every choice of shrink and perturb, beside the settings above: each is a code path of its own.
PATHS = [(entry.name, LIVELY.get(entry.name, {})) for entry in mitigations] + [
    ("shrink_perturb", {"when": "updates", "every": 3, "shrink": 0.99, "perturb": 0.01, "noise": noise, "optimizer": o})
    for noise in ("fresh_init", "gaussian")
    for o in ("keep", "reset_moments", "clear")
]
EVERY_PATH = [pytest.param(name, options, id="-".join(map(str, (name, *options.values())))) for name, options in PATHS]


def _trained(name, method):
    make, stem = LEARNERS[name]
    learner = make(stem, [method])
    begin(learner, [method])
    train(learner, [method], 60, stem=stem)
    return learner


@cache
def _plain(name):
    """Run without any method, once; return the learner and torch's global state afterwards."""
    make, stem = LEARNERS[name]
    learner = make(stem)
    train(learner, [], 60, stem=stem)
    return learner, torch.get_rng_state()


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", METHODS)
def test_declares_what_docs_and_tests_need(entry):
    """A summary, a source, a null or the reason why there is none, and the oracle signal if it is used."""
    assert entry.summary.endswith("."), "the first line of the docstring is one sentence"
    assert entry.facts["cite"]
    assert (entry.facts["null"] is None) == ("null_reason" in entry.facts)
    assert entry.facts.get("oracle", False) == ("on_task_change" in entry.make.seams())
    assert set(entry.make.seams()) <= {*SHAPERS, *HOOKS}
    assert entry.make.seams(), "a mitigation that overrides no seam does nothing"
    assert "active_from" in entry.options
    assert len(entry.options) <= 8


@pytest.mark.parametrize("entry", METHODS)
def test_every_option_is_documented(entry):
    """The Args section names every option of its own."""
    text = inspect.getdoc(entry.make)
    assert [option for option in entry.options if option != "active_from" and f"\n    {option}: " not in text] == []


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("entry", NULLS)
def test_null_is_bitwise_none(entry, name):
    """At its declared null a method changes no bit of network, target or optimizer, and draws nothing, ever."""
    method = entry.make(**entry.facts["null"])
    learner = _trained(name, method)
    luck = torch.get_rng_state()
    plain, plain_luck = _plain(name)
    assert_bitwise(snapshot(plain), snapshot(learner))
    assert torch.equal(plain.rng.get_state(), learner.rng.get_state())
    assert torch.equal(plain_luck, luck)


@pytest.mark.parametrize("entry", NULLS)
def test_null_does_no_arithmetic_on_gradients(entry):
    """Adding zero would turn -0.0 into 0.0 and, on weights that blew up, everything into NaN: it must not even add."""
    learner, method = q_learner(), entry.make(**entry.facts["null"])
    with torch.no_grad():
        learner.heads["q.head"].weight.fill_(torch.inf)
    for parameter in learner.network.parameters():
        parameter.grad = torch.full_like(parameter, -0.0)
    method.on_gradient(learner)
    assert all(p.grad.eq(0).all() and p.grad.signbit().all() for p in learner.network.parameters())


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(("method", "options"), EVERY_PATH)
def test_acts_in_place_and_leaves_a_trainable_network(method, options, name):
    """It changes the run; parameters keep identity, dtype and place in the optimizer, and all still move afterwards."""
    made = mitigations.build(method, **options)
    make, stem = LEARNERS[name]
    learner = make(stem, [made])
    parameters = dict(learner.network.named_parameters())
    dtypes = {key: p.dtype for key, p in parameters.items()}
    begin(learner, [made])
    train(learner, [made], stem=stem)
    changed, plain = snapshot(learner), snapshot(_plain(name)[0])
    assert any(key not in plain or not torch.equal(changed[key], plain[key]) for key in changed)
    now = dict(learner.network.named_parameters())
    assert now.keys() == parameters.keys()
    assert all(now[key] is parameters[key] for key in now)
    assert {key: p.dtype for key, p in now.items()} == dtypes
    assert {id(p) for group in learner.optimizer.param_groups for p in group["params"]} == {id(p) for p in now.values()}
    assert all(tensor.isfinite().all() for tensor in changed.values())
    for parameter in now.values():  # not by a loss: a unit may have died an honest death
        parameter.grad = torch.ones_like(parameter)
    learner.optimizer.step()
    assert [key for key, p in now.items() if (p == changed[f"network.{key}"]).any()] == []


@pytest.mark.parametrize("name", ["q-mlp", "actor_critic-conv"])
@pytest.mark.parametrize(("method", "options"), EVERY_PATH)
def test_resumes_bit_for_bit(method, options, name):
    """What `state_dict` returns, given to a new method beside a copied learner, continues the very same run."""
    make, stem = LEARNERS[name]
    whole, first = mitigations.build(method, **options), mitigations.build(method, **options)
    torch.manual_seed(9)
    straight = make(stem, [whole])
    begin(straight, [whole])
    batches = torch.Generator().manual_seed(1)
    train(straight, [whole], 25, batches=batches, stem=stem)
    middle, state, drawn = snapshot(straight), copy.deepcopy(whole.state_dict()), batches.get_state()
    optimizer, network = copy.deepcopy(straight.optimizer.state_dict()), copy.deepcopy(straight.network.state_dict())
    rng, luck, rows = straight.rng.get_state(), torch.get_rng_state(), _rows(straight).get_state()
    target = None if straight.target is None else copy.deepcopy(straight.target.state_dict())
    train(straight, [whole], 25, batches=batches, stem=stem)

    resumed = make(stem, [first])
    resumed.network.load_state_dict(network)
    resumed.optimizer.load_state_dict(optimizer)
    if resumed.target is not None:
        resumed.target.load_state_dict(target)
    resumed.updates, resumed.task = 25, 1
    first.load_state_dict(state)
    begin(resumed, [first])
    assert_bitwise(middle, snapshot(resumed))
    resumed.rng.set_state(rng)
    _rows(resumed).set_state(rows)
    torch.set_rng_state(luck)
    train(resumed, [first], 25, batches=torch.Generator().set_state(drawn), stem=stem)
    assert_bitwise(snapshot(straight), snapshot(resumed))


def _rows(learner):
    """Return the generator behind `learner.observations`."""
    return inspect.getclosurevars(learner.observations).nonlocals["rows"]


@pytest.mark.parametrize("entry", METHODS)
def test_active_from(entry):
    """Hooks wait for their task, and until then the run is bitwise the run without; shapers refuse to wait."""
    if {*SHAPERS} & {*entry.make.seams()}:
        with pytest.raises(ValueError, match=r"acts from the start \(build_network\): active_from=2 is for methods"):
            entry.make(active_from=2)
        return
    late = entry.make(active_from=2, **LIVELY.get(entry.name, {}))
    learner, plain = q_learner(methods=[late]), q_learner()
    train(learner, [late], 39)
    train(plain, [], 39)
    assert_bitwise(snapshot(plain), snapshot(learner))
    assert torch.equal(plain.rng.get_state(), learner.rng.get_state())
    train(learner, [late], 40, batches=torch.Generator().manual_seed(4))
    train(plain, [], 40, batches=torch.Generator().manual_seed(4))
    assert any(not torch.equal(a, b) for a, b in zip(snapshot(plain).values(), snapshot(learner).values(), strict=True))


@pytest.mark.parametrize("entry", [p for p in METHODS if p.id not in ("fresh", "gradient_noise")])
def test_spares_what_is_no_affine_map(entry):
    """`log_std` ends where it would have without the method; only two are about every parameter, by definition."""
    method = entry.make(**LIVELY.get(entry.name, {}))
    assert torch.equal(_trained("q-mlp", method).network.log_std, _plain("q-mlp")[0].network.log_std)


def test_all_together():
    """All methods in one run neither break nor unhinge one another."""
    for make, stem in LEARNERS.values():
        methods = [entry.make(**LIVELY.get(entry.name, {})) for entry in mitigations]
        learner = make(stem, methods)
        train(learner, methods, stem=stem)
        assert all(tensor.isfinite().all() for tensor in snapshot(learner).values())


@pytest.mark.parametrize("entry", METHODS)
def test_draws_from_no_global_stream(entry):
    """Hooks leave torch's, NumPy's and Python's global generators alone: the world's luck stays the same."""
    method = entry.make(**LIVELY.get(entry.name, {}))
    learner = q_learner()  # built without the method: dropout modules do draw, and say so
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(learner, [method], 40)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


# --- redo -----------------------------------------------------------------------------------------------------------


def test_redo_by_hand():
    """Units of scores 0, 0.03, 1 and 2.97 at tau 0.1: the first two go, the last two stay, as eq. 1 says.

    Inputs are all ones, so that |h| is the incoming weight where it is positive: 0 (of -1), 0.03, 1, 2.97; mean 1.
    """
    learner = one_layer([[-1.0], [0.03], [1.0], [2.97]], [[1.0, 2.0, 3.0, 4.0]])
    reports = []
    learner.report, learner.updates = reports.append, 10
    ReDo(tau=0.1, every=5).after_step(learner)
    weights, before = learner.network.hidden.weight.flatten(), torch.tensor([-1.0, 0.03, 1.0, 2.97])
    assert learner.network.head.weight.flatten().tolist() == [0.0, 0.0, 3.0, 4.0]
    assert (weights == before).tolist() == [False, False, True, True]
    assert reports == [{"reset_units": 2, "reset_units/q.hidden0": 2}]


@pytest.mark.parametrize(("tau", "kept"), [(0.02, [0.0, 2.0, 3.0, 4.0]), (0.0, [0.0, 2.0, 3.0, 4.0])])
def test_redo_spares_units_above_tau(tau, kept):
    """Only the dead unit is at or below 0.02 and 0."""
    learner = one_layer([[-1.0], [0.03], [1.0], [2.97]], [[1.0, 2.0, 3.0, 4.0]])
    ReDo(tau=tau, every=1).after_step(learner)
    assert learner.network.head.weight.flatten().tolist() == kept


def test_redo_keeps_its_period():
    """Between sweeps it does not even look."""
    learner = q_learner()
    learner.observations = lambda n: pytest.fail("looked")
    for learner.updates in (1, 99, 101, 199):
        ReDo(every=100).after_step(learner)


def test_redo_looks_without_dropout_and_puts_every_mode_back():
    """Units are judged with nothing silenced; modes afterwards are what they were, module by module."""
    methods = [Dropout(p=0.5)]
    learner = q_learner(methods=methods)
    learner.network.train()
    learner.network.trunks["q"].blocks[0].eval()
    modes = [module.training for module in learner.network.modules()]
    scores = [ReDo()._scores(learner) for learner.observations in [lambda n: torch.ones(n, 4)] * 2]
    assert all(torch.equal(scores[0][key], scores[1][key]) for key in scores[0])
    assert modes == [module.training for module in learner.network.modules()]
    assert not any(module._forward_hooks for module in learner.network.modules())


# --- continual backprop ---------------------------------------------------------------------------------------------


def test_cbp_by_hand():
    """Three updates of one layer against NumPy, written out from eq. 1 of the paper.

    Constant input 1 and incoming weights (1, 2, 0.5) make |h| = (1, 2, 0.5); outgoing |w| sums are (3, 1, 1), so that
    contributions are (3, 2, 0.5). With rate 0.25 and maturity 1, mature units number 0, 3, 3: due is 0, 0.75, 1.5, so
    at the third update one unit goes, the last, and 0.5 stays due.
    """
    learner = one_layer([[1.0], [2.0], [0.5]], [[1.0, 1.0, -1.0], [-2.0, 0.0, 0.0]])
    method = ContinualBackprop(replacement_rate=0.25, maturity=1, decay=0.9)
    method.begin(learner)
    utility = np.zeros(3)
    for update in range(3):
        learner.network(torch.ones(4, 1))
        method.after_step(learner)
        utility = 0.9 * utility + 0.1 * np.array([3.0, 2.0, 0.5])
        state = method.state_dict()["q.hidden0"]
        assert state["age"].tolist() == ([update + 1] * 3 if update < 2 else [3, 3, 0])
        expected = utility if update < 2 else utility * [1, 1, 0]
        np.testing.assert_allclose(state["utility"], expected, rtol=1e-6)
        assert state["due"] == pytest.approx([0.0, 0.75, 0.5][update])
    head = learner.network.head
    assert head.weight.tolist() == [[1.0, 1.0, 0.0], [-2.0, 0.0, 0.0]]
    assert head.bias.tolist() == [-0.5, 0.0]  # what the unit contributed: -1 * 0.5 to output 0, nothing to output 1
    assert learner.network.hidden.weight.flatten()[:2].tolist() == [1.0, 2.0]


def test_cbp_magnitude_behind_a_flattened_image():
    """Each unit's outgoing magnitude sums over all outputs, all pixels and all kernels that read it."""
    learner = q_learner("conv")
    first, second, *_ = learner.layers
    magnitude = second.outgoing[0].weight.detach().reshape(6, 4, 2, 2).abs().sum((0, 2, 3))
    torch.testing.assert_close(outgoing_magnitude(second), magnitude)
    torch.testing.assert_close(outgoing_magnitude(first), second.incoming.weight.detach().abs().sum((0, 2, 3)))


def test_cbp_does_not_prefer_newborn_units():
    """A unit that has just matured ranks by its corrected utility: as good as a veteran, it is not taken first."""
    method = ContinualBackprop(replacement_rate=0.4, maturity=2, decay=0.99)
    learner = one_layer([[1.0], [1.0], [1.0]], [[2.0, 1.0, 2.0]])
    method.load_state_dict(
        {
            "q.hidden0": {
                "utility": torch.tensor([2 * (1 - 0.99**3), 0.9, 2.0]),
                "age": torch.tensor([3.0, 500.0, 5000.0]),
                "due": 0.0,
            }
        }
    )
    method.begin(learner)
    learner.network(torch.ones(4, 1))
    method.after_step(learner)  # raw utilities are 0.08, 0.9, 2.0, corrected ones 2, 0.9, 2: the second goes
    assert method.state_dict()["q.hidden0"]["age"].tolist() == [4.0, 0.0, 5001.0]


def test_cbp_replaces_at_its_rate():
    """Over many updates the share replaced is the rate times the mature units, fractions included."""
    learner, total = q_learner(), []
    learner.report = lambda values: total.append(values["reset_units"])
    train(learner, [ContinualBackprop(replacement_rate=0.01, maturity=0)], 401, per_task=10**6)
    # 6 and 5 units, all mature from their first update on; the first update goes unheard: 400 * 0.01 = 4 a unit, but
    # for the fraction that is due at the end
    assert 22 + 18 <= sum(total) <= 24 + 20


@given(
    utility=st.lists(st.floats(0, 10, width=32), min_size=1, max_size=8),
    count=st.integers(0, 10),
    data=st.data(),
)
@settings(max_examples=50)
def test_cbp_takes_the_least(utility, count, data):
    """It takes as many eligible units as it may, and none of those left is worth less than one taken."""
    eligible = data.draw(st.lists(st.booleans(), min_size=len(utility), max_size=len(utility)))
    chosen = least(torch.tensor(utility), torch.tensor(eligible), count).tolist()
    assert sum(chosen) == min(count, sum(eligible))
    assert all(e for c, e in zip(chosen, eligible, strict=True) if c)
    taken = [u for u, c in zip(utility, chosen, strict=True) if c]
    left = [u for u, c, e in zip(utility, chosen, eligible, strict=True) if e and not c]
    assert not taken or not left or max(taken) <= min(left)


def test_listener_hears_training_alone():
    """Passes without gradients and passes of a copy go unheard; what was heard is let go of; no hook is left behind."""
    learner, listener = q_learner("conv"), Listener()
    listener.listen(learner.layers)
    listener.listen(learner.layers)
    assert [len(layer.activation._forward_hooks) for layer in learner.layers] == [1] * 4
    with torch.no_grad():
        learner.network(torch.ones(2, 1, 6, 6))
    copy.deepcopy(learner.network)(torch.ones(2, 1, 6, 6))
    assert listener.take() == {}
    learner.network(torch.ones(2, 1, 6, 6))
    heard = listener.take()
    assert {name: tuple(h.shape) for name, h in heard.items()} == {
        "q.hidden0": (2 * 4 * 4, 3),
        "q.hidden1": (2 * 2 * 2, 4),
        "q.hidden2": (2, 6),
        "q.hidden3": (2, 5),
    }
    assert not any(h.requires_grad for h in heard.values())
    assert listener.take() == {}
    listener.close()
    assert not any(layer.activation._forward_hooks for layer in learner.layers)


def test_listener_follows_a_new_network():
    """Given other layers, it leaves the old ones."""
    old, new, listener = q_learner(), q_learner(seed=1), Listener()
    listener.listen(old.layers)
    listener.listen(new.layers)
    old.network(torch.ones(2, 4))
    assert listener.take() == {}
    new.network(torch.ones(2, 4))
    assert len(listener.take()) == 2


# --- shrink and perturb, fresh --------------------------------------------------------------------------------------


def test_shrink_perturb_mixes_with_a_fresh_network():
    """Theta becomes half of itself and half of a network that the initialisers drew; the target follows."""
    learner = q_learner()
    train(learner, [], 7)
    before, state = snapshot(learner), learner.rng.get_state()
    drawn = learner.fresh()
    learner.rng.set_state(state)
    ShrinkPerturb(shrink=0.5, perturb=0.5).on_task_change(learner)
    after = snapshot(learner)
    for key in (k for k in drawn if k != "log_std"):
        torch.testing.assert_close(after[f"network.{key}"], 0.5 * before[f"network.{key}"] + 0.5 * drawn[key])
        assert torch.equal(after[f"target.{key}"], after[f"network.{key}"])
    for key in (k for k in before if k.startswith("optimizer.")):
        assert torch.equal(before[key], after[key])


def test_soft_shrink_perturb_noise_has_its_size():
    """Gaussian noise has mean 0 and the standard deviation asked for, on top of the shrunk weights."""
    learner = one_layer([[2.0]] * 4000, [[2.0] * 4000])
    learner.updates = 4
    ShrinkPerturb(shrink=0.9, perturb=0.3, when="updates", every=2, noise="gaussian").after_step(learner)
    weights = learner.network.hidden.weight.detach()
    assert weights.mean() == pytest.approx(1.8, abs=0.03)  # 6 standard errors of 0.3 / sqrt(4000)
    assert weights.std() == pytest.approx(0.3, rel=0.07)
    assert learner.target.hidden.weight.unique().tolist() == [2.0]


def test_shrink_perturb_keeps_its_period():
    """By updates it acts every third one and at no task change; by task at no update."""
    learner, norms = one_layer([[8.0]], [[8.0]]), []
    by_updates = ShrinkPerturb(shrink=0.5, perturb=0.0, when="updates", every=3)
    by_task = ShrinkPerturb(shrink=0.5, perturb=0.0)
    for learner.updates in (1, 2, 3, 4, 5, 6):
        by_updates.after_step(learner)
        by_updates.on_task_change(learner)
        by_task.after_step(learner)
        norms.append(learner.network.hidden.weight.item())
    assert norms == [8.0, 8.0, 4.0, 4.0, 4.0, 2.0]


@pytest.mark.parametrize(("choice", "steps"), [("keep", 5), ("reset_moments", 5), ("clear", None)])
def test_shrink_perturb_and_the_optimizer(choice, steps):
    """Each choice does to moments and step count what it says; `log_std` loses its own only if all is cleared."""
    learner = q_learner()
    train(learner, [], 5)
    before = snapshot(learner)
    ShrinkPerturb(optimizer=choice).on_task_change(learner)
    state = learner.optimizer.state
    if steps is None:
        assert not state
        return
    assert all(memory["step"] == steps for memory in state.values())
    weight = learner.layers[0].incoming.weight
    kept = before["optimizer.trunks.q.blocks.0.incoming.weight.exp_avg"]
    assert torch.equal(state[weight]["exp_avg"], kept if choice == "keep" else torch.zeros_like(kept))
    assert state[learner.network.log_std]["exp_avg"].any()


@pytest.mark.parametrize("option", ["when", "noise", "optimizer"])
def test_shrink_perturb_refuses_unknown_choices(option):
    """The message says what came and what there is."""
    with pytest.raises(ValueError, match=rf"^shrink_perturb: {option}='x' does not exist; known: \w+, \w+"):
        ShrinkPerturb(**{option: "x"})


def test_fresh_starts_over():
    """After a task change weights are newly drawn, the optimizer knows nothing, and the target equals the network."""
    learner = q_learner()
    train(learner, [], 5)
    state = learner.rng.get_state()
    drawn = learner.fresh()
    learner.rng.set_state(state)
    Fresh().on_task_change(learner)
    assert not learner.optimizer.state
    assert_bitwise(drawn, learner.network.state_dict())
    assert_bitwise(drawn, learner.target.state_dict())
    Fresh().on_task_change(learner)
    assert not torch.equal(learner.heads["q.head"].weight, drawn["heads.q.weight"]), "every task has its own draw"


# --- regularisers and shapers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNERS)
def test_l2_init_is_the_gradient_of_its_penalty(name):
    """The gradient equals autograd's of loss + strength / 2 * ||theta - theta_0||^2, heads included."""
    make, stem = LEARNERS[name]
    learner, method = make(stem), L2Init(strength=0.3)
    begin(learner, [method])
    start = [p.detach().clone() for p in learner.weights_and_biases()]
    train(learner, [], 5, stem=stem)
    inputs = observe(stem, 8, torch.Generator().manual_seed(2))
    backward(learner, inputs)
    method.on_gradient(learner)
    ours = {key: p.grad.clone() for key, p in learner.network.named_parameters()}
    backward(learner, inputs)
    (0.15 * sum(((p - s) ** 2).sum() for p, s in zip(learner.weights_and_biases(), start, strict=True))).backward()
    for key, parameter in learner.network.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad)


def test_l2_init_begins_at_the_beginning_even_if_it_acts_late():
    """`begin` fixes theta_0; without it, the first pull does, and is none."""
    early, late = L2Init(strength=1.0), L2Init(strength=1.0)
    learner = q_learner()
    begin(learner, [early])
    train(learner, [], 5)
    weight = learner.heads["q.head"].weight
    for method, pulled in ((early, True), (late, False)):
        backward(learner, torch.ones(2, 4))
        plain = weight.grad.clone()
        method.on_gradient(learner)
        assert torch.equal(weight.grad, plain) != pulled


def test_gradient_noise_has_its_size():
    """Noise is N(0, (sigma_t ||g||)^2) in every entry of a tensor, and sigma_t falls by `decay` an update."""
    parameter = nn.Parameter(torch.zeros(100, 100))
    learner = q_learner()
    learner.optimizer = torch.optim.SGD([parameter], lr=1.0)
    method, gradient = GradientNoise(sigma=0.1, decay=0.5), torch.linspace(-1, 1, 10_000).reshape(100, 100)
    for t in range(3):
        parameter.grad = gradient.clone()
        method.on_gradient(learner)
        noise = (parameter.grad - gradient) / (0.1 * 0.5**t * gradient.norm())
        assert noise.mean() == pytest.approx(0.0, abs=0.05)  # 5 standard errors of 1 / 100
        assert noise.std() == pytest.approx(1.0, abs=0.04)
        kurtosis = (noise**4).mean() / (noise**2).mean() ** 2
        assert kurtosis == pytest.approx(3.0, abs=0.3)


def test_gradient_noise_scales_with_each_tensor():
    """Norms are of one tensor each, and a zero gradient stays exactly zero."""
    small, large, zero, unused = (nn.Parameter(torch.zeros(500)) for _ in range(4))
    learner = q_learner()
    learner.optimizer = torch.optim.SGD([small, large, zero, unused], lr=1.0)
    small.grad, large.grad, zero.grad = torch.full((500,), 1e-3), torch.ones(500), torch.zeros(500)
    GradientNoise(sigma=0.01).on_gradient(learner)
    assert (large.grad - 1).std() == pytest.approx(0.01 * 500**0.5, rel=0.2)
    assert (small.grad - 1e-3).std() == pytest.approx(1e-5 * 500**0.5, rel=0.2)
    assert not zero.grad.any()
    assert unused.grad is None


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_layer_norm_stands_before_every_activation(name, affine):
    """What every activation reads has mean 0 and variance 1 for each sample; gains exist only if asked for."""
    make, stem = LEARNERS[name]
    learner, seen = make(stem, [LayerNorm(affine=affine)]), []
    for layer in learner.layers:
        layer.activation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1)))
    learner.network(10 * observe(stem, 8, torch.Generator().manual_seed(0)))
    assert len(seen) == len(learner.layers)
    for x in seen:
        torch.testing.assert_close(x.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.var(1, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
    gains = [key for key, _ in learner.network.named_parameters() if ".before." in key]
    assert len(gains) == (2 * len(learner.layers) if affine else 0)


def test_dropout_silences_its_share_in_training_alone():
    """A tenth of the outputs is 0 and the mean is kept; in evaluation and at p = 0 there is nothing of it."""
    learner = q_learner(methods=[Dropout(p=0.1)])
    block = learner.network.trunks["q"].blocks[0]
    ones = torch.ones(2000, 6)
    torch.manual_seed(0)
    out = block.after(ones)
    assert (out == 0).float().mean() == pytest.approx(0.1, abs=0.02)
    assert out.max() == pytest.approx(1 / 0.9)
    block.eval()
    assert torch.equal(block.after(ones), ones)
    assert len(q_learner(methods=[Dropout(p=0.0)]).network.trunks["q"].blocks[0].after) == 0


def test_base_does_nothing():
    """Every seam of the base class leaves a run as it is."""
    assert Mitigation.seams() == ()
    learner, plain = q_learner(methods=[Mitigation()]), q_learner()
    train(learner, [Mitigation()], 25)
    train(plain, [], 25)
    assert_bitwise(snapshot(plain), snapshot(learner))
