"""In which type a device computes: names of kernels as they were recorded, and options."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.analysis.precision import Precision, facts, of_kernel, precision
from harness.records import Profile, Reading
from harness.statistics.figures import Figure
from tests.builders.device_records import kernels
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile

TF32 = "sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32x64_stage3_aligna4_alignc4"
REDUCE = "void cublasLt::splitKreduce_kernel<32, 16, int, float, float, float, float, false>(...)"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        # Recorded on an H200 with cuBLAS 13 and cuDNN 9.19, shortened.
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nchw", "tf32"),
        ("sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_warpgroupsize1", "tf32"),
        (TF32, "tf32"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_64x64_32x6_nn_align4>(...)", "tf32"),
        ("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_g1_ffma", "float32"),
        ("void implicit_convolve_sgemm<float, float, 1024, 5, 5>(int)", "float32"),
        ("internal::gemvx::kernel<int, int, float>", "float32"),
        ("void _UnaryElementWise<float, float, onnxruntime::cuda::OP_Relu<float>",
         "float32"),
        ("void onnxruntime::cuda::_GatherKernel<int>(long, long)", ""),
        ("memset", ""),
        ("DtoH", ""),
        # As CUTLASS' and cuBLAS' schemes of names spell the others.
        ("cutlass_80_tensorop_s1688tf32gemm_256x128_16x3_tn_align4", "tf32"),
        ("cutlass_80_tensorop_f16_s16816gemm_f16_128x128_32x4_nn_align8", "float16"),
        ("cutlass_75_tensorop_f16_s1688gemm_f16_128x128_nn_align8", "float16"),
        ("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x3_tn", "float16"),
        ("turing_h1688gemm_128x128_ldg8_nn", "float16"),
        ("sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64", "float16"),
        ("void softmax_warp_forward<__half, __half, float, 7, false>(...)", "float16"),
        ("_Z20softmax_warp_forwardI6__halfS0_fLi7ELb0EEvPT0_PKT_iii", "float16"),
        ("I6__half", "float16"),
        ("softmax_warp_forward<onnxruntime::BFloat16, onnxruntime::BFloat16, float>", "bfloat16"),
        ("simmatrix<float>", "float32"),
        ("sm80_imma_gemm_nn", "int8"),
        ("cutlass_75_tensorop_bf16_s1688gemm_bf16_256x128_nn_align1", "bfloat16"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "bfloat16"),
        ("cutlass_80_tensorop_s8_i16832gemm_s8_256x128_64x3_tn_align16", "int8"),
        ("sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize128x64x64", "int8"),
        ("ampere_igemm_int8_128x128_ldg4_nn", "int8"),
        ("ampere_sgemm_128x64_nn", "float32"),
        ("cutlass_80_simt_sgemm_128x128_8x5_nn_align1", "float32"),
        ("cutlass_80_tensorop_d884gemm_64x64_16x4_nn_align1", "float64"),
    ],
)  # fmt: skip
def test_names_of_kernels_tell_the_type(name: str, told: str) -> None:
    assert of_kernel(name) == told


def measured(*facts: Reading, **columns: Any) -> Profile:
    """Two products, of 300 and 100 operations, on a device; the second of float16."""
    nodes = table(
        [-1, -1],
        op_type=("MatMul",) * 2,
        provider=("CUDAExecutionProvider",) * 2,
        flops=np.array([300, 100]),
        arithmetic=("float32", "float16"),
    )
    work = kernels((TF32, 0, 10, 30), (REDUCE, 0, 40, 50), ("nvjet_hsh_64x8", 1, 100, 5))
    values = {"nodes": nodes, "kernels": work, "provider": "cuda", "environment": facts}
    return dataclasses.replace(profile(process([100])), **(values | columns))


def found(of: Profile) -> Precision:
    seen = precision(of)
    assert isinstance(seen, Precision)
    return seen


OPTIONS = Reading("provider_options_CUDA", "sdpa_kernel=0;use_tf32=1;device_id=0")


def test_operations_are_counted_in_the_type_that_their_kernels_tell() -> None:
    seen = found(measured(OPTIONS))
    # Summing up takes longer than the product, but is not what multiplies.
    assert seen.shares == {"tf32": 0.75, "float16": 0.25}
    assert (seen.untold, seen.options, seen.reason) == (0, {"use_tf32": "1"}, "")
    assert seen.parts == ("float16", "tf32")
    assert seen.told == (
        "tf32 for 75% of the operations, float16 for 25% "
        "(as the kernels' names and the model's types tell; use_tf32=1)"
    )


def test_without_kernels_float32_may_be_tf32() -> None:
    seen = found(measured(OPTIONS, kernels=None, absent=(("trace/kernels", "no CUPTI"),)))
    assert (seen.shares, seen.untold) == ({"float16": 0.25}, 0.75)
    assert seen.told.endswith(": no kernels were recorded: no CUPTI")


def test_without_kernels_and_tf32_the_model_tells() -> None:
    off = Reading("provider_options_CUDA", "use_tf32=0")
    assert found(measured(off, kernels=None)).shares == {"float32": 0.75, "float16": 0.25}


def test_options_are_those_asked_for_where_none_were_reported() -> None:
    config = '{"session": {"provider": "cuda", "provider_options": {"use_tf32": "0"}}}'
    seen = found(measured(kernels=None, config=config))
    assert (seen.options, seen.untold) == ({"use_tf32": "0"}, 0)


def test_the_host_has_no_precision_but_the_models() -> None:
    seen = precision(measured(provider="cpu"))
    assert isinstance(seen, Figure)
    assert seen.reason == "the provider is cpu, which computes in the model's"


def test_nodes_on_the_cpu_do_not_count() -> None:
    on_device = measured(OPTIONS)
    assert on_device.nodes is not None
    placed = ("CPUExecutionProvider", "CUDAExecutionProvider")
    nodes = dataclasses.replace(on_device.nodes, provider=placed)
    assert found(dataclasses.replace(on_device, nodes=nodes)).shares == {"float16": 1}


def test_what_is_not_known_has_its_reason() -> None:
    assert found(measured(nodes=None)).reason == "the executed graph is not known"
    nodes = table([-1], provider=("CUDAExecutionProvider",))
    seen = found(measured(nodes=nodes, kernels=None))
    assert seen.told == (
        "not known (as the kernels' names and the model's types tell): "
        "the operations of no node on the device are known"
    )


def test_it_is_stored_as_a_fact_of_devices_alone() -> None:
    (fact,) = facts(measured(OPTIONS))
    assert (fact.name, fact.value) == ("precision", "tf32 75.0%, float16 25.0%")
    (fact,) = facts(measured(OPTIONS, kernels=None))
    assert fact.value == "float16 25.0%, not told 75.0%"
    (fact,) = facts(measured(nodes=None))
    assert (fact.value, fact.reason) == (None, "the executed graph is not known")
    assert facts(measured(provider="cpu")) == ()
