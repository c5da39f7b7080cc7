"""The page of a profile: what it says, and that nothing of a model becomes markup."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from typing import Any

import numpy as np
import pytest

from harness.analysis.device_time import DeviceAccounts
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import InputRecord, NodeEvents, Profile, Reading, Stacks
from harness.reporters.html import page, plots
from harness.reporters.html.markup import Markup, element, foreign, shorten
from tests.builders.device_records import kernels, series
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile
from tests.builders.recordings import (
    PROFILES,
    on_both_clocks,
    recorded,
    undoubted,
    wrongly_split,
)

HOSTILE = (
    '/layer1/<script>alert("x")</script>',
    "/layer1/\"'><img src=x onerror=alert(1)>",
    "/layer1/" + "long'" * 2000,
    "/layer2/\u202eשלום",
    "/layer2/\x00\x1b[31m\ud800]]>",
)

#: Elements and attributes that a page of ours holds; no model may add to them.
ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        """html head meta link title style body script a header h1 h2 h3 h4 p main section article
        div ul ol li i b span bdi dl dt dd svg rect line text circle path figure figcaption nav
        table caption thead tbody tr th td button fieldset legend label input output details summary
        pre code footer time wbr""",
    )
)


class Page(html.parser.HTMLParser):
    """Elements, attributes and texts as a browser sees them."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self._broken = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "link", "input", "wbr"}:
            self._inside.append(tag)
        # Where a name may be broken it is still one text; so are its parts that a phone hides.
        self._broken = tag == "wbr" or ("class", "common") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag
        self._broken = tag == "span" and self._inside[-1:] == ["bdi"]

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] not in {"style", "script"}:
            if self._broken and self.texts:
                data = self.texts.pop() + data
            self.texts.append(data)
            self._broken = False

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\u00a0", " ")


def traced(names: tuple[str, ...] = HOSTILE, source: str = "probe", **columns: Any) -> Profile:
    """Three inferences of a profile with so many nodes, a microsecond each."""
    count, inferences = len(names), 3
    whole_ns = count * 1000
    node = np.tile(np.arange(count, dtype=np.int32), inferences)
    number = np.repeat(np.arange(inferences, dtype=np.int32), count)
    start_ns = 10_000_000 + number.astype(np.int64) * 2 * whole_ns + node * 1000
    duration_ns = np.full(len(node), 1000, np.int64)
    events = NodeEvents(
        source=source,
        node=node,
        process=np.zeros(len(node), np.int32),
        inference=number,
        start_ns=start_ns,
        duration_ns=duration_ns,
        self_ns=duration_ns,
        details={"mem_in_use_bytes": np.full(len(node), 3 << 20, np.int64)},
        inference_process=np.zeros(inferences, np.int32),
        inference_number=np.arange(inferences, dtype=np.int32),
        inference_start_ns=start_ns[::count],
        inference_duration_ns=np.full(inferences, whole_ns, np.int64),
        inference_framework_ns=np.zeros(inferences, np.int64),
        dropped=0,
        resolution_ns=1,
    )
    values: dict[str, Any] = {
        "nodes": table([-1] * count, name=names, op_type=("Conv", "<b>") * count),
        "traces": {"probe": events, "ort": dataclasses.replace(events, source="ort")},
    }
    values["nodes"] = dataclasses.replace(
        values["nodes"], op_type=(("Conv", "<b>") * count)[:count]
    )
    return profile(process([whole_ns] * 100), **(values | columns))


def test_text_is_escaped_unless_it_is_markup() -> None:
    made = element("p", "<b>", Markup("<i></i>"), None, 3, title='"')
    assert made == '<p title="&quot;">&lt;b&gt;<i></i>3</p>'


def test_characters_that_html_forbids_are_replaced() -> None:
    assert element("p", "a\x00\ud800\x1b") == "<p>a\ufffd\ufffd\ufffd</p>"
    assert element("p", "a\x00\ud800").encode()


def test_foreign_text_is_isolated_and_cut_in_the_middle() -> None:
    assert foreign("name") == "<bdi>name</bdi>"
    assert len(foreign("x" * 10_000)) < 600
    assert shorten("abcdefgh", 5) == "ab…gh"


def test_hostile_names_add_no_element_and_no_handler() -> None:
    source = page([traced()])
    seen = Page(source)
    assert set(seen.elements) <= ELEMENTS
    assert seen.elements.count("script") == 1
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert '<script>alert("x")</script>' in seen.text
    assert "long'long" in seen.text
    assert len(source) < 200_000


def test_hostile_facts_inputs_and_logs_add_no_element() -> None:
    bad = '"><script>alert(1)</script>'
    told = dataclasses.replace(
        traced(),
        provider=bad,
        inputs=(InputRecord(bad, bad, (1,), bad, bad),),
        environment=(Reading(bad, bad, bad, bad), Reading(bad, None, source=bad, reason=bad)),
        absent=((bad, bad),),
        config='{"quick": true, "note": "</pre><script>"}',
    )
    broken = dataclasses.replace(told.processes[0], log=(bad,), metadata={bad: bad})
    assert (
        Page(page([dataclasses.replace(told, processes=(broken,))])).elements.count("script") == 1
    )


def test_nothing_is_loaded_from_elsewhere() -> None:
    source = page([traced()])
    seen = Page(source)
    addresses = {value for name, value in seen.attributes if name in {"src", "href"}}
    assert all(value and value.startswith(("#", "data:,")) for value in addresses)
    assert "url(" not in source
    assert "@import" not in source
    policy = next(v for n, v in seen.attributes if n == "content" and v and "default-src" in v)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_ids_are_unique_and_links_lead_somewhere_with_several_profiles() -> None:
    seen = Page(page([traced(), traced()]))
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {v[1:] for n, v in seen.attributes if n == "href" and v and v.startswith("#")}
    assert links <= set(ids)


def test_first_screen_tells_figures_with_units() -> None:
    text = Page(page([profile(process([2_000_000] * 600), process([2_100_000] * 600, 1))])).text
    assert "2.050 ms" in text or "2.05 ms" in text
    assert "median of 2 processes" in text
    assert "95 % confidence" in text


def test_what_is_absent_is_told_with_its_reason() -> None:
    told = profile(
        process([10] * 5),
        absent=(("package energy_uj", "no counter in this machine"),),
        environment=(Reading("ceilings", None, reason="left out"),),
    )
    text = Page(page([told])).text
    assert "no counter in this machine" in text
    assert "p99 needs 500 independent samples per process, 5 were taken" in text
    assert "one process cannot show how much processes differ" in text
    assert "left out" in text
    assert "no traced pass was asked for" in text


def test_a_profile_without_a_finished_process_has_a_page() -> None:
    text = Page(page([profile(complete=False)])).text
    assert "no process has finished" in text
    assert "interrupted" in text


def test_findings_stand_on_the_page_with_the_nodes_they_are_about() -> None:
    nodes = table(
        [-1] * 8,
        name=("copy", *HOSTILE[:1] * 7),
        op_type=("MemcpyToHost", *("Relu",) * 7),
        provider=("CUDAExecutionProvider", *("CPUExecutionProvider",) * 7),
    )
    seen = Page(page([profile(process([10] * 5), nodes=nodes, provider="cuda")]))
    assert "1 copy between GPU and CPU, because 7 nodes run on the CPU." in seen.text
    assert "copies 1, nodes on cpu 7" in seen.text
    assert seen.text.count(HOSTILE[0]) == 5
    assert "and 2 more" in seen.text
    assert ("href", "#findings") in seen.attributes
    assert seen.elements.count("script") == 1
    assert set(seen.elements) <= ELEMENTS


def test_without_findings_and_stacks_the_page_has_no_section_for_them() -> None:
    links = {value for name, value in Page(page([traced()])).attributes if name == "href"}
    assert not links & {"#findings", "#stacks"}


LOOP = "main (a.py:1);Measurement.take (harness/worker.py:9)"


def sampled(stacks: dict[str, int], *, native: bool = True) -> Page:
    counted = np.array(list(stacks.values()), np.int64)
    told = Stacks(tuple(stacks), counted, rate_hz=199, native=native, failed=0)
    return Page(page([profile(process([10] * 5), stacks=told)]))


def test_stacks_are_shares_and_a_flame() -> None:
    library = "(x/libonnxruntime.so.1)"
    seen = sampled(
        {
            "main (a.py:1);print (<b>.py:2)": 10,
            f"0x7f (libc.so.6);{LOOP};loop (harness/native/ort.so);0x1 {library}": 60,
            f"{LOOP};loop (harness/native/ort.so);0x2 {library};0x3 {library};Cast {library}": 20,
            f"{LOOP};loop (harness/native/ort.so)": 10,
        }
    )
    for share in ("Python 10 %", "timing loop 10 %", "ONNX Runtime 80 %"):
        assert share in seen.text
    assert "\u2068print (<b>.py:2)\u2069" in seen.text
    assert set(seen.elements) <= ELEMENTS
    # Frames of one library without a name are one, and what is above main is no root.
    assert "\u2068x/libonnxruntime.so.1\u2069\n\u206880 %, 80 samples\u2069" in seen.text
    assert "libc.so.6" not in seen.text
    assert "\u2068main (a.py:1)\u2069\n\u2068100 %, 100 samples\u2069" in seen.text


def test_stacks_without_native_frames_say_what_they_cannot_tell() -> None:
    seen = sampled({LOOP: 99, "main (a.py:1)": 1}, native=False)
    assert "Python 1.0 %" in seen.text
    assert "the call of the timing loop, which calls ONNX Runtime 99 %" in seen.text
    assert "--stacks=native" in seen.text


def test_a_flame_does_not_grow_with_its_stacks() -> None:
    few, many = (
        sampled({f"main (a.py:1);f{n} (b.py:{n})": 1 for n in range(count)}).elements.count("svg")
        for count in (400, 20_000)
    )
    assert few > 400
    assert many < few


def test_readings_of_a_test_double_are_refused() -> None:
    readings = [(n * 1000, 12_345_000 + n) for n in range(100)]
    told = dataclasses.replace(
        traced(), devices=(series("gpu0", "power_instant_mw", readings, unit="mW", double=True),)
    )
    text = Page(page([told])).text
    assert "come from a test double: refused, no measurement" in text
    assert "Refused, from a test double" in text
    assert "12.3 kW" not in text
    assert "power instant · gpu0" not in text


def test_readings_of_a_device_are_drawn_over_time() -> None:
    readings = [(n * 1000, 60_000 + n) for n in range(100)]
    told = dataclasses.replace(
        traced(), devices=(series("gpu0", "power_instant_mw", readings, unit="mW"),)
    )
    text = Page(page([told])).text
    assert "power instant · gpu0" in text
    assert "60 W" in text


def test_energy_is_power_over_the_updates_of_its_counter() -> None:
    # 700 W, read every 10 ms and updated every 100 ms, the first time 30 ms after the beginning.
    readings = [(n * 10**7, 70_000 * ((n + 7) // 10)) for n in range(100)]
    counter = series("gpu0", "energy_mj", readings, unit="mJ")
    text = Page(page([dataclasses.replace(traced(), devices=(counter,))])).text
    assert "power by the energy counter · gpu0" in text
    assert "700 W to 700 W" in text
    assert "kW" not in text


def test_power_of_a_costly_counter_is_that_between_readings_far_apart() -> None:
    # The second reading sees the next update, 10 ms after the first: 7 kW if taken literally.
    readings = [(0, 0), (10**7, 70_000), (10**9, 700_000), (2 * 10**9, 1_400_000)]
    thread = "sampler_gpu0"
    told = dataclasses.replace(
        traced(),
        devices=(
            series("gpu0", "energy_mj", readings, unit="mJ"),
            series(thread, "energy_mj_call_ns", [(0, 3_000_000)], unit="ns"),
            series(thread, "energy_mj_period_ns", [(0, 10**8)], unit="ns"),
        ),
    )
    text = Page(page([told])).text
    assert "700 W to 700 W" in text
    assert "kW" not in text


@pytest.mark.parametrize("name", PROFILES)
def test_a_gpus_page_tells_both_clocks(name: str) -> None:
    source = page([on_both_clocks(name)])
    seen = Page(source)
    labels = [value for key, value in seen.attributes if key == "aria-label"]
    assert "the host's account of an inference" in labels
    assert "the device's account of an inference" in labels
    for part in ("before its first work", "idle between", "after its last work"):
        assert part in seen.text
    # The map is of the device's times, and the table has them.
    assert any(label and label.startswith("time on the device by ") for label in labels)
    assert {"GPU", "GPU idle", "launches"} <= set(seen.texts)
    assert "device: stream" in seen.text
    assert "waits for the launch of" in seen.text
    assert source.count('class="launch"') >= 5
    assert set(seen.elements) <= ELEMENTS
    assert not re.findall(r'"-?(?:nan|inf)', source)


def test_what_the_device_waits_for_is_named_unless_its_accounts_are_doubtful() -> None:
    told = "The device waits longest for the launches of"
    seen = Page(page([undoubted(on_both_clocks("mlp"))])).text
    assert told in seen
    waits = seen[seen.index(told) :]
    assert waits.index("fc1/Relu") < waits.index("fc2/Gemm")
    doubtful = Page(page([on_both_clocks("mlp")])).text
    assert told not in doubtful
    assert "Which nodes the device waits for is not told: they miss the timed pass" in doubtful
    assert "Do not trust the device's account: they miss the timed pass" in doubtful
    assert "Its split between these parts: times of launches differ by 0.0%" in seen
    wrong = Page(page([undoubted(wrongly_split(on_both_clocks("mlp")))])).text
    assert "Do not trust the device's account: the device's work differs from the pass" in wrong
    # Each idle time of the table is marked, and says why.
    found = operator_table(on_both_clocks("mlp"))
    assert isinstance(found, OperatorTable)
    assert isinstance(found.device, DeviceAccounts)
    assert found.device.doubt != found.accounts.doubt
    mark = ("title", found.device.doubt)
    assert Page(page([on_both_clocks("mlp")])).attributes.count(mark) >= len(found.operators)
    assert mark not in Page(page([undoubted(on_both_clocks("mlp"))])).attributes


@pytest.mark.parametrize("name", PROFILES)
def test_what_an_older_recording_lacks_is_absent_with_the_reason(name: str) -> None:
    seen = Page(page([recorded(name)]))
    reason = "recorded without a pass for the device's times alone"
    assert f"The device's account is not known: {reason}" in seen.text
    assert f"Which nodes the device waits for is not known: {reason}" in seen.text
    assert f"GPU idle: {reason}" in seen.text
    assert "The device is busy for" in seen.text
    assert "host: launches of each node" in seen.text
    assert "device: idle" not in seen.text
    assert "the device's account of an inference" not in dict(seen.attributes).values()


def test_without_kernels_the_page_of_a_gpu_says_why() -> None:
    told = traced(provider="cuda", absent=(("trace/kernels", "CUPTI is in use"),))
    text = Page(page([told])).text
    assert "The device's account is not known: CUPTI is in use" in text
    assert "What the device did is not known: CUPTI is in use" in text
    assert "GPU idle" not in text
    of_host = Page(page([traced()])).text
    assert "device" not in of_host[of_host.index("Where an inference") :]


def test_work_on_several_streams_has_a_lane_for_each() -> None:
    work = kernels(*((f"k{n}", 0, 10_000_100 + n, 50) for n in range(9)), stream=np.arange(9))
    text = Page(page([traced(kernels=work)])).text
    for stream in range(6):
        assert f"device: stream {stream}" in text
    assert "device: stream 5, 3 more streams not drawn" in text
    assert "device: stream 6" not in text


def test_kernels_are_drawn_on_their_stream() -> None:
    work = kernels(("sgemm<float>", 0, 10_000_100, 200), ("relu", -1, 10_010_400, 100))
    work = dataclasses.replace(work, inference=np.array([1, 1], np.int32))
    text = Page(page([traced(kernels=work)])).text
    assert "stream 7" in text
    assert "sgemm<float>" in text


def test_ceilings_give_the_roofline_its_lines() -> None:
    told = traced(("conv",))
    assert told.nodes is not None
    nodes = dataclasses.replace(
        told.nodes,
        flops=np.array([900_000]),
        traffic_bytes=np.array([1000]),
        arithmetic=("float32",),
    )
    environment = (
        Reading("ceiling_copy", 10e9, "bytes/s", "STREAM"),
        Reading("ceiling_matmul_float32", 1e12, "flop/s", "MatMul"),
    )
    text = Page(page([dataclasses.replace(told, nodes=nodes, environment=environment)])).text
    assert "compute-bound" in text
    assert "10 GB/s" in text
    assert "900 GFLOP/s" in text


def test_the_page_of_ceilings_that_no_machine_has_says_so() -> None:
    told = traced(("conv",))
    assert told.nodes is not None
    nodes = dataclasses.replace(
        told.nodes, flops=np.array([9]), traffic_bytes=np.array([1]), arithmetic=("float32",)
    )
    for value in (5e-324, 1.7e308):
        facts = tuple(Reading(f"ceiling_{name}", value) for name in ("copy", "matmul_float32"))
        text = Page(page([dataclasses.replace(told, nodes=nodes, environment=facts)])).text
        assert "Without ceilings: not a possible value" in text


def test_a_page_does_not_grow_with_its_names() -> None:
    long = "x" * 200_000
    told = traced((f"/{long}/a", f"/{long}/b"))
    assert told.nodes is not None
    nodes = dataclasses.replace(
        told.nodes, op_type=(long, f"{long}y"), output_bytes=np.array([5, 6])
    )
    assert len(page([dataclasses.replace(told, nodes=nodes)])) < 150_000


def test_each_level_has_a_line_of_its_own_in_the_roofline() -> None:
    told = traced(("conv",))
    assert told.nodes is not None
    columns = {"flops": np.array([900]), "traffic_bytes": np.array([1000])}
    environment = (
        Reading("ceiling_copy", 10e9, "bytes/s", "STREAM"),
        Reading("ceiling_copy_l1", 300e9, "bytes/s", "STREAM"),
        Reading("ceiling_l1_bytes", 48_000, "bytes", "sysfs"),
        Reading("ceiling_l1_caches", 1, "1", "sysfs"),
        Reading("ceiling_copy_l2", None, "bytes/s", "STREAM", "too busy"),
        Reading("ceiling_l2_bytes", 1_000_000, "bytes", "sysfs"),
        Reading("ceiling_matmul_float32", 1e12, "flop/s", "MatMul"),
    )
    nodes = dataclasses.replace(told.nodes, **columns)
    text = Page(page([dataclasses.replace(told, nodes=nodes, environment=environment)])).text
    assert "DRAM 10 GB/s" in text
    assert "L1 300 GB/s" in text
    assert "L2 " not in text


def test_a_long_series_keeps_its_extremes() -> None:
    values = np.ones(100_000)
    values[54_321], values[77_777] = 50, -50
    seen = plots.envelope(np.arange(100_000), values, 0, 100_000)
    assert len(seen.at) <= plots.COLUMNS
    assert (seen.high.max(), seen.low.min(), np.median(seen.middle)) == (50, -50, 1)
    assert (np.diff(seen.at) > 0).all()


def test_a_page_does_not_grow_with_its_samples() -> None:
    short, long = (len(page([profile(process([1000 + n % 7 for n in range(count)]))]))
                   for count in (2000, 200_000))  # fmt: skip
    assert long < short * 1.2


def test_areas_of_the_treemap_fill_it_without_overlap() -> None:
    sizes = [6.0, 6, 4, 3, 2, 2, 1]
    placed = plots.squarify(sizes, 6, 4)
    for size, (x, y, width, height) in zip(sizes, placed, strict=True):
        assert width * height == pytest.approx(size)
        assert -1e-9 <= x <= x + width <= 6 + 1e-9
        assert -1e-9 <= y <= y + height <= 4 + 1e-9


def test_ticks_are_round_and_inside() -> None:
    assert plots.ticks(plots.Scale(0, 10), 5) == [0, 2, 4, 6, 8, 10]
    assert plots.ticks(plots.Scale(1, 1000, logarithmic=True)) == [1, 10, 100, 1000]
    assert plots.ticks(plots.Scale(5, 5)) == [5]


def test_numbers_in_the_page_are_finite() -> None:
    assert not re.search(r'="(nan|inf|-inf)%?"', page([traced()]))
