"""Plugs as supplies, against a web server on this machine."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.drivers import supply_http_plug
from rig.drivers.supply_http_plug import DIALECTS, HttpPlugSupply
from rig.errors import ConfigError, InstrumentError
from rig.model import InstrumentSpec
from tests.config_files import BOARDS, boards, boards_problems, edited
from tests.power_stubs import StubPlug

PATHS = {
    "shelly-gen1": ("/relay/1?turn=on", "/relay/1?turn=off", "/relay/1"),
    "shelly-gen2": ("/rpc/Switch.Set?id=1&on=true", "/rpc/Switch.Set?id=1&on=false", "/rpc/Switch.GetStatus?id=1"),
    "tasmota": ("/cm?cmnd=Power2%20On", "/cm?cmnd=Power2%20Off", "/cm?cmnd=Power2"),
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply_http_plug, "_LIMIT_S", 0.5)


async def entered(host: str, kind: str, channel: int = 0) -> None:
    async with HttpPlugSupply(owner="dk1", kind=kind, host=host, channel=channel):
        pass


def refusal(kind: str, misbehave: Callable[[StubPlug], object], *, channel: int = 0) -> InstrumentError:
    """What entering raises when the plug does as `misbehave` makes it do."""

    async def test() -> None:
        plug = StubPlug(kind)
        misbehave(plug)
        async with plug.serve() as host:
            await entered(host, kind, channel)

    with pytest.raises(InstrumentError) as caught:
        asyncio.run(test())
    assert caught.value.instrument == "dk1.supply"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kind", DIALECTS)
def test_only_the_named_output_is_switched_and_it_is_looked_at_each_time(kind: str) -> None:
    plug = StubPlug(kind)

    async def test() -> None:
        async with plug.serve() as host:
            async with HttpPlugSupply(owner="dk1", kind=kind, host=host, channel=1) as supply:
                assert plug.outputs == [True, False]
                await supply.on()
                assert plug.outputs == [True, True]
            assert plug.outputs == [True, False]

    asyncio.run(test())

    on, off, look = PATHS[kind]
    assert plug.paths == [off, look, on, look, off, look]


def test_a_tasmota_with_one_relay_says_power_without_a_number() -> None:
    plug = StubPlug("tasmota")
    plug.say("200 OK", '{"POWER":"OFF"}')

    async def test() -> None:
        async with plug.serve() as host:
            await entered(host, "tasmota")

    asyncio.run(test())

    assert plug.paths == ["/cm?cmnd=Power%20Off", "/cm?cmnd=Power"] * 2


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_plug_that_stays_on_is_found_out(kind: str) -> None:
    error = refusal(kind, lambda plug: setattr(plug, "stuck", True))

    assert "output 0 of 127.0.0.1:" in error.reason
    assert "is still on after the command to switch it off" in error.reason


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("body", ["{}", '{"ison": 0, "output": "false", "POWER": "off"}', '{"POWER1": null}'])
def test_an_answer_without_the_state_is_no_success(kind: str, body: str) -> None:
    assert "does not say" in refusal(kind, lambda plug: plug.say("200 OK", body)).reason


@pytest.mark.parametrize("body", ["", "<html>hello</html>", "[]", "false", '{"ison": fal', "\ufffd"])
def test_what_is_no_json_object_is_no_answer(body: str) -> None:
    assert "which is not what a shelly-gen1 says" in refusal("shelly-gen1", lambda plug: plug.say("200 OK", body)).reason


def test_the_state_of_another_output_is_no_answer() -> None:
    error = refusal("tasmota", lambda plug: plug.say("200 OK", '{"POWER":"OFF","POWER1":"OFF"}'), channel=1)

    assert "does not say" in error.reason


def test_a_tasmota_that_wants_a_password_is_told_from_others() -> None:
    error = refusal("tasmota", lambda plug: plug.say("200 OK", '{"WARNING":"Need user=<username>&password=<password>"}'))

    assert "password" in error.hint


@pytest.mark.parametrize(
    ("status", "reason", "hint"),
    [
        ("401 Unauthorized", "wants a password (HTTP status 401)", "remove the plug's password"),
        ("404 Not Found", "refuses /relay/0?turn=off with HTTP status 404: 'no'", "kind and channel"),
        ("500 Internal Server Error", "HTTP status 500", "kind and channel"),
        ("302 Found", "HTTP status 302", "kind and channel"),
    ],
)
def test_a_refusal_is_told(status: str, reason: str, hint: str) -> None:
    error = refusal("shelly-gen1", lambda plug: plug.say(status, "no"))

    assert reason in error.reason
    assert hint in error.hint


def test_silence_has_a_limit() -> None:
    assert "has not answered /relay/0?turn=off within 0.5 s" in refusal("shelly-gen1", lambda plug: plug.say_raw(b"")).reason


def test_an_answer_that_drips_has_the_same_limit_and_leaves_no_thread_behind() -> None:
    plug = StubPlug("shelly-gen1")
    plug.say("200 OK", '{"ison": false}' + " " * 4000, pause_s=0.02)

    async def test() -> None:
        async with asyncio.timeout(5), plug.serve() as host:
            with pytest.raises(InstrumentError, match=r"within 0\.5 s"):
                await entered(host, "shelly-gen1")
            await plug.left_alone.wait()

    asyncio.run(test())


def test_another_protocol_is_told_from_http() -> None:
    assert "as a web server does" in refusal("shelly-gen1", lambda plug: plug.say_raw(b"SSH-2.0-OpenSSH_9.6\r\n")).reason


def test_half_an_answer_is_none() -> None:
    error = refusal("shelly-gen1", lambda plug: plug.say_raw(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"ison": fal'))

    assert "which is not what a shelly-gen1 says" in error.reason


def test_a_plug_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(InstrumentError, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        asyncio.run(entered(f"127.0.0.1:{port}", "tasmota"))


@pytest.mark.parametrize(("kind", "host"), [("shelly", "plug"), ("tasmota", "plug:0"), ("tasmota", "plug:70000")])
def test_options_that_make_no_sense_are_refused(kind: str, host: str) -> None:
    with pytest.raises(ConfigError, match=r"dk1\.supply"):
        HttpPlugSupply(owner="dk1", kind=kind, host=host)


def test_it_promises_nothing_but_on_and_off() -> None:
    supply = HttpPlugSupply(owner="dk1", kind="tasmota", host="127.0.0.1:9")

    assert supply.capabilities == frozenset()
    with pytest.raises(InstrumentError, match="3000 mV"):
        asyncio.run(supply.set_voltage(3000))
    with pytest.raises(InstrumentError, match="not open"):
        asyncio.run(supply.on())


def plug_file(host: str) -> str:
    text = edited(BOARDS, "supply: {driver: ppk2, voltage_mv: 3000}", f"supply: {{driver: http-plug, kind: tasmota, host: {host}}}")
    return re.sub(r"supply: \{port: /dev/supply(\d)\}", r"supply: {channel: \1}", text)


def test_a_boards_file_names_plug_and_channel(tmp_path: Path) -> None:
    specs = [board.supply for board in boards(tmp_path, plug_file("plug-7.lab:8080")).boards]

    assert specs == [
        InstrumentSpec(driver="http-plug", options={"kind": "tasmota", "host": "plug-7.lab:8080", "channel": channel}) for channel in (1, 2)
    ]


@pytest.mark.parametrize("host", ["http://plug", "plug/cm", "'plug?x'", "user@plug", "'plug:'"])
def test_a_boards_file_with_no_host_is_refused(tmp_path: Path, host: str) -> None:
    assert {problem.key for problem in boards_problems(tmp_path, plug_file(host))} == {"defaults.supply.host"}
