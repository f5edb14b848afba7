"""The arrows of the design: who may import whom, who may know devices, who may name the mapped axis."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxvision"
FILES = sorted(PACKAGE.rglob("*.py"))

ARROWS = {  # room: the rooms it may import, beside itself, checks and _public
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
        "train",
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
FORBIDDEN = {  # room: outside packages that it must not import
    "data": {"jax", "flax", "optax"},
    "losses": {"flax", "optax"},
    "augment": {"flax", "optax"},
    "core": {"flax", "optax"},
    "axis": {"flax", "optax"},
    "kernels": {"flax", "optax"},
}


def room_of(path: Path) -> str:
    """The room a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(path):
    room = room_of(path)
    assert room in ARROWS, f"{room} is a new room: add its arrows here and to docs/architecture.md"
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("jaxvision.")} - {room, "checks", "_public"}
    assert rooms <= ARROWS[room], f"{room} must not import {rooms - ARROWS[room]}"
    outside = {name.partition(".")[0] for name in imports(path)}
    assert not outside & FORBIDDEN.get(room, set())
    assert "experiments" not in outside
    assert room == "cli" or "jaxvision" not in imports(path), "import rooms by name, so that the arrows can be read"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_devices_and_collectives_have_one_home_each(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {name.rpartition(".")[2] for name in imports(path)}
    file = path.relative_to(PACKAGE).as_posix()
    said -= BESIDES.get(file, set())
    for home, words in ONLY.items():
        if file != home:
            assert not said & words, f"{sorted(said & words)} belong to {home}"


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
