"""Change detectors: each against a second implementation, by hand, and resumed."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lopgym.agents.detectors import Detector, detectors
from lopgym.agents.detectors.adwin import Adwin
from lopgym.agents.detectors.cusum import Cusum
from lopgym.agents.detectors.page_hinkley import PageHinkley
from tests.streams import stream

Array = NDArray[np.float64]


def _alarms(detector: Detector, values: Array) -> list[int]:
    return [i for i, value in enumerate(values.tolist()) if detector.update(value)]


def _page_hinkley(values: Array, delta: float, threshold: float, warm_up: int) -> list[int]:
    """Run the test as it is written: sums of deviations from means that are taken anew, and their least so far."""
    found, begin = [], 0
    for end in range(1, len(values) + 1):
        seen = values[begin:end]
        means = np.cumsum(seen) / np.arange(1, len(seen) + 1)
        sums = np.concatenate([[0.0], np.cumsum(seen - means - delta)])
        if len(seen) >= warm_up and sums[-1] - sums.min() > threshold:
            found.append(end - 1)
            begin = end
    return found


@pytest.mark.parametrize("seed", range(3))
def test_page_hinkley_is_the_written_test(seed: int) -> None:
    """Alarms come where the sum of deviations is too far above its least; there are some."""
    values = stream(seed)
    expected = _page_hinkley(values, 0.1, 12.0, 30)
    assert expected
    assert _alarms(PageHinkley(delta=0.1, threshold=12.0, warm_up=30), values) == expected


def test_page_hinkley_by_hand() -> None:
    """Of 0, 0, 4, 4: means 0, 0, 4/3, 2; climbs with delta 1/2 are 0, 0, 13/6, 11/3: the last is above 3."""
    detector = PageHinkley(delta=0.5, threshold=3.0, warm_up=1)
    climbs = []
    for value in (0.0, 0.0, 4.0):
        assert not detector.update(value)
        climbs.append(detector.memory["climb"])
    assert climbs == pytest.approx([0.0, 0.0, 13 / 6])
    assert detector.update(4.0)
    assert detector.memory == detector.start()


def test_cusum_by_hand() -> None:
    """The reference of 1, 3 is 2; then with slack 1 the values 4, 2, 5, 5 give 1, 0, 2, 4: the last is above 3."""
    detector, sums = Cusum(slack=1.0, threshold=3.0, warm_up=2), []
    assert not detector.update(1.0)
    assert not detector.update(3.0)
    assert detector.memory["reference"] == 2.0
    for value in (4.0, 2.0, 5.0):
        assert not detector.update(value)
        sums.append(detector.memory["sum"])
    assert sums == [1.0, 0.0, 2.0]
    assert detector.update(5.0)
    assert detector.memory == detector.start()


@pytest.mark.parametrize("seed", range(3))
def test_cusum_is_the_largest_sum_of_a_suffix(seed: int) -> None:
    """The recursion equals max(0, max over k of the sum of the last k deviations), until it alarms."""
    values = stream(seed)
    detector = Cusum(slack=0.5, threshold=20.0, warm_up=50)
    at = _alarms(detector, values)[0]
    apart = values[50 : at + 1] - values[:50].mean() - 0.5
    largest = [max(0.0, *(apart[k : end + 1].sum() for k in range(end + 1))) for end in range(len(apart))]
    assert largest[-1] > 20.0
    assert max(largest[:-1]) <= 20.0


def _adwin(values: Array, delta: float, clock: int, least: int) -> tuple[list[int], list[int]]:
    """Keep every value; only the sizes of buckets are kept beside. Return alarms of rises, and all window lengths."""
    window: list[float] = []
    sizes: list[int] = []
    found, lengths = [], []
    for i, value in enumerate(values.tolist()):
        window.append(value)
        sizes.append(1)
        size = 1
        while sizes.count(size) > 5:  # sizes fall from old to new, so the oldest two of a size stand first
            first = sizes.index(size)
            sizes[first : first + 2] = [2 * size]
            size *= 2
        cutting = (i + 1) % clock == 0
        while cutting:
            cutting = False
            everything, n = np.array(window), len(window)
            for end in np.cumsum(sizes)[:-1].tolist():
                old, new = everything[:end], everything[end:]
                if min(len(old), len(new)) < least:
                    continue
                m = 1 / (1 / len(old) + 1 / len(new))
                doubt = math.log(2 * math.log(n) / delta)
                tolerance = math.sqrt(2 / m * everything.var() * doubt) + 2 / (3 * m) * doubt
                if abs(old.mean() - new.mean()) > tolerance:
                    if new.mean() > old.mean() and i not in found:
                        found.append(i)
                    del window[: sizes.pop(0)]
                    cutting = bool(window)
                    break
        lengths.append(len(window))
    return found, lengths


@pytest.mark.parametrize("rise", [3.0, -3.0])
@pytest.mark.parametrize("seed", range(3))
def test_adwin_is_the_window_of_the_paper(seed: int, rise: float) -> None:
    """Alarms and window lengths equal those of an implementation that keeps every value and knows nothing of sums."""
    values = stream(seed, rise)
    expected, lengths = _adwin(values, 0.002, 16, 5)
    detector, found, widths = Adwin(clock=16), [], []
    for i, value in enumerate(values.tolist()):
        if detector.update(value):
            found.append(i)
        widths.append(detector.width)
    assert (found, widths) == (expected, lengths)
    assert bool(found) == (rise > 0), "a fall is no alarm"
    assert min(lengths[250:]) < 250, "but it shortens the window"


def test_adwin_can_tell_falls() -> None:
    """If it is asked to."""
    assert _alarms(Adwin(falls=True), stream(0, -3.0))


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in detectors])
def test_every_detector_hears_a_rise_and_resumes(entry: Any) -> None:
    """A rise of six deviations is heard soon, noise is not; a copy of its state goes on just the same."""
    values = stream(0, 6.0)
    detector = entry.make()
    assert entry.facts["cite"]
    first = _alarms(detector, values)[0]
    assert 250 <= first < 300
    whole, half = entry.make(), entry.make()
    straight = _alarms(whole, values)
    before = _alarms(half, values[:255])
    again = entry.make()
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    assert before + [255 + i for i in _alarms(again, values[255:])] == straight


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=80))
def test_adwin_buckets_add_up(values: list[float]) -> None:
    """Counts, sums and squared deviations over all buckets are those of the values, whatever they are."""
    detector = Adwin(clock=10**6)
    for value in values:
        detector.update(value)
    buckets = detector.memory["buckets"]
    assert sum(b[0] for b in buckets) == len(values)
    assert sum(b[1] for b in buckets) == pytest.approx(sum(values), abs=1e-9)
    end = 0
    for n, total, squares in buckets:
        part = np.array(values[end : end + int(n)])
        end += int(n)
        assert total == pytest.approx(part.sum(), abs=1e-9)
        assert squares == pytest.approx(((part - part.mean()) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize(("make", "option"), [(PageHinkley, "threshold"), (Cusum, "warm_up"), (Adwin, "delta")])
def test_detectors_refuse_options_out_of_bounds(make: Any, option: str) -> None:
    """In one line, from Python as from a config."""
    with pytest.raises(ValueError, match=f"^{option}=-1 must be > 0$"):
        make(**{option: -1})
