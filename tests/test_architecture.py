"""The arrows of the design: who may import whom, who may know devices, who may name the mapped axis."""

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "jaxvision"
FILES = sorted(PACKAGE.rglob("*.py"))

ARROWS = {  # package or file at the top: those that it may import, besides itself, checks and _public
    "typing": set(),
    "checks": set(),
    "axis": {"typing"},
    "core": {"typing"},
    "kernels": {"typing", "axis"},
    "layers": {"typing", "axis", "kernels"},
    "models": {"typing", "axis", "kernels", "layers"},
    "weights": {"typing", "layers", "models"},
    "summary": {"kernels", "layers", "models"},
    "losses": {"typing", "axis", "kernels"},
    "augment": {"typing", "axis", "kernels"},
    "data": {"typing"},
    "plots": {"typing"},
    "objectives": {"typing", "axis", "core", "losses", "layers"},
    "evaluate": {"typing", "losses", "data", "augment"},
    "train": {"typing", "axis", "core", "kernels", "data", "evaluate", "plots"},
    "__init__": {  # for type checkers only; tests/test_package.py holds that the import loads none of them
        *("core", "kernels", "layers", "models", "weights", "summary", "losses", "augment", "data", "plots", "objectives", "evaluate"),
        *("train", "typing"),
    },
    "_public": set(),
    "cli": {"typing", "data", "evaluate", "models", "plots", "summary", "train", "__init__"},
}
# What only one file may say: device words belong to train/sharding.py, collectives to axis.py.
ONLY = {
    "train/sharding.py": {"Mesh", "make_mesh", "shard_map", "pmap", "NamedSharding", "PartitionSpec"},
    "axis.py": {"pmean", "psum", "all_gather", "ppermute", "axis_index", "axis_size", "all_to_all"},
}
BESIDES = {"kernels/_partitioning.py": {"NamedSharding", "PartitionSpec", "psum"}}  # how a compiled kernel may be split
FORBIDDEN = {  # package or file at the top: outside packages that it must not import
    "data": {"jax", "flax", "optax"},
    "losses": {"flax", "optax"},
    "augment": {"flax", "optax"},
    "core": {"flax", "optax"},
    "axis": {"flax", "optax"},
    "kernels": {"flax", "optax"},
}


def package_of(path: Path) -> str:
    """The package a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Dotted names of what import statements name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {"." * node.level + f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, inside functions too."""
    return imported(ast.walk(parse(path)))


def file_of(name: str) -> Path | None:
    """The file in which a dotted name lies: the module itself, or the one that has it."""
    for dotted in (name, name.rpartition(".")[0]):
        path = PACKAGE.parent.joinpath(*dotted.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file() and PACKAGE in file.parents:
                return file
    return None


def check(offenders: Iterable[str], rule: str) -> None:
    offenders = list(offenders)
    assert not offenders, f"{rule}:\n  " + "\n  ".join(offenders)


def test_every_package_has_its_arrows():
    check(sorted({package_of(path) for path in FILES} - set(ARROWS)), "a new package: add its arrows here and to docs/architecture.md")


def test_a_file_imports_only_what_its_package_may():
    wrong = []
    for path in FILES:
        package = package_of(path)
        packages = {name.split(".")[1] for name in imports(path) if name.startswith("jaxvision.")} - {package, "checks", "_public"}
        outside = {name.partition(".")[0] for name in imports(path)}
        surplus = (packages - ARROWS[package]) | (outside & (FORBIDDEN.get(package, set()) | {"experiments", "tests", "benchmarks"}))
        wrong += [f"{name_of(path)} must not import {name}" for name in sorted(surplus)]
    check(wrong, "an arrow that the design does not have")


def test_packages_are_imported_by_name():
    """So that the arrows can be read: neither relative imports nor the whole package."""
    relative = [name_of(path) for path in FILES if any(name.startswith(".") for name in imports(path))]
    whole = [name_of(path) for path in FILES if package_of(path) != "cli" and "jaxvision" in imports(path)]
    check(relative + whole, "import packages by name")


def test_files_import_each_other_in_no_circle():
    """Of imports at the top of files; `import jaxvision.kernels` inside that package finds it loaded, and names nothing in it."""
    files = {}
    for path in FILES:
        names = imported(node for node in parse(path).body if isinstance(node, ast.Import | ast.ImportFrom))
        parents = {".".join(["jaxvision", *folder.parts]) for folder in path.relative_to(PACKAGE).parents}
        files[path] = {file_of(name) for name in names - parents} - {None, path}
    done, way = set(), []

    def visit(path: Path) -> list[str]:
        if path in way:
            return [" -> ".join(map(name_of, [*way[way.index(path) :], path]))]
        if path in done:
            return []
        way.append(path)
        found = [circle for following in sorted(files[path]) for circle in visit(following)]
        done.add(way.pop())
        return found

    check([circle for path in FILES for circle in visit(path)], "a circle of imports")


def test_devices_and_collectives_have_one_home_each():
    wrong = []
    for path in FILES:
        attributes = {node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}
        used = attributes | {name.rpartition(".")[2] for name in imports(path)}
        used -= BESIDES.get(name_of(path), set())
        for home, words in ONLY.items():
            wrong += [f"{name_of(path)}: {word} belongs to {home}" for word in sorted(used & words) if name_of(path) != home]
    check(wrong, "a word of another file")


def test_the_catalog_is_plain_data():
    assert imports(PACKAGE / "models" / "catalog.py") == set()


def test_the_top_level_is_fixed():
    allowed = {
        "pyproject.toml",
        "jaxvision",
        "experiments",
        "tests",
        "benchmarks",
        "README.md",
        "docs",
        ".ci",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        ".gitignore",
        ".git",
    }
    root = PACKAGE.parent
    ignored = {line.strip("/") for line in (root / ".gitignore").read_text().splitlines()}
    surplus = {path.name for path in root.iterdir()} - allowed - ignored
    assert not {name for name in surplus if not name.endswith(".egg-info")}
