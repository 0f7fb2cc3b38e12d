"""The virtual application's SMP server, byte for byte: upload sessions, offsets, erasing, state, and both versions of the errors."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from typing import Any

import cbor2
import pytest

from rig.formats.sample_app import ConfirmPolicy, SampleApp
from rig.virtual.cpu import BoardFacts
from rig.virtual.mcuboot import Mode
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.sample_firmware import Build
from rig.virtual.smp_application import SmpServer
from rig.virtual.smp_codec import HEADER, Reassembler
from rig.virtual.update_service import UpdateService
from tests.instant_cpu import InstantCpu
from tests.mcuboot_board import NEW, OLD, OLDER, Board
from tests.signed_images import signed_image

OS, IMAGE = 0, 1
STATE, UPLOAD, ERASE = 0, 1, 5
READ, WRITE = 0, 2
IMAGE_RUNNING = SampleApp(
    soc="nrf52840", name="sample", version="1.0.0", address=0, size=1024, confirm=ConfirmPolicy.NEVER, self_test_s=0.0, crash=False
)
LARGE = signed_image("3.0.0", header_size=32, image_size=4 * PAGE_SIZE)
CHUNK = 400


class Server:
    """An application that runs from the primary slot of a small board whose secondary slot is blank."""

    def __init__(self, mode: Mode = Mode.SWAP_OFFSET, *, secondary: bytes = b"") -> None:
        self.board = Board(mode=mode, old=OLD, new=secondary)
        self.cpu = InstantCpu(self.board.flash)
        self.restart()

    def restart(self) -> None:
        """What a reset does to an upload: RAM is gone."""
        facts = BoardFacts(
            name="dk", part=PARTS["nrf52840"], memory=self.board.memory, ble_name="dk", ble_address="C0:00:00:00:00:01"
        )
        updates = UpdateService(self.cpu, IMAGE_RUNNING, facts, Build())
        self.server = SmpServer(self.cpu, facts, Build(), updates, buf_size=2475, buf_count=4)

    def ask(self, op: int, group: int, command: int, payload: dict[str, Any], *, version: int = 1) -> dict[str, Any]:
        body = cbor2.dumps(payload)
        packet = HEADER.pack(version << 3 | op, 0, len(body), group, 7, command) + body
        answer = asyncio.run(self.server.answer(packet))
        assert answer is not None
        first, _, length, got_group, sequence, got_command = HEADER.unpack_from(answer)
        assert (first, length, got_group, sequence, got_command) == (version << 3 | op + 1, len(answer) - 8, group, 7, command)
        return cbor2.loads(answer[8:])

    def chunk(self, offset: int, data: bytes, **more: Any) -> dict[str, Any]:
        return self.ask(WRITE, IMAGE, UPLOAD, {"off": offset, "data": data, **more})

    def first(self, image: bytes, **more: Any) -> dict[str, Any]:
        return self.chunk(0, image[:CHUNK], len=len(image), sha=hashlib.sha256(image).digest(), **more)

    def upload(self, image: bytes) -> dict[str, Any]:
        answer = self.first(image)
        while answer["off"] < len(image):
            offset = answer["off"]
            answer = self.chunk(offset, image[offset : offset + CHUNK])
        return answer

    @property
    def new_hash(self) -> bytes:
        """Of the image in the secondary slot, as the state tells it."""
        (image,) = [image for image in self.ask(READ, IMAGE, STATE, {})["images"] if image["slot"] == 1]
        return image["hash"]

    def slot(self, length: int) -> bytes:
        return self.cpu.read(self.board.upload_address, length)


def code(answer: dict[str, Any]) -> tuple[int, int]:
    return answer["err"]["group"], answer["err"]["rc"]


def test_an_upload_lands_where_the_bootloader_looks_for_it() -> None:
    for mode in (Mode.SWAP_OFFSET, Mode.SWAP_MOVE):
        server = Server(mode)
        assert server.upload(NEW) == {"off": len(NEW), "match": True}
        assert server.slot(len(NEW)) == NEW


def test_a_wrong_offset_is_no_error_but_names_the_right_one() -> None:
    server = Server()
    server.first(NEW)
    assert server.chunk(2 * CHUNK, NEW[2 * CHUNK : 3 * CHUNK]) == {"off": CHUNK}
    assert server.chunk(CHUNK, NEW[CHUNK : 2 * CHUNK]) == {"off": 2 * CHUNK}


def test_the_same_file_goes_on_where_it_was_as_long_as_ram_remembers() -> None:
    server = Server()
    server.first(NEW)
    server.chunk(CHUNK, NEW[CHUNK : 2 * CHUNK])
    assert server.first(NEW) == {"off": 2 * CHUNK}
    server.restart()
    assert server.chunk(2 * CHUNK, NEW[2 * CHUNK : 3 * CHUNK]) == {"off": 0}
    assert server.first(NEW) == {"off": CHUNK}


def test_a_file_that_is_there_already_is_not_sent_again() -> None:
    server = Server()
    server.upload(NEW)
    server.restart()
    erased = server.cpu.count
    assert server.first(NEW) == {"off": len(NEW), "match": True}
    assert server.cpu.count == erased


def test_the_first_chunk_erases_what_is_needed_and_the_trailer_and_no_more() -> None:
    server = Server(secondary=LARGE)
    slot = server.board.memory.secondary
    server.board.flash.poke(slot.end - PAGE_SIZE, bytes(8))
    server.first(NEW)
    erased = [op.address for op in server.cpu.ops if not op.data]
    pages = -(-(PAGE_SIZE + len(NEW)) // PAGE_SIZE)
    assert erased == [*(slot.start + PAGE_SIZE * page for page in range(1, pages)), slot.end - PAGE_SIZE]


def test_bytes_are_written_in_blocks_and_the_rest_at_the_end() -> None:
    server = Server()
    server.first(NEW)
    assert server.slot(CHUNK) == b"\xff" * CHUNK, "less than a block stays in RAM"
    server.chunk(CHUNK, NEW[CHUNK : 2 * CHUNK])
    assert server.slot(2 * CHUNK) == NEW[:512] + b"\xff" * (2 * CHUNK - 512)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"off": 0, "data": NEW[:20], "len": len(NEW)}, 22),
        ({"off": 0, "data": b"\0" * 32, "len": len(NEW)}, 23),
        ({"off": 0, "data": NEW[:CHUNK]}, 21),
        ({"off": 0, "data": NEW[:CHUNK], "len": 1 << 20}, 30),
        ({"off": 0, "data": OLDER[:CHUNK], "len": len(OLDER), "upgrade": True}, 27),
        ({"off": "x", "data": b""}, 1),
    ],
    ids=["no header", "bad magic", "no length", "too large", "older", "no offset"],
)
def test_what_the_first_chunk_must_be(payload: dict[str, Any], error: int) -> None:
    server = Server()
    assert code(server.ask(WRITE, IMAGE, UPLOAD, payload)) == (IMAGE, error)
    assert server.cpu.count == 0, "nothing is erased for an image that is refused"


def test_more_than_announced_ends_the_session() -> None:
    server = Server()
    server.chunk(0, NEW[:CHUNK], len=CHUNK + 10)
    assert code(server.chunk(CHUNK, NEW[CHUNK : 2 * CHUNK])) == (IMAGE, 31)
    assert server.chunk(CHUNK, b"12345678") == {"off": 0}


def test_a_slot_that_is_requested_takes_nothing() -> None:
    server = Server(secondary=NEW)
    server.ask(WRITE, IMAGE, STATE, {"hash": server.new_hash, "confirm": False})
    assert code(server.first(LARGE)) == (IMAGE, 9)
    assert code(server.ask(WRITE, IMAGE, ERASE, {})) == (IMAGE, 9)


def test_version_1_errors_are_folded() -> None:
    server = Server(secondary=NEW)
    server.ask(WRITE, IMAGE, STATE, {"hash": server.new_hash, "confirm": False})
    first = {"off": 0, "data": LARGE[:CHUNK], "len": len(LARGE)}
    assert server.ask(WRITE, IMAGE, UPLOAD, first, version=0) == {"rc": 6}
    assert server.ask(WRITE, IMAGE, STATE, {"hash": b"\1" * 32, "confirm": False}, version=0) == {"rc": 1}


def test_requests_show_in_the_state() -> None:
    server = Server(secondary=NEW)
    images = server.ask(READ, IMAGE, STATE, {})["images"]
    assert [(image["version"], image["active"], image["pending"]) for image in images] == [("1.0.0", True, False), ("2.0.0", False, False)]
    images = server.ask(WRITE, IMAGE, STATE, {"hash": server.new_hash, "confirm": True})["images"]
    assert (images[1]["pending"], images[1]["permanent"]) == (True, True)


@pytest.mark.parametrize(
    ("payload", "error"),
    [({"hash": b"\1" * 32, "confirm": False}, 8), ({"confirm": False}, 24)],
    ids=["unknown hash", "test without a hash"],
)
def test_states_that_cannot_be_set(payload: dict[str, Any], error: int) -> None:
    assert code(Server(secondary=NEW).ask(WRITE, IMAGE, STATE, payload)) == (IMAGE, error)


def test_testing_the_active_image_and_testing_twice_are_refused() -> None:
    server = Server(secondary=NEW)
    active = server.ask(READ, IMAGE, STATE, {})["images"][0]["hash"]
    assert code(server.ask(WRITE, IMAGE, STATE, {"hash": active, "confirm": False})) == (IMAGE, 33)
    server.ask(WRITE, IMAGE, STATE, {"hash": server.new_hash, "confirm": False})
    assert code(server.ask(WRITE, IMAGE, STATE, {"hash": server.new_hash, "confirm": False})) == (IMAGE, 28)


def test_the_os_group() -> None:
    server = Server()
    assert server.ask(WRITE, OS, 0, {"d": "hello"}) == {"r": "hello"}
    assert server.ask(READ, OS, 6, {}) == {"buf_size": 2475, "buf_count": 4}
    assert server.ask(READ, OS, 8, {}) == {"bootloader": "MCUboot"}
    assert server.ask(READ, OS, 2, {}) == {"rc": 8}
    assert server.ask(READ, 63, 0, {}) == {"rc": 8}


def test_fragments_become_requests_and_too_large_ones_are_dropped() -> None:
    packet = struct.pack(">BBHHBB", 2, 0, 20, 1, 0, 1) + bytes(20)
    reassembler = Reassembler(100)
    assert [reassembler.feed(packet[start : start + 9]) for start in range(0, 28, 9)] == [None, None, None, packet]
    assert reassembler.feed(struct.pack(">BBHHBB", 2, 0, 500, 1, 0, 1)) is None
    assert reassembler.feed(packet) == packet


def test_nonsense_gets_no_answer_and_does_no_harm() -> None:
    server = Server()
    packet = HEADER.pack(10, 0, 3, IMAGE, 0, STATE) + b"\xff\xff\xff"
    assert asyncio.run(server.server.answer(packet)) is None


def test_an_echo_of_anything_but_text_is_refused() -> None:
    server = Server()
    assert server.ask(WRITE, OS, 0, {"d": "hello"}) == {"r": "hello"}
    assert server.ask(WRITE, OS, 0, {"d": [1]}) == {"rc": 3}
