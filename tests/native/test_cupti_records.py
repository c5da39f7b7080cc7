"""Decoding CUPTI's records, and CUPTI where it is absent. No GPU records here."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.native import cupti
from harness.tracing.kernels import join

# CUpti_ActivityKind.
MEMCPY, MEMSET, KERNEL, DRIVER, RUNTIME = 1, 2, 3, 4, 5
CONCURRENT_KERNEL, NAME, OVERHEAD, EXTERNAL_CORRELATION = 10, 11, 17, 39

#: Bytes of CUpti_ActivityKernel3, 4, 5, 8, 9 and 10, and of longer ones: later versions only
#: add behind.
KERNEL_SIZES = (120, 144, 160, 200, 208, 216, 224, 240, 256)


def kernel(size: int = 216, kind: int = CONCURRENT_KERNEL, **fields: Any) -> bytes:
    """A record in the order of the fields in CUpti_ActivityKernel10."""
    given = {
        "registers": 40,
        "start": 1000,
        "end": 1500,
        "device": 1,
        "context": 2,
        "stream": 7,
        "grid": (10, 20, 30),
        "block": (128, 2, 1),
        "static": 1024,
        "dynamic": 2048,
        "correlation": 5,
        "name": 0,
        "graph": 0,
        "graph_node": 0,
    } | fields
    head = struct.pack(
        "<I B B H I I Q Q Q I I I 3i 3i i i I I I q Q Q",
        kind,
        0xFF,
        0xFF,
        given["registers"],
        0xFFFF,
        0xFFFF,
        given["start"],
        given["end"],
        0xFFFFFFFFFF,  # completed
        given["device"],
        given["context"],
        given["stream"],
        *given["grid"],
        *given["block"],
        given["static"],
        given["dynamic"],
        0xFFFF,  # local memory
        0xFFFF,
        given["correlation"],
        -1,  # grid id
        given["name"],
        0xFFFFFFFF,  # reserved
    )
    record = bytearray(head.ljust(size, b"\xee"))
    if size >= 160:
        record[144:160] = struct.pack("<Q I I", given["graph_node"], 0xFFFFFFFF, given["graph"])
    return bytes(record)


def move(kind: int, size: int = 88, **fields: Any) -> bytes:
    """A copy (CUpti_ActivityMemcpy) or a setting of memory (CUpti_ActivityMemset)."""
    given = {"what": 1, "bytes": 4096, "start": 10, "end": 20, "stream": 7, "correlation": 6}
    given |= {"graph": 0, "graph_node": 0} | fields
    head = struct.pack(
        "<I I Q Q Q I I I I",
        kind,
        given["what"],
        given["bytes"],
        given["start"],
        given["end"],
        1,
        2,
        given["stream"],
        given["correlation"],
    )
    record = bytearray(head.ljust(size, b"\xee"))
    if size >= 88:
        record[64:76] = struct.pack("<Q I", given["graph_node"], given["graph"])
    return bytes(record)


def call(kind: int = RUNTIME, start: int = 5, end: int = 9, correlation: int = 5) -> bytes:
    return struct.pack("<I I Q Q I I I I", kind, 211, start, end, 77, 88, correlation, 3)


def external(number: int, correlation: int = 5, kind: int = 3) -> bytes:
    return struct.pack("<I I Q I I", EXTERNAL_CORRELATION, kind, number, correlation, 0)


def buffer(records: Iterable[bytes]) -> tuple[bytes, list[int]]:
    records = list(records)
    offsets = np.cumsum([0, *map(len, records)])[:-1]
    return b"".join(records), offsets.tolist()


def decode(*records: bytes) -> cupti.CuptiColumns:
    return cupti.decode([buffer(records)])


def counts(columns: cupti.CuptiColumns) -> tuple[int, ...]:
    return (
        len(columns.work),
        len(columns.call),
        len(columns.external),
        columns.skipped,
        columns.truncated,
    )


class TestKernels:
    @pytest.mark.parametrize("size", KERNEL_SIZES)
    @pytest.mark.parametrize("kind", [CONCURRENT_KERNEL, KERNEL])
    def test_every_version_of_the_record(self, size: int, kind: int) -> None:
        columns = decode(kernel(size, kind, name=1 << 60), external(9))
        assert counts(columns) == (1, 0, 1, 0, 0)
        (work,) = columns.work
        assert (work["kind"], work["start_ns"], work["end_ns"]) == (0, 1000, 1500)
        assert work["grid"].tolist() == [10, 20, 30]
        assert work["block"].tolist() == [128, 2, 1]
        assert (work["registers"], work["shared_bytes"], work["bytes"]) == (40, 3072, -1)
        assert (work["device"], work["context"], work["stream"]) == (1, 2, 7)
        assert (work["correlation"], work["name"], work["copy_kind"]) == (5, 1 << 60, -1)

    @pytest.mark.parametrize("size", KERNEL_SIZES)
    def test_the_graph_is_told_where_the_version_has_it(self, size: int) -> None:
        (work,) = decode(kernel(size, graph=12, graph_node=2**63 + 5)).work
        assert work["graph"] == (12 if size >= 208 else 0)
        assert work["graph_node"] == (2**63 + 5 if size >= 208 else 0)

    def test_sizes_beyond_two_gigabytes_do_not_wrap(self) -> None:
        (work,) = decode(kernel(static=2**31 - 1, dynamic=2**31 - 1)).work
        assert work["shared_bytes"] == 2**32 - 2

    def test_a_kernel_without_stamps_is_kept(self) -> None:
        columns = decode(kernel(start=0, end=0), kernel(end=0))
        assert columns.work["end_ns"].tolist() == [0, 0]


class TestOtherRecords:
    @pytest.mark.parametrize("size", [48, 64, 88, 96])
    def test_a_copy(self, size: int) -> None:
        (work,) = decode(move(MEMCPY, size, what=0x0201_0308)).work
        assert (work["kind"], work["copy_kind"], work["bytes"]) == (1, 8, 4096)
        assert (work["start_ns"], work["end_ns"], work["stream"]) == (10, 20, 7)
        assert (work["correlation"], work["registers"], work["shared_bytes"]) == (6, -1, -1)
        assert work["grid"].tolist() == work["block"].tolist() == [-1, -1, -1]

    @pytest.mark.parametrize("size", [48, 64, 88])
    def test_a_setting_of_memory(self, size: int) -> None:
        (work,) = decode(move(MEMSET, size, what=0xFFFFFFFF)).work
        assert (work["kind"], work["copy_kind"], work["bytes"]) == (2, -1, 4096)

    @pytest.mark.parametrize("kind", [MEMCPY, MEMSET])
    @pytest.mark.parametrize("size", [48, 64, 72, 80, 88, 96])
    def test_the_graph_of_a_copy_is_told_where_the_version_has_it(
        self, kind: int, size: int
    ) -> None:
        (work,) = decode(move(kind, size, graph=12, graph_node=2**40 + 3)).work
        assert work["graph"] == (12 if size >= 88 else 0)
        assert work["graph_node"] == (2**40 + 3 if size >= 88 else 0)

    @pytest.mark.parametrize("kind", [RUNTIME, DRIVER])
    def test_a_call(self, kind: int) -> None:
        (each,) = decode(call(kind)).call
        assert each.tolist() == (5, 9, 88, 5, 211, 3)

    def test_an_external_id_of_64_bits(self) -> None:
        (each,) = decode(external(2**64 - 1, correlation=2**32 - 1)).external
        assert each.tolist() == (2**64 - 1, 3, 2**32 - 1)

    def test_other_kinds_are_counted(self) -> None:
        unknown = struct.pack("<I", 0x7FFFFFFF)
        others = [struct.pack("<I 20x", NAME), struct.pack("<I 52x", OVERHEAD)]
        columns = decode(*others, kernel(), unknown, external(1))
        assert counts(columns) == (1, 0, 1, 3, 0)


class TestHostileBuffers:
    RECORDS = (kernel(), move(MEMCPY), move(MEMSET), call(), external(1))

    @pytest.mark.parametrize("record", RECORDS)
    def test_a_truncated_record_is_counted_and_not_read(self, record: bytes) -> None:
        assert sum(counts(decode(record))[:3]) == 1
        read = [size for size in range(len(record)) if decode(record[:size]).truncated == 0]
        # Once all that is used is there, nothing more is needed.
        assert read == list(range(read[0] if read else len(record), len(record)))
        assert 16 not in read
        for size in read:
            assert sum(counts(decode(record[:size]))[:3]) == 1

    def test_nothing_is_read_beyond_the_next_record(self) -> None:
        data, _ = buffer([kernel(), kernel()])
        columns = cupti.decode([(data, [0, 100])])
        assert columns.truncated == 1

    def test_offsets_outside_of_the_buffer(self) -> None:
        data = kernel()
        columns = cupti.decode([(data, [-1, -(2**63), len(data), 2**63 - 1, len(data) - 1])])
        assert counts(columns) == (0, 0, 0, 0, 5)

    def test_records_out_of_order(self) -> None:
        data, offsets = buffer([external(1), kernel(start=1), external(2), kernel(start=2)])
        columns = cupti.decode([(data, offsets[::-1])])
        assert columns.external["id"].tolist() == [2, 1]
        assert columns.work["start_ns"].tolist() == [2, 1]

    def test_no_records(self) -> None:
        assert counts(cupti.decode([])) == (0,) * 5
        assert counts(cupti.decode([(b"", [])])) == (0,) * 5
        assert counts(cupti.decode([(b"", [0])])) == (0,) * 4 + (1,)

    def test_random_bytes(self) -> None:
        random = np.random.default_rng(0)
        for _ in range(200):
            data = random.integers(0, 48, 4096, np.uint8)
            offsets = np.sort(random.integers(-50, 4200, 200))
            columns = cupti.decode([(data, offsets)])
            assert sum(counts(columns)) == 200

    def test_buffers_add_up_and_need_no_alignment(self) -> None:
        data, offsets = buffer([kernel(), external(3)])
        shifted = memoryview(b"\0" + data)[1:]
        columns = cupti.decode([(data, offsets), (shifted, offsets), (data, offsets)])
        assert counts(columns) == (3, 0, 3, 0, 0)
        assert columns.work["start_ns"].tolist() == [1000] * 3


class TestNames:
    def test_a_name_is_read_and_demangled(self) -> None:
        texts = [b"_Z4gemmILi128EEvPf", b"plain", b"_Znonsense", b"caf\xc3\xa9 \xff"]
        kept = [ctypes.create_string_buffer(text) for text in texts]
        addresses = [ctypes.addressof(each) for each in kept]
        names = cupti.names_at([*addresses, 0, addresses[0]])
        assert names.pop(0) == ""
        assert [names[address] for address in addresses] == [
            "void gemm<128>(float*)",
            "plain",
            "_Znonsense",
            "café \ufffd",
        ]


class TestAbsentLibrary:
    def test_each_candidate_says_why_not(self, tmp_path: Path) -> None:
        missing = tmp_path / "libcupti.so.13"
        with pytest.raises(OSError, match=r"cannot open shared object file.*; .*no function cupti"):
            cupti.Cupti([str(missing), "libc.so.6"])
        with pytest.raises(OSError, match="no library"):
            cupti.Cupti([])

    def test_the_reason_names_a_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="libcupti") as raised:
            cupti.Cupti([str(tmp_path / "libcupti.so.13")])
        reason = join.why_absent(str(raised.value))
        assert reason.startswith("no CUPTI: ")
        assert "pip install nvidia-cuda-cupti" in reason

    def test_without_a_gpu_it_does_not_start_and_says_so(self) -> None:
        """In a process of its own: a library that was opened stays."""
        if any(Path("/dev").glob("nvidia[0-9]*")):
            pytest.skip("there is a GPU")
        code = """
from harness.native import cupti, marks
from harness.tracing.kernels import join
try:
    cupti = cupti.Cupti(join.cupti_candidates())
except OSError as error:
    print(join.why_absent(str(error)))
else:
    for _ in range(2):
        try:
            cupti.start()
        except OSError as error:
            print(join.why_absent(str(error)))
    try:
        cupti.stop()
    except ValueError as error:
        assert "no recording" in str(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines():
            assert "pip install" in line or "nvidia-smi" in line or "driver" in line
        assert done.stdout
