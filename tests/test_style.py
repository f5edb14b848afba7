"""The style card: ceilings, docstrings, signatures, names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxvision"
FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = sorted(path for folder in ("jaxvision", "experiments", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LINES_A_FILE, LINES_A_FUNCTION, FIELDS_A_MODULE = 400, 60, 12


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def public(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a file, and the public methods of the classes."""
    top = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")]
    methods = [
        member
        for node in top
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_") and member.name != "setup"
    ]
    return top + methods


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_ceilings_and_names_of_files(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= LINES_A_FILE, f"{len(lines)} lines: find the concept that asks for its own room"
    assert path.stem not in ("utils", "helpers", "common", "misc")
    assert ast.get_docstring(parse(path)), "a file's first sentence says what it is for"
    assert not [number for number, line in enumerate(lines, 1) if len(line) > 140], "lines of at most 140 characters"
    for function in functions(parse(path)):
        length = function.end_lineno - function.lineno + 1
        assert length <= LINES_A_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_have_docstrings_and_annotations(path):
    for node in public(parse(path)):
        inherited = isinstance(node, ast.FunctionDef) and node.name in ("update", "init")
        assert ast.get_docstring(node) or inherited, f"{node.name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_signatures(path):
    for function in functions(parse(path)):
        positional = [argument.arg for argument in function.args.posonlyargs + function.args.args]
        positional = positional[1:] if positional[:1] in (["self"], ["cls"]) else positional
        assert "train" not in positional or "optimizers" in path.name or path.parent.name == "data", (
            f"{function.name}: train is keyword-only"
        )
        if "key" in positional and not function.name.startswith("_"):
            allowed = positional[0] == "key" or positional[-1] == "key"
            assert allowed, f"{function.name}: key comes first (a step takes it last)"


@pytest.mark.parametrize("room", sorted({path.parent for path in FILES if path.parent.parent == PACKAGE}), ids=name_of)
def test_a_file_that_shares_its_name_with_a_public_function_is_private(room):
    stems = {path.stem for path in room.glob("*.py")} | {path.name for path in room.iterdir() if path.is_dir()}
    lists = [node for node in parse(room / "__init__.py").body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    names = {name for node in lists for name in ast.literal_eval(node.value)}
    assert not (stems & names) - {"initializers"}  # exported as the module that it is


def test_modules_have_few_fields():
    for path in FILES:
        for node in ast.walk(parse(path)):
            bases = {ast.unparse(base) for base in getattr(node, "bases", [])}
            if isinstance(node, ast.ClassDef) and bases & {"nn.Module", "Module"}:
                fields = [member for member in node.body if isinstance(member, ast.AnnAssign)]
                assert len(fields) <= FIELDS_A_MODULE, f"{path}: {node.name} has {len(fields)} fields"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_marked_as_unfinished(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        assert "TODO" not in line and "FIXME" not in line and "XXX" not in line
