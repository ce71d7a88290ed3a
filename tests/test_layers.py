"""Who may import whom: every import statement of the package is read, the ones inside functions too."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = {"numpy", "yaml", "annotated_types"}
LAYERS = {"envs": "envs", "probes": "lop_probes", "agents": "agents", "studies": "studies"}  # name under lopgym: folder

# Layer: (our layers below it, other people's packages). "core" is src/lopgym itself.
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "core": ({"core"}, LIGHT),
    "envs": ({"core", "envs"}, LIGHT | {"gymnasium", "pygame"}),
    "probes": ({"core", "probes"}, LIGHT | {"torch"}),
    "agents": ({"core", "probes", "agents"}, LIGHT | {"torch", "gymnasium", "stable_baselines3"}),
}
# pip names a distribution, Python a package; here they differ.
IMPORTED_AS = {"hydra-core": {"hydra", "omegaconf"}, "pydantic": {"pydantic", "pydantic_core"}, "pyyaml": {"yaml"}}


def _files() -> Iterator[tuple[str, Path]]:
    """Yield (layer, file) of every module but `lopgym/__init__`, which has a test of its own."""
    for file in sorted((ROOT / "src" / "lopgym").glob("*.py")):
        if file.name != "__init__.py":
            yield "core", file
    for layer, folder in LAYERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield layer, file


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that import statements in `tree` reach for; `from lopgym import x` is `lopgym.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            assert node.module
            bare = node.module == "lopgym"
            yield from (f"lopgym.{alias.name}" for alias in node.names) if bare else (node.module,)


def _layer_of(module: str) -> str:
    """Return the layer of one of our modules."""
    second = module.partition(".")[2].partition(".")[0]
    assert second, f"`import {module}` reaches everything: import the module that is meant"
    return second if second in LAYERS else "core"


def _refused(module: str, ours: set[str], others: set[str]) -> bool:
    """Say whether a layer that may import `ours` and `others` may not import `module`."""
    top = module.partition(".")[0]
    if top == "lopgym":
        return _layer_of(module) not in ours
    return top not in others and top not in sys.stdlib_module_names


def _declared() -> set[str]:
    """Return the packages that an installation of lopgym promises to have."""
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bare = [name.split(">")[0].split("[")[0] for name in names]
    return set().union(*(IMPORTED_AS.get(name, {name.replace("-", "_")}) for name in bare))


@pytest.mark.parametrize(("layer", "file"), [pytest.param(*f, id=str(f[1].relative_to(ROOT))) for f in _files()])
def test_a_file_imports_only_what_its_layer_may(layer: str, file: Path) -> None:
    """Core at the bottom, envs and agents apart, studies on top; nothing that an installation lacks."""
    everything = ({"core", *LAYERS}, _declared())
    ours, others = MAY_IMPORT.get(layer, everything)
    assert [m for m in _imports(ast.parse(file.read_text())) if _refused(m, ours, others)] == []


def test_the_package_itself_imports_only_the_worlds() -> None:
    """`lopgym/__init__` reaches for `lopgym.envs` alone when it is imported; the rest is for type checkers."""
    tree = ast.parse((ROOT / "src/lopgym/__init__.py").read_text())
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = {m for node in at_import for m in _imports(node) if m.startswith("lopgym")}
    assert ours == {"lopgym.envs"}


@pytest.mark.parametrize("line", ["import torch", "from lopgym.agents import agents", "from lopgym import agents"])
def test_the_rule_can_be_broken(line: str) -> None:
    """A world that reaches for torch or an agent would be found."""
    assert any(_refused(m, *MAY_IMPORT["envs"]) for m in _imports(ast.parse(f"def f():\n    {line}")))


def test_pygame_is_imported_lazily() -> None:
    """A world that nobody looks at needs no window toolkit."""
    for file in (ROOT / "envs").rglob("*.py"):
        at_import = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [m for node in at_import for m in _imports(node) if m.startswith("pygame")], file
