"""The rules of style: lengths, names, docstrings, signatures and types. One test a rule; each names every offender."""

import ast
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jaxvision as jv

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxvision"
FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = sorted(path for folder in ("jaxvision", "experiments", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LINES_A_FILE, LINES_A_FUNCTION, COLUMNS, FIELDS_A_MODULE = 400, 60, 140, 12
SMALL_FILE = 40  # lines; shorter files join their siblings
SMALL_FILES = 12  # that may remain, beside __init__.py and weights/layouts


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(text(path))


@functools.cache
def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def public(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """(name, node) of a file's public functions and classes, and of the public methods of the classes."""
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_") and member.name != "setup":
                    yield f"{node.name}.{member.name}", member


def packages() -> list[str]:
    """Dotted names of jaxvision, of every package below it, and of the modules that they export."""
    names = ["jaxvision", *(found.name for found in pkgutil.walk_packages(jv.__path__, "jaxvision.") if found.ispkg)]
    members = (getattr(importlib.import_module(package), name) for package in names for name in exported(package))
    modules = [member.__name__ for member in members if isinstance(member, ModuleType)]
    return [*names, *(name for name in modules if name not in names)]


def exported(package: str) -> list[str]:
    return list(getattr(importlib.import_module(package), "__all__", ()))


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    """Every named parameter but self and cls."""
    positional = function.args.posonlyargs + function.args.args
    return [argument for argument in positional + function.args.kwonlyargs if argument.arg not in ("self", "cls")]


def check(offenders: list[str], rule: str) -> None:
    assert not offenders, f"{rule}:\n  " + "\n  ".join(offenders)


def test_files_are_short():
    lengths = {name_of(path): len(text(path).splitlines()) for path in ALL_FILES}
    check([f"{name}: {count}" for name, count in lengths.items() if count > LINES_A_FILE], f"a file has at most {LINES_A_FILE} lines")


def test_lines_are_short():
    long = [
        f"{name_of(path)}:{number}" for path in ALL_FILES for number, line in enumerate(text(path).splitlines(), 1) if len(line) > COLUMNS
    ]
    check(long, f"a line has at most {COLUMNS} characters")


def test_functions_are_short():
    lengths = [(path, node.name, node.end_lineno - node.lineno + 1) for path in ALL_FILES for node in functions(path)]
    long = [f"{name_of(path)}: {name} has {count}" for path, name, count in lengths if count > LINES_A_FUNCTION]
    check(long, f"a function has at most {LINES_A_FUNCTION} lines")


def test_modules_have_few_fields():
    wide = []
    for path in FILES:
        for node in ast.walk(parse(path)):
            bases = {ast.unparse(base) for base in getattr(node, "bases", [])}
            if isinstance(node, ast.ClassDef) and bases & {"nn.Module", "Module"}:
                fields = [member for member in node.body if isinstance(member, ast.AnnAssign)]
                wide += [f"{name_of(path)}: {node.name} has {len(fields)}"] * (len(fields) > FIELDS_A_MODULE)
    check(wide, f"a module has at most {FIELDS_A_MODULE} fields")


def test_files_are_named_for_what_they_hold():
    check([name_of(path) for path in ALL_FILES if path.stem.strip("_") in ("utils", "helpers", "common", "misc")], "not a name of a file")


def test_few_files_are_very_short():
    short = {name_of(path): len(text(path).splitlines()) for path in FILES if path.name != "__init__.py" and path.parent.name != "layouts"}
    found = [f"{name}: {count} lines" for name, count in short.items() if count < SMALL_FILE]
    assert len(found) <= SMALL_FILES, f"at most {SMALL_FILES} files have under {SMALL_FILE} lines; join siblings:\n  " + "\n  ".join(found)


def test_a_file_that_bears_the_name_of_a_public_function_is_private():
    shared = []
    for package in packages():
        folder = PACKAGE.joinpath(*package.split(".")[1:])
        if not folder.is_dir():
            continue  # a module that a package exports
        stems = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
        names = {name for name in exported(package) if not isinstance(getattr(importlib.import_module(package), name), type(ast))}
        shared += [f"{package}.{name}" for name in sorted(stems & names)]
    check(shared, "a function and a file have the same name; make the file private")


def test_files_begin_with_a_docstring():
    check([name_of(path) for path in ALL_FILES if not ast.get_docstring(parse(path))], "the first sentence of a file says what it is for")


def test_public_names_have_docstrings():
    inherited = ("update", "init")  # methods that a base class documents
    bare = [
        f"{name_of(path)}: {name}"
        for path in FILES
        for name, node in public(path)
        if not ast.get_docstring(node) and node.name not in inherited
    ]
    check(bare, "no docstring")


def test_train_is_keyword_only_and_key_comes_first():
    wrong = []
    for path in FILES:
        for node in functions(path):
            positional = [argument.arg for argument in node.args.posonlyargs + node.args.args if argument.arg not in ("self", "cls")]
            if "train" in positional and "optimizers" not in path.name and "data" not in path.relative_to(PACKAGE).parts:
                wrong.append(f"{name_of(path)}: {node.name}: train is keyword-only")
            if "key" in positional[1:-1] and not node.name.startswith("_"):
                wrong.append(f"{name_of(path)}: {node.name}: key comes first (a step takes it last)")
    check(wrong, "a signature out of order")


def test_public_parameters_are_annotated():
    bare = []
    for package in packages():
        for name in exported(package):
            public_object = getattr(importlib.import_module(package), name)
            bare += [f"{package}.{name}: {argument}" for argument in unannotated(public_object)]
    check(sorted(set(bare)), "a public parameter without a type")


def unannotated(public_object) -> list[str]:
    """Parameters without a type, of a function of ours or of the public methods of a class of ours."""
    module = getattr(public_object, "__module__", None) or ""
    if not module.startswith("jaxvision.") or not callable(public_object):
        return []
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    node = next((node for node in parse(path).body if getattr(node, "name", None) == public_object.__name__), None)
    if isinstance(node, ast.FunctionDef):
        return [argument.arg for argument in parameters(node) if argument.annotation is None]
    if isinstance(node, ast.ClassDef):
        methods = [member for member in node.body if isinstance(member, ast.FunctionDef) and not member.name.startswith("_")]
        return [f"{method.name}({argument.arg})" for method in methods for argument in parameters(method) if argument.annotation is None]
    return []


def test_nothing_is_marked_as_unfinished():
    check([name_of(path) for path in FILES if re.search("TODO|FIXME|XXX", text(path))], "unfinished")
