"""The journal as evidence: what was acknowledged is there, and what is damaged is said to be."""

import os
import resource
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from rig.errors import StorageError
from rig.journal import Journal, read_journal
from rig.model import Event
from tests.synthetic import Clock


def written(path: Path, number: int = 3) -> Journal:
    clock = Clock()
    with Journal(path, clock) as journal:
        for index in range(number):
            clock.time_s += 0.25
            journal.emit("dut", "upload.chunk", offset=index * 244, total=1000)
    return journal


def test_a_line_is_canonical_json_with_the_crc_of_its_inner_object(tmp_path: Path) -> None:
    written(tmp_path / "j", 1)
    inner = b'{"data":{"offset":0,"total":1000},"kind":"upload.chunk","seq":0,"source":"dut","t_ns":250000000}'
    header = b'{"format":"rig.journal/1"}'
    expected = b'{"crc":"%08x","h":%b}\n{"crc":"%08x","e":%b}\n' % (zlib.crc32(header), header, zlib.crc32(inner), inner)
    assert (tmp_path / "j").read_bytes() == expected


def test_equal_events_give_equal_bytes_whatever_the_order_of_their_fields(tmp_path: Path) -> None:
    for name, data in (
        ("a", {"x": 0.1, "y": [1, 2], "z": {"p": 1, "q": 2}}),
        ("b", {"z": {"q": 2, "p": 1}, "y": (1, 2), "x": 0.1}),
    ):
        with Journal(tmp_path / name, Clock()) as journal:
            journal.emit("run", "k", **data)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_memory_and_file_hold_the_same_events(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", Clock()) as journal:
        journal.emit("run", "k", pair=(1, 2.5), name="Gerät\ud800", nested={"1": None})
        journal.emit("console", "console.line", kind="data may be called kind", source="and source")
    assert read_journal(tmp_path / "j").events == tuple(journal.events)
    assert journal.events[0].data["pair"] == [1, 2.5]


def test_a_journal_cut_off_anywhere_gives_the_events_before_the_cut(tmp_path: Path) -> None:
    whole = written(tmp_path / "j")
    data = (tmp_path / "j").read_bytes()
    ends = [index + 1 for index, byte in enumerate(data) if byte == ord("\n")]
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        contents = read_journal(tmp_path / "cut")
        complete = sum(end <= length + 1 for end in ends[1:])  # the line's end itself may be what is missing
        assert contents.events == tuple(whole.events[:complete]), length
        assert contents.torn_tail == (length not in ends), length
        assert not contents.corrupt_lines, length


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    whole = written(tmp_path / "j")
    data = bytearray((tmp_path / "j").read_bytes())
    lines = [1 + data[:index].count(b"\n") for index in range(len(data))]
    for index in range(len(data)):
        damaged = bytearray(data)
        damaged[index] ^= 0x04
        (tmp_path / "bad").write_bytes(damaged)
        contents = read_journal(tmp_path / "bad")
        assert not contents.intact, index
        assert lines[index] in contents.corrupt_lines or contents.torn_tail, index
        assert set(map(repr, contents.events)) <= set(map(repr, whole.events)), index


def test_a_line_that_is_gone_or_there_twice_is_told(tmp_path: Path) -> None:
    written(tmp_path / "j")
    header, first, second, third, _ = (tmp_path / "j").read_bytes().split(b"\n")
    (tmp_path / "gone").write_bytes(b"\n".join([header, first, third, b""]))
    assert read_journal(tmp_path / "gone").complaints() == ("no event 1",)
    (tmp_path / "twice").write_bytes(b"\n".join([header, first, first, second, third, b""]))
    assert read_journal(tmp_path / "twice").complaints() == ("corrupt line 3",)


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path / "j")
    header = b'{"format":"rig.journal/2"}'
    rest = (tmp_path / "j").read_bytes().split(b"\n", 1)[1]
    (tmp_path / "j").write_bytes(b'{"crc":"%08x","h":%b}\n' % (zlib.crc32(header), header) + rest)
    with pytest.raises(StorageError, match=r"j: the format is 'rig.journal/2'; this version of rig reads 'rig.journal/1'"):
        read_journal(tmp_path / "j")


@pytest.mark.parametrize("value", [float("nan"), b"bytes", object()])
def test_what_json_cannot_hold_is_refused_and_leaves_no_trace(tmp_path: Path, value: object) -> None:
    with Journal(tmp_path / "j", Clock()) as journal:
        with pytest.raises(StorageError, match=r"event supply.trace cannot be recorded"):
            journal.emit("supply", "supply.trace", mean_before_ua=value)
        journal.emit("run", "trial.end")
    contents = read_journal(tmp_path / "j")
    assert contents.intact
    assert [event.kind for event in contents.events] == ["trial.end"]


def test_an_existing_journal_is_never_overwritten(tmp_path: Path) -> None:
    written(tmp_path / "j")
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(StorageError, match="File exists"):
        Journal(tmp_path / "j", Clock())
    assert (tmp_path / "j").read_bytes() == before


def test_a_closed_journal_takes_nothing_more(tmp_path: Path) -> None:
    journal = written(tmp_path / "j")
    with pytest.raises(StorageError, match="closed"):
        journal.emit("run", "late")


def test_listeners_hear_events_in_order_even_when_one_of_them_emits(tmp_path: Path) -> None:
    heard: list[Event] = []
    with Journal(tmp_path / "j", Clock()) as journal:
        stop = journal.listen(lambda event: journal.emit("inject", "fault.requested") if event.kind == "upload.chunk" else None)
        journal.listen(heard.append)
        journal.emit("dut", "upload.chunk")
        stop()
        journal.emit("dut", "upload.chunk")
    assert [(event.seq, event.kind) for event in heard] == [(0, "upload.chunk"), (1, "fault.requested"), (2, "upload.chunk")]


def test_a_full_disk_is_named_and_nothing_follows_the_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(path, Clock(), remedy="free space and run `rig resume X`")
    journal.emit("run", "first")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        with pytest.raises(StorageError, match=r"j: File too large; free space and run `rig resume X`"):
            journal.emit("run", "second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(StorageError, match="File too large"):  # although there is room again
        journal.emit("run", "third")
    with pytest.raises(StorageError, match="File too large"):
        journal.close()
    contents = read_journal(path)
    assert [event.kind for event in contents.events] == ["first"]
    assert contents.complaints() == ("the last line is torn",)


_ENDLESS = """
import sys
from pathlib import Path
from rig.journal import Journal
journal = Journal(Path(sys.argv[1]), lambda: 0.0)
while True:
    print(journal.emit("dut", "upload.chunk", filler="x" * 100).seq, flush=True)
"""


@pytest.mark.parametrize("kill_after", [1, 57])
def test_a_killed_process_loses_no_event_that_it_acknowledged(tmp_path: Path, kill_after: int) -> None:
    command = [sys.executable, "-c", _ENDLESS, str(tmp_path / "j")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(kill_after)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += map(int, process.stdout.read().split(b"\n")[:-1])
    contents = read_journal(tmp_path / "j")
    assert not contents.corrupt_lines
    assert [event.seq for event in contents.events][: len(acknowledged)] == acknowledged
