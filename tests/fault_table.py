"""Faults: what is broken on purpose, how often, and the table that `make faults` prints: one line for each kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

LEAST = 5  # minutes: a shorter soak would hardly be killed
MINUTES = max(LEAST, round(float(os.environ.get("SOAK_MINUTES", "60"))))  # that it lasts: a kill in each, at least


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Args:
        what: what happens, and what must hold nevertheless.
        goal: how often it is to be survived at least; of worlds and of what looks on there are more than these.
    """

    what: str
    goal: int


FAULTS = {
    "F1": Fault("a run killed at random moments, again and again: bit for bit the one that was not", 60),
    "F2": Fault("a run killed at a named stage of saving: bit for bit, the last checkpoint not lost", 12),
    "F3": Fault("killed while saving back to back: none is lost", 100),
    "F4": Fault("SIGTERM, SIGINT, SIGINT twice, SIGHUP in each phase of a run: its exit code, the last good loads", 20),
    "F5": Fault("a full disk, under each file of a run, at its start and midway: one line, the last good loads", 8),
    "F6": Fault("no permission, a read-only disk, a folder taken away, a device that errs: one line", 6),
    "F7": Fault("a checkpoint damaged at random: found out, the one before is taken", 500),
    "F8": Fault("a hostile checkpoint: refused within seconds and bounds of memory, nothing of it runs", 12),
    "F9": Fault("numbers that are not finite, or absurd: caught, weights and statistics as they were", 29),
    "F10": Fault("a worker killed, hung or raising: told by name within 30 s, none left behind", 6),
    "F11": Fault("bad input: its exit code, one line for each fault, no traceback, no file changed", 48),
    "F12": Fault("event files torn, written twice, resumed: no step twice, training goes on", 5),
    "F13": Fault("a world: the same by every way of making it; restored from its state, and after any history", 500),
    "F14": Fault("something that looks on: training is bitwise what it is without", 120),
    "F16": Fault("a soak, killed every 20 to 60 seconds: bit for bit; disk, memory and open files bounded", MINUTES),
}


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Return what a test calls that breaks something more than once: how often it was survived."""
    return lambda times: record_property("survived", times)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--faults`."""
    parser.addoption("--faults", action="store_true", help="count faults, and fail below their goals")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note each test's kind of fault where its report will carry it."""
    for item in items:
        for mark in item.iter_markers("fault"):
            if mark.args[0] not in FAULTS:
                raise pytest.UsageError(f"{item.nodeid}: no fault {mark.args[0]!r}; there are {', '.join(FAULTS)}")
            item.user_properties.append(("fault", mark.args[0]))
    items.sort(key=lambda item: "test_soak" not in item.nodeid)  # it takes as long as all others: beside them


def table(reports: list[pytest.TestReport]) -> dict[str, tuple[int, int]]:
    """Return how many faults of each kind were survived, and of how many."""
    survived, met = Counter[str](), Counter[str]()
    for report in reports:
        noted = dict(report.user_properties)
        if "fault" in noted and (report.when == "call" or report.failed):
            times = int(str(noted.get("survived", 1)))
            met[str(noted["fault"])] += times
            survived[str(noted["fault"])] += times * report.passed
    return {name: (survived[name], max(met[name], fault.goal)) for name, fault in FAULTS.items()}


def _reports(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = (report for kind in ("passed", "failed", "error") for report in reporter.getreports(kind))
    return [report for report in reports if isinstance(report, pytest.TestReport)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if config.getoption("--faults"):
        terminalreporter.section("faults")
        for name, (survived, of) in table(_reports(config)).items():
            terminalreporter.write_line(f"{name:4} {survived:4} of {of:4}  {FAULTS[name].what}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session of faults in which one was not survived, or not met often enough."""
    config = session.config
    if not config.getoption("--faults") or hasattr(config, "workerinput"):  # one of several that report to another
        return
    if any(survived < of for survived, of in table(_reports(config)).values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
