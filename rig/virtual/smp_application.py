"""The sample application of a virtual board: console, advertising, an SMP server and a policy for confirming itself.

What one image does (confirm policy, self-test, crash) stands in the image's own descriptor (`rig.formats.sample_app`); what all
images of a board share (buffer sizes, advertising interval) stands in the boards file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rig.formats.sample_app import ConfirmPolicy, SampleApp
from rig.formats.update_service import UpdateState
from rig.virtual import sample_firmware
from rig.virtual.ble_peripheral import NotSubscribed, PeerGone
from rig.virtual.cpu import BoardFacts, Cpu
from rig.virtual.gatt_server import Characteristic, Security, Service
from rig.virtual.image_upload import ImageUpload
from rig.virtual.mcuboot.request import SlotImage, confirm, read_state, set_pending
from rig.virtual.sample_firmware import Build, Defect
from rig.virtual.smp_codec import (
    Group,
    ImageError,
    MgmtError,
    Op,
    Reassembler,
    Request,
    RequestRefused,
    decode,
    encode_response,
    error_payload,
)
from rig.virtual.update_service import Objection, UpdateService

SMP_SERVICE = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
SMP_CHARACTERISTIC = "da2e7828-fbce-4e01-ae9e-261174997c48"
DEFECTS = frozenset(Defect) - {Defect.UNBONDED_ACCEPTED}
_RESET_DELAY_S = 0.25
"""CONFIG_MCUMGR_GRP_OS_RESET_MS: the answer leaves before the reset comes."""
_TINY_BUFFER, _TINY_MTU, _SLOW_REQUEST_S = 192, 23, 0.2
_REFUSALS = {
    Objection.BUSY: MgmtError.BUSY,
    Objection.BATTERY_LOW: MgmtError.BUSY,
    Objection.NO_CONSENT: MgmtError.ACCESS_DENIED,
}


class SmpApplication:
    """Runs one start of the application.  Options are the `application:` keys of the boards file; raises `ConfigError`."""

    def __init__(
        self,
        image: SampleApp,
        board: BoardFacts,
        *,
        buf_size: int = 2475,
        buf_count: int = 4,
        max_mtu: int = 498,
        advertising_interval_s: float = 0.1,
        request_s: float = 0.002,
        boot_s: float = sample_firmware.STARTUP_S,
        security: str = Security.OPEN,
        passkey: int | None = None,
        update_service: bool = False,
        defects: Iterable[str] = (),
    ) -> None:
        self._build = Build(
            security=sample_firmware.security_level(security),
            passkey=passkey,
            update_service=update_service,
            boot_s=boot_s,
            defects=sample_firmware.known_defects(defects, DEFECTS),
        )
        if self._build.has(Defect.TINY_BUFFERS):
            buf_size, buf_count, max_mtu, request_s = _TINY_BUFFER, 1, _TINY_MTU, _SLOW_REQUEST_S
        self._image = image
        self._board = board
        self._buf_size, self._buf_count = buf_size, buf_count
        self._max_mtu = max_mtu
        self._interval_s = advertising_interval_s
        self._request_s = request_s
        self._requests: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def run(self, cpu: Cpu) -> None:
        """Start up, advertise, and serve until this life of the processor ends."""
        await sample_firmware.start(cpu, self._image, self._build, bootloader=0)
        updates = UpdateService(cpu, self._image, self._board, self._build)
        await updates.start()
        server = SmpServer(cpu, self._board, self._build, updates, buf_size=self._buf_size, buf_count=self._buf_count)
        cpu.spawn(self._confirm_policy(cpu, server))
        await self._serve(cpu, server, updates)

    async def _confirm_policy(self, cpu: Cpu, server: SmpServer) -> None:
        policy = ConfirmPolicy.AT_ONCE if self._build.has(Defect.CONFIRMS_TOO_EARLY) else self._image.confirm
        if policy is ConfirmPolicy.NEVER:
            return
        if policy is ConfirmPolicy.AFTER_SELF_TEST:
            await cpu.sleep(self._image.self_test_s)
            await cpu.print("self-test: passed")
        if await server.confirm():
            await cpu.print("image confirmed")

    async def _serve(self, cpu: Cpu, server: SmpServer, updates: UpdateService) -> None:
        reassembler = Reassembler(self._buf_size)
        connection = 0

        def on_connected() -> None:
            nonlocal connection
            connection += 1
            reassembler.clear()

        def on_write(fragment: bytes) -> None:
            packet = reassembler.feed(fragment)
            if packet is None and reassembler.overrun and self._build.has(Defect.CRASHES_ON_MALFORMED):
                packet = fragment
            if packet is not None:
                self._requests.put_nowait((connection, packet))

        characteristic = Characteristic(
            uuid=SMP_CHARACTERISTIC,
            properties=frozenset({"write-without-response", "notify"}),
            security=self._build.access,
            on_write=on_write,
        )
        services = [Service(uuid=SMP_SERVICE, characteristics=(characteristic,)), *updates.services()]
        radio = cpu.radio
        radio.on_connected = on_connected
        await radio.start(services, name=self._board.ble_name, max_mtu=self._max_mtu)
        await radio.advertise(name=self._board.ble_name, service_uuids=[SMP_SERVICE], interval_s=self._interval_s)
        await cpu.print("advertising")
        while True:
            asked_on, packet = await self._requests.get()
            await cpu.sleep(self._request_s)
            response = await server.answer(packet)
            if response is not None and radio.is_connected and asked_on == connection:
                with suppress(PeerGone, NotSubscribed):
                    await self._send(cpu, response)

    async def _send(self, cpu: Cpu, response: bytes) -> None:
        step = cpu.radio.mtu - 3
        for start in range(0, len(response), step):
            if not cpu.radio.is_connected:
                return
            await cpu.radio.notify(SMP_CHARACTERISTIC, response[start : start + step])


class SmpServer:
    """The os and image groups over whatever link brings the packets."""

    def __init__(
        self, cpu: Cpu, board: BoardFacts, build: Build, updates: UpdateService, *, buf_size: int, buf_count: int
    ) -> None:
        self._cpu = cpu
        self._memory = board.memory
        self._build = build
        self._updates = updates
        self._buffers = {"buf_size": buf_size, "buf_count": buf_count}
        self._upload = ImageUpload(
            cpu,
            board.memory,
            on_accepted=lambda: updates.show(UpdateState.ANNOUNCED, percent=0),
            resumes_too_far=build.has(Defect.RESUMES_TOO_FAR),
            erases_whole_slot=build.has(Defect.ERASES_WHOLE_SLOT),
        )

    async def answer(self, packet: bytes) -> bytes | None:
        """Serve one request; None when there is nothing to say."""
        request = decode(packet)
        if request is None:
            if self._build.has(Defect.CRASHES_ON_MALFORMED):
                self._cpu.fault("a malformed request has overwritten the stack")
            return None
        try:
            payload = await self._dispatch(request)
        except RequestRefused as refusal:
            payload = error_payload(request, refusal.code)
        return encode_response(request, payload)

    async def _dispatch(self, request: Request) -> dict[str, Any]:
        match (request.group, request.command, request.op):
            case (Group.OS, 0, Op.READ | Op.WRITE):
                return _echo(request.payload.get("d", ""))
            case (Group.OS, 5, Op.WRITE):
                self._cpu.spawn(self._reset_soon())
                return {}
            case (Group.OS, 6, Op.READ):
                return dict(self._buffers)
            case (Group.OS, 8, Op.READ):
                return {"bootloader": "MCUboot"} if not request.payload.get("query") else {"rc": int(MgmtError.NOT_SUPPORTED)}
            case (Group.IMAGE, 0, Op.READ):
                return self._state()
            case (Group.IMAGE, 0, Op.WRITE):
                return await self._set_state(request.payload)
            case (Group.IMAGE, 1, Op.WRITE):
                return await self._receive(request.payload)
            case (Group.IMAGE, 5, Op.WRITE):
                return await self._erase()
        raise RequestRefused(MgmtError.NOT_SUPPORTED)

    async def confirm(self) -> bool:
        """Keep the running image; whether that took a write."""
        return not self._build.has(Defect.NEVER_CONFIRMS) and await confirm(self._cpu, self._memory)

    async def _receive(self, payload: dict[str, Any]) -> dict[str, Any]:
        state = read_state(self._cpu, self._memory)
        version = self._cpu.read(self._memory.primary.start + 20, 8)
        try:
            answer = await self._upload.handle(payload, running_version=version, slot_free=state.secondary_free)
        except RequestRefused:
            self._updates.show(UpdateState.REFUSED)
            raise
        self._updates.show(UpdateState.RECEIVING, percent=self._upload.percent)
        return answer

    async def _reset_soon(self) -> None:
        await self._cpu.sleep(_RESET_DELAY_S)
        self._cpu.reset()

    def _state(self) -> dict[str, Any]:
        """Image list as `img_mgmt_state` builds it: the active slot first, absent flags as false."""
        state = read_state(self._cpu, self._memory)
        images = [
            {
                "image": 0,
                "slot": slot.slot,
                "version": slot.version,
                "hash": slot.image_hash,
                "bootable": slot.bootable,
                "pending": slot.pending,
                "confirmed": slot.confirmed,
                "active": slot.active,
                "permanent": slot.permanent,
            }
            for slot in state.slots
        ]
        return {"images": images, "splitStatus": 0}

    async def _set_state(self, payload: dict[str, Any]) -> dict[str, Any]:
        wanted, permanent = payload.get("hash"), bool(payload.get("confirm", False))
        slots = read_state(self._cpu, self._memory).slots
        if wanted is None:
            if not permanent:
                raise RequestRefused(ImageError.INVALID_HASH)
            await self.confirm()
            return self._state()
        slot = next((slot for slot in slots if slot.image_hash == wanted), None)
        if slot is None:
            raise RequestRefused(ImageError.HASH_NOT_FOUND)
        if slot.active:
            if not permanent:
                raise RequestRefused(ImageError.TEST_TO_ACTIVE_DENIED)
            await self.confirm()
        else:
            if slot.pending and not permanent:
                raise RequestRefused(ImageError.IMAGE_ALREADY_PENDING)
            await self._install(slot, permanent=permanent)
        return self._state()

    async def _install(self, image: SlotImage, *, permanent: bool) -> None:
        """Ask the bootloader for `image`, unless something speaks against an update now."""
        objection = self._updates.objection()
        if objection is not None:
            await self._updates.refuse(objection, image.version)
            raise RequestRefused(_REFUSALS[objection])
        if self._build.has(Defect.USER_DATA_ERASED):
            await self._cpu.erase_page(self._memory.user_data.start)
        await self._updates.request(image.version)
        await set_pending(self._cpu, self._memory, permanent=permanent)
        self._updates.show(UpdateState.READY, percent=100)
        if self._updates.condition and self._build.has(Defect.APPLIES_AT_ONCE):
            self._cpu.spawn(self._reset_soon())

    async def _erase(self) -> dict[str, Any]:
        if not read_state(self._cpu, self._memory).secondary_free:
            raise RequestRefused(ImageError.NO_FREE_SLOT)
        self._upload.forget()
        await self._upload.erase()
        return {}


def _echo(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise RequestRefused(MgmtError.INVALID)
    return {"r": text}
