"""The order of the packages: each imports only from those before it, and no circle is inside any of them."""

import ast
import graphlib
from pathlib import Path

import pytest

import pymc_kl

ROOT = Path(pymc_kl.__file__).parent
ORDER = (
    "_typing", "arguments", "interrupts", "progress", "numerics", "model", "modes", "scores", "approximations",
    "divergence", "adapters", "reference", "fitting", "renyi", "sampling", "quantities", "comparison", "prediction",
    "plots", "reports", "sweeps", "data", "cli",
)  # fmt: skip
AT_THE_ROOT = {
    "__init__.py",
    "__init__.pyi",
    "_typing.py",
    "arguments.py",
    "interrupts.py",
    "progress.py",
    "py.typed",
}


def name_of(path: Path, root: Path) -> str:
    """Dotted name of a file below the package: `modes.search`, or `modes` for its `__init__`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_imported(path: Path, root: Path) -> set[str]:
    """Full names that a file imports anywhere: at its top, in functions, under TYPE_CHECKING, by `import_module`."""
    here = path.relative_to(root.parent).parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = ".".join((*above(here, node.level), *filter(None, [node.module])))
            names |= {f"{source}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and (name := name_loaded(node)):
            level = len(name) - len(name.lstrip("."))
            names.add(".".join((*above(here, level), name.lstrip("."))))
    return names


def above(here: tuple[str, ...], level: int) -> tuple[str, ...]:
    """Package that a relative import of so many dots starts from; none for an absolute one."""
    return here[: len(here) + 1 - level] if level else ()


def name_loaded(call: ast.Call) -> str:
    """Module that a call of `import_module` or `__import__` loads; empty for other calls and for computed names."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    name = call.args[0] if call.args else None
    if function not in ("import_module", "__import__") or not isinstance(name, ast.Constant):
        return ""
    return str(name.value)


def read_imports(root: Path) -> dict[str, set[str]]:
    """What each module of the package imports of it; names that are imported when they are first used count too."""
    paths = [path for suffix in ("py", "pyi") for path in sorted(root.rglob(f"*.{suffix}")) if path.parent != root]
    paths += [path for path in root.glob("*.py") if path.stem != "__init__"]
    modules = {name_of(path, root) for path in paths}
    imports: dict[str, set[str]] = {name: set() for name in sorted(modules)}
    for path in paths:
        below = {n.removeprefix("pymc_kl.") for n in names_imported(path, root) if n.startswith("pymc_kl.")}
        imports[name_of(path, root)] |= {n if n in modules else n.rpartition(".")[0] for n in below} - {""}
    return imports


def of_the_root(root: Path) -> set[str]:
    """Modules that import the package itself or a public name of it, and so whatever that needs."""
    found = set()
    for path in root.rglob("*.py"):
        names = {
            n.removeprefix("pymc_kl").removeprefix(".")
            for n in names_imported(path, root)
            if n.split(".")[0] == "pymc_kl"
        }
        packages = {p.name for p in root.iterdir() if p.is_dir()} | {p.stem for p in root.glob("*.py")}
        if any(name.split(".")[0] not in packages for name in names):
            found.add(name_of(path, root))
    return found


def without_init(root: Path) -> list[str]:
    """Folders that hold modules and are no packages, since they have no `__init__.py`."""
    folders = {path.parent for path in root.rglob("*.py")}
    return sorted(folder.relative_to(root).as_posix() for folder in folders if not (folder / "__init__.py").exists())


def upward(imports: dict[str, set[str]]) -> list[str]:
    """Imports from a package that comes later in the order."""
    rank = {name: i for i, name in enumerate(ORDER)}
    pairs = [(name, other) for name, others in imports.items() for other in sorted(others)]
    return [f"{a} imports {b}" for a, b in pairs if rank[a.split(".")[0]] < rank[b.split(".")[0]]]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first found."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def number_in(value: ast.expr) -> object:
    """What an expression of numbers comes to, such as 2**17 or (0.2, 0.5); None for anything else."""
    if any(isinstance(node, ast.Name | ast.Call | ast.Attribute) for node in ast.walk(value)):
        return None
    try:
        number = eval(compile(ast.Expression(value), "constant", "eval"))
    except TypeError:
        return None
    entries = number if isinstance(number, tuple) else (number,)
    return number if all(isinstance(entry, int | float) for entry in entries) else None


def constants_in(source: str) -> dict[str, object]:
    """Numbers with a name in capitals at the top level of a module, also where two stand on a line."""
    found: dict[str, object] = {}
    for node in ast.parse(source).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            named = [(name.id, value) for name, value in pairs if isinstance(name, ast.Name) and value is not None]
            found |= {name: number_in(value) for name, value in named if name.isupper()}
    return {name: number for name, number in found.items() if number is not None}


def with_two_values(root: Path) -> dict[str, dict[object, list[str]]]:
    """Names of constants that stand for different numbers in different modules: the modules of each number."""
    values: dict[str, dict[object, list[str]]] = {}
    for path in sorted(root.rglob("*.py")):
        for name, number in constants_in(path.read_text()).items():
            values.setdefault(name, {}).setdefault(number, []).append(name_of(path, root))
    return {name: modules for name, modules in values.items() if len(modules) > 1}


IMPORTS = read_imports(ROOT)


def test_nothing_else_lies_at_the_root():
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    packages = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert files == AT_THE_ROOT
    assert without_init(ROOT) == []
    assert packages == set(ORDER) - {Path(name).stem for name in AT_THE_ROOT}


def test_packages_import_only_from_those_before_them():
    assert upward(IMPORTS) == []


def test_the_command_line_alone_imports_the_public_names(tmp_path):
    assert of_the_root(ROOT) == {"cli.commands"}
    (tmp_path / "pymc_kl" / "modes").mkdir(parents=True)
    for name, text in {
        "a": "import pymc_kl as pkl",
        "b": "from pymc_kl import compare",
        "c": "from pymc_kl import modes",
    }.items():
        (tmp_path / "pymc_kl" / "modes" / f"{name}.py").write_text(text)
    assert of_the_root(tmp_path / "pymc_kl") == {"modes.a", "modes.b"}


@pytest.mark.parametrize("package", sorted({name.split(".")[0] for name in IMPORTS}))
def test_no_circle_is_inside_a_package(package):
    inside = {name: others for name, others in IMPORTS.items() if name.split(".")[0] == package}
    assert circle({a: {b for b in others if b in inside} for a, others in inside.items()}) == []


def test_imports_are_seen_wherever_they_stand(tmp_path):
    """At the top, relative, in a function, under TYPE_CHECKING and by name; of a module by its package or its name."""
    files = {
        "cli.py": "",
        "numerics.py": "",
        "modes/__init__.pyi": "from .search import find_modes",
        "modes/__init__.py": "",
        "modes/search.py": "",
        "modes/late.py": """
import importlib
from importlib import import_module
def load(name):
    __import__("pymc_kl.numerics")
    importlib.import_module(".search", __package__)
    import_module(name)
    return import_module("pymc_kl.reports.page")
""",
        "reports/page.py": "",
        "modes/merge.py": """
import numpy
from pymc_kl import modes
from pymc_kl.modes import search
if TYPE_CHECKING:
    from pymc_kl.cli import main
def merge():
    from ..numerics import Estimate
    from . import search
""",
    }
    for name, text in files.items():
        (tmp_path / "pymc_kl" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pymc_kl" / name).write_text(text)
    found = read_imports(tmp_path / "pymc_kl")
    assert found["modes.merge"] == {"modes", "modes.search", "cli", "numerics"}
    assert found["modes"] == {"modes.search"}
    assert found["modes.late"] == {"numerics", "modes.search", "reports.page"}
    assert upward(found) == ["modes.late imports reports.page", "modes.merge imports cli"]
    assert without_init(tmp_path / "pymc_kl") == [".", "reports"]
    assert circle(found) == []
    assert {"modes.search", "modes.merge"} <= {*circle(found | {"modes.search": {"modes.merge"}})}


def test_a_constant_has_one_name_and_one_value():
    assert with_two_values(ROOT) == {}


def test_two_values_of_a_name_are_seen(tmp_path):
    files = {
        "one.py": "LEAST = 2**4  # draws\nMOST, WIDTH = 3, (1.0, -2.0)\nSAME = 5\nTEXT = 'a'",
        "two.py": "LEAST: int = 17\nMOST = 4\nWIDTH = (1.0, -2.0)\nSAME = 5\nTEXT = 'b'\nNAMED = len(TEXT)",
        "three.py": "def f():\n    SAME = 6",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert with_two_values(tmp_path) == {"LEAST": {16: ["one"], 17: ["two"]}, "MOST": {3: ["one"], 4: ["two"]}}
