"""NOR flash as the nRF52's NVMC drives it: words can only lose bits, pages come back only as a whole, and power fails in between.

Stricter than silicon on purpose: what the Product Specification forbids is refused, not tolerated.  What a cut leaves behind is a
modelling choice (Nordic publishes none): a word in the middle of programming ends as a random mix between old and new, a page in
the middle of erasure has each bit erased with a probability that grows with progress, and between 10 % and 90 % of an erase
some bits read differently from one read to the next.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rig.errors import ConfigError
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE, Part

ERASED = 0xFF
_METASTABLE_FROM, _METASTABLE_TO = 0.1, 0.9
_WORN_SHARE = 1e-3
"""Share of the bits of a worn page that an erase leaves as they were: a modelling choice, as above."""


class NvmcMisuse(Exception):
    """The firmware drove the NVMC in a way that silicon answers with a HardFault or with undefined behaviour."""


@dataclass(frozen=True, kw_only=True)
class Erase:
    """Erase of the page at `address`."""

    address: int


@dataclass(frozen=True, kw_only=True)
class Write:
    """Programming of whole words from `address` upwards."""

    address: int
    data: bytes

    @property
    def words(self) -> int:
        return len(self.data) // WORD_SIZE


Operation = Erase | Write


@dataclass(frozen=True, kw_only=True)
class StuckBit:
    """Bit `bit` (0 to 7) of the byte at `address` always reads as `value`."""

    address: int
    bit: int
    value: int


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What age has done: bits that are stuck, and pages (by address) that an erase no longer brings back as a whole."""

    stuck_bits: tuple[StuckBit, ...] = ()
    worn_pages: frozenset[int] = frozenset()


def damage_of(part: Part, stuck_bits: Sequence[Mapping[str, int]] = (), worn_pages: Sequence[int] = ()) -> Damage:
    """The damage that a boards file describes.

    Raises:
        ConfigError: a bit is not described by address, bit and value, or lies outside the flash; or a page is none of it.
    """
    try:
        stuck = tuple(StuckBit(**bit) for bit in stuck_bits)
    except TypeError:
        raise ConfigError("stuck_bits: each needs address, bit (0 to 7) and value (0 or 1)") from None
    for bit in stuck:
        if not (0 <= bit.address < part.flash_size and 0 <= bit.bit <= 7 and bit.value in (0, 1)):
            raise ConfigError(f"stuck_bits: there is no bit {bit.bit} of value {bit.value} at 0x{bit.address:x}")
    for page in worn_pages:
        if page % PAGE_SIZE or not 0 <= page < part.flash_size:
            raise ConfigError(f"worn_pages: 0x{page:x} is no page of the flash")
    return Damage(stuck_bits=stuck, worn_pages=frozenset(worn_pages))


class Flash:
    """The array, its wear, and what an interrupted operation leaves behind.

    `count` is the number of operations completed since the board was built: one per erase, one per word written.
    `metastable_share` is the share of bits of a half-erased page that read unstably (0.05 to 0.2 is plausible).  `damage` is what age
    has done to the array.
    """

    def __init__(self, part: Part, *, rng: random.Random, metastable_share: float = 0.1, damage: Damage | None = None) -> None:
        self.part = part
        self.count = 0
        self.erase_counts = [0] * (part.flash_size // PAGE_SIZE)
        self._rng = rng
        self._metastable_share = metastable_share
        self._bytes = np.full(part.flash_size, ERASED, dtype=np.uint8)
        self._writes = np.zeros(part.flash_size // WORD_SIZE, dtype=np.uint8)
        self._unstable: dict[int, np.ndarray] = {}
        self._damage = damage or Damage()
        self._force_stuck(0, part.flash_size)

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; bits of a half-erased page may differ from read to read."""
        if address < 0 or length < 0 or address + length > self.part.flash_size:
            raise NvmcMisuse(f"read of {length} bytes at 0x{address:x} lies outside the flash")
        if not self._unstable:
            return self._bytes[address : address + length].tobytes()
        out = self._bytes[address : address + length].copy()
        for page, mask in self._unstable.items():
            low, high = max(address, page), min(address + length, page + PAGE_SIZE)
            if low < high:
                noise = np.frombuffer(self._rng.randbytes(high - low), dtype=np.uint8)
                out[low - address : high - address] ^= mask[low - page : high - page] & noise
        return out.tobytes()

    def duration(self, operation: Operation) -> float:
        """How long the NVMC is busy with `operation`, seconds."""
        return self.part.page_erase_s if isinstance(operation, Erase) else operation.words * self.part.word_write_s

    def check(self, operation: Operation) -> None:
        """Raise `NvmcMisuse` when silicon would not do `operation`."""
        if isinstance(operation, Erase):
            if operation.address % PAGE_SIZE or not 0 <= operation.address < self.part.flash_size:
                raise NvmcMisuse(f"erase at 0x{operation.address:x} is not a page of the flash")
            return
        end = operation.address + len(operation.data)
        if operation.address % WORD_SIZE or len(operation.data) % WORD_SIZE or not 0 <= operation.address < end <= self.part.flash_size:
            raise NvmcMisuse(f"write of {len(operation.data)} bytes at 0x{operation.address:x} is not whole words of the flash")
        if int(self._word_writes(operation).max()) >= self.part.writes_per_word:
            raise NvmcMisuse(f"a word at 0x{operation.address:x} is written more than {self.part.writes_per_word} times between erases")

    def complete(self, operation: Operation) -> None:
        """Apply the whole of `operation`."""
        self.check(operation)
        if isinstance(operation, Erase):
            page = operation.address
            self.erase_counts[page // PAGE_SIZE] += 1
            left = self._left_by_wear(page)
            self._bytes[page : page + PAGE_SIZE] = left
            self._force_stuck(page, page + PAGE_SIZE)
            self._writes[page // WORD_SIZE : (page + PAGE_SIZE) // WORD_SIZE] = 0
            self._unstable.pop(page, None)
            self.count += 1
        else:
            self._program(operation.address, np.frombuffer(operation.data, dtype=np.uint8))
            self.count += operation.words

    def interrupt(self, operation: Operation, progress: float) -> None:
        """Apply what power loss at `progress` (0 to 1 of its duration) leaves of `operation`."""
        self.check(operation)
        if isinstance(operation, Erase):
            self._tear_page(operation.address, progress)
            return
        done, within = divmod(progress * operation.words, 1.0)
        whole = int(done) * WORD_SIZE
        if whole:
            self.complete(Write(address=operation.address, data=operation.data[:whole]))
        if within and whole < len(operation.data):
            self._tear_word(operation.address + whole, operation.data[whole : whole + WORD_SIZE])

    def poke(self, address: int, data: bytes) -> None:
        """Set bytes as a probe or a factory does: no bit rules, and the wear and write counts start afresh on pages touched."""
        self._bytes[address : address + len(data)] = np.frombuffer(data, dtype=np.uint8)
        self._force_stuck(address, address + len(data))
        first, last = address // PAGE_SIZE, (address + len(data) - 1) // PAGE_SIZE
        self._writes[first * PAGE_SIZE // WORD_SIZE : (last + 1) * PAGE_SIZE // WORD_SIZE] = 0
        for page in range(first, last + 1):
            self._unstable.pop(page * PAGE_SIZE, None)

    def _word_writes(self, operation: Write) -> np.ndarray:
        first = operation.address // WORD_SIZE
        return self._writes[first : first + operation.words]

    def _program(self, address: int, data: np.ndarray) -> None:
        self._bytes[address : address + len(data)] &= data
        self._force_stuck(address, address + len(data))
        self._writes[address // WORD_SIZE : (address + len(data)) // WORD_SIZE] += 1

    def _force_stuck(self, start: int, end: int) -> None:
        """Stuck bits have their value whatever is done to them."""
        for stuck in self._damage.stuck_bits:
            if start <= stuck.address < end:
                mask = 1 << stuck.bit
                value = int(self._bytes[stuck.address])
                self._bytes[stuck.address] = value | mask if stuck.value else value & ~mask

    def _left_by_wear(self, page: int) -> np.ndarray | int:
        """What an erase makes of a page: all ones, but on a worn page some bits stay as they were."""
        if page not in self._damage.worn_pages:
            return ERASED
        dice = np.frombuffer(self._rng.randbytes(PAGE_SIZE * 8 * 2), dtype=np.uint16)
        stays = np.packbits(dice < round(_WORN_SHARE * 65536))
        return np.asarray(self._bytes[page : page + PAGE_SIZE] | ~stays)

    def _tear_word(self, address: int, data: bytes) -> None:
        """Some of the zeros have arrived, some have not.

        The torn write does not count towards nWRITE: a bootloader that resumes must write the word again, and silicon does not
        enforce the limit, so that counting it would blame a good device after two cuts in one word.
        """
        kept_ones = self._rng.randbytes(WORD_SIZE)
        torn = np.frombuffer(data, dtype=np.uint8) | np.frombuffer(kept_ones, dtype=np.uint8)
        self._bytes[address : address + WORD_SIZE] &= torn

    def _tear_page(self, page: int, progress: float) -> None:
        """Each zero has turned to one with a probability equal to `progress`; some bits hover in between."""
        dice = np.frombuffer(self._rng.randbytes(PAGE_SIZE * 8), dtype=np.uint8)
        erased = np.packbits(dice < round(progress * 256))
        self._bytes[page : page + PAGE_SIZE] |= erased
        self.erase_counts[page // PAGE_SIZE] += 1
        if _METASTABLE_FROM < progress < _METASTABLE_TO:
            dice = np.frombuffer(self._rng.randbytes(PAGE_SIZE * 8), dtype=np.uint8)
            self._unstable[page] = np.packbits(dice < round(self._metastable_share * 256))
