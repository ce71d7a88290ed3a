"""What every mitigation must satisfy, and what each one computes. A new file is tested because it is registered."""

import copy
import inspect
from functools import cache

import numpy as np
import pytest
import torch

from lopgym.agents.mitigations import HOOKS, SHAPERS, Mitigation, mitigations
from tests.learners import LEARNERS, assert_bitwise, begin, q_learner, snapshot, train

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


def test_base_does_nothing():
    """Every seam of the base class leaves a run as it is."""
    assert Mitigation.seams() == ()
    learner, plain = q_learner(methods=[Mitigation()]), q_learner()
    train(learner, [Mitigation()], 25)
    train(plain, [], 25)
    assert_bitwise(snapshot(plain), snapshot(learner))
