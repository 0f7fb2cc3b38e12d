"""A stand-in for `pyocd.debug.rtt`."""

from pyocd.core import exceptions


class RTTUpChannel:
    def __init__(self, target):
        self._target = target

    def read(self):
        return self._target._reach("rtt.read").take_rtt()


class RTTControlBlock:
    @classmethod
    def from_target(cls, target, address=None, size=None, control_block_id=b"SEGGER RTT"):
        assert (address, size) == (0x2000_0000, 256 * 1024)
        block = cls()
        block._target, block.up_channels = target, []
        return block

    def start(self):
        if self._target._reach("rtt.start").is_("held"):
            raise exceptions.RTTError("Control block not found")
        self.up_channels = [RTTUpChannel(self._target)]
