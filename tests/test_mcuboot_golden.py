"""The virtual MCUboot does what a real one was measured to do: boot by boot, and after a cut at every flash operation."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.golden_cut_table import CutTable, disagreements
from tests.golden_mcuboot import (
    HALT,
    Lab,
    Life,
    decode,
    differences,
    files,
    golden_steps,
    initial_flash,
    power_on,
    virtual_steps,
)
from tests.instant_cpu import Flash, Op

EXHAUSTIVE = os.environ.get("RIG_GOLDEN_EXHAUSTIVE") == "1"
"""Run every point of every table without remembering boots as well: about a minute for each table of 25,000 points."""
Json = Any


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", files("traces"), ids=name_of)
def test_boots_like_the_real_one(path: Path) -> None:
    document = json.loads(path.read_text())
    lab = Lab.of(document)
    start = initial_flash(lab, document)
    assert decode(lab, start) == document["initial"]
    if "boots" in document:
        compare_boots(lab, start.copy(), document["boots"])
    for variant in document.get("variants", ()):
        flash = start.copy()
        compare_boots(lab, flash, variant["boots"][:1])
        assert written_words(lab, flash, lab.trailers["secondary"].start) == variant["request_words_in_secondary"]
        compare_boots(lab, flash, variant["boots"][1:])
    if "request_ops" in document:
        check_request(lab, start, document)


def compare_boots(lab: Lab, flash: Flash, boots: Json) -> None:
    for boot in boots:
        cut = boot.get("cut")
        before = flash.copy()
        life = power_on(lab, flash, action=boot.get("app_action"), cut=(cut["k"], cut["kind"]) if cut else None)
        compare_operations(lab, life, boot)
        assert life.is_cut == (cut is not None)
        if cut is None:
            compare_console(life, boot)
        else:
            compare_cut_console(lab, life, boot, before)
        compare_flash(decode(lab, flash), boot["after"])


def compare_operations(lab: Lab, life: Life, boot: Json) -> None:
    payload = lab.memory.scratch  # in the other trailers nothing but trailer fields is ever written
    assert list(differences(golden_steps(boot["ops"]), virtual_steps(life.cpu.ops, payload=payload))) == []
    assert (life.cpu.erases, life.cpu.count - life.cpu.erases) == (boot["n_erases"], boot["n_words"])
    assert life.app_ops == boot.get("app_ops", life.app_ops)
    if "cut" not in boot:
        assert life.app_ops == boot.get("app_ops", 0)


def compare_console(life: Life, boot: Json) -> None:
    lines = [line for line, _ in life.cpu.console]
    if life.running is not None:
        assert (lines, boot["end"]) == (boot["console"], f"app {life.running}")
        assert [op for _, op in life.cpu.console] == boot["console_op"]
        return
    # How a port says that it gives up is the port's own; everything before that is MCUboot's.
    assert boot["end"].startswith(HALT)
    ours = lines[:-1] if lines[-1].startswith("E: Unable to find") else lines
    assert boot["console"][: len(ours)] == ours
    assert len(boot["console"]) <= len(ours) + 1
    assert [op for _, op in life.cpu.console][: len(ours)] == boot["console_op"][: len(ours)]


def compare_cut_console(lab: Lab, life: Life, boot: Json, before: Flash) -> None:
    """A cut boot's record may hold lines that were under way: it lies between what was out at the cut and the undisturbed console."""
    lines = [line for line, _ in life.cpu.console]
    undisturbed = [line for line, _ in power_on(lab, before, action=boot.get("app_action")).cpu.console]
    assert boot["console"][: len(lines)] == lines
    assert undisturbed[: len(boot["console"])] == boot["console"]
    assert boot["end"] == f"power cut, op {boot['cut']['k']} {boot['cut']['kind']}"


def compare_flash(ours: Json, measured: Json) -> None:
    scratch = measured.get("scratch", {"magic": "good"})
    if scratch["magic"] != "good" and scratch["status_words"] > 0:  # bytes of an image; ours has others, that may even be erased
        ours["scratch"] = scratch | {key: ours["scratch"][key] for key in ("magic", "pages_not_erased")}
    assert ours == measured


def written_words(lab: Lab, flash: Flash, start: int) -> list[list[str]]:
    """Words of the secondary trailer that are not erased, as the files write them."""
    end = lab.memory.secondary.end
    words = {at: int.from_bytes(flash.read(at, 4), "little") for at in range(start, end, 4)}
    return [[hex(at), f"{word:08x}"] for at, word in words.items() if word != 0xFFFFFFFF]


def check_request(lab: Lab, start: Flash, document: Json) -> None:
    """The undisturbed request is written word by word in the measured order."""
    action = document["variants"][0]["boots"][0]["app_action"]
    life = power_on(lab, start.copy(), action=action)
    assert list(differences(golden_steps(document["request_ops"]), virtual_steps(life.cpu.ops[-life.app_ops :]))) == []


@pytest.fixture(scope="module", params=files("tables"), ids=name_of)
def table(request: pytest.FixtureRequest) -> CutTable:
    return CutTable(document=json.loads(request.param.read_text()))


def test_undisturbed_boots_of_a_table(table: CutTable) -> None:
    document = table.document
    assert table.undisturbed() == document["undisturbed"]
    assert sum(op.count for op in table.ops) == document["n_ops"]
    assert list(differences(golden_steps(document["ops"]), virtual_steps(table.ops, payload=table.lab.memory.scratch))) == []


def test_every_cut_of_a_table(table: CutTable) -> None:
    assert disagreements(table, lambda _at: True)[:5] == []


def test_remembered_boots_are_those_that_would_be_run(table: CutTable) -> None:
    """The table above leans on `BootMemory`; here are the operations that are not bulk, and a sample of the others, without it."""
    bulk: set[int] = set()
    chosen: set[int] = set()
    at = 0
    for op in table.ops:
        (bulk if op.count > 1 else chosen).update(range(at, at + op.count))
        at += op.count
    chosen.update(bulk if EXHAUSTIVE else random.Random(20260901).sample(sorted(bulk), 100))
    plain = CutTable(document=table.document, remembers=False)
    assert disagreements(plain, chosen.__contains__)[:5] == []


def test_a_table_notices_a_wrong_measurement(table: CutTable) -> None:
    """The comparison itself can fail: one wrong count, one wrong outcome, one wrong final state."""
    last = table.document["n_ops"] - 1
    document = json.loads(json.dumps(table.document))
    document["resume"][0][3] += 1
    document["outcomes"][0][3] = "old" + ">old" * (table.boots - 1)
    document["finals"] = [text.replace("P:old", "P:new") for text in document["finals"]]
    spoiled = CutTable(document=document)
    kinds = len(document["kinds"])
    assert len(disagreements(spoiled, lambda at: at in (0, last))) >= 2 * kinds + 2


def test_steps_notice_a_wrong_word() -> None:
    golden = golden_steps([["E", "0x81000"], ["w", "0x81fe0", "ffffff01"]])
    right = [Op(0x81000), Op(0x81FE0, b"\x01\xff\xff\xff")]
    wrong = [Op(0x81000), Op(0x81FE0, b"\x02\xff\xff\xff")]
    assert list(differences(golden, virtual_steps(right))) == []
    assert len(list(differences(golden, virtual_steps(wrong)))) == 1
    assert len(list(differences(golden, virtual_steps(right[1:])))) == 1
