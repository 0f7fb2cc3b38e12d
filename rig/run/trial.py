"""One trial: prepare → arm → update → fault → recover → observe.  It records; it does not judge.

After a fault the rig does what an update client in the field would do: look for the device, ask what it runs, go on from there.
Only when the device stays silent does the rig go further (a power cycle by hand, then a look by the probe), and says so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rig.bench import Dut
from rig.errors import PAIRING_GROUP, DutError, InstrumentError, NotFound, Refused
from rig.inject import Injector
from rig.model import Expectation, ImageFile, Phase, Protocol, Request, Trial
from rig.ports import DeviceInfo
from rig.product import Product
from rig.run.closing import ClosingCheck
from rig.run.collapse import collapsed
from rig.run.dfu_flow import DfuFlow
from rig.run.examinations import Examiner, Scene
from rig.run.faults import Client, ClientKilled, means_of
from rig.run.flashing import image_in_flash, place_old_image, place_received_image
from rig.run.flow import Running
from rig.run.record import ConsoleLines, Recorder, one_header
from rig.run.smp_flow import SmpFlow
from rig.store import Attempt

FLOWS: dict[Protocol, type[SmpFlow | DfuFlow]] = {Protocol.SMP: SmpFlow, Protocol.SECURE_DFU: DfuFlow}
_WORTH_A_DUMP = ("dut.silent", "dut.dfu_mode", "fault.unproved")
_DISCHARGE_S = 0.5
"""Off-time of the power cycles that the rig does for itself."""
_RISE_S = 0.05
"""After this a supply that has been switched on has brought VDD up, and the probe may be used."""
_NO_PAIRING = (0x03, 0x05)
"""Security Manager: authentication requirements, pairing not supported (Core Specification Vol 3 Part H 3.5.5)."""
_ATTEMPTS = 6
"""How often the client tries to bring the update to its end before the trial is concluded."""
_LOOKS = 3
_FIRST_LOOKS = 2
_MARKER_SIZE = 256


class TrialRun:
    """Runs `trial` on `dut` and leaves everything that was seen in `attempt`."""

    def __init__(self, trial: Trial, dut: Dut, attempt: Attempt, image_path: Callable[[ImageFile], Path]) -> None:
        self._trial = trial
        self._image_path = image_path
        self._dut = dut
        self._attempt_record = attempt
        self._journal = attempt.journal
        self._recorder = Recorder(attempt.journal, dut.counter, memory=None if trial.faults else dut.board.memory)
        self._console = ConsoleLines(attempt.journal, dut.board.signals)
        self._flow = FLOWS[trial.protocol](trial, dut, self._recorder, self._console, image_path)
        self._client = Client(dut, self._flow, attempt.journal, seed=trial.seed)
        self._after_install = False
        self._identity: DeviceInfo | None = None
        self._marker = random.Random(f"marker/{trial.seed}").randbytes(_MARKER_SIZE)
        self._sent, self._printed = bytearray(), bytearray()
        self._examiner = self._make_examiner(trial.product) if trial.product and trial.proves else None
        if self._examiner is not None:
            self._flow.watch = self._examiner.watch

    async def run(self) -> None:
        """Do everything; a rig fault ends the trial early and is recorded as such, never raised."""
        emit = self._journal.emit
        emit("run", "trial.start", trial=self._trial.id, board=self._dut.board.name, scenario=self._trial.scenario)
        try:
            async with asyncio.timeout(self._trial.limits.trial_s):
                with ExitStack() as stack:
                    self._listen(stack)
                    if self._trial.inspect:
                        await self._look_only()
                    else:
                        await self._prepare()
                        await self._update_under_fault()
                        await self._observe()
        except InstrumentError as error:
            emit("run", "rig.error", instrument=error.instrument, reason=error.reason)
        except TimeoutError:
            emit("run", "trial.timeout", limit_s=self._trial.limits.trial_s)
        emit("run", "trial.end")

    def _listen(self, stack: ExitStack) -> None:
        """Everything that the console prints and the radio sends becomes evidence from here on."""
        stack.callback(self._dut.console.attach(self._attempt_record.console))
        stack.callback(self._dut.console.attach(self._console.receive))
        if self._examiner is None:
            self._dut.radio.capture(one_header(self._attempt_record.radio))
            return

        def capture(data: bytes) -> None:
            self._sent.extend(data)
            self._attempt_record.radio(data)

        stack.callback(self._dut.console.attach(lambda _when_s, data: self._printed.extend(data)))
        self._dut.radio.capture(one_header(capture))

    # --------------------------------------------------------------------------------------------------- examinations
    def _make_examiner(self, product: Product) -> Examiner:
        scene = Scene(
            trial=self._trial,
            product=product,
            dut=self._dut,
            journal=self._journal,
            flow=self._flow,
            console=self._console,
            power_cycle=self._power_cycle,
            image_path=self._image_path,
            sent=self._sent,
            printed=self._printed,
        )
        return Examiner(scene, self._trial.proves)

    async def _look_only(self) -> None:
        """A production unit: power it, let it start, look, and leave it as it is."""
        await self._dut.supply.on()
        await self._console.ready_within(self._trial.limits.boot_s, since_seq=0)
        self._journal.emit("run", "observe.start")
        if self._examiner is not None:
            await self._examiner.after()

    # --------------------------------------------------------------------------------------------------------- prepare
    async def _prepare(self) -> None:
        """Old image running, marker in the user data, secondary slot blank (or staged), power cycled."""
        with self._recorder.phase(Phase.FLASH):
            await self._dut.supply.on()
            await asyncio.sleep(_DISCHARGE_S)
            self._identity = await self._check_part()
            await place_old_image(self._trial, self._dut, self._image_path)
            await self._dut.probe.program(self._dut.board.memory.user_data.start, self._marker)
            self._tell_programmed(staged=self._trial.staged and not self._begins_with_install)
            await self._dut.probe.detach()
            await self._power_cycle()
        if self._examiner is not None:
            await self._examiner.before()
        with self._recorder.phase(Phase.BOOT):
            running = await self._first_look()
        if running is not None and not running.runs(self._trial.old):
            raise InstrumentError(f"{self._dut.board.name}.prepare", f"the board runs {running.version} instead of {self._trial.old.version}")

    @property
    def _begins_with_install(self) -> bool:
        """Whether what is staged leaves nothing but the installation to do."""
        return self._trial.staged and self._trial.protocol is Protocol.SECURE_DFU

    async def _stage_install(self) -> None:
        """Everything that a transfer over the air leaves in the flash, and the power off before the bootloader can act on it."""
        with self._recorder.phase(Phase.FLASH):
            await place_received_image(self._trial, self._dut, self._image_path)
            self._tell_programmed(staged=True)
            self._journal.emit("supply", "supply.off", command_t_ns=self._journal.t_ns(await self._dut.supply.off()))
            await asyncio.sleep(_DISCHARGE_S)
            await self._dut.probe.detach()

    def _tell_programmed(self, *, staged: bool) -> None:
        new = self._trial.new.version if staged else None
        self._journal.emit("probe", "probe.program", old=self._trial.old.version, staged=new)

    async def _first_look(self) -> Running | None:
        """What a freshly flashed board says of itself; one that says nothing is the rig's trouble, of which the likeliest is named.

        None where the device refuses to pair and the trial is to show that its owner can.
        """
        since_seq = len(self._journal.events)
        for _ in range(_FIRST_LOOKS):
            try:
                return await self._flow.look()
            except DutError as error:
                self._recorder.dut_error(error)
                if self._is_about_pairing(error):
                    return None
                reason = f"the freshly flashed board does not serve: {error}"
        self._check_power_held()
        await self._dut.probe.info()  # says so itself when the board has no power
        await self._dut.probe.detach()
        printed = await self._console.ready_within(self._trial.limits.boot_s, since_seq=since_seq)
        instrument = "radio" if printed else "prepare"
        says = "its console says that it serves, but " if printed else ""
        raise InstrumentError(f"{self._dut.board.name}.{instrument}", f"{says}{reason}")

    def _is_about_pairing(self, error: DutError) -> bool:
        """Whether the device refuses to pair at all, in a trial that is to show that its owner can.

        A passkey that does not match is another matter: that is the rig's configuration.
        """
        refused = isinstance(error, Refused) and error.group == PAIRING_GROUP and error.code in _NO_PAIRING
        return refused and "channel.owner" in self._trial.proves

    async def _check_part(self) -> DeviceInfo:
        info = await self._dut.probe.info()
        if f"nrf{info.part:x}" != self._dut.board.soc:
            raise InstrumentError(
                f"{self._dut.board.name}.probe",
                f"the board on this probe is an nrf{info.part:x}, not an {self._dut.board.soc}",
                hint="correct the boards file or the cabling",
            )
        known = self._dut.board.calibration
        if known is not None and known.device_id != f"{info.device_id:016x}":
            reason = f"the unit on this probe has device id {info.device_id:016x}; the calibration was measured on {known.device_id}"
            raise InstrumentError(f"{self._dut.board.name}.probe", reason, hint="swap the cables back, or run `rig selftest` again")
        return info

    async def _power_cycle(self) -> None:
        self._journal.emit("supply", "supply.off", command_t_ns=self._journal.t_ns(await self._dut.supply.off()))
        await asyncio.sleep(_DISCHARGE_S)
        self._journal.emit("supply", "supply.on", command_t_ns=self._journal.t_ns(await self._dut.supply.on()))
        await asyncio.sleep(_RISE_S)

    # ---------------------------------------------------------------------------------------------------------- update
    async def _update_under_fault(self) -> None:
        if not self._trial.faults:
            await self._drive(after_install=await self._install_staged())
            return
        means = means_of(self._trial, self._dut, self._journal, self._client, self._attempt_record.save_trace)
        injector = Injector(self._trial.faults, means)
        await injector.arm()
        try:
            await self._drive(after_install=await self._install_staged())
            while injector.is_busy:
                await injector.wait_done()
                await self._drive()
        finally:
            await injector.close()

    async def _install_staged(self) -> bool:
        """Where nothing but the installation is left to do: have it done, as a first attempt; True when the application serves after it."""
        if not self._begins_with_install:
            return False
        assert isinstance(self._flow, DfuFlow)
        await self._stage_install()
        try:
            await self._client.run(self._flow.install_staged())
        except ClientKilled as killed:
            await asyncio.sleep(killed.pause_s)
        except DutError as error:
            self._recorder.dut_error(error)
        else:
            return True
        self._recorder.attempt += 1
        return False

    async def _drive(self, *, after_install: bool = False) -> None:
        """Bring the device to the trial's goal, attempt by attempt, then let it settle."""
        self._after_install = after_install
        for _ in range(_ATTEMPTS):
            if await self._attempt():
                break
            self._recorder.attempt += 1
        with self._recorder.phase(Phase.SETTLE):
            await asyncio.sleep(self._trial.limits.settle_s)

    async def _attempt(self) -> bool:
        """One connection's worth of progress; True when there is nothing more to do."""
        trial = self._trial
        try:
            if trial.expect is Expectation.ROLLED_BACK and self._ran_new:
                await self._flow.reboot()
                return True
            if trial.expect is Expectation.REFUSED and self._after_install:
                await self._flow.look()
                return True
            reached = await self._client.run(
                self._flow.advance(trial.new, trial.request, confirm=trial.confirm, after_install=self._after_install)
            )
            self._after_install = not reached
        except ClientKilled as killed:
            await asyncio.sleep(killed.pause_s)
            self._after_install = False
            return False
        except NotFound as error:
            self._recorder.dut_error(error)
            return await self._wake_up()
        except DutError as error:
            self._recorder.dut_error(error)
            self._after_install = False
            return trial.expect is Expectation.REFUSED and isinstance(error, Refused)
        return reached and trial.expect is not Expectation.ROLLED_BACK

    @property
    def _ran_new(self) -> bool:
        states = [event for event in self._journal.events if event.kind == "dut.state"]
        return bool(states) and (
            states[-1].data["running_hash"] == self._trial.new.image_hash
        )

    async def _wake_up(self) -> bool:
        """Nobody advertises.  Cycle the power once more, as a user would; True when even that does not help.

        A device in the middle of an installation does not advertise either, and gets the time that an installation may take.
        """
        if await self._console.ready_within(self._trial.limits.install_s, since_seq=len(self._journal.events)):
            return False
        if any(event.kind == "rig.power_cycle" for event in self._journal.events):
            self._journal.emit("run", "dut.silent")
            return True
        self._journal.emit("run", "rig.power_cycle", reason="the device does not advertise")
        await self._power_cycle()
        return False

    # --------------------------------------------------------------------------------------------------------- observe
    async def _observe(self) -> None:
        """Look from outside, after the last fault: what runs, can it be updated again, is the user's data intact."""
        self._dut.console.check()
        self._check_power_held()
        running = await self._final_look()
        if self._trial.again is not None and (running is not None or self._waits_in_dfu_mode()):
            await self._update_again(self._trial.again)
        if running is not None and self._examiner is not None:
            await self._examiner.after()
        await self._inspect()
        await self._close(serves=running is not None)
        if self._examiner is not None:
            await self._examiner.finish()

    async def _final_look(self) -> Running | None:
        """What runs, asked a few times: one connection that fails on the way says nothing about the device.

        A device that is not heard gets its power cycled, unless that has been tried: whether it then says on its console that it
        serves tells a hung device from a deaf rig.
        """
        self._journal.emit("run", "observe.start")
        for _ in range(_LOOKS):
            try:
                return await self._flow.look()
            except NotFound as error:
                self._recorder.dut_error(error)
                if await self._wake_up():
                    return None
            except DutError as error:
                self._recorder.dut_error(error)
        return None

    def _waits_in_dfu_mode(self) -> bool:
        """Whether the final look met the board in DFU mode, which is where an update in place that failed leaves it."""
        looked = next(event.seq for event in self._journal.events if event.kind == "observe.start")
        return self._trial.in_place and any(e.kind == "dut.dfu_mode" and e.seq > looked for e in self._journal.events)

    async def _update_again(self, image: ImageFile) -> None:
        """A further update must still go through to its end."""
        self._journal.emit("run", "again.start", version=image.version)
        after_install = False
        for _ in range(_ATTEMPTS):
            self._recorder.attempt += 1
            try:
                if await self._flow.advance(image, Request.TEST, confirm=True, after_install=after_install):
                    self._journal.emit("run", "again.end", version=image.version, reached=True)
                    return
                after_install = True
            except DutError as error:
                self._recorder.dut_error(error)
                break
        self._journal.emit("run", "again.end", version=image.version, reached=False)

    async def _inspect(self) -> None:
        """Only now may the probe attach: which image stands in flash, are the user data intact, and is a dump worth keeping?"""
        images = [image for image in (self._trial.old, self._trial.new, self._trial.again) if image is not None]
        found = await image_in_flash(self._trial.protocol, self._dut, images, self._image_path)
        identity = {"version": found.version, "image_hash": found.image_hash} if found else {"version": None, "image_hash": None}
        self._journal.emit("probe", "probe.read", what="image", **identity)
        content = await self._dut.probe.read(self._dut.board.memory.user_data.start, _MARKER_SIZE)
        self._journal.emit("probe", "probe.read", what="user_data", matches=content == self._marker)
        if self._examiner is not None:
            await self._examiner.inspect()
        if any(event.kind in _WORTH_A_DUMP for event in self._journal.events) or content != self._marker:
            info = await self._dut.probe.info()
            self._attempt_record.save("flash.bin", await self._dut.probe.read(0, info.flash_size))
            self._journal.emit("probe", "probe.dump", file="flash.bin")

    async def _close(self, *, serves: bool) -> None:
        """Only a sound rig may say anything about a device."""
        assert self._identity is not None
        since_seq = len(self._journal.events)

        async def starts(limit_s: float) -> bool:
            return await self._console.ready_within(limit_s, since_seq=since_seq)

        def emit(kind: str, data: dict[str, Any]) -> None:
            if (command_s := data.pop("command_s", None)) is not None:
                data["command_t_ns"] = self._journal.t_ns(command_s)
            self._journal.emit("run", kind, **data)

        check = ClosingCheck(self._dut, is_absent=self._flow.is_absent, limits=self._trial.limits, emit=emit)
        self._check_power_held()
        await check.run(identity=self._identity, starts=starts if serves else None)

    def _check_power_held(self) -> None:
        """Nobody but the rig may have taken the board's power."""
        if collapsed(self._journal.events) is not None:
            reason = "has failed by itself: the board started as after power-on, and nobody had taken its power"
            raise InstrumentError(f"{self._dut.board.name}.supply", reason, hint="look at its current limit and at the wire to the board")
