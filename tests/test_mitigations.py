"""What every mitigation must satisfy, and what each one computes. A new file is tested because it is registered."""

import copy
import inspect
from functools import cache

import numpy as np
import pytest
import torch

from lopgym.agents.checking import promises_of
from lopgym.agents.learner_state import membership
from lopgym.agents.mitigations import HOOKS, SHAPERS, Mitigation, mitigations
from lopgym.agents.promises import Promises
from tests.learners import LEARNERS, assert_bitwise, begin, observe, q_learner, snapshot, train
from tests.lively import LIVELY

METHODS = [pytest.param(entry, id=entry.name) for entry in mitigations]
NULLS = [pytest.param(entry, id=entry.name) for entry in mitigations if entry.facts["null"] is not None]

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
    assert isinstance(entry.facts.get("promises"), Promises), "say what it does: agents/promises.py"
    for options in entry.facts["promises"].unless.values():
        assert options.keys() <= entry.options.keys()
    assert set(entry.make.seams()) <= {*SHAPERS, *HOOKS}
    assert entry.make.seams(), "a mitigation that overrides no seam does nothing"
    assert "active_from" in entry.options
    assert len(entry.options) <= 8


@pytest.mark.parametrize("entry", METHODS)
def test_is_told_of_task_changes_if_it_says_so(entry):
    """At its defaults it acts at a task change if it declares the oracle signal, or its trigger is that signal."""
    method = entry.make()
    learner = q_learner(methods=[method])
    begin(learner, [method])
    train(learner, [method], 19)
    before = snapshot(learner)
    learner.task += 1
    method.on_task_change(learner)
    after = snapshot(learner)
    acted = before.keys() != after.keys() or any(not torch.equal(before[key], after[key]) for key in before)
    trigger = entry.options.get("when")
    assert acted == (trigger.default == "task" if trigger else entry.facts.get("oracle", False))


@pytest.mark.parametrize("entry", METHODS)
def test_every_option_is_documented(entry):
    """The Args section, of its own or of a base, says what every option is."""
    text = "\n".join(inspect.getdoc(base) or "" for base in inspect.getmro(entry.make))
    assert [option for option in entry.options if f"\n    {option}: " not in text] == []


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
    extra = "extra" in promises_of(made).parts(made)
    assert extra or now.keys() == parameters.keys()
    assert all(now[key] is parameters[key] for key in parameters)
    assert {key: now[key].dtype for key in parameters} == dtypes
    assert all(tensor.isfinite().all() for tensor in changed.values())
    assert [*membership(learner, extra)] == []
    learning = {key: p for key, p in now.items() if p.requires_grad}
    for parameter in learning.values():  # not by a loss: a unit may have died an honest death
        parameter.grad = torch.ones_like(parameter)
    learner.optimizer.step()
    unmoved = torch.all if "wrap_optimizer" in made.seams() else torch.any  # Adam itself moves every single entry
    assert [key for key, p in learning.items() if unmoved(p == changed[f"network.{key}"])] == []


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
        with pytest.raises(ValueError, match=r"acts from the start \(.*\): active_from=2 is for methods"):
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


@pytest.mark.parametrize("name", ["q-mlp", "actor_critic-conv"])
@pytest.mark.parametrize("entry", METHODS)
def test_weights_are_the_whole_agent_unless_it_says_otherwise(entry, name):
    """A network of the same build, given the weights, says the same; of a method with `beyond_weights` it does not."""
    make, stem = LEARNERS[name]
    trained = _trained(name, entry.make(**LIVELY.get(entry.name, {})))
    again = make(stem, [entry.make(**LIVELY.get(entry.name, {}))])
    again.network.load_state_dict(trained.network.state_dict())
    x = observe(stem, 32, torch.Generator().manual_seed(5))
    with torch.no_grad():
        mine, theirs = trained.network.eval()(x), again.network.eval()(x)
    same = all(torch.equal(mine[head], theirs[head]) for head in mine)
    assert same != entry.facts.get("beyond_weights", False)


FORGETS_ALL = {"drm", "optimizer_reset"}  # what the optimizer remembers of `log_std` among it


@pytest.mark.parametrize(
    "entry",
    [p for p in METHODS if "log_std" not in p.values[0].facts["promises"].touches and p.id not in FORGETS_ALL],
)
def test_spares_what_is_no_affine_map(entry):
    """`log_std` ends where it would have without the method, unless that says that it is about `log_std`, too."""
    method = entry.make(**LIVELY.get(entry.name, {}))
    assert torch.equal(_trained("q-mlp", method).network.log_std, _plain("q-mlp")[0].network.log_std)


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
