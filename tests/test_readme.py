"""What the documents promise: commands that run, links that lead somewhere, code that works."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lopgym.studies.cli import app
from lopgym.studies.compose import load, session

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORTER = {"train": "tasks=1"}  # appended when a command is really run


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield (page, text) of every fenced block in `language`; `pycon` blocks are doctests of the package."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page.name, text


def _commands(program: str) -> list[str]:
    """Return every line of the bash blocks that starts with `program`, comments taken off."""
    lines = [line.partition(" # ")[0].strip() for _, text in _blocks("bash") for line in text.splitlines()]
    return sorted({line for line in lines if line.startswith(f"{program} ")})


def _help() -> list[str]:
    """Return every command line that `lopgym --help` offers as an example."""
    said = [inspect.getdoc(command.callback) or "" for command in app.registered_commands]
    return [line for text in said for line in re.findall(r": (lopgym .*)$", text, re.MULTILINE)]


EXAMPLES = sorted({*_commands("lopgym"), *_help()})


def _bash(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a reader would, in a folder of its own; a server is interrupted as a reader would, by Ctrl-C."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    limited = f"timeout --foreground -s INT {15 if 'tensorboard' in line else 300} {line}"
    return subprocess.run(["bash", "-c", limited], cwd=folder, env=env, capture_output=True, text=True)


def test_there_is_something_to_hold() -> None:
    """The patterns below find what the pages are full of."""
    assert len(_commands("lopgym")) >= 4
    assert len(_help()) >= 3
    assert len(_commands("make")) >= 2
    assert len(list(_blocks("python"))) >= 3


@pytest.mark.parametrize("line", _commands("make"))
def test_every_make_target_exists(line: str) -> None:
    """A first command that fails is a last command."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.split()[1:]) <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links to files of the repository; headings are linked as forges name them."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    local = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("https://")]
    assert [link for link in local if link.startswith("#") and link[1:] not in anchors] == []
    files = [link for link in local if not link.startswith("#")]
    assert [link for link in files if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_exists(page: Path) -> None:
    """A path in backticks is one to open: `envs/catch.py` and the like."""
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml))`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("line", [line for line in EXAMPLES if line.startswith("lopgym train")])
def test_every_training_is_a_valid_config(line: str) -> None:
    """Studies, mitigations and options exist under these names."""
    with session() as loader:
        assert load(loader, shlex.split(line)[2:]).tasks > 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a short run, for commands that read one."""
    folder = tmp_path_factory.mktemp("before")
    ran = _bash("lopgym train study=catch_dqn tasks=4 --quiet", folder)
    assert ran.returncode == 0, ran.stderr
    return shlex.quote(str(folder / ran.stdout.splitlines()[0]))


@pytest.mark.slow
@pytest.mark.parametrize("line", EXAMPLES)
def test_every_command_runs(line: str, run: str, tmp_path: Path) -> None:
    """In a real bash, in a folder of its own; RUN is a run, long ones are shortened by one more override."""
    (tmp_path / "runs").mkdir()
    ran = _bash(f"{line.replace('RUN', run)} {SHORTER.get(line.split()[1], '')}", tmp_path)
    assert ran.returncode in ({0, 124, 130} if "tensorboard" in line else {0}), ran.stderr
    assert ran.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), list(_blocks("python")))
def test_every_python_block_runs(page: str, code: str, tmp_path: Path) -> None:
    """As it stands."""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
