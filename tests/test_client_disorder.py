"""Parts of an image sent twice or in the wrong order: what goes over the link, and what the client makes of the answers."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from hashlib import sha256

import pytest

from rig.ota.disorder import Disorder, Noticed, Sending
from rig.ota.secure_dfu import Checksum
from rig.ota.secure_dfu.packet_order import Disarray, Turn, turns
from rig.ota.smp import SmpSession
from tests.scripted_link import IMAGE_UPLOAD, Request, Script, ScriptedLink, run, with_params

IMAGE = bytes(range(256)) * 40
REFUSED = bytes.fromhex("600303")


# ------------------------------------------------------------------------------------------------------------------- SMP
class Server:
    """An upload server as Zephyr's: what it does not expect it does not take.  `late` answers come only with the next request."""

    def __init__(self, *, late: bool = False) -> None:
        self.held = bytearray()
        self._late = late
        self._kept: list[bytes] = []
        self._seen: set[int] = set()

    def __call__(self, request: Request) -> Iterable[bytes]:
        assert request.kind == IMAGE_UPLOAD
        if request.payload["off"] == len(self.held):
            self.held += request.payload["data"]
        answer = {"off": len(self.held)}
        if len(self.held) == len(IMAGE):
            answer["match"] = sha256(self.held).digest() == sha256(IMAGE).digest()
        frame = request.reply(answer)
        kept, self._kept = self._kept, []
        if self._late and request.sequence in self._seen:
            self._kept = [frame]
            return kept
        self._seen.add(request.sequence)
        return [*kept, frame]


def upload(script: Script, disorder: Disorder, *, max_write: int = 244) -> tuple[list[int], list[Noticed], list[Request]]:
    noticed: list[Noticed] = []

    async def scenario() -> tuple[list[int], list[Noticed], list[Request]]:
        sending = Sending(noticed.append)
        link = ScriptedLink(with_params(script), max_write=max_write)
        async with SmpSession(link, sending=sending) as session:
            with sending.in_disorder(disorder):
                offsets = [offset async for offset in session.upload(IMAGE)]
            await asyncio.sleep(1)
        return offsets, noticed, [request for request in link.requests if request.kind == IMAGE_UPLOAD]

    return run(scenario)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "with the next request"])
@pytest.mark.parametrize("max_write", [20, 244], ids=["answers in pieces", "answers in one piece"])
def test_a_second_answer_is_never_taken_for_the_answer_to_the_next_request(late: bool, max_write: int) -> None:
    server = Server(late=late)
    offsets, noticed, requests = upload(server, Disorder.REPEAT, max_write=max_write)
    assert bytes(server.held) == IMAGE
    assert offsets == sorted(set(offsets))
    assert [request.sequence for request in requests[::2]] == [request.sequence for request in requests[1::2]]
    assert [one.offset for one in noticed] == offsets[: len(noticed)]
    assert len(noticed) >= len(offsets) - 1
    assert {one.disorder for one in noticed} == {Disorder.REPEAT}


def test_the_later_of_two_parts_goes_first_and_the_device_says_what_it_expects() -> None:
    server = Server()
    offsets, noticed, requests = upload(server, Disorder.REORDER)
    assert bytes(server.held) == IMAGE
    sent = [request.payload["off"] for request in requests]
    assert sent[:4] == [offsets[0], 0, offsets[1], offsets[0]]
    assert [one.offset for one in noticed] == [0, *offsets[: len(noticed) - 1]]
    assert len(noticed) == len(offsets) - 1, "the last part has no neighbour behind it"


def test_an_early_part_that_is_refused_does_not_disturb_the_one_that_is_due() -> None:
    good = Server()

    def script(request: Request) -> Iterable[bytes]:
        if request.payload["off"] != len(good.held):
            return [request.reply({"rc": 3})]
        return good(request)

    _, noticed, _ = upload(script, Disorder.REORDER)
    assert bytes(good.held) == IMAGE
    assert {one.offset for one in noticed} == {None}


def test_a_device_that_answers_a_part_only_once_has_noticed_nothing() -> None:
    good = Server()
    answered: set[int] = set()

    def script(request: Request) -> Iterable[bytes]:
        if request.sequence in answered:
            return []
        answered.add(request.sequence)
        return good(request)

    _, noticed, _ = upload(script, Disorder.REPEAT)
    assert bytes(good.held) == IMAGE
    assert noticed == []


def test_without_a_disorder_each_part_is_sent_once() -> None:
    offsets, noticed, requests = upload(Server(), Disorder.NONE)
    assert (len(requests), noticed) == (len(offsets), [])


def test_the_disorder_that_began_last_counts_and_the_earlier_one_goes_on_after_it() -> None:
    sending = Sending(lambda _noticed: None)
    with sending.in_disorder(Disorder.REPEAT):
        with sending.in_disorder(Disorder.REORDER):
            assert sending.disorder is Disorder.REORDER
        assert sending.disorder is Disorder.REPEAT
    assert sending.disorder is Disorder.NONE


# ------------------------------------------------------------------------------------------------------------ Secure DFU
@pytest.mark.parametrize(
    ("disorder", "sent"),
    [
        (Disorder.NONE, [b"a", b"b", b"c"]),
        (Disorder.REPEAT, [b"a", b"a", b"b", b"b", b"c", b"c"]),
        (Disorder.REORDER, [b"b", b"a", b"c"]),
    ],
)
def test_what_goes_over_the_link(disorder: Disorder, sent: list[bytes]) -> None:
    sending = Sending(lambda _noticed: None)
    with sending.in_disorder(disorder):
        found = list(turns([b"a", b"b", b"c"], sending))
    assert [packet for turn in found for packet in turn.sent] == sent
    assert [packet for turn in found for packet in turn.due] == [b"a", b"b", b"c"]


def checksum(*packets: bytes) -> Checksum:
    whole = b"".join(packets)
    return Checksum(offset=len(whole), crc=zlib.crc32(whole))


AS_REPEATED = checksum(b"aaaa", b"aaaa", b"bbbb")
OTHER_BYTES = checksum(b"aaaa", b"bbbb", b"bbbb")


@pytest.mark.parametrize(
    ("reported", "agreed", "noticed"),
    [
        (AS_REPEATED, False, True),
        (checksum(b"aaaa", b"aaaa"), False, True),
        (checksum(b"aaaa", b"bbbb", b"cccc"), True, False),
        (checksum(b"aaaa"), True, False),
        (checksum(b"aaaa", b"cccc"), True, False),
        (OTHER_BYTES, False, False),
        (OTHER_BYTES, True, True),
    ],
    ids=["as repeated", "so far", "as it should", "lost the rest", "lost one", "no checksum was right", "other bytes"],
)
def test_only_what_cannot_come_from_lost_packets_shows_a_disorder(reported: Checksum, agreed: bool, noticed: bool) -> None:
    told: list[Noticed] = []
    sending = Sending(told.append)
    disarray = Disarray(sending)
    disarray.begin(end=12)
    if agreed:
        disarray.agreed()
    held = checksum()
    with sending.in_disorder(Disorder.REPEAT):
        for turn in turns([b"aaaa", b"bbbb", b"cccc"], sending):
            disarray.sent(turn, held)
            held = checksum(*([b"aaaa", b"bbbb", b"cccc"][: held.offset // 4 + 1]))
    disarray.compare(reported)
    assert told == ([Noticed(disorder=Disorder.REPEAT, offset=reported.offset)] if noticed else [])


def test_a_checksum_that_is_wrong_without_a_disorder_shows_none() -> None:
    told: list[Noticed] = []
    disarray = Disarray(Sending(told.append))
    disarray.begin(end=8)
    disarray.agreed()
    for packet in (b"aaaa", b"bbbb"):
        disarray.sent(Turn(disorder=Disorder.NONE, due=(packet,), sent=(packet,)), checksum())
    disarray.compare(checksum(b"aaaa", b"cccc"))
    assert not disarray.refuses_copy(REFUSED)
    assert told == []


def test_a_copy_refused_at_the_end_of_an_object_shows_a_repetition() -> None:
    told: list[Noticed] = []
    disarray = Disarray(Sending(told.append))
    disarray.begin(end=4)
    disarray.sent(Turn(disorder=Disorder.REPEAT, due=(b"aaaa",), sent=(b"aaaa", b"aaaa")), checksum())
    assert disarray.refuses_copy(REFUSED)
    assert told == [Noticed(disorder=Disorder.REPEAT, offset=None)]
