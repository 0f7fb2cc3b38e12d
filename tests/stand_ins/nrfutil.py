"""A stand-in for the command-line tool nrfutil with its command `device`: JSON lines as Nordic documents them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.probe_board import PAGE, SERIAL_NUMBER, UICR, Board

BOARD = Board.here()


def say(kind: str, data: dict[str, object]) -> None:
    print(json.dumps({"type": kind, "data": data}), flush=True)


def task(name: str) -> dict[str, object]:
    return {"id": "b2e5", "name": name, "description": name, "data": {"serialNumber": f"{SERIAL_NUMBER:012}"}}


def fail(name: str, code: int, words: str) -> None:
    say("task_end", {"task": task(name), "message": f"Failed to {name}", "result": "fail", "error": {"code": code, "description": words}})
    print(f"Error: One or more {name} tasks failed", file=sys.stderr)
    raise SystemExit(1)


def read_hex(path: str) -> dict[int, bytes]:
    """Pages of an Intel HEX file."""
    upper, pages = 0, {}
    for line in Path(path).read_text(encoding="ascii").split():
        record = bytes.fromhex(line.removeprefix(":"))
        assert sum(record) & 0xFF == 0 and record[0] == len(record) - 5
        if record[3] == 4:
            upper = int.from_bytes(record[4:6], "big") << 16
        elif record[3] == 0:
            at = upper + int.from_bytes(record[1:3], "big")
            page = pages.setdefault(at // PAGE * PAGE, bytearray(b"\xff" * PAGE))
            page[at % PAGE : at % PAGE + record[0]] = record[4:-1]
    return {start: bytes(page) for start, page in pages.items()}


def run(command: str, options: dict[str, str]) -> dict[str, object] | None:
    match command:
        case _ if BOARD.is_("stuck") and options.get("--reset-kind") != "RESET_PIN":
            fail(command, 13, "[jlink] The target does not respond")
        case "protection-get":
            return {"core": "Application", "protectionStatus": f"NRFDL_PROTECTION_STATUS_{'ALL' if BOARD.is_('approtect') else 'NONE'}"}
        case "recover":
            BOARD.recover()
        case "reset":
            if options["--reset-kind"] == "RESET_PIN":
                BOARD.pin_reset()
            else:
                assert options["--reset-kind"] == "RESET_SYSTEM"
                BOARD.hold()
                BOARD.flag("held", False)
        case _ if BOARD.is_("approtect"):
            fail(command, 11, "[jlink] The operation is unavailable due to readback protection")
        case "halt":
            BOARD.flag("held", True)
        case "read":
            assert "--direct" in options
            data = BOARD.read(int(options["--address"], 0), int(options["--bytes"], 0))
            return {"name": "memory-read", "memoryData": [{"startAddress": options["--address"], "values": list(data)}]}
        case "erase":
            start, end = (int(part, 0) for part in options["--pages"].split("-"))
            for page in range(start, end, PAGE):
                BOARD.erase_page(page)
        case "program":
            assert "chip_erase_mode=ERASE_RANGES_TOUCHED_BY_FIRMWARE" in options["--options"].split(",")
            for start, data in read_hex(options["--firmware"]).items():
                BOARD.erase_page(start)
                BOARD.write(start, data)
            BOARD.flag("held", False)  # nobody has promised that it stays halted
        case "write":
            BOARD.write_uicr_word(int(options["--address"], 0) - UICR, int(options["--value"], 0))
        case _:
            raise AssertionError(command)
    return None


def main() -> None:
    json_flag, device, command, *arguments = sys.argv[1:]
    assert (json_flag, device) == ("--json", "device")
    flags = [argument for argument in arguments if argument == "--direct"]
    rest = [argument for argument in arguments if argument != "--direct"]
    options = dict(zip(rest[::2], rest[1::2], strict=True)) | dict.fromkeys(flags, "")
    BOARD.note(command)
    if command == "list":
        devices = [] if BOARD.is_("unplugged") else [{"serialNumber": f"{SERIAL_NUMBER:012}", "traits": {"jlink": True}}, {"serialNumber": None}]
        say("info", {"devices": devices})
        return
    assert int(options.pop("--serial-number")) == SERIAL_NUMBER
    say("task_begin", {"task": task(command)})
    if not BOARD.is_("powered"):
        fail(command, 12, "[jlink] Low voltage detected at target")
    result = run(command, options)
    say("task_progress", {"task": task(command), "progress": {"progressPercentage": 100}})
    if result is not None:
        result["serialNumber"] = f"{SERIAL_NUMBER:012}"
    say("task_end", {"task": task(command), "message": "done", "result": "success", "data": result})


main()
