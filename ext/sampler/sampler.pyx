"""Machine counters, sampled by a native thread at a steady rate.

The interface is described in harness/native/sampler.pyi.
"""

import math
import os
from collections import namedtuple

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

import numpy as np


cdef extern from "sampler/channel.h" nogil:
    enum channel_kind:
        CHANNEL_FILE
        CHANNEL_NVML_FIELD
        CHANNEL_NVML_CLOCK
        CHANNEL_NVML_TEMPERATURE
        CHANNEL_NVML_UTILIZATION
        CHANNEL_NVML_REASONS
        CHANNEL_NVML_MEMORY
        CHANNEL_NVML_SAMPLES
        CHANNEL_KINDS
    enum:
        CHANNEL_ELSEWHERE
    struct channel:
        channel_kind kind
        bint slow
        int64_t argument
        int64_t scale
        const char* path
        const char* key
        bint meter
    struct reading:
        int64_t time_ns
        int64_t value
        int64_t updated_us
        int32_t status
        int32_t channel

cdef extern from "sampler/sampling.h" nogil:
    struct sampler:
        pass
    struct sampler_plan:
        const channel* channels
        size_t channel_count
        int64_t period_ns
        int64_t slow_every
        size_t capacity
        int64_t patience_ns
        const char* nvml_library
        unsigned gpu
    ctypedef struct report_t "struct sampler_report":
        int64_t ticks
        int64_t missed
        int64_t dropped
        int64_t cpu_ns
        int64_t setup_ns
        int hung
        bint test_double
        const char* detail
    ctypedef struct cost_t "struct sampler_cost":
        int64_t cost_ns
        int64_t period_ns
        int64_t every_ns
        int32_t untried
        bint seldom
    enum tier:
        TIER_FAST
        TIER_SLOW
        TIER_SELDOM
    sampler* sampler_new(const sampler_plan*) noexcept
    int sampler_start(sampler*) noexcept
    void sampler_stop(sampler*) noexcept
    bint sampler_edge(sampler*) noexcept
    report_t sampler_report(const sampler*) noexcept
    cost_t sampler_cost(const sampler*, size_t) noexcept
    size_t sampler_rows(const sampler*, tier) noexcept
    size_t sampler_columns(const sampler*, tier) noexcept
    void sampler_take(sampler*, tier, reading*, size_t) noexcept
    void sampler_free(sampler*) noexcept


FILE = CHANNEL_FILE
NVML_FIELD = CHANNEL_NVML_FIELD
NVML_CLOCK = CHANNEL_NVML_CLOCK
NVML_TEMPERATURE = CHANNEL_NVML_TEMPERATURE
NVML_UTILIZATION = CHANNEL_NVML_UTILIZATION
NVML_REASONS = CHANNEL_NVML_REASONS
NVML_MEMORY = CHANNEL_NVML_MEMORY
NVML_SAMPLES = CHANNEL_NVML_SAMPLES

ELSEWHERE = CHANNEL_ELSEWHERE

READING = np.dtype([
    ("time_ns", np.int64), ("value", np.int64), ("updated_us", np.int64),
    ("status", np.int32), ("channel", np.int32),
])

Channel = namedtuple(
    "Channel", "kind argument scale slow path key meter", defaults=(0, 1, False, "", "", False)
)
Report = namedtuple("Report", "ticks missed dropped cpu_ns setup_ns hung detail test_double")
Cost = namedtuple("Cost", "cost_ns period_ns every_ns untried seldom")


cdef class Sampler:
    """A thread, the channels that it reads, and what it has read."""

    cdef sampler* _sampler
    cdef bint _busy
    cdef size_t _channels

    def __init__(
        self, channels, double hz=100.0, int slow_every=10, int64_t capacity=6000,
        int gpu=0, nvml_library="libnvidia-ml.so.1", double patience_s=2.0,
    ):
        cdef sampler_plan plan
        cdef channel* copied
        cdef Py_ssize_t i
        if self._sampler != NULL:
            raise RuntimeError("a Sampler can be set up only once")
        if not 1 <= hz <= 1000:
            raise ValueError(f"hz must be from 1 to 1000: {hz}")
        if slow_every < 1 or capacity < 1 or gpu < 0:
            raise ValueError("slow_every and capacity must be at least 1, gpu at least 0")
        if not 0 < patience_s < 3600:
            raise ValueError(f"patience_s must be more than 0 and less than an hour: {patience_s}")
        channels = list(channels)
        slow = [bool(each.slow) for each in channels]
        if slow != sorted(slow):
            raise ValueError("slow channels must come after the fast ones")
        for each in channels:
            if not 0 <= each.kind < CHANNEL_KINDS:
                raise ValueError(f"not a kind of channel: {each.kind}")
            if each.kind == CHANNEL_FILE and each.argument < 1:
                raise ValueError(f"fields are numbered from 1: {each.argument}")
        # Kept until sampler_new has copied them.
        texts = [(os.fsencode(each.path), each.key.encode()) for each in channels]
        library = os.fsencode(nvml_library)
        copied = <channel*>calloc(len(channels) + 1, sizeof(channel))
        if copied == NULL:
            raise MemoryError
        try:
            for i, each in enumerate(channels):
                path, key = texts[i]
                copied[i].kind = each.kind
                copied[i].slow = each.slow
                copied[i].argument = each.argument
                copied[i].scale = each.scale
                copied[i].path = path
                copied[i].key = key
                copied[i].meter = each.meter
            plan.channels = copied
            plan.channel_count = len(channels)
            plan.period_ns = <int64_t>math.floor(1e9 / hz + 0.5)
            plan.slow_every = slow_every
            plan.capacity = capacity
            plan.patience_ns = <int64_t>(patience_s * 1e9)
            plan.nvml_library = library
            plan.gpu = gpu
            self._channels = plan.channel_count
            self._sampler = sampler_new(&plan)
        finally:
            free(copied)
        if self._sampler == NULL:
            raise MemoryError(f"no memory for {capacity} rows of {len(channels)} channels")

    def __dealloc__(self):
        sampler_free(self._sampler)

    cdef sampler* _own(self) except NULL:
        """The native sampler, for one thread at a time."""
        if self._sampler == NULL:
            raise ValueError("the sampler is closed")
        if self._busy:
            raise RuntimeError("another thread is using the sampler")
        return self._sampler

    def start(self):
        """Starts the thread."""
        cdef sampler* native = self._own()
        cdef int error
        self._busy = True
        with nogil:
            error = sampler_start(native)
        self._busy = False
        if error:
            raise OSError(error, f"the sampling thread: {os.strerror(error)}")

    def edge(self):
        """Has the thread read its seldom channels now, and waits until it has, but not long."""
        cdef sampler* native = self._own()
        cdef bint read
        self._busy = True
        with nogil:
            read = sampler_edge(native)
        self._busy = False
        return bool(read)

    def stop(self):
        """Ends the thread, or abandons it if it hangs."""
        cdef sampler* native = self._own()
        self._busy = True
        with nogil:
            sampler_stop(native)
        self._busy = False

    def take(self):
        """Readings since the last call: of the fast channels, the slow and the seldom ones."""
        return self._take(TIER_FAST), self._take(TIER_SLOW), self._take(TIER_SELDOM)[:, 0]

    cdef object _take(self, tier of):
        cdef sampler* native = self._own()
        cdef size_t rows = sampler_rows(native, of)
        taken = np.zeros((rows, sampler_columns(native, of)), READING)
        cdef char[::1] memory
        if taken.size:
            memory = taken.reshape(-1).view(np.int8)
            sampler_take(native, of, <reading*>&memory[0], rows)
        return taken

    def costs(self):
        """What was found out about each channel before the first tick."""
        return tuple([self._cost(i) for i in range(self._channels)])

    cdef object _cost(self, size_t channel):
        cdef cost_t cost = sampler_cost(self._own(), channel)
        return Cost(
            cost.cost_ns, cost.period_ns, cost.every_ns, cost.untried, bool(cost.seldom)
        )

    def report(self):
        """Counters of the thread."""
        cdef report_t report = sampler_report(self._own())
        return Report(
            report.ticks, report.missed, report.dropped, report.cpu_ns, report.setup_ns,
            None if report.hung < 0 else report.hung,
            report.detail.decode(errors="replace"), bool(report.test_double),
        )

    def close(self):
        """Releases everything without waiting."""
        if self._sampler != NULL:
            sampler_free(self._own())
            self._sampler = NULL

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
