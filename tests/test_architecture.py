"""The import arrows of docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rig"

ROWS = (
    {"errors"},
    {"product", "fault"},
    {"upkeep"},
    {"model"},
    {"ports", "scenario", "formats", "gates", "practices", "coverage", "wear"},
    {"journal", "drivers", "virtual"},
    {"config", "plan", "bench", "inject", "ota", "images", "judge", "accept", "store"},
    {"run", "report", "doctor"},
    {"cli"},
)
"""From bottom to top.  A part imports rows below its own, never a neighbour, never upwards."""

ALLOWED_ONLY = {
    "plan": {"model", "errors", "scenario", "coverage"},
    "coverage": {"model", "errors"},
    "judge": {"model", "errors", "practices"},
    "practices": {"model", "product", "errors"},
    "accept": {"model", "errors"},
    "journal": {"model", "errors"},
    "report": {"store", "accept", "gates", "judge", "model", "product", "practices", "errors", "formats", "coverage"},
    "ota": {"ports", "model", "errors", "formats"},
    "formats": {"errors", "model"},
    "doctor": {"drivers", "store", "model", "errors"},
}
"""Narrower than the rows: a judge cannot reach a file, a report cannot reach a bench, a protocol cannot write its own evidence."""

FENCED = {
    "pandas": {"report"},
    "scipy": {"report"},
    "statsmodels": {"report"},
    "ruamel": {"config"},
    "pydantic": {"config"},
    "apsw": {"store"},
    "bleak": {"drivers", "virtual"},
    "dbus_fast": {"drivers"},
    "bumble": {"drivers", "virtual"},
    "serial": {"drivers", "virtual", "doctor"},
    "smpclient": {"ota"},
    "smp": {"ota"},
    "imgtool": {"images"},
    "click": {"cli"},
    "pyvisa": {"drivers"},
    "pynrfjprog": {"drivers"},
    "pyocd": {"drivers"},
    "pyjoulescope_driver": {"drivers"},
}
"""Third-party packages and the parts that may import them."""


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def row_of(part: str) -> int:
    return next(number for number, row in enumerate(ROWS) if part in row)


def imports(path: Path) -> set[tuple[str, ...]]:
    """Dotted names that the module imports, split at the dots; type-checking blocks count as well."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            module = tuple((node.module or "").split("."))
            found |= {module} if module != ("rig",) else {("rig", alias.name) for alias in node.names}
    return found


def violations(path: Path, names: set[tuple[str, ...]]) -> list[str]:
    part = part_of(path)
    if part == "__init__":
        return [f"rig/__init__.py imports {'.'.join(name)}" for name in names if name[0] == "rig"]
    found = []
    for name in sorted(names):
        if name[0] == "rig":
            target = name[1] if len(name) > 1 else ""
            if target in ("", part) or target.startswith("__"):
                continue
            if row_of(target) >= row_of(part):
                found.append(f"{part} may not import {target}: not a row below")
            elif part in ALLOWED_ONLY and target not in ALLOWED_ONLY[part]:
                found.append(f"{part} may import only {sorted(ALLOWED_ONLY[part])}, not {target}")
        elif name[0] in FENCED and part not in FENCED[name[0]]:
            found.append(f"{name[0]} belongs to {sorted(FENCED[name[0]])}, not to {part}")
    return found


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert violations(path, imports(path)) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("judge.py", ("rig", "store")),
        ("report/page.py", ("rig", "bench")),
        ("drivers/console_uart.py", ("rig", "virtual", "wires")),
        ("model.py", ("rig", "ports")),
        ("ota/smp.py", ("rig", "journal")),
        ("plan.py", ("pandas",)),
        ("run/trial.py", ("rig", "report")),
    ],
)
def test_a_forbidden_import_is_noticed(path: str, name: tuple[str, ...]) -> None:
    assert violations(PACKAGE / path, {name})


def test_nothing_outside_the_virtual_bench_asks_whether_it_is_virtual() -> None:
    for path in files():
        if part_of(path) != "virtual":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare) and not ast.unparse(node.left).endswith(".clock"):
                    constants = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
                    assert "virtual" not in constants, f"{path}:{node.lineno} branches on the bench being virtual"


def test_module_sizes() -> None:
    """A module that outgrows 450 lines becomes a package of the same name."""
    large = {str(path.relative_to(PACKAGE)): n for path in files() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 450}
    assert not large


def test_a_command_does_not_wait_for_what_only_reports_need() -> None:
    code = "import sys, rig.cli; print([name for name in ('pandas', 'scipy', 'statsmodels', 'bumble') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert found.stdout.strip() == "[]"


def test_a_report_does_not_wait_for_what_only_a_bench_or_a_baseline_needs() -> None:
    code = """
import sys
from rig.cli import rig
rig.main(["report", "--help"], standalone_mode=False)
import rig.report
print([name for name in ("rig.config", "rig.run", "pydantic", "scipy.stats", "statsmodels") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert found.stdout.splitlines()[-1] == "[]"


def test_every_command_is_found_though_its_module_was_not_imported_before() -> None:
    names = [
        str(command.name)
        for path in sorted((PACKAGE / "cli").glob("*.py"))
        for command in getattr(import_module(f"rig.cli.{path.stem}"), "COMMANDS", ())
        if path.stem != "__init__"
    ]
    assert len(names) > 15
    code = """
import sys, click
from rig.cli import rig
context = click.Context(rig)
print(*[name for name in sys.argv[1:] if rig.get_command(context, name) is None], rig.list_commands(context) == sys.argv[1:])
"""
    found = subprocess.run([sys.executable, "-c", code, *sorted(names)], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert found.stdout.strip() == "True"
