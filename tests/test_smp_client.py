"""The SMP client against a link that answers what a script says: honest devices, hostile ones, and none at all."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import DutError, LinkLost, NoReply, Refused
from rig.ota.smp import MGMT_ERR_GROUP, ImageState, Parameters, SmpSession
from tests.scripted_link import (
    IMAGE_STATE,
    MTU_WRITE,
    Request,
    Script,
    ScriptedLink,
    device,
    now,
    one,
    run,
    talk,
    whole_upload,
    with_params,
)

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


def test_the_rest_of_an_answer_that_was_cut_short_does_not_spoil_the_next() -> None:
    async def scenario() -> int:
        cut = True

        def script(request: Request) -> Iterator[bytes]:
            frame = request.reply(ZEPHYR_STATE)
            if cut:
                yield frame[:20]
            else:
                yield from (frame[start : start + 5] for start in range(0, len(frame), 5))

        async with SmpSession(ScriptedLink(with_params(script)), request_s=2.0) as session:
            with pytest.raises(NoReply):
                await session.read_state()
            cut = False
            return len(await session.read_state())

    assert run(scenario) == 2


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
