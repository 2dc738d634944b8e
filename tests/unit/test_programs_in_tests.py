"""Programs that tests carry as text name modules and attributes that exist.

They run in images and on labs, where a moved module shows only as a pod that does not start.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def programs() -> Iterator[tuple[str, ast.Module]]:
    """Each text in a test that is a Python program with an import of ours, and where it is."""
    for file in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if "import" not in node.value or "lab" not in node.value:
                continue
            try:
                program = ast.parse(node.value)
            except (SyntaxError, ValueError):
                continue
            if any(isinstance(part, ast.Import | ast.ImportFrom) for part in ast.walk(program)):
                yield f"{file.relative_to(TESTS)}:{node.lineno}", program


def missing(program: ast.Module) -> Iterator[str]:
    """What a program imports of ours that is not there."""
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            wanted = [(name.name, "") for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            wanted = [(str(node.module), name.name) for name in node.names]
        else:
            continue
        for module, attribute in wanted:
            if module.split(".")[0] not in ("lab", "tests", "scenarios"):
                continue
            try:
                found = importlib.import_module(module)
                if attribute and not hasattr(found, attribute):
                    importlib.import_module(f"{module}.{attribute}")
            except ModuleNotFoundError:
                yield f"{module} {attribute}".strip()


@pytest.mark.parametrize(
    ("where", "program"), [pytest.param(*each, id=each[0]) for each in programs()]
)
def test_a_program_in_a_test_imports_what_there_is(where: str, program: ast.Module) -> None:
    # Also a function of a module: text that calls discovery.main() after a move names none.
    assert list(missing(program)) == []
    modules = {
        name.asname or name.name: importlib.import_module(f"{node.module}.{name.name}")
        for node in ast.walk(program)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lab")
        for name in node.names
        if _is_module(f"{node.module}.{name.name}")
    }
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(program)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    for name, attribute in used:
        if name in modules:
            assert hasattr(modules[name], attribute), f"{where}: {name}.{attribute}"


def _is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def test_there_are_such_programs() -> None:
    assert len(list(programs())) >= 5
