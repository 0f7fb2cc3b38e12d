"""The SMP client against a link that answers what a script says: honest devices, hostile ones, and none at all."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import DutError, LinkLost, NoReply, Refused
from rig.ota.smp import MGMT_ERR_GROUP, SMP_CHARACTERISTIC, ImageState, Parameters, SmpSession
from rig.virtual.clock import loop_factory

T = TypeVar("T")
MTU_WRITE = 244
OS_PARAMS, IMAGE_STATE, IMAGE_UPLOAD = (0, 6), (1, 0), (1, 1)


@dataclass(frozen=True)
class Request:
    op: int
    group: int
    sequence: int
    command: int
    payload: dict[str, Any]
    size: int

    @property
    def kind(self) -> tuple[int, int]:
        return self.group, self.command

    def reply(self, payload: Any, *, sequence: int | None = None) -> bytes:
        return self.frame(cbor2.dumps(payload), sequence=sequence)

    def frame(self, body: bytes, *, sequence: int | None = None) -> bytes:
        number = self.sequence if sequence is None else sequence
        return struct.pack(">BBHHBB", self.op + 1, 0, len(body), self.group, number, self.command) + body


Script = Callable[[Request], Iterable[bytes] | None]


class ScriptedLink:
    """A `rig.ports.GattLink` whose other end is a script: request in, notifications out (None: silence)."""

    def __init__(self, script: Script, *, max_write: int = MTU_WRITE) -> None:
        self.max_write = max_write
        self.lost_reason: int | None = None
        self.writes: list[bytes] = []
        self.requests: list[Request] = []
        self.receiver: Callable[[bytes], None] = lambda _data: None
        self._script = script
        self._pending = bytearray()
        self._lost = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return not self._lost.is_set()

    async def read(self, characteristic: str) -> bytes:
        raise AssertionError("SMP reads nothing")

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        assert characteristic == SMP_CHARACTERISTIC
        assert not response
        assert len(data) <= self.max_write
        if not self.is_up:
            raise LinkLost(self.lost_reason)
        self.writes.append(data)
        self._pending += data
        await asyncio.sleep(0)
        while len(self._pending) >= 8 and len(self._pending) >= (end := 8 + int.from_bytes(self._pending[2:4], "big")):
            head = struct.unpack_from(">BBHHBB", self._pending)
            payload = cbor2.loads(self._pending[8:end])
            request = Request(head[0] & 7, head[3], head[4], head[5], payload, end)
            del self._pending[:end]
            self.requests.append(request)
            for notification in self._script(request) or ():
                asyncio.get_running_loop().call_soon(self.receiver, notification)

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        assert characteristic == SMP_CHARACTERISTIC
        self.receiver = receiver

    async def wait_lost(self) -> int | None:
        await self._lost.wait()
        return self.lost_reason

    async def disconnect(self) -> None:
        self.lose(0x16)

    def lose(self, reason: int) -> None:
        self.lost_reason = reason
        self._lost.set()


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(100_000):
            return await scenario()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(limited())


def talk(script: Script, action: Callable[[SmpSession], Awaitable[T]], *, max_write: int = MTU_WRITE, **options: Any) -> T:
    """Run `action` in a session with a device that answers the params question properly and everything else by `script`."""

    async def scenario() -> T:
        async with SmpSession(ScriptedLink(with_params(script), max_write=max_write), **options) as session:
            return await action(session)

    return run(scenario)


def with_params(script: Script, *, buf_size: int = 2475) -> Script:
    def answer(request: Request) -> Iterable[bytes] | None:
        if request.kind == OS_PARAMS:
            return [request.reply({"buf_size": buf_size, "buf_count": 4})]
        return script(request)

    return answer


def one(payload: Any) -> Script:
    return lambda request: [request.reply(payload)]


def now() -> float:
    return asyncio.get_running_loop().time()


# ------------------------------------------------------------------------------------------------------------- requests
ZEPHYR_STATE = {
    "images": [
        {
            "image": 0, "slot": 0, "version": "1.0.0", "hash": b"\x11" * 32, "bootable": True, "pending": False,
            "confirmed": True, "active": True, "permanent": False,
        },
        {"slot": 1, "version": "1.1.0", "hash": b"\x22" * 32, "bootable": True, "pending": True},
    ],
    "splitStatus": 0,
}  # fmt: skip


def test_the_image_list_is_read_with_absent_flags_as_false() -> None:
    images = talk(one(ZEPHYR_STATE), lambda session: session.read_state())
    assert images == (
        ImageState(
            image=0, slot=0, version="1.0.0", hash=b"\x11" * 32, bootable=True, pending=False, confirmed=True, active=True,
            permanent=False,
        ),
        ImageState(
            image=0, slot=1, version="1.1.0", hash=b"\x22" * 32, bootable=True, pending=True, confirmed=False, active=False,
            permanent=False,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("action", "kind", "payload"),
    [
        (lambda session: session.request(b"h" * 32, permanent=False), (1, 0), {"hash": b"h" * 32, "confirm": False}),
        (lambda session: session.request(b"h" * 32, permanent=True), (1, 0), {"hash": b"h" * 32, "confirm": True}),
        (lambda session: session.confirm(), (1, 0), {"confirm": True}),
        (lambda session: session.erase(), (1, 5), {}),
        (lambda session: session.erase(slot=1), (1, 5), {"slot": 1}),
        (lambda session: session.reset(), (0, 5), {}),
    ],
)
def test_what_goes_over_the_air(
    action: Callable[[SmpSession], Awaitable[object]], kind: tuple[int, int], payload: dict[str, Any]
) -> None:
    seen: list[Request] = []

    def script(request: Request) -> Iterable[bytes]:
        seen.append(request)
        return [request.reply(ZEPHYR_STATE if kind == IMAGE_STATE else {})]

    talk(script, action)
    assert [(request.op, request.kind, request.payload) for request in seen] == [(2, kind, payload)]


def test_params() -> None:
    assert talk(one({}), lambda session: session.params()) == Parameters(buf_size=2475, buf_count=4)


@pytest.mark.parametrize("extra", [{}, {"rc": 0}])
def test_an_older_server_adds_rc_0_to_every_success(extra: dict[str, int]) -> None:
    assert len(talk(one(ZEPHYR_STATE | extra), lambda session: session.read_state())) == 2


@pytest.mark.parametrize(
    ("payload", "group", "code", "name"),
    [
        ({"rc": 3}, MGMT_ERR_GROUP, 3, "invalid value"),
        ({"rc": 10, "rsn": "swap pending"}, MGMT_ERR_GROUP, 10, "busy: swap pending"),
        ({"rc": 300}, MGMT_ERR_GROUP, 300, "unknown code"),
        ({"err": {"group": 1, "rc": 27}}, 1, 27, "the running version is newer"),
        ({"err": {"group": 1, "rc": 28}}, 1, 28, "an image is already pending"),
        ({"err": {"group": 1, "rc": 32}}, 1, 32, "confirmation denied"),
        ({"err": {"group": 64, "rc": 7}}, 64, 7, "unknown code"),
    ],
)
def test_error_answers_are_refusals(payload: dict[str, Any], group: int, code: int, name: str) -> None:
    with pytest.raises(Refused) as caught:
        talk(one(payload), lambda session: session.read_state())
    assert (caught.value.request, caught.value.group, caught.value.code) == ("image state", group, code)
    assert caught.value.name == name


def test_a_device_that_does_not_know_the_params_question_gets_requests_of_one_write() -> None:
    image = bytes(1000)

    async def scenario() -> list[Request]:
        link = ScriptedLink(device(image, knows_params=False))
        async with SmpSession(link) as session:
            [_ async for _ in session.upload(image)]
        return link.requests

    assert max(request.size for request in run(scenario)) == MTU_WRITE


def test_a_reset_that_kills_the_link_before_its_answer_is_a_reset() -> None:
    async def scenario() -> None:
        link = ScriptedLink(lambda _request: None)
        async with SmpSession(link, request_s=5) as session:
            asyncio.get_running_loop().call_later(1.0, link.lose, 0x08)
            await session.reset()

    run(scenario)


# -------------------------------------------------------------------------------------------------- silence and confusion
def test_silence_is_no_reply_at_the_limit_and_the_next_request_works() -> None:
    silent = True

    def script(request: Request) -> Iterable[bytes] | None:
        return None if silent else [request.reply(ZEPHYR_STATE)]

    async def action(session: SmpSession) -> float:
        nonlocal silent
        start = now()
        with pytest.raises(NoReply) as caught:
            await session.read_state()
        elapsed = now() - start
        assert (caught.value.request, caught.value.timeout_s) == ("image state", 7.0)
        silent = False
        assert len(await session.read_state()) == 2
        return elapsed

    assert talk(script, action, request_s=7.0) == pytest.approx(7.0, abs=1e-3)


def test_a_mute_device_does_not_stop_a_session_from_opening() -> None:
    async def scenario() -> float:
        async with SmpSession(ScriptedLink(lambda _request: None), request_s=3.0):
            return now()

    assert run(scenario) == pytest.approx(3.0, abs=1e-3)


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    async def scenario() -> int:
        late: list[bytes] = []

        def script(request: Request) -> Iterable[bytes]:
            if not late:
                late.append(request.reply({"images": []}))
                return []
            return [*late, request.reply(ZEPHYR_STATE)]

        async with SmpSession(ScriptedLink(with_params(script)), request_s=2.0) as session:
            with pytest.raises(NoReply):
                await session.read_state()
            return len(await session.read_state())

    assert run(scenario) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: [request.reply(ZEPHYR_STATE)] * 3,
        lambda request: [request.reply({}, sequence=request.sequence ^ 0x55), request.reply(ZEPHYR_STATE)],
        lambda request: [request.reply(ZEPHYR_STATE)[:20], request.reply(ZEPHYR_STATE)],
        lambda request: [b"", b"\x00", request.reply(ZEPHYR_STATE)],
        lambda request: [bytes([request.reply({})[0] ^ 2]) + request.reply({})[1:], request.reply(ZEPHYR_STATE)],
    ],
    ids=["repeated", "foreign sequence", "cut short, then whole", "crumbs", "foreign operation"],
)
def test_the_right_answer_is_found_among_others(spoil: Script) -> None:
    async def action(session: SmpSession) -> list[int]:
        return [len(await session.read_state()) for _ in range(3)]

    assert talk(spoil, action, request_s=5.0) == [2, 2, 2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: [request.reply(ZEPHYR_STATE, sequence=request.sequence ^ 1)],
        lambda request: [request.reply(ZEPHYR_STATE)[:-1]],
        lambda request: [struct.pack(">BBHHBB", 1, 0, 0xFFFF, 1, request.sequence, 0) + bytes(100)],
        lambda _request: [b"\x01"],
    ],
    ids=["foreign sequence", "last byte missing", "length of a novel", "one byte"],
)
def test_an_answer_that_never_comes_is_no_reply(spoil: Script) -> None:
    with pytest.raises(NoReply):
        talk(spoil, lambda session: session.read_state(), request_s=4.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\xa1\x61",
        b"\x80",
        b"\x01",
        b"\xa1\x01\x02",
        b"\x81" * 2000 + b"\x01",
        cbor2.dumps({"images": 5}),
        cbor2.dumps({"images": [{"slot": "zero", "version": 1}]}),
        cbor2.dumps({}),
        cbor2.dumps({"header": 1, "images": []}),
        cbor2.dumps({"images": [], "unheard": "of"}),
        cbor2.dumps({"err": {"group": 1}}),
        cbor2.dumps({"err": "no"}),
        cbor2.dumps({"rc": "3"}),
        cbor2.dumps({"rc": None}),
    ],
)
def test_an_answer_without_sense_is_the_devices_fault(body: bytes) -> None:
    with pytest.raises(DutError) as caught:
        talk(lambda request: [request.frame(body)], lambda session: session.read_state())
    assert not isinstance(caught.value, NoReply)


ACTIONS: dict[str, Callable[[SmpSession], Awaitable[object]]] = {
    "params": lambda session: session.params(),
    "state": lambda session: session.read_state(),
    "test": lambda session: session.request(b"h" * 32, permanent=False),
    "confirm": lambda session: session.confirm(),
    "erase": lambda session: session.erase(),
    "reset": lambda session: session.reset(),
    "upload": lambda session: whole_upload(session, bytes(500)),
}


async def whole_upload(session: SmpSession, image: bytes) -> list[int]:
    return [offset async for offset in session.upload(image)]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.binary(max_size=8) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["off", "rc", "err", "group", "images"]), inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ACTIONS)), st.lists(st.binary(max_size=40) | json_like, min_size=1, max_size=3))
def test_whatever_a_device_answers_the_client_ends_with_a_result_or_a_dut_error(name: str, bodies: list[Any]) -> None:
    def script(request: Request) -> Iterator[bytes]:
        for body in bodies:
            yield request.frame(body if isinstance(body, bytes) else cbor2.dumps(body))

    async def scenario() -> None:
        async with SmpSession(ScriptedLink(script), request_s=1.0, first_chunk_s=1.0) as session:
            await ACTIONS[name](session)

    with contextlib.suppress(DutError):
        run(scenario)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_an_answer_may_come_in_any_pieces(sizes: list[int]) -> None:
    def script(request: Request) -> Iterator[bytes]:
        frame, start = request.reply(ZEPHYR_STATE), 0
        for size in sizes:
            yield frame[start : start + size]
            start += size
        yield frame[start:]

    assert len(talk(script, lambda session: session.read_state())) == 2


# ----------------------------------------------------------------------------------------------------------- lost links
def test_a_lost_link_ends_the_request_under_way_with_its_reason() -> None:
    async def scenario() -> float:
        link = ScriptedLink(with_params(lambda _request: None))
        async with SmpSession(link) as session:
            asyncio.get_running_loop().call_later(1.5, link.lose, 0x08)
            with pytest.raises(LinkLost) as caught:
                await session.read_state()
            assert caught.value.reason == 0x08
            ended = now()
            with pytest.raises(LinkLost):
                await session.read_state()
            assert await session.wait_lost() == 0x08
            return ended

    assert run(scenario) == pytest.approx(1.5, abs=1e-3)


def test_a_cancelled_request_leaves_the_session_usable() -> None:
    async def scenario() -> int:
        answers = False

        def script(request: Request) -> Iterable[bytes] | None:
            return [request.reply(ZEPHYR_STATE)] if answers else None

        async with SmpSession(ScriptedLink(with_params(script))) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await session.read_state()
            answers = True
            return len(await session.read_state())

    assert run(scenario) == 2


# --------------------------------------------------------------------------------------------------------------- upload
def device(image: bytes, *, start: int = 0, knows_params: bool = True) -> Script:
    """An honest device that has the first `start` bytes of `image` already."""
    slot = bytearray(image[:start])

    def script(request: Request) -> Iterable[bytes]:
        if request.kind == OS_PARAMS:
            return [request.reply({"buf_size": 600, "buf_count": 1} if knows_params else {"rc": 8})]
        payload = request.payload
        if payload["off"] == 0:
            assert payload["len"] == len(image)
            if start and payload["sha"] == sha256(image).digest() and len(slot) == start:
                return [request.reply({"off": start})]
        if payload["off"] == len(slot):
            slot.extend(payload["data"])
        done = {"match": bytes(slot) == image} if len(slot) == len(image) else {}
        return [request.reply({"off": len(slot), **done})]

    return script


def upload_requests(script: Script, image: bytes, *, max_write: int = MTU_WRITE) -> tuple[list[int], list[Request]]:
    async def scenario() -> tuple[list[int], list[Request]]:
        link = ScriptedLink(script, max_write=max_write)
        async with SmpSession(link) as session:
            offsets = await whole_upload(session, image)
        return offsets, [request for request in link.requests if request.kind == IMAGE_UPLOAD]

    return run(scenario)


def test_an_upload_sends_the_image_in_chunks_as_long_as_the_buffer() -> None:
    image = bytes(range(256)) * 20
    offsets, requests = upload_requests(device(image), image)
    assert b"".join(request.payload["data"] for request in requests) == image
    assert {request.size for request in requests[:-1]} == {600}
    assert offsets == [request.payload["off"] for request in requests[1:]] + [len(image)]
    assert requests[0].payload["sha"] == sha256(image).digest()
    assert all(request.payload.keys() == {"off", "data"} for request in requests[1:])


@pytest.mark.parametrize("buf_size", [64, 100, 255, 256, 257, 300, 384, 2475])
def test_no_byte_of_the_buffer_is_wasted(buf_size: int) -> None:
    image = bytes(20 * buf_size)
    slot = bytearray()

    def script(request: Request) -> Iterable[bytes]:
        slot.extend(request.payload["data"])
        return [request.reply({"off": len(slot)})]

    _, requests = upload_requests(with_params(script, buf_size=buf_size), image)
    for request in requests[:-1]:
        # Where the length of a byte string needs one byte more, CBOR itself wastes one.
        assert buf_size - 1 <= request.size <= buf_size
    assert len(slot) == len(image)


def test_requests_are_cut_at_the_longest_write() -> None:
    image = bytes(2000)

    async def scenario() -> list[int]:
        link = ScriptedLink(device(image), max_write=100)
        async with SmpSession(link) as session:
            await whole_upload(session, image)
        return [len(write) for write in link.writes]

    sizes = run(scenario)
    assert max(sizes) == 100
    assert sizes[1:7] == [100] * 6


def test_without_reassembly_a_request_fits_into_one_write() -> None:
    image = bytes(1000)

    async def scenario() -> int:
        link = ScriptedLink(device(image))
        async with SmpSession(link, reassembles=False) as session:
            await whole_upload(session, image)
        return max(request.size for request in link.requests)

    assert run(scenario) == MTU_WRITE


def test_with_small_writes_the_first_chunk_drops_the_digest_rather_than_the_image_header() -> None:
    image = bytes(300)
    slot = bytearray()

    def script(request: Request) -> Iterable[bytes]:
        if request.kind == OS_PARAMS:
            return [request.reply({"rc": 8})]
        slot.extend(request.payload["data"])
        return [request.reply({"off": len(slot)})]

    _, requests = upload_requests(script, image, max_write=80)
    assert "sha" not in requests[0].payload
    assert len(requests[0].payload["data"]) >= 32
    assert bytes(slot) == image


def test_writes_too_small_for_any_upload_are_said_to_be_so() -> None:
    with pytest.raises(DutError, match="too small"):
        upload_requests(lambda request: [request.reply({"rc": 8})], bytes(100), max_write=20)


def test_an_upload_resumes_where_the_device_says() -> None:
    image = bytes(range(256)) * 20
    offsets, requests = upload_requests(device(image, start=3000), image)
    assert offsets[0] == 3000
    assert [request.payload["off"] for request in requests[:2]] == [0, 3000]
    assert offsets[-1] == len(image)


def test_an_upload_that_the_device_has_already_ends_at_once() -> None:
    image = bytes(5000)
    offsets, requests = upload_requests(with_params(lambda request: [request.reply({"off": 5000, "match": True})]), image)
    assert offsets == [5000]
    assert len(requests) == 1


def test_an_upload_goes_back_when_the_device_has_lost_its_place() -> None:
    image = bytes(range(256)) * 20
    slot = bytearray()
    forgot = False

    def script(request: Request) -> Iterable[bytes]:
        nonlocal forgot
        if len(slot) > 2000 and not forgot:
            forgot = True
            slot.clear()
        elif request.payload["off"] == len(slot):
            slot.extend(request.payload["data"])
        return [request.reply({"off": len(slot)})]

    offsets, requests = upload_requests(with_params(script, buf_size=500), image)
    assert bytes(slot) == image
    assert 0 in offsets[1:]
    assert sum("len" in request.payload for request in requests) == 2


@pytest.mark.parametrize(
    "next_offset",
    [lambda _off, _size: 0, lambda off, _size: off, lambda off, size: 0 if off else size],
    ids=["always 0", "stands still", "to and fro"],
)
def test_going_round_in_circles_is_noticed(next_offset: Callable[[int, int], int]) -> None:
    def script(request: Request) -> Iterable[bytes]:
        return [request.reply({"off": next_offset(request.payload["off"], len(request.payload["data"]))})]

    with pytest.raises(DutError, match="no progress"):
        upload_requests(with_params(script), bytes(10_000))


@pytest.mark.parametrize("answer", [{"off": 10_001}, {"off": -1}, {}, {"off": 2**80}])
def test_an_offset_outside_the_image_is_nonsense(answer: dict[str, int]) -> None:
    with pytest.raises(DutError):
        upload_requests(with_params(one(answer)), bytes(10_000))


def test_a_mismatch_at_the_end_is_not_a_finished_upload() -> None:
    with pytest.raises(DutError, match="does not match"):
        upload_requests(with_params(one({"off": 100, "match": False})), bytes(100))


def test_the_first_chunk_may_take_as_long_as_an_erase_and_the_others_may_not() -> None:
    async def scenario() -> float:
        async def slow(request: Request) -> None:
            await asyncio.sleep(35.0)
            link.receiver(request.reply({"off": 1000}))

        tasks: list[asyncio.Task[None]] = []

        def script(request: Request) -> None:
            tasks.append(asyncio.create_task(slow(request)))

        link = ScriptedLink(with_params(script))
        async with SmpSession(link, request_s=10.0, first_chunk_s=40.0) as session:
            with pytest.raises(NoReply) as caught:
                await whole_upload(session, bytes(5000))
        assert caught.value.timeout_s == 10.0
        ended = now()
        await asyncio.gather(*tasks)
        return ended

    assert run(scenario) == pytest.approx(45.0, abs=1e-3)


def test_two_sessions_send_the_same_bytes() -> None:
    image = bytes(range(256)) * 8

    async def scenario() -> list[bytes]:
        link = ScriptedLink(device(image))
        async with SmpSession(link) as session:
            await whole_upload(session, image)
        return link.writes

    assert run(scenario) == run(scenario)
