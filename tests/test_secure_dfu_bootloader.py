"""The virtual Secure DFU bootloader against what is known of the real one, byte by byte and operation by operation."""

from __future__ import annotations

from tests.instant_dfu_cpu import BANK0, Update, live, on_virtual_time, settle_down


def test_a_complete_update_takes_two_resets():
    async def story():
        update = Update()
        board = update.board()
        assert await live(board, update.script) == "reset"
        assert await settle_down(board) == ["reset", f"app 0x{BANK0:x}"]
        assert board.flash[BANK0 : BANK0 + len(update.new)] == update.new
        print(board.compact_log())

    on_virtual_time(story())
