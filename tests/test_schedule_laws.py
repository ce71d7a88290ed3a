"""The law of each schedule: golden values by second implementations, distributions, bounds by construction."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from lopgym.schedules import (
    Budget,
    Burst,
    Categorical,
    Count,
    Cycle,
    Dirichlet,
    Exponential,
    Fourier,
    Geometric,
    Hazard,
    Interpolate,
    Lipschitz,
    LogUniform,
    OrnsteinUhlenbeck,
    Poisson,
    Polynomial,
    Product,
    RandomWalk,
    Resample,
    Revisit,
    Sawtooth,
    Schedule,
    Series,
    Shift,
    Sigmoid,
    Square,
    Steps,
    Sum,
    Tape,
    Triangle,
    Window,
)
from lopgym.seeding import derive

few = settings(derandomize=True, max_examples=25, deadline=None)


def _changes(schedule: Schedule, last: int) -> list[int]:
    """Every change up to `last`, by following `next_change`."""
    changes: list[int] = []
    while (step := schedule.next_change(changes[-1] if changes else 0)) is not None and step <= last:
        changes.append(step)
    return changes


def _write(path: Path, *lines: tuple[int, str, float]) -> Path:
    """Write a tape of (step, parameter, value)."""
    told = (dict(zip(("step", "parameter", "value"), line, strict=True)) for line in lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in told))
    return path


def _values(schedule: Schedule, last: int) -> list[float]:
    return [schedule(t) for t in range(last)]


def test_resample_draws_as_numpy_does() -> None:
    """Golden: piece k is the first uniform number of `default_rng([seed, k])`."""
    schedule = Resample(low=2.0, high=6.0, period=10, seed=5)
    for t in (0, 9, 10, 35):
        assert schedule(t) == 2.0 + 4.0 * np.random.default_rng([5, t // 10]).random()


def test_resample_covers_its_interval_evenly() -> None:
    """Mean and spread of 2000 draws of the uniform distribution on [-1, 3)."""
    draws = [Resample(low=-1.0, high=3.0, period=1, seed=1)(t) for t in range(2000)]
    assert abs(np.mean(draws) - 1.0) < 0.1
    assert abs(np.std(draws) - 4 / 12**0.5) < 0.05
    assert -1.0 <= min(draws) < max(draws) < 3.0


def test_random_walk_is_the_sum_of_its_steps() -> None:
    """By a second implementation without blocks or reflection, far walls; over the boundary of a block of draws."""
    schedule = RandomWalk(start=5.0, sd=0.5, low=-1e6, high=1e6, period=2, seed=4)
    draws = np.concatenate([np.random.default_rng([4, block]).standard_normal(1024) for block in range(3)])
    for t in (0, 1, 2, 7, 2047, 2048, 2049, 2 * 1024 * 2 + 5):
        assert schedule(t) == pytest.approx(5.0 + 0.5 * draws[: t // 2].sum(), abs=1e-8)


def test_random_walk_bounces_off_its_walls() -> None:
    """By a second implementation that bounces until it is inside; it visits both walls."""
    schedule = RandomWalk(start=0.5, sd=0.7, low=0.0, high=1.0, period=1, seed=4)
    free = 0.5 + 0.7 * np.concatenate([[0.0], np.cumsum(np.random.default_rng([4, 0]).standard_normal(300))])
    for t, place in enumerate(free):
        while not 0.0 <= place <= 1.0:
            place = -place if place < 0.0 else 2.0 - place
        assert schedule(t) == pytest.approx(place, abs=1e-9)
    values = [schedule(t) for t in range(300)]
    assert min(values) < 0.05
    assert max(values) > 0.95


def test_random_walk_drifts() -> None:
    """By a second implementation, far walls: the drift is added to every step, and comes on top of the noise."""
    schedule = RandomWalk(start=5.0, sd=0.5, drift=-2.0, low=-1e6, high=1e6, period=2, seed=4)
    draws = np.random.default_rng([4, 0]).standard_normal(100)
    for k in (0, 1, 2, 99):
        assert schedule(2 * k) == pytest.approx(5.0 + (0.5 * draws - 2.0)[:k].sum(), abs=1e-9)


def test_ornstein_uhlenbeck_is_its_recursion() -> None:
    """By a second implementation that follows the value itself, over the boundary of a block of draws."""
    schedule = OrnsteinUhlenbeck(mean=2.0, sd=3.0, timescale=25.0, start=7.0, low=-99, high=99, period=5, seed=4)
    draws = np.concatenate([np.random.default_rng([4, block]).standard_normal(1024) for block in range(2)])
    value, keep = 7.0, math.exp(-5 / 25)
    for k, draw in enumerate(draws):
        assert schedule(5 * k) == pytest.approx(value, abs=1e-9)
        value = 2.0 + keep * (value - 2.0) + 3.0 * math.sqrt(1 - keep**2) * draw


def test_ornstein_uhlenbeck_forgets_at_its_timescale() -> None:
    """In the long run its mean and deviation are as stated, and the correlation over one timescale is 1/e."""
    schedule = OrnsteinUhlenbeck(mean=2.0, sd=3.0, timescale=8.0, start=2.0, low=-99, high=99, period=1, seed=1)
    values = np.array(_values(schedule, 20_000))
    assert values.mean() == pytest.approx(2.0, abs=0.3)
    assert values.std() == pytest.approx(3.0, abs=0.2)
    assert np.corrcoef(values[:-8], values[8:])[0, 1] == pytest.approx(math.exp(-1), abs=0.05)


def test_walks_spread_as_their_laws_say() -> None:
    """Over 600 worlds, far from walls: variance k sd^2 of one, sd^2 (1 - a^2k) of the other, correlation a^j."""
    far, sizes = {"low": -1e6, "high": 1e6}, np.array([1, 10, 100])
    free = np.array(
        [[RandomWalk(start=0.0, sd=0.5, period=3, seed=s, **far)(3 * k) for k in sizes] for s in range(600)]
    )
    error = 4 * math.sqrt(2 / 599)  # of the variance of a normal sample, relative
    assert np.abs(free.var(axis=0, ddof=1) / (0.25 * sizes) - 1).max() < error
    assert abs(np.corrcoef(free[:, 0], free[:, 2])[0, 1] - 0.1) < 4 / math.sqrt(600)
    reverting = [
        OrnsteinUhlenbeck(mean=1.0, sd=2.0, timescale=20.0, start=1.0, period=4, seed=s, **far) for s in range(600)
    ]
    places = np.array([[schedule(4 * k) for k in (1, 10, 100, 105)] for schedule in reverting])
    keep = math.exp(-4 / 20)
    wanted = [4 * (1 - keep ** (2 * k)) for k in (1, 10, 100, 105)]
    assert np.abs(places.var(axis=0, ddof=1) / wanted - 1).max() < error
    assert abs(np.corrcoef(places[:, 2], places[:, 3])[0, 1] - keep**5) < 4 / math.sqrt(600)
    assert np.abs(places.mean(axis=0) - 1.0).max() < 4 * 2.0 / math.sqrt(600)


def test_folded_walks_are_everywhere_between_their_walls_as_often() -> None:
    """The reflected walk forgets its start: over 600 worlds, much later, it is uniform (Kolmogorov-Smirnov)."""
    places = [RandomWalk(start=0.9, sd=0.4, low=0.0, high=1.0, period=1, seed=s)(300) for s in range(600)]
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 1e-3


walls = st.floats(0.01, 5.0).map(lambda half: {"start": 0.5 * half, "low": -half, "high": half})
seeds = st.integers(0, 2**63 - 1)


@given(walls=walls, slope=st.floats(0.0, 3.0), period=st.integers(1, 20), seed=seeds)
@few
def test_lipschitz_never_hurries(walls: Any, slope: float, period: int, seed: int) -> None:
    """No step is larger than the slope, and no value is outside the walls."""
    values = np.array(_values(Lipschitz(slope=slope, period=period, seed=seed, **walls), 200))
    assert np.abs(np.diff(values)).max() <= slope + 1e-9
    assert walls["low"] <= values.min() <= values.max() <= walls["high"]


def test_lipschitz_moves_at_speeds_uniform_up_to_the_slope() -> None:
    """Within a piece the speed is constant; over pieces its mean square is that of the uniform distribution."""
    schedule = Lipschitz(start=0.0, slope=0.5, low=-1e6, high=1e6, period=10, seed=3)
    speeds = np.diff([schedule(10 * k) for k in range(2001)]) / 10
    assert schedule(13) - schedule(12) == pytest.approx(speeds[1])
    assert np.square(speeds).mean() == pytest.approx(0.5**2 / 3, rel=0.05)
    assert 0.49 < np.abs(speeds).max() <= 0.5


@given(walls=walls, budget=st.floats(0.0, 9.0), period=st.integers(1, 20), steps=st.integers(20, 200), seed=seeds)
@few
def test_budget_is_never_overdrawn(walls: Any, budget: float, period: int, steps: int, seed: int) -> None:
    """The total variation is within the budget, the value between the walls, and after the last step nothing moves."""
    schedule = Budget(budget=budget, period=period, steps=steps, seed=seed, **walls)
    values = np.array(_values(schedule, 300))
    assert np.abs(np.diff(values)).sum() <= budget * (1 + 1e-9)
    assert walls["low"] <= values.min() <= values.max() <= walls["high"]
    assert len(set(values[steps:])) == 1


def test_budget_is_spent_far_from_walls() -> None:
    """All of it, half of it upwards, in shares whose mean square is 2 / (n (n + 1)), as on the simplex."""
    schedule = Budget(start=0.0, budget=2.0, steps=3000, low=-9, high=9, period=1, seed=3)
    jumps = np.diff(_values(schedule, 3001))
    assert np.abs(jumps).sum() == pytest.approx(2.0)
    assert (jumps > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert np.square(jumps / 2.0).sum() * 3001 == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("seed", [None, 3, 2**63 - 1])
def test_revisit_goes_round_without_staying(seed: int | None) -> None:
    """By a second implementation: from index to index, each step a draw; all values as often, none twice in a row."""
    values = (1.0, 2.0, 7.0, 9.0)
    schedule = Revisit(values=values, period=3, seed=seed)
    index = int(np.random.default_rng([seed or 0, 0]).integers(4))
    hops = np.random.default_rng([derive(seed or 0, "order"), 0]).integers(1, 3, 1024, endpoint=True)
    visits = [schedule(3 * k) for k in range(1000)]
    for visit, hop in zip(visits, hops, strict=False):
        assert visit == values[index]
        index = (index + hop) % 4
    assert all(a != b for a, b in itertools.pairwise(visits))
    assert stats.chisquare([visits.count(value) for value in values]).pvalue > 1e-4
    after = [b for a, b in itertools.pairwise(visits) if a == 7.0]
    assert stats.chisquare([after.count(value) for value in (1.0, 2.0, 9.0)]).pvalue > 1e-4


def test_categorical_follows_its_weights() -> None:
    """Frequencies by the chi-squared test; what has no weight never comes; draws do not depend on one another."""
    schedule = Categorical(values=(1.0, 2.0, 3.0, 4.0), weights=(5.0, 0.0, 3.0, 2.0), period=1, seed=1)
    draws = _values(schedule, 3000)
    counts = [draws.count(value) for value in (1.0, 3.0, 4.0)]
    assert sum(counts) == 3000
    assert stats.chisquare(counts, [1500, 900, 600]).pvalue > 1e-4
    assert np.mean([a == b for a, b in itertools.pairwise(draws)]) == pytest.approx(0.38, abs=0.03)


def test_log_uniform_is_uniform_in_the_logarithm() -> None:
    """By the Kolmogorov-Smirnov test."""
    draws = np.log10(_values(LogUniform(low=0.01, high=1000.0, period=1, seed=1), 2000))
    assert stats.kstest(draws, stats.uniform(-2, 5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.1, 1.0, 30.0])
def test_dirichlet_mixes(concentration: float) -> None:
    """Between two values, the share of the second is Beta(c, c) distributed."""
    draws = _values(Dirichlet(values=(2.0, 6.0), concentration=concentration, period=1, seed=1), 2000)
    assert stats.kstest(draws, stats.beta(concentration, concentration, 2.0, 4.0).cdf).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.3, 2.0])
def test_dirichlet_shares_have_their_marginals(concentration: float) -> None:
    """Of four values each share is Beta(c, 3c), whichever it is, by the Kolmogorov-Smirnov test."""
    for chosen in range(4):
        values = tuple(float(i == chosen) for i in range(4))
        draws = _values(Dirichlet(values=values, concentration=concentration, period=1, seed=2), 800)
        assert stats.kstest(draws, stats.beta(concentration, 3 * concentration).cdf).pvalue > 1e-3


def test_poisson_and_geometric_come_at_their_mean_rate() -> None:
    """Jumps in 200 000 steps, to four standard errors of their counts."""
    jumps = len(_changes(Poisson(low=0.0, high=1.0, mean=250.0, seed=7), 200_000))
    assert abs(jumps - 800) < 4 * math.sqrt(800)
    jumps = len(_changes(Geometric(low=0.0, high=1.0, chance=0.004, seed=7), 200_000))
    assert abs(jumps - 800) < 4 * math.sqrt(800 * 0.996)


def test_poisson_jumps_are_memoryless() -> None:
    """Gaps are exponential, by the Kolmogorov-Smirnov test; values uniform; counts in windows have variance = mean."""
    schedule = Poisson(low=-1.0, high=3.0, mean=1000.0, seed=1)
    changes = _changes(schedule, 3_000_000)
    assert stats.kstest(np.diff(changes), stats.expon(0, 1000).cdf).pvalue > 1e-3
    assert stats.kstest([schedule(t) for t in changes], stats.uniform(-1, 4).cdf).pvalue > 1e-3
    counts = np.bincount(np.array(changes) // 10_000, minlength=300)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.3)


def test_poisson_by_hand() -> None:
    """By a second implementation: add up gaps, count those passed, draw that value."""
    schedule = Poisson(low=2.0, high=6.0, mean=7.0, seed=5)
    times = 7.0 * np.cumsum(np.random.default_rng([derive(5, "times"), 0]).standard_exponential(1024))
    for t in range(0, 3000, 13):
        passed = int((times <= t).sum())
        assert schedule(t) == 2.0 + 4.0 * np.random.default_rng([5, passed]).random()
        assert schedule.next_change(t) == math.ceil(times[passed])


def test_hazard_decays() -> None:
    """Over 300 worlds: as many jumps as the integral of the hazard says, in all and within one timescale."""
    jumps = [_changes(Hazard(low=0, high=1, mean=500.0, timescale=4000.0, seed=s), 10**9) for s in range(300)]
    assert np.mean([len(one) for one in jumps]) == pytest.approx(8.0, abs=0.6)
    early = np.mean([sum(t <= 4000 for t in one) for one in jumps])
    assert early == pytest.approx(8.0 * (1 - math.exp(-1)), abs=0.5)


def test_geometric_gaps() -> None:
    """Their frequencies, by the chi-squared test."""
    gaps = np.diff(_changes(Geometric(low=0, high=1, chance=0.3, seed=1), 10_000))
    counts = [int((gaps == n).sum()) for n in range(1, 8)]
    expected = [len(gaps) * 0.3 * 0.7 ** (n - 1) for n in range(1, 8)]
    rest = (len(gaps) - sum(counts), len(gaps) - sum(expected))
    assert stats.chisquare([*counts, rest[0]], [*expected, rest[1]]).pvalue > 1e-3


def test_burst_lasts_as_long_as_it_says() -> None:
    """Mean lengths of both states; it starts quiet, and the two alternate."""
    schedule = Burst(quiet=1.0, burst=9.0, mean_quiet=40.0, mean_burst=4.0, seed=1)
    edges = [0, *_changes(schedule, 100_000)]
    assert [schedule(t) for t in edges[:4]] == [1.0, 9.0, 1.0, 9.0]
    lengths = np.diff(edges)
    assert lengths[::2].mean() == pytest.approx(40.0, rel=0.1)
    assert lengths[1::2].mean() == pytest.approx(4.0, rel=0.1)
    assert stats.kstest(lengths[::2], stats.geom(1 / 40).cdf).statistic < 0.05


def test_waves_on_a_grid() -> None:
    """Triangle by interpolation between its corners, square and sawtooth by the remainder."""
    grid = np.arange(100)
    triangle = Triangle(mean=1.0, amplitude=2.0, period=20.0, phase=0.5)
    corners = np.interp((grid + 10) % 20, [0, 5, 15, 20], [1.0, 3.0, -1.0, 1.0])
    assert _values(triangle, 100) == pytest.approx(corners)
    square = Square(low=2.0, high=5.0, period=10, duty=0.7)
    assert _values(square, 100) == np.where(grid % 10 < 7, 5.0, 2.0).tolist()
    assert _values(Sawtooth(start=1.0, end=-4.0, period=10), 100) == pytest.approx(1.0 - grid % 10 / 2)


def test_fourier_has_the_spectrum_it_was_given() -> None:
    """By the discrete Fourier transform of one period; drawn phases differ from harmonic to harmonic."""
    given_phases = Fourier(mean=3.0, amplitudes=(1.0, 0.0, 0.5), phases=(0.1, 0.0, 0.6), period=64)
    spectrum = np.fft.rfft(_values(given_phases, 64)) / 64
    wanted = [3.0, *(a / 2j * np.exp(2j * np.pi * p) for a, p in [(1.0, 0.1), (0.0, 0.0), (0.5, 0.6)])]
    assert spectrum[:4] == pytest.approx(np.array(wanted), abs=1e-9)
    assert np.abs(spectrum[4:]).max() < 1e-9
    drawn = np.fft.rfft(_values(Fourier(mean=3.0, amplitudes=(1.0, 0.0, 0.5), period=64, seed=1), 64)) / 64
    assert np.abs(drawn) == pytest.approx(np.abs(spectrum), abs=1e-9)
    assert abs(np.angle(drawn[1] / drawn[3])) > 1e-3


def test_trends_by_other_implementations() -> None:
    """NumPy's polynomial, SciPy's logistic function, and the exponential by its own recursion."""
    grid = np.arange(150)
    polynomial = Polynomial(coefficients=(1.0, -2.0, 0.5, 3.0), steps=100)
    wanted = np.polynomial.Polynomial([1.0, -2.0, 0.5, 3.0])(np.minimum(grid / 100, 1))
    assert _values(polynomial, 150) == pytest.approx(wanted)
    sigmoid = Sigmoid(start=2.0, end=-3.0, middle=70.5, width=6.0)
    assert _values(sigmoid, 150) == pytest.approx(2.0 - 5.0 * special.expit((grid - 70.5) / 6.0))
    assert sigmoid(10**9) == -3.0
    approach = Exponential(start=5.0, end=1.0, timescale=20.0)
    left = np.array(_values(approach, 150)) - 1.0
    assert left[0] == 4.0
    assert left[1:] / left[:-1] == pytest.approx(math.exp(-1 / 20))


def test_interpolate_by_its_corners() -> None:
    """Piecewise linear: it rests, crosses over during the last steps of a piece, and is there as the next begins."""
    schedule = Interpolate(values=(1.0, 5.0, 2.0), period=10, blend=4)
    corners = [0, 6, 10, 16, 20, 26, 30, 36, 40]
    wanted = np.interp(np.arange(40), corners, [1.0, 1.0, 5.0, 5.0, 2.0, 2.0, 1.0, 1.0, 5.0])
    assert _values(schedule, 40) == pytest.approx(wanted)
    abrupt = Interpolate(values=(1.0, 5.0, 2.0), period=10, blend=1)
    assert _values(abrupt, 99) == _values(Cycle(values=(1.0, 5.0, 2.0), period=10), 99)


def test_series_holds_joins_stays_and_repeats() -> None:
    """Joined, it is NumPy's interpolation; held and repeated, it is `cycle`."""
    values = (3.0, 1.0, 2.0)
    joined = Series(values=values, period=5, between="linear")
    assert _values(joined, 40) == pytest.approx(np.interp(np.arange(40), [0, 5, 10], values))
    repeated = Series(values=values, period=5, after="repeat")
    assert _values(repeated, 40) == _values(Cycle(values=values, period=5), 40)
    both = Series(values=values, period=5, after="repeat", between="linear")
    assert _values(both, 30) == pytest.approx(np.interp(np.arange(30) % 15, [0, 5, 10, 15], (*values, 3.0)))
    assert _values(Series(values=values, period=5), 40)[10:] == [2.0] * 30


def test_a_tape_plays_what_was_written(tmp_path: Path) -> None:
    """A schedule written down at every change, or at every step if it moves, comes back."""
    law = RandomWalk(start=1.0, sd=0.3, low=0.0, high=2.0, period=7, seed=8)
    jumps = _write(tmp_path / "jumps", *((t, "gravity", law(t)) for t in [0, *_changes(law, 200)]))
    played = Tape(path=str(jumps), parameter="gravity")
    assert _values(played, 200) == _values(law, 200)
    assert [played.next_change(t) for t in range(190)] == [law.next_change(t) for t in range(190)]
    swing = Sigmoid(start=2.0, end=-3.0, middle=70, width=6.0)
    moves = _write(tmp_path / "moves", *((t, "wind", swing(t)) for t in range(200)))
    smooth = Tape(path=str(moves), parameter="wind", between="linear")
    assert _values(smooth, 200) == _values(swing, 200)
    assert smooth.next_change(0) is None
    late = _write(tmp_path / "late", (5, "wind", 1.0), (9, "wind", 2.0))
    assert _values(Tape(path=str(late), parameter="wind"), 11) == [1.0] * 9 + [2.0] * 2
    moves.unlink()
    assert smooth(150) == swing(150)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"step": 0, "parameter": "wind", "value": 1}\n', "tells nothing of 'wnd'; did you mean 'wind'"),
        ("", "tells nothing of 'wnd'; known: none"),
        ('\n{"step": 0, "parameter": "wnd"}\n', "line 2 of .* is not of the form"),
        ('{"step": 0, "parameter": "wnd", "value": NaN}', "line 1 of .* is not of the form"),
        ("nonsense", "line 1 of .* is not of the form"),
        ('[1, "wnd", 2]', "line 1 of .* is not of the form"),
        ('{"step": 5, "parameter": "wnd", "value": 1}\n' * 2, "the steps of 'wnd' must rise"),
    ],
)
def test_a_bad_tape_gets_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    """It says which file, which line, and what a line is."""
    tape = tmp_path / "tape.jsonl"
    tape.write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        Tape(path=str(tape), parameter="wnd")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"cannot read .*absent.*: No such file"):
        Tape(path=str(tmp_path / "absent"), parameter="wnd")


still: st.SearchStrategy[Schedule] = st.one_of(
    st.integers(1, 9).map(lambda period: Count(period=period)),
    st.lists(st.integers(1, 60), unique=True).map(
        lambda at: Steps(values=tuple(float(2**k) for k in range(len(at) + 1)), at=tuple(sorted(at)))
    ),
    st.integers(1, 99).map(lambda seed: Poisson(low=1.0, high=2.0, mean=5.0, seed=seed)),
    st.integers(1, 99).map(lambda seed: Resample(low=1.0, high=2.0, period=4, seed=seed)),
)
composed: st.SearchStrategy[Schedule] = st.recursive(
    still,
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(lambda parts: Sum(terms=tuple(parts))),
        st.lists(part, min_size=1, max_size=2).map(lambda parts: Product(factors=tuple(parts))),
        st.tuples(part, st.integers(-20, 20)).map(lambda one: Shift(of=one[0], by=one[1])),
        st.tuples(part, part, st.integers(0, 30), st.integers(1, 30)).map(
            lambda one: Window(inside=one[0], outside=one[1], start=one[2], stop=one[2] + one[3])
        ),
    ),
    max_leaves=6,
)


@given(schedule=composed)
@settings(few, max_examples=40)
def test_changes_of_composed_schedules_are_announced(schedule: Schedule) -> None:
    """Whatever is built of what: no value changes but at an announced change, and announcements agree."""
    values, announced = _values(schedule, 90), _changes(schedule, 90)
    assert all(t in announced for t in range(1, 90) if values[t] != values[t - 1])
    for t in range(80):
        assert schedule.next_change(t) == next((step for step in announced if step > t), schedule.next_change(90))


def test_compositions_by_their_formulas() -> None:
    """Sum, product, shift and window at every step, from their parts."""
    a, b = Cycle(values=(1.0, 2.0, 5.0), period=4), Triangle(mean=1.0, amplitude=2.0, period=9.0)
    grid = range(60)
    assert _values(Sum(terms=(a, b, 3.0)), 60) == [a(t) + b(t) + 3.0 for t in grid]  # type: ignore[arg-type]
    assert _values(Product(factors=(a, b)), 60) == [a(t) * b(t) for t in grid]
    assert _values(Shift(of=b, by=7), 60) == [b(t + 7) for t in grid]
    assert _values(Shift(of=a, by=-7), 60) == [1.0] * 7 + [a(t) for t in range(53)]
    assert _values(Window(inside=a, outside=b, start=9, stop=30), 60) == [a(t) if 9 <= t < 30 else b(t) for t in grid]
