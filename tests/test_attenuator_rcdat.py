"""The RCDAT's language: paths, answers, and what is no answer."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from rig.drivers import attenuator_rcdat
from rig.drivers.attenuator_rcdat import RcdatAttenuator
from rig.errors import ConfigError, InstrumentError
from rig.model import InstrumentSpec
from rig.virtual.air import Air
from rig.virtual.attenuator import VirtualAttenuator
from rig.virtual.interference import Spectrum
from tests.config_files import BOARDS, boards, boards_problems, edited, only, place
from tests.endpoint_server import Answer, serve


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attenuator_rcdat, "_LIMIT_S", 0.5)


def asked(answer: Answer, *, channel: int | None = None) -> list[str]:
    """The paths of entering, setting 12.25 dB and leaving."""
    paths: list[str] = []

    def noted(path: str) -> tuple[int, bytes] | None:
        paths.append(path)
        return answer(path)

    async def test() -> None:
        async with serve(noted) as host, RcdatAttenuator(owner="dk1", host=host, channel=channel) as attenuator:
            await attenuator.set(12.25)

    asyncio.run(test())
    return paths


def twin(path: str) -> tuple[int, bytes]:
    return TWIN.answer(path)


TWIN = VirtualAttenuator(Spectrum(Air(seed=1)))


def test_the_paths_are_those_of_the_manual() -> None:
    rest, ask = "/:SETATT=0.00", "/:ATT?"
    assert asked(twin) == [rest, ask, "/:SETATT=12.25", ask, rest, ask]


def test_a_model_with_channels_is_asked_by_channel() -> None:
    rest, ask = "/:CHAN:1:SETATT:0.00", "/:CHAN:1:ATT?"
    assert asked(twin, channel=1) == [rest, ask, "/:CHAN:1:SETATT:12.25", ask, rest, ask]


def refusal(answer: Answer, *, channel: int | None = None) -> InstrumentError:
    with pytest.raises(InstrumentError) as caught:
        asked(answer, channel=channel)
    assert caught.value.instrument == "dk1.attenuator"
    assert caught.value.hint
    return caught.value


def saying(to_set: bytes, to_ask: bytes = b"0.00") -> Answer:
    return lambda path: (200, to_ask if path.endswith("?") else to_set)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (saying(b"0"), "answers '0' to /:SETATT=0.00"),
        (saying(b"2"), "has set its own limit instead"),
        (saying(b"-99 Unrecognized Command. MN=RCDAT-6000-60"), "-99 Unrecognized Command"),
        (saying(b"<html>"), "answers '<html>'"),
        (saying(b""), "answers ''"),
        (saying(b"1", b"7.25"), "shows 7.25 dB after 0 dB was set"),
        (saying(b"1", b"-99 Unrecognized Command"), "shows no attenuation"),
        (saying(b"1", b"nan"), "shows no attenuation"),
        (lambda _path: (404, b"no"), "HTTP status 404"),
    ],
)
def test_what_is_no_success_is_told(answer: Answer, reason: str) -> None:
    assert reason in refusal(answer).reason


def test_a_channel_that_the_model_does_not_have_is_told() -> None:
    assert "-99" in refusal(twin, channel=4).reason


def test_an_attenuator_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    async def test() -> None:
        async with RcdatAttenuator(owner="dk1", host=f"127.0.0.1:{port}"):
            pass

    with pytest.raises(InstrumentError, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        asyncio.run(test())


def test_silence_has_a_limit() -> None:
    assert "has not answered /:SETATT=0.00 within 0.5 s" in refusal(lambda _path: None).reason


@pytest.mark.parametrize(("host", "rest_db"), [("box:0", 0.0), ("box", 0.1), ("box", -1.0)])
def test_options_that_make_no_sense_are_refused(host: str, rest_db: float) -> None:
    with pytest.raises(ConfigError, match=r"dk1\.attenuator"):
        RcdatAttenuator(owner="dk1", host=host, rest_db=rest_db)


def test_without_a_virtual_bench_there_is_no_virtual_attenuator() -> None:
    async def test() -> None:
        async with RcdatAttenuator(owner="dk1", host="virtual:dk1/attenuator"):
            pass

    with pytest.raises(InstrumentError, match="needs a virtual bench"):
        asyncio.run(test())


def test_the_twin_clips_at_the_end_of_its_range_and_knows_only_its_own_commands() -> None:
    attenuator = VirtualAttenuator(Spectrum(Air(seed=1)), max_db=60.0)
    assert attenuator.answer("/:SETATT=70") == (200, b"2")
    assert attenuator.answer("/:ATT?") == (200, b"60.00")
    assert attenuator.answer("/SETATT=5.5") == (200, b"1")
    assert attenuator.answer("/:SETATT=1.2.3") == (200, b"0")
    assert attenuator.answer("/:HOP:POINTS?")[1].startswith(b"-99")
    assert attenuator.answer("/%3AATT%3F") == (200, b"5.50")


# ------------------------------------------------------------------------------------------------------- the boards file
ATTENUATED = edited(
    edited(BOARDS, "{driver: lab}", "{driver: lab, enclosure: box 3}"),
    "    supply: {port: /dev/supply1}\n",
    "    supply: {port: /dev/supply1}\n    attenuator: {driver: rcdat, host: 192.168.1.7, channel: 2}\n",
)


def test_a_boards_file_names_host_and_channel(tmp_path: Path) -> None:
    first, second = boards(tmp_path, ATTENUATED).boards
    assert first.attenuator == InstrumentSpec(driver="rcdat", options={"host": "192.168.1.7", "channel": 2, "rest_db": 0.0})
    assert second.attenuator is None
    assert first.enclosure == second.enclosure == "box 3"


def test_without_an_enclosure_an_attenuator_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = edited(ATTENUATED, ", enclosure: box 3", "")
    problem = only(boards_problems(tmp_path, text))
    assert (problem.line, problem.column) == place(text, "attenuator:")
    assert problem.key == "boards[0].attenuator"
    assert "shielded enclosure" in problem.reason


def test_two_boards_must_not_share_an_attenuator(tmp_path: Path) -> None:
    text = edited(ATTENUATED, "    supply: {port: /dev/supply2}\n", "    attenuator: {driver: rcdat, host: 192.168.1.7, channel: 2}\n    supply: {port: /dev/supply2}\n")
    problem = only(boards_problems(tmp_path, text))
    assert problem.key == "boards[1].attenuator.host"
    assert "is taken already by boards[0].attenuator.host" in problem.reason
