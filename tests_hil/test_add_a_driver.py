"""The driver that docs/add-a-driver.md makes goes through the contract of every supply: its code is taken from the page itself."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rig.errors import InstrumentError
from rig.virtual.clock import loop_factory
from rig.virtual.power import PowerNode
from rig.virtual.wires import CURRENT_WIRES, DeviceEnd, Wires
from tests_hil.contract import test_supply_contract as contract

PAGE = Path(__file__).parents[1] / "docs" / "add-a-driver.md"
DRIVER, RELAY = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
TESTS = {name: test for name, test in vars(contract).items() if name.startswith("test_") and "run" in inspect.signature(test).parameters}


def defined(code: str, name: str, **known: object) -> Any:
    """What `code` calls `name`."""
    space: dict[str, Any] = {"__name__": "page", **known}
    exec(compile(code, str(PAGE), "exec"), space)
    return space[name]


@asynccontextmanager
async def bench(*, ptys: bool) -> AsyncIterator[contract.Bench]:
    wires = Wires(ptys=ptys)
    CURRENT_WIRES.set(wires)
    node, alive, dead = contract._board()
    defined(RELAY, "Relay", DeviceEnd=DeviceEnd, PowerNode=PowerNode)(wires.add("dk1/relay", baudrate=9600), node)
    supply = defined(DRIVER, "OneCharacterSupply")(owner="dk1", port="virtual:dk1/relay")
    try:
        yield contract.Bench(supply=supply, alive=alive.wait, dead=dead.wait)
    finally:
        wires.close()
        node.switch(False)


@pytest.mark.parametrize("ptys", [False, True], ids=["virtual wire", "pty"])
@pytest.mark.parametrize("name", TESTS)
def test_the_pages_driver_honours_the_contract(name: str, ptys: bool) -> None:
    def run(test: Callable[[contract.Bench], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(contract.LIMIT_S), bench(ptys=ptys) as opened:
                await test(opened)

        with asyncio.Runner(loop_factory=loop_factory("wall" if ptys else "virtual")) as runner:
            runner.run(limited())

    TESTS[name](run)


def test_a_board_that_does_not_answer_is_named() -> None:
    async def main() -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        wires.add("dk1/relay", baudrate=9600)
        with pytest.raises(InstrumentError, match=r"dk1\.supply: has not answered within 0\.5 s"):
            async with defined(DRIVER, "OneCharacterSupply")(owner="dk1", port="virtual:dk1/relay"):
                pass

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(main())


def test_the_driver_is_as_short_as_the_page_says_and_typed(tmp_path: Path) -> None:
    body = DRIVER[DRIVER.index("class ") :]
    assert 40 <= len([line for line in body.splitlines() if line.strip()]) <= 50
    file = tmp_path / "supply_one_character.py"
    file.write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(file)],
        capture_output=True, text=True, timeout=120, check=False, cwd=PAGE.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
