"""What the machine can do, what a step asks of it, and where the time of a step goes."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import bench_opponents
import torch
from bench_opponents import Configuration, Side
from torch import Tensor
from torch._dynamo import config as dynamo
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from cycada.training import optimizing
from cycada.training.machine import cores, processor

_CHANNELS, _SIDE = 256, 64  # of the convolution that is measured: a residual block's at 256 px
_MATRIX = 8192
_SLOW = 1.0  # seconds of one convolution
_BATCHES = {"cpu": (1, 8), "cuda": (1, 8, 64)}


def describe(device: str) -> dict[str, Any]:
    """Return the kind of machine, without its name."""
    return {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": None,
        "device": device,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def rates(device: str) -> dict[str, Any]:
    """Return the measured rates of convolutions and, of a GPU, of products of matrices.

    To be called in a process of its own: it changes how PyTorch computes.
    """
    found: dict[str, Any] = {
        "float32_conv_gflops": _convolutions(torch.float32, device),
        "bfloat16_conv_gflops": _convolutions(torch.bfloat16, device),
    }  # fmt: skip
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        torch.backends.cudnn.allow_tf32 = False
        found["tf32_conv_gflops"] = found["float32_conv_gflops"]
        found["float32_conv_gflops"] = _convolutions(torch.float32, device)
        one, two = torch.randn(2, _MATRIX, _MATRIX, device=device, dtype=torch.bfloat16)
        seconds = _seconds(lambda: one @ two, device)
        found["bfloat16_matrix_tflops"] = round(2 * _MATRIX**3 / seconds / 1e12, 1)
    return found


def rate_of(machine: Mapping[str, Any], precision: str) -> float:
    """Return the FLOP/s to hold a step against, 0 where it was not measured.

    Of a GPU that of its matrices in bfloat16; of a processor that of convolutions in the precision.
    """
    if "bfloat16_matrix_tflops" in machine:
        return float(machine["bfloat16_matrix_tflops"]) * 1e12
    kind = "bfloat16" if precision == "bf16" else "float32"
    return float(max(machine.get(f"{kind}_conv_gflops", {"": 0.0}).values())) * 1e9


@torch.no_grad()
def _convolutions(dtype: torch.dtype, device: str) -> dict[str, float]:
    """Return GFLOP/s of a 3x3 convolution by batch size, in the better memory layout.

    Where the hardware does not multiply in this precision, the first slow call is all.
    """
    rates: dict[str, float] = {}
    torch.backends.cudnn.benchmark = True
    for batch in _BATCHES[device]:
        image = torch.randn(batch, _CHANNELS, _SIDE, _SIDE, device=device, dtype=dtype)
        layer = torch.nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False)
        layer = layer.to(device, dtype)
        work = 2 * 9 * _CHANNELS**2 * batch * _SIDE**2
        for layout in (torch.channels_last, torch.contiguous_format):
            placed, laid = image.to(memory_format=layout), layer.to(memory_format=layout)
            seconds = _seconds(partial(laid, placed), device)
            rate = round(work / seconds / 1e9, 1)
            rates[str(batch)] = max(rate, rates.get(str(batch), 0.0))
            if seconds > _SLOW:
                return rates
    return rates


def _seconds(act: Callable[[], Tensor], device: str) -> float:
    """Return the seconds of one call: the median of five runs of calls that take 0.1 s."""

    def some(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            act()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / count

    first = some(1)
    if first > _SLOW and device == "cpu":
        return first
    count = max(1, min(1000, round(0.1 / some(2))))
    return sorted(some(count) for _ in range(5))[2]


def flops_of_steps(configurations: Sequence[Configuration]) -> list[tuple[int, int]]:
    """Return the FLOPs of a step of the package and of the textbook, for every configuration.

    To be called in a process of its own.
    """
    dynamo.disable = True  # what is compiled cannot be counted
    # All is on the processor already, and accelerate cannot move what does not exist.
    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign]
    # No loss has a value that could be looked at.
    vars(optimizing)["backward"] = lambda loss, accelerator: accelerator.backward(loss)
    return [
        (_step_flops(each, "package"), _step_flops(each, "textbook")) for each in configurations
    ]


def _step_flops(configuration: Configuration, side: Side) -> int:
    """Return the FLOPs of a step, forward and backward, counted without computing anything.

    A multiplication with its addition counts two; what is not a convolution or a product of
    matrices counts nothing (``torch.utils.flop_counter``).
    """
    device = torch.device("cpu")
    batch = bench_opponents.stored_batches(configuration)[0]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        if side == "textbook":
            step = bench_opponents.textbook_stepper(configuration, device)
        else:
            # In steps that only fill the pool, none of its images is looked up by value.
            config = configuration.package()
            step, _ = bench_opponents.package_stepper(config, device, first=0)
        stored = tuple(mode.from_tensor(part) for part in batch)
        with FlopCounterMode(display=False) as counter:
            step((stored[0], stored[1]))
    return int(counter.get_total_flops())


KINDS = ("convolution", "normalisation and elementwise", "optimizer", "copies")
_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("optimizer", ("adam", "multi_tensor", "foreach", "lerp")),
    ("convolution", ("triton_tem", "triton_mm", "triton_conv")),
    ("normalisation and elementwise", ("triton",)),  # named after all that was fused, too
    ("convolution", ("convolution", "conv_transpose")),
    ("copies", ("memcpy", "memset", "nchwtonhwc", "nhwctonchw", "copy", "catarray", "transpose",
                "::cat", "::fill_", "::zero_", "::to", "::contiguous", "::clone")),
    ("normalisation and elementwise", ("norm", "bn_fw", "bn_bw", "welford")),
    ("convolution", ("conv", "gemm", "cutlass", "xmma", "winograd", "fprop", "dgrad", "wgrad",
                     "nvjet", "sm80", "sm90", "cudnn", "::mm", "::bmm", "::addmm")),
)  # fmt: skip


def kind_of(name: str) -> str:
    """Return which of ``KINDS`` a kernel or an operator is of, by its name."""
    low = name.lower()
    for kind, words in _WORDS:
        if any(word in low for word in words):
            return kind
    return "normalisation and elementwise"


def _is_span(event: Any) -> bool:
    """Tell whether a line of a GPU's events only says what the kernels below it belong to."""
    named = event.name.startswith(("Optimizer.", "ProfilerStep", "Torch-Compiled", "##"))
    return named or bool(getattr(event, "is_user_annotation", False))


def profile(act: Callable[[], Any], rounds: int, *, device: str) -> dict[str, Any]:
    """Return the seconds of the device in one round by kind of kernel, and the longest kernels.

    On a processor, of operators: what they do themselves, not what they call.
    """
    from torch.profiler import ProfilerActivity  # noqa: PLC0415  # seldom needed
    from torch.profiler import profile as profiling  # noqa: PLC0415

    cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profiling(activities=activities) as recorded:
        for _ in range(rounds):
            act()
        if cuda:
            torch.cuda.synchronize()
    by_name: dict[str, float] = defaultdict(float)
    for event in recorded.events():
        if not cuda:
            by_name[event.name] += event.self_cpu_time_total / 1e6 / rounds
        elif str(event.device_type).endswith("CUDA") and not _is_span(event):
            by_name[event.name] += event.time_range.elapsed_us() / 1e6 / rounds
    seconds = dict.fromkeys(KINDS, 0.0)
    for name, spent in by_name.items():
        seconds[kind_of(name)] += spent
    total = sum(seconds.values()) or 1.0
    longest = sorted(by_name.items(), key=lambda pair: -pair[1])[:12]
    return {
        "seconds": total,
        "shares": {kind: round(spent / total, 4) for kind, spent in seconds.items()},
        "convolution_seconds": seconds["convolution"],
        "longest": {name[:120]: round(spent / total, 4) for name, spent in longest},
    }  # fmt: skip
