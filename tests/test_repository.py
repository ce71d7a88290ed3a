"""The shape of the repository: links, guards, sizes, versions, and what an installation carries."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement

from lopgym.agents import agents
from lopgym.agents.mitigations import mitigations
from lopgym.agents.stems import stems
from lopgym.envs import environments
from lopgym.envs.layers import layers
from lopgym.probes import probes
from lopgym.registry import Registry
from lopgym.schedules import schedules

ROOT = Path(__file__).parents[1]
LINKS = {
    "agents": "agents",
    "configs": "configs",
    "envs": "envs",
    "probes": "lop_probes",
    "studies": "studies",
}
REGISTRIES: list[Registry[object]] = [agents, environments, layers, mitigations, probes, schedules, stems]
HEAVY = {"torch", "stable_baselines3", "pydantic", "hydra", "typer", "rich", "tensorboard", "matplotlib", "scipy"}
FILE_LIMIT, TEST_FILE_LIMIT, FUNCTION_LIMIT = 300, 600, 60  # lines, a function's without its docstring; aims are lower

# Written in pieces, so that this file passes its own test.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
SOMEBODYS_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|opt|mnt|srv|media|work|Users)/\w")


def _texts() -> Iterator[Path]:
    """Yield every hand-written file of the repository."""
    folders = [*LINKS.values(), "benchmarks", "docs", "examples", "src", "tests", ".ci"]
    inside = [file for folder in folders for file in (ROOT / folder).rglob("*")]
    for file in sorted([*inside, *ROOT.glob("*"), ROOT / ".pre-commit-config.yaml"]):
        binary = file.suffix in {".png", ".pyc", ".npz"} or "egg-info" in str(file)
        if file.is_file() and not binary:
            yield file


def _python() -> list[Path]:
    return [file for file in _texts() if file.suffix == ".py"]


def _id(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize(("name", "folder"), LINKS.items())
def test_the_folders_at_the_top_are_linked_into_the_package(name: str, folder: str) -> None:
    """Committed as relative symbolic links: one namespace, and plain files to edit."""
    link = ROOT / "src" / "lopgym" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../../{folder}"


def test_no_other_link_hides_in_the_package() -> None:
    """Five links, known by name."""
    assert {path.name for path in (ROOT / "src" / "lopgym").iterdir() if path.is_symlink()} == set(LINKS)


@pytest.mark.parametrize(("name", "folder"), LINKS.items())
def test_a_linked_folder_refuses_to_be_imported_by_its_own_name(name: str, folder: str) -> None:
    """Or it would be loaded twice, and half of its registrations would be lost."""
    ran = subprocess.run([sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith(f"write `import lopgym.{name}`, not `import {folder}`")


def test_importing_lopgym_stays_light() -> None:
    """It registers ids; whoever only makes an environment pays for Gymnasium and NumPy."""
    code = f"import sys, lopgym; print(sorted({HEAVY} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_registered_thing_says_what_it_is(registry: Registry[object]) -> None:
    """One line: it is a row of `lopgym list` and of the docs."""
    entries = list(registry)
    assert entries
    assert [e.name for e in entries if not 10 <= len(e.summary) <= 120 or "(*" in e.summary] == []


@pytest.mark.parametrize("file", _python(), ids=_id)
def test_files_and_functions_are_small(file: Path) -> None:
    """One idea a file, one thing a function."""
    text = file.read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = {f.name: _lines(f) - _lines(f.body[0]) * (ast.get_docstring(f) is not None) for f in functions}
    assert text.count("\n") <= (TEST_FILE_LIMIT if file.is_relative_to(ROOT / "tests") else FILE_LIMIT)
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LIMIT} == {}


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("pattern", [UNFINISHED, SOMEBODYS_MACHINE], ids=["unfinished", "machine"])
def test_nothing_is_left_unfinished_or_tied_to_a_machine(pattern: re.Pattern[str]) -> None:
    """No reminders to oneself, no absolute paths."""
    assert {_id(file): found for file in _texts() if (found := pattern.findall(file.read_text()))} == {}


def test_constraints_are_exact_and_fit_the_ranges() -> None:
    """The tested set is one that a user's resolver could choose, and it covers every dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    exact = {_canonical(pin.name): str(pin.specifier) for pin in pins}
    assert all(version.startswith("==") and "+" not in version for version in exact.values())
    asked = map(Requirement, [*project["dependencies"], *chain(*project["optional-dependencies"].values())])
    for wanted in (one for one in asked if one.name != project["name"]):  # an extra may name other extras of ours
        assert wanted.specifier.contains(exact[_canonical(wanted.name)].removeprefix("==")), wanted


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def test_one_version() -> None:
    """The package, the project and the citation name the same."""
    import lopgym

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert lopgym.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_whole_check_is_one_executable() -> None:
    """`.ci/run` can be run, and every target that it makes is in the Makefile."""
    assert os.access(ROOT / ".ci/run", os.X_OK)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", (ROOT / ".ci/run").read_text())) <= targets


@pytest.mark.slow
def test_a_wheel_carries_real_files(tmp_path: Path) -> None:
    """Code, configs and the typing mark from behind the links, and nothing else."""
    skip = ignore_patterns(".git", ".venv", "runs", "demo", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    copytree(ROOT, tmp_path / "tree", symlinks=True, ignore=skip)
    build = [sys.executable, "-m", "build", "--outdir", str(tmp_path / "dist"), str(tmp_path / "tree")]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "src" / "lopgym"
    folders = [package, *(package / name for name in LINKS)]
    sources = [file for folder in folders for pattern in ("**/*.py", "**/*.yaml") for file in folder.glob(pattern)]
    assert inside == {str(file.relative_to(ROOT / "src")) for file in [*sources, package / "py.typed"]}
