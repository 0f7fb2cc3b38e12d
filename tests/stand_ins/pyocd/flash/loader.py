# ruff: noqa: PLR0917 - as the vendor has it
"""A stand-in for `pyocd.flash.loader`."""


class MemoryLoader:
    def __init__(self, session, progress=None, chip_erase=None, smart_flash=None, trust_crc=None, keep_unwritten=None, no_reset=None):
        assert (chip_erase, smart_flash, keep_unwritten) == ("sector", False, False)
        self._session = session

    def add_data(self, address, data):
        self._address, self._data = address, bytes(data)

    def commit(self):
        board = self._session.target._reach("commit")
        for page in range(self._address, self._address + len(self._data), 4096):
            board.erase_page(page)
        board.write(self._address, self._data)
