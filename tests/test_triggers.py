"""When methods act: triggers by hand, and with detectors inside real training."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from stable_baselines3.common.callbacks import BaseCallback

from lopgym.agents import Plasticity
from lopgym.agents.detectors import detectors
from lopgym.agents.detectors.adwin import Adwin
from lopgym.agents.hearing import SIGNALS
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.mitigations.optimizer_reset import OptimizerReset
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.triggers import Trigger, When, triggers
from lopgym.agents.triggers.detected import Detected
from lopgym.agents.triggers.probe import ProbeTrigger
from lopgym.agents.triggers.updates import Updates
from lopgym.probes.dormant import dormant_fraction
from lopgym.studies.compose import from_keywords
from lopgym.studies.detection import overheard, pooled, score, table
from lopgym.studies.run import build_mitigations
from lopgym.studies.schema import configurable
from tests.learners import assert_bitwise, backward, observe, one_layer, q_learner, snapshot
from tests.streams import stream
from tests.training import ALGORITHMS, build, catch, differing, everything, train

Array = NDArray[np.float64]


class _Diary(Triggered):
    """Notes the updates at which it acts."""

    def __init__(self, when: Any, active_from: int = 0) -> None:
        self.acted: list[int] = []
        super().__init__(when=when, active_from=active_from)

    def act(self, learner: Learner) -> None:
        self.acted.append(learner.updates)


def _live(method: Mitigation, learner: Learner, updates: int = 12, per_task: int = 5) -> None:
    method.begin(learner)
    for _ in range(updates):
        learner.updates += 1
        if learner.task >= method.active_from:
            method.after_step(learner)
        if learner.updates % per_task == 0:
            learner.task += 1
            if learner.task >= method.active_from:
                method.on_task_change(learner)


@pytest.mark.parametrize(
    ("when", "acted"),
    [
        ({"kind": "updates", "every": 4}, [4, 8, 12]),
        ("updates", []),
        ("task", [5, 10]),
        ({"kind": "task"}, [5, 10]),
        (Updates(every=6), [6, 12]),
        ("detected", []),
    ],
)
def test_when(when: Any, acted: list[int]) -> None:
    """Data, a bare word or a trigger itself: each acts at its own moments and at no other."""
    diary = _Diary(when)
    _live(diary, q_learner())
    assert diary.acted == acted


def test_a_detected_change_is_acted_on_after_the_next_update_once() -> None:
    """Two alarms before an update are one act; nothing is waiting afterwards."""
    learner = q_learner()
    diary = _Diary(
        {
            "kind": "detected",
            "standardise": False,
            "detector": {"kind": "cusum", "slack": 0.0, "threshold": 0.5, "warm_up": 1},
        }
    )
    diary.begin(learner)
    (ear,) = learner.ears["td_error"]
    for value in (0.0, 1.0, 0.0, 1.0):
        ear(value)
    assert diary.acted == []
    for learner.updates in (1, 2):
        diary.after_step(learner)
    assert diary.acted == [1]


def test_alarms_before_active_from_are_dropped() -> None:
    """What a method heard in tasks that were not its own is no reason to act in the first that is."""
    learner = q_learner()
    diary = _Diary(
        {
            "kind": "detected",
            "standardise": False,
            "detector": {"kind": "cusum", "threshold": 0.1, "slack": 0.0, "warm_up": 1},
        },
        1,
    )
    diary.begin(learner)
    (ear,) = learner.ears["td_error"]
    ear(0.0), ear(1.0)
    learner.task = 1
    diary.after_step(learner)
    assert diary.acted == []
    ear(0.0), ear(1.0)
    diary.after_step(learner)
    assert len(diary.acted) == 1


def test_returns_alarm_when_they_fall() -> None:
    """A rise of the errors is for the worse, and so is a fall of the returns."""
    errors, returns = Detected(), Detected(signal="return")
    rising = stream(0, 6.0)
    assert any(errors.hear(v) for v in rising)
    assert any(returns.hear(-v) for v in rising)
    assert not any(Detected(signal="return").hear(v) for v in rising)


def test_standardised_alarms_do_not_depend_on_the_scale() -> None:
    """A world of other rewards is heard at the same steps; by hand, 3 after 1 and 2 is (3 - 1.5) / 0.5 = 3."""
    values = stream(1)
    plain, scaled = Detected(), Detected()
    assert [plain.hear(v) for v in values] == [scaled.hear(1024.0 * v - 4096.0) for v in values]
    standard = Detected()._standard
    assert [standard(1.0), standard(2.0), standard(3.0)] == [None, None, 3.0]


def test_detected_resumes() -> None:
    """A copy of its state, an alarm that waits included, goes on just the same."""
    values = stream(0, 6.0)
    whole, half, again = Detected(), Detected(), Detected()
    straight = [whole.hear(v) for v in values]
    begun = [half.hear(v) for v in values[:240]]
    half._due = True
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    assert begun + [again.hear(v) for v in values[240:]] == straight
    assert again.after_step(q_learner())


@pytest.mark.parametrize(
    ("threshold", "side", "fires"), [(0.3, "above", True), (0.5, "above", False), (0.6, "below", True)]
)
def test_probe_by_hand(threshold: float, side: Any, fires: bool) -> None:
    """Of units of scores 0, 0.03, 1 and 2.97 half are dormant at 0.1: 0.5 is above 0.3, and not above itself."""
    learner = one_layer([[-1.0], [0.03], [1.0], [2.97]], [[1.0, 2.0, 3.0, 4.0]])
    trigger = ProbeTrigger(threshold=threshold, side=side, every=2, batch=8, options={"tau": 0.1})
    assert trigger.read(learner) == {"q.hidden0": 0.5}
    learner.updates = 2
    assert trigger.after_step(learner) is fires
    learner.updates = 3
    assert not trigger.after_step(learner), "it does not even look between two readings"


def test_probe_reads_any_layer() -> None:
    """One layer beyond the threshold is enough."""
    learner = q_learner()
    with torch.no_grad():
        learner.layers[1].incoming.bias.fill_(-1e3)
    trigger = ProbeTrigger(every=1, threshold=0.9)
    values = trigger.read(learner)
    assert values["q.hidden1"] == 1.0 > values["q.hidden0"]
    assert dormant_fraction({"x": torch.zeros(2, 3)}) == {"x": 1.0}
    assert trigger.after_step(learner)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": "dormant"}, "no probe named 'dormant'; did you mean"),
        ({"probe": "grama"}, "probe 'grama' needs"),
        ({"side": "over"}, "side='over' is not allowed"),
        ({"options": {"tua": 1}}, "probe 'dormant_fraction' has no option 'tua'; did you mean 'tau'"),
    ],
)
def test_probe_triggers_that_could_not_be_read_are_refused(options: dict[str, Any], message: str) -> None:
    """When the config is read, not at the first reading."""
    with pytest.raises(ValueError, match=f"^{message}"):
        ProbeTrigger(**options)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("tusk", "redo: when='tusk' does not exist; did you mean 'task'?"),
        ({"every": 3}, "redo: when=None does not exist; known: detected, probe, task, updates"),
        ({"kind": "updates", "evry": 3}, "redo: when: trigger 'updates' has no option 'evry'; did you mean 'every'?"),
        ({"kind": "detected", "detector": "adwn"}, "redo: when: detector='adwn' does not exist; did you mean 'adwin'?"),
    ],
)
def test_triggers_that_do_not_exist_are_refused(when: Any, message: str) -> None:
    """In one line that says what was probably meant."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ReDo(when=when)


def test_configs_take_triggers() -> None:
    """As data, typed and checked however deep inside; a bare name stays one; the old options mean what they meant."""
    when = {"kind": "detected", "signal": "return", "detector": {"kind": "adwin", "delta": 0.01}}
    config = from_keywords("catch_dqn", mitigation={"redo": {"when": when}})
    plain = config.plain()["mitigation"]["redo"]
    assert plain["when"]["detector"] == {"kind": "adwin", "delta": 0.01, "clock": 32, "least": 5, "falls": False}
    trigger = build_mitigations(config)["redo"]._trigger  # type: ignore[attr-defined]
    assert isinstance(trigger, Detected)
    assert isinstance(trigger._detector, Adwin)
    old = from_keywords("catch_dqn", mitigation={"shrink_perturb": {"when": "updates", "every": 7}})
    assert old.plain()["mitigation"]["shrink_perturb"]["when"] == "updates"
    made = build_mitigations(old)["shrink_perturb"]._trigger  # type: ignore[attr-defined]
    assert isinstance(made, Updates)
    assert made.every == 7
    adapter = TypeAdapter(configurable(When))
    for wrong in (
        "tusk",
        {"kind": "detected", "detector": {"kind": "cusum", "slack": -1}},
        {"kind": "updates", "every": 0},
        3,
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_every_trigger_is_documented() -> None:
    """One sentence, and every option; what needs the true task says so."""
    for entry in triggers:
        assert entry.summary.endswith("."), entry.name
        assert all(f"\n        {option}: " in str(entry.make.__doc__) for option in entry.options), entry.name
        told = entry.make.on_task_change is not Trigger.on_task_change
        assert entry.facts.get("oracle", False) == told


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_scores_count_every_alarm_once(alarms: set[int], changes: set[int]) -> None:
    """Each alarm found one change or is false; no change is found twice, and each delay ends before the next change."""
    result = score(sorted(alarms), sorted(changes), 100)
    assert len(result.delays) + result.false == len(alarms)
    pieces = [[a for a in alarms if c <= a < min([*(d for d in changes if d > c), 100])] for c in sorted(changes)]
    assert list(result.delays) == [min(p) - c for c, p in zip(sorted(changes), pieces, strict=True) if p]
    assert (result + result).found == pytest.approx(result.found, nan_ok=True)
    assert (result + result).false_per_10000 == pytest.approx(100 * result.false)


def test_what_is_overheard_is_on_the_clock_of_the_world() -> None:
    """One TD error for every step from 0 on, over several copies the last step of each batch; returns as they end."""
    heard = overheard(from_keywords("catch_dqn", tasks=2, steps_per_task=100))
    assert [step for step, _ in heard["td_error"]] == list(range(200))
    assert all(0 <= step < 200 and value in (-1.0, 1.0) for step, value in heard["return"])
    copies = overheard(from_keywords("catch_dqn", tasks=2, steps_per_task=100, env={"n_envs": 2}))
    assert [step for step, _ in copies["td_error"]] == list(range(1, 200, 2))


@pytest.mark.slow
def test_detectors_hear_the_tasks_of_catch_change() -> None:
    """Most changes are found in the TD errors by every detector, sooner than by chance, with few false alarms."""
    scores = pooled(iter([from_keywords("catch_dqn", tasks=12, seed=seed) for seed in range(3)]))
    print(table(scores))
    for detector in ("adwin", "cusum", "page_hinkley"):
        errors = scores[detector, "td_error"]
        assert errors.changes == 33
        assert errors.found > 0.5
        assert errors.delay < 400
        assert errors.false_per_10000 < 10


class _Noting(BaseCallback):
    """Notes what a plain implementation hears of a step: returns, and TD errors out of the stored transition."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        model: Any = self.model
        self.steps.append(
            {
                "obs": model._last_obs.copy(),
                **{k: copy.deepcopy(self.locals[k]) for k in ("new_obs", "rewards", "dones", "infos", "actions")},
            }
        )
        with torch.no_grad():
            self.steps[-1]["error"] = _by_hand(model, self.steps[-1])
        return True


def _by_hand(model: Any, step: dict[str, Any]) -> float:
    """Return the mean TD error of a step, copy by copy, from Q tables or values that plain forward passes give."""
    errors = []
    for i, done in enumerate(step["dones"]):
        info = step["infos"][i]
        after = info["terminal_observation"] if done else step["new_obs"][i]
        goes_on = not done or info["TimeLimit.truncated"]
        now, then = (torch.as_tensor(np.asarray(o)[None]).float() for o in (step["obs"][i], after))
        if hasattr(model, "q_net"):
            value, following = model.q_net(now)[0, int(step["actions"][i])], model.q_net_target(then).max()
        else:
            value, following = model.policy.predict_values(now)[0, 0], model.policy.predict_values(then)[0, 0]
        errors.append(abs(float(step["rewards"][i]) + goes_on * model.gamma * float(following) - float(value)))
    return sum(errors) / len(errors)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_heard_is_what_happened(name: str) -> None:
    """Every step's TD error and every return, against a second implementation inside the same training."""
    model, noting, heard = build(name), _Noting(), {signal: [] for signal in SIGNALS}
    diary = _Diary("task")
    diary.begin = lambda learner: [learner.listen(s, heard[s].append) for s in SIGNALS]  # type: ignore[method-assign]
    model.learn(150, callback=[noting, Plasticity(mitigations={"diary": diary})])
    assert heard["td_error"] == pytest.approx([step["error"] for step in noting.steps], abs=1e-5)
    ended = [info["episode"]["r"] for step in noting.steps for info in step["infos"] if "episode" in info]
    assert heard["return"] == ended
    assert len(ended) > 3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_hearing_disturbs_nothing(name: str) -> None:
    """Training that is listened to is bitwise the training that is not."""
    method = OptimizerReset(when={"kind": "detected", "detector": {"kind": "cusum", "threshold": 1e9}})
    probing = OptimizerReset(when={"kind": "probe", "threshold": 2.0, "every": 5})
    quiet, _ = train(name, steps=150, task=75)
    heard, _ = train(name, {"hearing": method, "probing": probing}, steps=150, task=75)
    assert differing(everything(quiet), everything(heard)) == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_detected_change_resets_for_real(name: str) -> None:
    """A detector as nervous as can be makes a reset act in real training, and the alarms are logged."""
    written: dict[str, float] = {}
    nervous = {"kind": "cusum", "threshold": 0.01, "slack": 0.0, "warm_up": 5}
    method = mitigations.build("head_reset", when={"kind": "detected", "detector": nervous})
    model = build(name, {"reset": method}, catch(75))
    plain, _ = train(name, steps=150, task=75)
    model.learn(
        150,
        callback=Plasticity(
            mitigations={"reset": method}, write=lambda step, values: written.update(values), probe_every=10
        ),
    )
    assert written["mitigation/reset/alarms"] > 0
    assert differing(everything(plain), everything(model))


NERVOUS = {"kind": "detected", "standardise": False, "detector": {"kind": "cusum", "threshold": 0.1, "slack": 0.0}}
MOMENTS: dict[str, Any] = {
    "updates": {"kind": "updates", "every": 4},
    "task": "task",
    "probe": {"kind": "probe", "threshold": -1.0, "every": 4},
    "detected": NERVOUS,
}
UNITS: dict[str, dict[str, Any]] = {
    "redo": {"tau": 0.9, "batch": 16},
    "regrama": {"tau": 0.9},
    "knife": {"threshold": 0.9},
    "redo_fixed_rate": {"batch": 16},
    "clone_release": {"threshold": 0.5},
    "targeted_escape": {"threshold": 0.3},
}


def _updates(learner: Learner, method: Any, batches: torch.Generator, updates: int) -> None:
    """Take gradient steps; before the sixth and the twelfth, the task changes and an ear hears an alarm."""
    for _ in range(updates):
        if learner.updates in (5, 11):
            learner.task += 1
            method.on_task_change(learner)
        learner.updates += 1
        learner.network.train()
        backward(learner, observe("mlp", 16, batches))
        method.on_gradient(learner)
        learner.optimizer.step()
        if learner.updates in (6, 12):
            _ring(method, learner)
        method.after_step(learner)


def _ring(method: Any, learner: Learner) -> None:
    for value in (*[0.0] * 100, 1.0):
        for ear in learner.ears.get("td_error", ()):
            ear(value)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", UNITS)
def test_unit_methods_act_when_told_and_resume_between_an_update_and_the_task_change(name: str, moment: str) -> None:
    """At its moments and no others weights change beside the optimizer's steps; a copy goes on bit for bit.

    The copy is taken after the fifth update: what the method heard in it, it is to act on at the change that follows.
    """
    whole, copied = (mitigations.build(name, when=MOMENTS[moment], **UNITS[name]) for _ in range(2))
    learner, batches, acted = q_learner(), torch.Generator().manual_seed(1), set[int]()
    learner.report = lambda values: acted.add(learner.updates)
    whole.begin(learner)
    _updates(learner, whole, batches, 5)
    other = q_learner()
    other.network.load_state_dict(copy.deepcopy(learner.network.state_dict()))
    other.optimizer.load_state_dict(copy.deepcopy(learner.optimizer.state_dict()))
    other.rng.set_state(learner.rng.get_state())
    other.rows.set_state(learner.rows.get_state())
    other.updates, other.task = learner.updates, learner.task
    copied.load_state_dict(copy.deepcopy(whole.state_dict()))
    copied.begin(other)
    again = torch.Generator().set_state(batches.get_state())
    _updates(learner, whole, batches, 9)
    _updates(other, copied, again, 9)
    assert acted == {"task": {5, 11}, "detected": {6, 12}}.get(moment, {4, 8, 12})
    assert_bitwise(snapshot(learner), snapshot(other))
    assert torch.equal(learner.rng.get_state(), other.rng.get_state())


@pytest.mark.parametrize("name", ["regrama", "targeted_escape"])
def test_methods_that_hear_errors_do_so_before_they_act_alone(name: str) -> None:
    """No hook stands in an update that no sweep can follow, and none is left at the end."""
    method, learner = mitigations.build(name, every=3, **UNITS[name]), q_learner()
    method.begin(learner)
    batches, hooked = torch.Generator(), []
    for _ in range(6):
        hooked.append(any(module._forward_hooks for module in learner.network.modules()))
        _updates(learner, method, batches, 1)
    assert hooked == [False, False, True] * 2
    busy, learner = mitigations.build(name, when="task", **UNITS[name]), q_learner()
    busy.begin(learner)
    assert any(module._forward_hooks for module in learner.network.modules())
    busy.end(learner)
    assert not any(module._forward_hooks for module in learner.network.modules())


@pytest.mark.parametrize("name", ["regrama", "targeted_escape"])
def test_what_was_heard_serves_one_sweep(name: str) -> None:
    """A second task change with no update in between finds nothing to act on."""
    method, learner = mitigations.build(name, when="task", **UNITS[name]), q_learner()
    method.begin(learner)
    _updates(learner, method, torch.Generator(), 1)
    if name == "targeted_escape":
        method.share = 0.0  # type: ignore[attr-defined]  # frozen units are looked for, not heard
    before = snapshot(learner)
    method.on_task_change(learner)
    after = snapshot(learner)
    assert any(not torch.equal(before[key], after[key]) for key in before)
    method.on_task_change(learner)
    assert_bitwise(after, snapshot(learner))


@pytest.mark.parametrize("name", ["regrama", "targeted_escape"])
def test_the_change_to_its_first_task_is_judged_by_the_update_before(name: str) -> None:
    """A method that waits for a task listens while it waits: the change that it waits for is one to act on."""
    method, learner = mitigations.build(name, when="task", active_from=1, **UNITS[name]), q_learner()
    method.begin(learner)
    _updates(learner, Mitigation(), torch.Generator(), 3)
    reports: dict[str, float] = {}
    learner.task, learner.report = 1, reports.update
    method.on_task_change(learner)
    assert reports["reset_units" if name == "regrama" else "split_units"] > 0


def test_the_state_of_a_detector_is_of_its_moment() -> None:
    """Hearing more does not change what was returned before."""
    for entry in detectors:
        detector = entry.make()
        detector.update(1.0)
        state = detector.state_dict()
        kept = copy.deepcopy(state)
        for value in range(40):
            detector.update(float(value))
        assert state == kept != detector.state_dict()
