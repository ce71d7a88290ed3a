"""Config: everything that determines a run, typed, frozen and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, Field, StringConstraints, create_model

from lopgym.envs.own_clocks import ClockName
from lopgym.envs.triggered import Trigger
from lopgym.registry import Registry
from lopgym.schedules import Schedule
from lopgym.studies.folder_name import folder_name
from lopgym.studies.schema import Bool, Float, Int, Kind, Options, configurable, derive, one_of

if TYPE_CHECKING:
    Drifts = Mapping[str, Any]
    TriggerOptions = Options
else:
    Drifts = configurable(Mapping[str, Schedule])
    TriggerOptions = derive(Trigger, "trigger", Options)

LIMIT = 2**32  # numpy's legacy generators, which Stable-Baselines3 seeds, take no more; and steps stay countable
Count = Annotated[Int, Gt(0), Lt(LIMIT)]
CountOrNone = Annotated[Int, Ge(0), Lt(LIMIT)]
Copies = Annotated[Int, Gt(0), Le(2**16)]  # of a world, side by side: each takes memory before anything is learned
FolderName = Annotated[str, AfterValidator(folder_name)]
RUN_TIME = ("world_seed", "num_envs", "render_mode")  # of a world's constructor: not options of the world
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class Env(Kind):
    """A world, its copies and its drift; the options of the chosen world come beside these.

    Args:
        n_envs: copies that the agent trains in, side by side; at most 65,536.
        drifts: parameter -> schedule, in env steps over all copies; None is the world's own drift, {} is none.
        world_seed: fixes what the world is, its labels and permutations; None is the seed of the run.
        apply: when a change takes effect: at once, at the next reset, or by truncating the episode.
        clocks: parameter -> what its schedule counts, if not the steps of the life: `episode`, `step` (within the
            episode) or `trigger`.
        trigger: when the clock `trigger` moves on: options of `lopgym.envs.triggered.Trigger`.
    """

    n_envs: Copies = 1
    drifts: Drifts | None = None
    world_seed: CountOrNone | None = None
    apply: Literal["step", "reset", "truncate"] = "truncate"
    clocks: dict[str, ClockName] = Field(default_factory=dict)
    trigger: TriggerOptions | None = None


class CustomEnv(Env):
    """Any registered Gymnasium environment.

    Args:
        id: as `gymnasium.make` takes it; `pkg:Id-v0` imports `pkg`.
        kwargs: for its constructor.
    """

    kind: Literal["custom"] = "custom"
    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Evaluation(Options):
    """Deterministic episodes in separate copies.

    Args:
        every: env steps between evaluations; 0 is never.
        episodes: episodes on each task, one in each of as many copies; at most 65,536.
        tasks: earlier tasks that are visited beside the current one.
    """

    every: CountOrNone = 0
    episodes: Copies = 10
    tasks: tuple[CountOrNone, ...] = (0,)


class Normalize(Options):
    """What Stable-Baselines3's VecNormalize standardises by running statistics."""

    observations: Bool = False
    rewards: Bool = False


class Guard(Options):
    """What ends a run: numbers that are not finite, or too large to be meant.

    Args:
        limit: largest magnitude of observations, rewards, actions, gradients and parameters.
        rollbacks: how often a run goes back to its newest checkpoint instead, and on with other luck.
    """

    limit: Annotated[Float, Gt(0)] = 1e6
    rollbacks: CountOrNone = 0


class Checkpoint(Options):
    """What is kept so that a run that was cut off can go on.

    Args:
        every: env steps between two checkpoints; 0 is never.
        keep: how many there are at most.
    """

    every: CountOrNone = 0
    keep: Count = 2


class Config(Options):
    """One run. `model` fills in what `env`, `agent`, `mitigation` and `probes` may hold.

    Args:
        study: name of the study that the config departs from.
        variant: name of the departure, a folder.
        tasks: how many.
        steps_per_task: env steps over all copies.
        seed: of everything random.
        runs_dir: where run folders go.
        device: where the network lives.
        probe_every: env steps between two looks at the network; 0 is never.
        report_every: env steps between two values of `task/return`.
        env: the world.
        agent: what learns in it.
        mitigation: label -> what keeps it plastic, in order.
        probes: label -> what is measured.
        evaluation: what is played besides.
        task_change: options of `lopgym.agents.task_change.TaskChange`.
        normalize: what is standardised.
        guard: what is too large to be meant.
        checkpoint: what is kept to go on from.
        fork: options of `lopgym.agents.fork.ForkProbe`: every so many tasks; 0 is never.
        null_calibration: options of `lopgym.agents.null_calibration.NullCalibration`: every so many env steps.
        spectra_every: env steps between two looks at the singular values of each layer; 0 is never.
    """

    study: FolderName
    variant: FolderName
    tasks: Count
    steps_per_task: Count
    seed: CountOrNone
    runs_dir: Path
    device: Device = "cpu"
    probe_every: CountOrNone
    report_every: Count
    env: Env
    agent: Kind
    mitigation: dict[str, Kind]
    probes: dict[str, Kind]
    evaluation: Evaluation
    task_change: Options
    normalize: Normalize
    guard: Guard = Guard()
    checkpoint: Checkpoint = Checkpoint()
    fork: Options
    null_calibration: Options
    spectra_every: CountOrNone = 0


def registries() -> tuple[dict[str, Registry[Any]], dict[str, Registry[Any]]]:
    """Return the groups of which a config holds one entry, and those of which it holds many."""
    from lopgym.agents import agents
    from lopgym.agents.mitigations import mitigations
    from lopgym.envs import environments
    from lopgym.probes import probes

    return {"env": environments, "agent": agents}, {"mitigation": mitigations, "probes": probes}


@cache
def entries(group: str) -> dict[str, type[Options]]:
    """Return the model of each thing registered in `group`, by name."""
    one, many = registries()
    registry = (one | many)[group]
    if group == "env":
        return {e.name: derive(e.make, e.name, Env, RUN_TIME) for e in registry} | {"custom": CustomEnv}
    return {e.name: derive(e.make, e.name) for e in registry}


@cache
def model() -> type[Config]:
    """Return Config with the options of whatever is registered, other people's packages included."""
    from lopgym.agents.fork import ForkProbe
    from lopgym.agents.null_calibration import NullCalibration
    from lopgym.agents.task_change import TaskChange

    one, many = registries()
    fields: dict[str, Any] = {group: (one_of(*entries(group).values()), ...) for group in one}
    for group in many:
        fields[group] = (dict.__class_getitem__((str, one_of(*entries(group).values()))), ...)
    fields["task_change"] = (derive(TaskChange, "task_change", Options), ...)
    fields["fork"] = _now_and_then(ForkProbe, "fork", ("steps_per_task",))
    fields["null_calibration"] = _now_and_then(NullCalibration, "null_calibration", ("probes",))
    return create_model("Config", __base__=Config, **fields)


def _now_and_then(make: Callable[..., Any], name: str, without: tuple[str, ...]) -> tuple[Any, Options]:
    """Return the field of what looks at the agent every so often: never, unless told otherwise."""
    options = derive(make, name, Options, (*without, "write", "seed"))
    return options, options(every=0)
