"""No source runs what a file of somebody else's says: syntax trees are searched for the ways to do so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    p for folder in ("agents", "envs", "lop_probes", "studies", "src") for p in (ROOT / folder).rglob("*.py")
)
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "codeop"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "UnsafeLoader", "FullLoader", "Loader"}
ARGUMENTS = {"weights_only": False, "allow_pickle": True}
READERS = {"np", "numpy", "torch", "json"}  # whose `load` is held by its arguments, or reads plain data
UNPICKLERS = {"load_replay_buffer", "load_from_zip_file", "load_from_pkl", "json_to_data"}  # of Stable-Baselines3
ALLOWED = {  # (file, finding)
    ("studies/foreign_zip.py", "algorithm.load"),  # the one door for files of others: by hand, file by file
    ("src/lopgym/registry.py", "point.load"),  # imports from packages that were installed, no file that was given
}


def findings(source: str) -> Iterator[str]:
    """Yield what in a source could run somebody else's code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from _of_import(node)
        elif isinstance(node, ast.Attribute):
            yield from _of_attribute(node)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_import(node: ast.ImportFrom) -> Iterator[str]:
    package = (node.module or "").partition(".")[0]
    if package in MODULES:
        yield f"import {node.module}"
    elif package != "lopgym":  # whose own readers are searched where they stand
        yield from (a.name for a in node.names if a.name in {"load", *UNPICKLERS, *UNSAFE})


def _of_attribute(node: ast.Attribute) -> Iterator[str]:
    """Look at attributes, not at calls: a function that is passed on is called elsewhere."""
    owner = ast.unparse(node.value)
    unsafe = node.attr in UNSAFE and owner == "yaml"
    if unsafe or node.attr in UNPICKLERS or (node.attr == "load" and owner not in READERS):
        yield f"{owner}.{node.attr}"


def _of_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    said = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    if called == "getattr" and said & {"load", *UNPICKLERS}:
        yield ast.unparse(node)
    if called.endswith("import_module") and any(str(name).partition(".")[0] in MODULES for name in said):
        yield ast.unparse(node)
    if isinstance(node.func, ast.Name) and called in BUILTINS:
        yield called
    if called == "torch.load" and not any(k.arg == "weights_only" for k in node.keywords):
        yield "torch.load without weights_only"
    for keyword in node.keywords:
        if keyword.arg in ARGUMENTS and not (
            isinstance(keyword.value, ast.Constant) and keyword.value.value is not ARGUMENTS[keyword.arg]
        ):
            yield f"{keyword.arg}={ast.unparse(keyword.value)}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_source_executes_nothing_of_others(file: Path) -> None:
    """No pickle in any guise, no unsafe YAML, no code from text; what is allowed is listed."""
    name = str(file.relative_to(ROOT))
    assert {(name, found) for found in findings(file.read_text())} <= ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle as c",
        "from dill import loads",
        "import joblib.numpy_pickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "yaml.unsafe_load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "def f():\n    return [__import__(name) for name in names]",
        "PPO.load(path)",
        "algorithm.load(path, env=world)",
        "model = type(old).load(path)",
        "policy_class.load(path)",
        "VecNormalize.load(path, venv)",
        "model.load_replay_buffer(path)",
        "read = DQN.load",
        "getattr(algorithm, 'load')(path)",
        "from stable_baselines3.common.save_util import load_from_zip_file",
        "save_util.load_from_pkl(path)",
        "torch.jit.load(path)",
        "from torch import load",
        "importlib.import_module('pickle')",
    ],
)
def test_the_search_finds(source: str) -> None:
    """What it is for, wherever it stands."""
    assert [*findings(source)]


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "json.load(file)",
        "yaml.safe_load(t)",
        "from lopgym.store import load\nload(path)",
        "model.load_state_dict(state)",
        "model.set_parameters(weights)",
    ],
)
def test_the_search_lets_pass(source: str) -> None:
    """Methods of the same names, and readers of plain data."""
    assert not [*findings(source)]
