"""What a changing world costs: ours beside plain Gymnasium, its vector environments, EnvPool, NS-Gym and CARL.

All contenders run in one process and in turns, A B C A B C, so that whatever else the machine does meets all of them.
The unit is CPU time (`process_time`); a ratio is the median of the ratios round by round, with the least and the
greatest. Every contender is what its users get: ours and Gymnasium's from `make` without the passive checker, on both
sides. The drifts stay close to Gymnasium's CartPole, so that episodes are equally long and only the layer is measured.

Run it: `OMP_NUM_THREADS=1 python benchmarks/envs.py` (a minute); `--rounds 3` is quicker and rougher. Contenders
that are not installed are named; for all of them (tried: NS-Gym 1.0.12, EnvPool 1.2.5, and CARL 1.1.1, which asks for
an older Gymnasium but runs with 1.4), in an environment of its own, beside lopgym:

    pip install ns-gym envpool ConfigSpace numpyencoder omegaconf
    pip install --no-deps carl-bench
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np

import lopgym

PLAIN, OURS = "CartPole-v1", "lopgym/CartPole-v0"
PIECES: dict[str, dict[str, Any]] = {
    "gravity": {"kind": "cycle", "values": [9.8, 9.9], "period": 1_000},
    "length": {"kind": "cycle", "values": [0.5, 0.51], "period": 1_500},
}
MOVING: dict[str, dict[str, Any]] = {"gravity": {"kind": "sine", "mean": 9.85, "amplitude": 0.05, "period": 1_000.0}}
NS_GYM = ("schedulers", "update_functions", "wrappers")
SINGLE_STEPS = 20_000
BATCH_STEPS = 60_000  # of all copies together, but at least `LEAST_CALLS` calls
LEAST_CALLS = 5


@dataclass(frozen=True)
class Contender:
    """One way to step CartPole: how it is made, and the most (or least) it may cost beside the yardstick."""

    name: str
    make: Callable[[], Any]
    goal: tuple[str, float] | None = None


def single(**options: Any) -> Callable[[], Any]:
    """Return how ours is made with these options."""
    return lambda: gym.make(OURS, disable_env_checker=True, **options)


def ns_gym(**every: int) -> Callable[[], Any]:
    """Return how NS-Gym's CartPole is made, each parameter moving a little every that many steps."""

    def make() -> Any:
        schedulers, updates, wrappers = (import_module(f"ns_gym.{part}") for part in NS_GYM)
        moves = {
            name: updates.IncrementUpdate(schedulers.PeriodicScheduler(period=period), k=1e-7)
            for name, period in every.items()
        }
        return wrappers.NSClassicControlWrapper(gym.make(PLAIN, disable_env_checker=True), moves)

    return make


def carl() -> Any:
    """Make CARL's CartPole with two contexts in turns, an episode each: it changes at resets only."""
    contexts = {0: {"gravity": 9.8}, 1: {"gravity": 9.9}}
    return import_module("carl.envs").CARLCartPole(gym.make(PLAIN, disable_env_checker=True), contexts)


PIECEWISE = Contender("lopgym, two piecewise-constant drifts", single(drifts=PIECES), ("<=", 1.10))
EVERY_STEP = Contender("lopgym, gravity moves every step", single(drifts=MOVING), ("<=", 1.40))
NS_GYM_PIECEWISE = Contender("NS-Gym, the same two drifts", ns_gym(gravity=1_000, length=1_500))
NS_GYM_ONE = Contender("NS-Gym, gravity alone every 1000 steps", ns_gym(gravity=1_000))
NS_GYM_EVERY_STEP = Contender("NS-Gym, gravity moves every step", ns_gym(gravity=1))
CARL = Contender("CARL, gravity every episode", carl)
SINGLES = (
    Contender("Gymnasium CartPole-v1", lambda: gym.make(PLAIN, disable_env_checker=True)),
    Contender("lopgym, nothing drifts", single(drifts={})),
    PIECEWISE,
    EVERY_STEP,
    NS_GYM_PIECEWISE,
    NS_GYM_ONE,
    NS_GYM_EVERY_STEP,
    CARL,
)
RIVALS: tuple[tuple[Contender, ...], ...] = (  # the same times once more, like beside like
    (replace(PIECEWISE, goal=None), replace(NS_GYM_PIECEWISE, goal=(">=", 2.0)), NS_GYM_ONE, CARL),
    (replace(EVERY_STEP, goal=None), NS_GYM_EVERY_STEP),
)


def batch(copies: int, *, drifts: Mapping[str, Mapping[str, Any]]) -> Any:
    """Make our native batch, a mass of its own for every copy; the drifts are as frequent for each as in a single."""
    slower = {name: {**drift, "period": copies * drift["period"]} for name, drift in drifts.items()}
    env = gym.make_vec(OURS, copies, drifts=slower)
    env.unwrapped.set_physics(masspole=np.linspace(0.1, 0.101, copies))  # type: ignore[attr-defined]  # ours
    return env


def envpool(copies: int) -> Any:
    """Make EnvPool's CartPole, one thread."""
    return import_module("envpool").make_gymnasium(PLAIN, num_envs=copies, num_threads=1)


def batches(copies: int, over_sync: float) -> tuple[Contender, ...]:
    """Return the contenders of one size; our batch with parameters of each copy, nothing drifting, is the yardstick."""
    return (
        Contender("lopgym, parameters of each copy", lambda: batch(copies, drifts={})),
        Contender("lopgym, two piecewise drifts besides", lambda: batch(copies, drifts=PIECES)),
        Contender("lopgym, gravity moves every call", lambda: batch(copies, drifts=MOVING)),
        Contender(
            "Gymnasium SyncVectorEnv", lambda: gym.make_vec(PLAIN, copies, vectorization_mode="sync"), (">=", over_sync)
        ),
        Contender(
            "Gymnasium's own vector CartPole",
            lambda: gym.make_vec(PLAIN, copies, vectorization_mode="vector_entry_point"),
            (">=", 1.4),
        ),
        Contender("EnvPool, one thread", lambda: envpool(copies)),
    )


def seconds_single(env: Any, steps: int) -> float:
    """Return the CPU seconds of that many random steps, resets included."""
    actions = np.random.default_rng(0).integers(2, size=steps)
    env.reset(seed=0)
    step, reset = env.step, env.reset
    began = time.process_time()
    for action in actions:
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            reset()
    return (time.process_time() - began) / steps


def seconds_batch(env: Any, steps: int) -> float:
    """Return the CPU seconds of a random step of a batch, all its copies together."""
    copies = getattr(env, "num_envs", None) or len(env)
    calls = max(LEAST_CALLS, steps // copies)
    actions = np.random.default_rng(0).integers(2, size=(calls, copies))
    env.reset()
    step = env.step
    began = time.process_time()
    for action in actions:
        step(action)
    return (time.process_time() - began) / calls


def race(
    contenders: tuple[Contender, ...], seconds: Callable[[Any, int], float], steps: int, rounds: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Let all that are installed run in turns; return their times, and who is missing."""
    envs, missing = _made(contenders)
    times: dict[str, list[float]] = {name: [] for name in envs}
    for env in envs.values():  # warm
        seconds(env, steps // 10)
    for _ in range(rounds):
        for name, env in envs.items():
            gc.collect()
            times[name].append(seconds(env, steps))
    for env in envs.values():
        env.close()
    return times, missing


def _made(contenders: tuple[Contender, ...]) -> tuple[dict[str, Any], list[str]]:
    envs, missing = {}, []
    for contender in contenders:
        try:
            envs[contender.name] = contender.make()
        except ModuleNotFoundError:
            missing.append(contender.name)
    return envs, missing


def report(
    title: str, contenders: tuple[Contender, ...], times: Mapping[str, list[float]], missing: list[str]
) -> Iterator[str]:
    """Yield the lines of one table; the first contender is the yardstick."""
    yardstick = times[contenders[0].name]
    yield f"{title:40} {'us/call':>9} {'ratio':>7}  {'[min-max]':15} goal"
    for contender in contenders:
        if contender.name in missing:
            yield f"  {contender.name:38} not installed"
            continue
        taken = times[contender.name]
        ratios = [one / other for one, other in zip(taken, yardstick, strict=True)]
        numbers = f"{1e6 * median(taken):9.2f} {median(ratios):7.2f}  {f'[{min(ratios):.2f}-{max(ratios):.2f}]':15}"
        yield f"  {contender.name:38} {numbers} {verdict(contender, median(ratios))}".rstrip()


def verdict(contender: Contender, ratio: float) -> str:
    """Say what was wanted, and whether it was met."""
    if contender.goal is None:
        return ""
    sign, limit = contender.goal
    met = ratio <= limit if sign == "<=" else ratio >= limit
    return f"{sign} {limit:g}: {'met' if met else 'missed'}"


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description="What a changing world costs.")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps a round")
    options = parser.parse_args(arguments)
    versions = f"gymnasium {gym.__version__}, numpy {np.__version__}, lopgym {lopgym.__version__}"
    print(f"Python {platform.python_version()}, {versions}\nCPU time, median of {options.rounds} rounds in turns\n")
    steps = round(SINGLE_STEPS * options.scale)
    singles = race(SINGLES, seconds_single, steps, options.rounds)
    print(*report("one CartPole, cost", SINGLES, *singles), sep="\n")
    for contenders in RIVALS:
        print("", *report("one CartPole, cost beside ours", contenders, *singles), sep="\n")
    for copies, over_sync in ((8, 3.0), (64, 15.0), (1024, 100.0)):
        contenders, steps = batches(copies, over_sync), round(BATCH_STEPS * options.scale)
        title = f"{copies} CartPoles, cost beside ours"
        print("", *report(title, contenders, *race(contenders, seconds_batch, steps, options.rounds)), sep="\n")


if __name__ == "__main__":
    main()
