"""A model belongs to its owner again when training is over, however it ended."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents import Plasticity
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.probes import probes as probe_registry
from tests.training import ALGORITHMS, build, differing, everything

CLIP = 10.0  # DQN's own, in Stable-Baselines3


class _Stop(BaseCallback):
    """Ends training by an exception after some calls."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def _on_step(self) -> bool:
        if self.n_calls >= self.after:
            raise KeyboardInterrupt
        return True


class _Count(Mitigation):
    """Counts the updates that it saw."""

    seen = 0

    def on_gradient(self, learner: Any) -> None:
        self.seen += 1


def _hooks(model: Any) -> int:
    optimizer = model.policy.optimizer
    return len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def _interrupted(model: Any, callback: Plasticity) -> None:
    with pytest.raises(KeyboardInterrupt):
        model.learn(200, callback=[callback, _Stop(60)])


def _ears(model: Any) -> dict[str, int]:
    """Count the hooks on each module that has some."""
    networks = [getattr(model.policy, name) for name in ("q_net", "q_net_target") if hasattr(model.policy, name)]
    modules = {name: m for network in [*networks, model.policy] for name, m in network.named_modules()}
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    counts = {name: sum(len(getattr(module, kind)) for kind in kinds) for name, module in modules.items()}
    return {name: count for name, count in counts.items() if count}


class _Listens(BaseCallback):
    """Keeps how many modules had hooks at most."""

    most = 0

    def _on_step(self) -> bool:
        self.most = max(self.most, len(_ears(self.model)))
        return True


def _is_free(model: Any) -> bool:
    return _hooks(model) == 0 and model.max_grad_norm == CLIP


def test_training_that_ends_gives_the_model_back() -> None:
    """The usual way, and detaching again does nothing."""
    model, callback = build("dqn"), Plasticity()
    model.learn(100, callback=callback)
    assert _is_free(model)
    callback.detach()
    assert _is_free(model)


def test_an_exception_leaves_the_callback_until_it_is_detached() -> None:
    """Stable-Baselines3 tells callbacks nothing of it: so by hand, or by `with`."""
    model, callback = build("dqn"), Plasticity(mitigations={"count": _Count()})
    _interrupted(model, callback)
    assert (_hooks(model), model.max_grad_norm) == (2, float("inf"))
    callback.detach()
    assert _is_free(model)
    with callback:
        _interrupted(model, callback)
    assert _is_free(model)


@pytest.mark.parametrize("same", [True, False])
def test_the_next_training_takes_over(same: bool) -> None:
    """The same callback or another: each update is seen once, and the clipping comes back in the end."""
    model, first, second = build("dqn"), _Count(), _Count()
    callback = Plasticity(mitigations={"count": first})
    _interrupted(model, callback)
    before, first.seen = first.seen, 0
    if not same:
        callback = Plasticity(mitigations={"count": second})
    model.learn(60, callback=callback)
    assert before > 0
    assert (first.seen, second.seen) == ((20, 0) if same else (0, 20))  # 60 steps, of which 40 warm up
    assert _is_free(model)


def test_what_follows_an_interruption_is_clipped_as_ever() -> None:
    """Two models with the same weights and data: one was interrupted under a callback, one without. Bit for bit."""
    states = []
    for methods in ({"count": _Count()}, None):  # one after the other: they share the global random streams
        callback = Plasticity(mitigations=methods) if methods else None
        model = build("dqn", max_grad_norm=0.01)
        with callback or nullcontext(), pytest.raises(KeyboardInterrupt):
            model.learn(200, callback=[*([callback] if callback else []), _Stop(60)])
        model.learn(100, reset_num_timesteps=False)
        states.append(everything(model))
    assert differing(*states) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("entry", list(mitigations), ids=lambda entry: entry.name)
def test_no_method_leaves_a_hook_on_a_module(entry: Any, algorithm: str) -> None:
    """What is built in stays, what listened is gone; a second training listens as the first one did."""
    methods = {entry.name: entry.make()}
    model, callback = build(algorithm, methods), Plasticity(mitigations=methods)
    before, counts = _ears(model), []
    for _ in range(2):
        listens = _Listens()
        model.learn(100, callback=[callback, listens])
        counts.append(listens.most)
        assert _ears(model) == before
    assert counts[0] == counts[1]


def test_methods_that_listen_do() -> None:
    """The test above would not see that nobody listens at all."""
    methods = {"cbp": mitigations.build("cbp"), "spectral_decoupling": mitigations.build("spectral_decoupling")}
    model, listens = build("dqn", methods), _Listens()
    model.learn(100, callback=[Plasticity(mitigations=methods), listens])
    assert listens.most == 3  # two hidden layers and the head


def test_a_method_that_refuses_leaves_the_model_free() -> None:
    """The ones that had begun let go, too."""

    class Refuses(Mitigation):
        def begin(self, learner: Any) -> None:
            raise ValueError("not this one")

    methods = {"cbp": mitigations.build("cbp"), "refuses": Refuses()}
    model = build("dqn", methods)
    with pytest.raises(ValueError, match="not this one"):
        model.learn(100, callback=Plasticity(mitigations=methods))
    assert _is_free(model)
    assert not _ears(model)


class _Clipping(BaseCallback):
    """Keeps by what length Stable-Baselines3 clips the updates that follow each step."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.lengths.append(self.model.max_grad_norm)


def test_clipping_is_left_to_stable_baselines3_where_nobody_looks_at_gradients() -> None:
    """It is done in its place, after them, for a method of gradients always, and for probes when they are due."""
    gradients = {"count": _Count()}
    probes = {"gradient_norm": probe_registry["gradient_norm"].make}
    seen = {}
    for what, options in {
        "nothing": {},
        "weights": {"mitigations": {"redo": mitigations.build("redo")}},
        "gradients": {"mitigations": gradients},
        "probes": {"probes": probes, "probe_every": 20},
    }.items():
        clipping = _Clipping()
        build("dqn").learn(100, callback=[Plasticity(**options), clipping])
        seen[what] = clipping.lengths
    assert seen["nothing"] == seen["weights"] == [CLIP] * 100
    assert seen["gradients"] == [float("inf")] * 100
    due = {index for index, length in enumerate(seen["probes"]) if length == float("inf")}
    assert due == {*range(19, 41), 59, 79, 99}  # step 20 falls into the warm-up of 40 steps: due until the first update


def test_two_at_once_are_refused() -> None:
    """The clipping of one would come before the gradients of the other; the model is free afterwards."""
    model, first = build("dqn"), Plasticity()
    with first, pytest.raises(ValueError, match="give one of them all probes and mitigations"):
        model.learn(100, callback=[first, Plasticity()])
    assert _is_free(model)


def test_an_interrupted_model_can_still_be_saved(tmp_path: Any) -> None:
    """Nothing of the callback is in the file."""
    model, callback = build("dqn"), Plasticity()
    with callback:
        _interrupted(model, callback)
    model.save(tmp_path / "model.zip")
    assert DQN.load(tmp_path / "model.zip").max_grad_norm == CLIP
