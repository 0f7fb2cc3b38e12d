"""The fixed pool of receive buffers of the BLE transport: one page of packets and one more.

The last one freed is the next one handed out, and nothing is cleared: what an earlier packet left in a buffer stays behind a
shorter one, and reaches the flash when a packet is not a whole number of words.

Source: nRF5 SDK 17.0.2, `components/libraries/balloc/nrf_balloc.c`, `bootloader/ble_dfu/nrf_dfu_ble.c` (MAX_DFU_BUFFERS).
"""

from __future__ import annotations

from rig.virtual.parts import PAGE_SIZE, WORD_SIZE


class PacketBuffers:
    """`PAGE_SIZE // packet_size + 1` buffers of `packet_size` bytes."""

    def __init__(self, packet_size: int) -> None:
        count = PAGE_SIZE // packet_size + 1
        padded = -(-packet_size // WORD_SIZE) * WORD_SIZE
        self._buffers = [bytearray(padded) for _ in range(count)]
        self._free = list(reversed(range(count)))

    def take(self, data: bytes) -> int | None:
        """Put `data` into a buffer and return its number, or None when all are in use."""
        if not self._free:
            return None
        number = self._free.pop()
        self._buffers[number][: len(data)] = data
        return number

    def content(self, number: int) -> bytearray:
        """The buffer itself, with whatever stands behind the packet."""
        return self._buffers[number]

    def give_back(self, number: int) -> None:
        """Free a buffer."""
        self._free.append(number)
