"""Uploads over SMP: as long chunks as buffers allow, resuming, going back, and never for ever."""

import asyncio
from collections.abc import Callable, Iterable
from hashlib import sha256

import pytest

from rig.errors import DutError, NoReply
from rig.ota.smp import SmpSession
from tests.scripted_link import (
    IMAGE_UPLOAD,
    MTU_WRITE,
    OS_PARAMS,
    Request,
    Script,
    ScriptedLink,
    device,
    now,
    one,
    run,
    whole_upload,
    with_params,
)


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
