"""The spool keeps the order and loses nothing that it said it kept, whatever happens between."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.client import folder as folders
from monitor.client.counters import KINDS, Notices
from monitor.client.spool import Spool


def lines(first: int, count: int) -> list[bytes]:
    return [b'{"row":%d}\n' % number for number in range(first, first + count)]


class AnyLife(RuleBasedStateMachine):
    """Any sequence of append, failed append, read, acknowledge and crash, beside a list of what must be there."""

    @initialize()
    def start(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.kept: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        self.stray: set[bytes] = set()  # of appends that failed and could not be cut off again
        self.number = 0
        self.now = 0.0
        self.spool = self.opened()

    def opened(self) -> Spool:
        self.now += 100
        made = Spool(Path(self.home.name), "a/model", most_bytes=2**20, notices=Notices())
        made.adopt(self.now)
        return made

    def new(self, count: int) -> list[bytes]:
        made = lines(self.number, count)
        self.number += count
        return made

    @rule(kind=st.sampled_from(KINDS), count=st.integers(1, 40))
    def append(self, kind: str, count: int) -> None:
        made = self.new(count)
        assert self.spool.append(kind, made)
        self.kept[kind] += made

    @rule(kind=st.sampled_from(KINDS), written=st.integers(0, 200), fault=st.sampled_from(["write", "fsync", "both"]))
    def fail_to_append(self, kind: str, written: int, fault: str) -> None:
        """The disk is full after some bytes, or cannot say that it has them."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folders, "_write", lambda fd, data: failing_write(fd, data, written, fault))
            if fault == "both":
                patch.setattr(os, "ftruncate", no_space)
            patch.setattr(os, "fsync", no_space if fault == "fsync" else lambda fd: None)
            made = self.new(9)
            assert not self.spool.append(kind, made)
        self.stray |= set(made) if fault == "both" else set()

    @precondition(lambda self: any(self.kept.values()))
    @rule()
    def read_without_acknowledgement(self) -> None:
        first, again = self.spool.oldest(), self.spool.oldest()
        assert first is not None
        assert again is not None
        assert first[1] == again[1]

    @rule(times=st.integers(1, 4))
    def acknowledge(self, times: int) -> None:
        for _ in range(times):
            found = self.spool.oldest()
            if found is None:
                assert not any(self.kept.values())
                return
            segment, read = found
            mine = [line for line in read if line not in self.stray]
            assert mine == self.kept[segment.kind][: len(mine)]
            del self.kept[segment.kind][: len(mine)]
            self.spool.forget(segment)

    @rule(torn=st.binary(max_size=12))
    def crash(self, torn: bytes) -> None:
        """The locks fall; what was being written may have left half a line."""
        paths = [segment.path for folder in self.spool._folders() for segment in folder.segments]
        self.spool.leave_to_parent()
        if paths:
            with paths[-1].open("ab") as file:
                file.write(torn.replace(b"\n", b""))
        self.spool = self.opened()

    @rule()
    def close(self) -> None:
        self.spool.close()
        self.spool = self.opened()

    @invariant()
    def a_second_process_finds_nothing_to_take(self) -> None:
        other = Spool(Path(self.home.name), "a/model", most_bytes=2**20, notices=Notices())
        other.adopt(0.0)
        assert other.oldest() is None
        other.close()

    def teardown(self) -> None:
        for kind in KINDS:  # all that is left, in order
            assert sorted(self.kept[kind], key=row) == self.kept[kind]
        while any(self.kept.values()):
            before = sum(map(len, self.kept.values()))
            self.acknowledge(1)
            assert sum(map(len, self.kept.values())) <= before
            assert self.spool.oldest() is not None or not any(self.kept.values())
        self.spool.close()
        self.home.cleanup()


def row(line: bytes) -> int:
    return int(line[7:-2])


def no_space(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def failing_write(descriptor: int, data: bytes, written: int, fault: str) -> None:
    os.write(descriptor, data[:written] if fault != "fsync" else data)
    if fault != "fsync":
        no_space()


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None)


def test_a_segment_holds_no_more_than_one_request_may(tmp_path):
    spool = Spool(tmp_path, "m", most_bytes=2**30, notices=Notices())
    for i in range(30):
        assert spool.append("traces", lines(500 * i, 500))
    sizes = []
    while (found := spool.oldest()) is not None:
        sizes.append(len(found[1]))
        spool.forget(found[0])
    assert sizes == [2_000] * 7 + [1_000]


def test_nobody_else_may_read_what_waits_on_disk(tmp_path):
    spool = Spool(tmp_path, "m", most_bytes=2**30, notices=Notices())
    spool.append("traces", lines(0, 3))
    spool.refuse("traces", lines(3, 1))
    for path in (tmp_path / "m").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_segment_that_somebody_deleted_is_empty_and_not_in_the_way(tmp_path):
    spool = Spool(tmp_path, "m", most_bytes=2**30, notices=Notices())
    spool.append("traces", lines(0, 3))
    spool.append("labels", lines(3, 3))
    next(tmp_path.rglob("*.traces")).unlink()
    found = spool.oldest()
    assert found is not None
    assert found[1] == []
    spool.forget(found[0])
    assert spool.rows == 3


@pytest.mark.parametrize("model", ["..", "a/b", ".", "ä b"])
def test_a_model_of_any_name_has_a_folder_of_its_own_below_the_spool(tmp_path, model):
    spool = Spool(tmp_path, model, most_bytes=2**30, notices=Notices())
    spool.append("traces", lines(0, 1))
    assert spool.root.parent == tmp_path
    assert spool.root.resolve().parent == tmp_path.resolve()
