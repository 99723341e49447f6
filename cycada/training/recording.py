"""What a step does on a GPU, recorded once as a CUDA graph and repeated from then on.

A step of small batches is thousands of short operations, and Python starts them more slowly than
the GPU ends them. A recorded step is started as one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

T = TypeVar("T")

WARM_UP = 3
"""Calls before the recording: libraries choose their algorithms in the first ones."""


def can_record(accelerator: Accelerator) -> bool:
    """Tell whether steps can be recorded: on one GPU, without fp16, whose steps may be skipped."""
    alone = accelerator.num_processes == 1 and accelerator.scaler is None
    return alone and accelerator.device.type == "cuda"


def make_recordable(optimizer: Any) -> None:
    """Keep on the GPU what an Adam optimizer counts, and its learning rates, to be filled."""
    for group in optimizer.param_groups:
        group |= {"capturable": True, "fused": True, "foreach": False}
        group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if name == "step":
                state[name] = value.to(weight.device)
            elif value.stride() != weight.stride():  # of weights that lay otherwise in memory
                state[name] = torch.empty_like(weight).copy_(value)


def make_plain(optimizer: Any) -> None:
    """Undo :func:`make_recordable` in an optimizer that was restored, perhaps without a GPU."""
    for group in optimizer.param_groups:
        group |= {"capturable": False, "fused": None, "foreach": None}
        group["lr"] = float(group["lr"])
    for state in optimizer.state.values():
        state["step"] = state["step"].cpu()


class Recorded(Generic[T]):
    """A function of tensors that is recorded in its fourth call, and repeated in all later ones.

    What it changes, such as weights, it must change in place, and whatever it takes besides what
    it is given must stay what it was. Each call gives the same tensors, filled anew.
    """

    def __init__(self, function: Callable[..., T], tell: Callable[[str], None]) -> None:
        """Take a function of tensors, tuples of them, and ``None``, whose shapes stay the same.

        Args:
            function: Is called plainly where it turns out that it cannot be recorded.
            tell: Takes a sentence for the user in that case.
        """
        self.function, self.tell = function, tell
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.recordable = True
        self.given: tuple[Any, ...] = ()
        self.result: T

    def __call__(self, *given: Any) -> T:
        """Do what the function does with ``given``."""
        self.calls += 1
        if not self.recordable:
            return self.function(*given)
        if self.calls <= WARM_UP:
            return self._apart(given)
        if self.graph is not None:
            _each(lambda kept, new: kept.copy_(new, non_blocking=True), self.given, given)
        elif not self._record(given):
            return self.function(*given)
        graph: Any = self.graph
        graph.replay()
        return self.result

    def _apart(self, given: tuple[Any, ...]) -> T:
        """Call the function on another stream, as autograd wants before a recording."""
        here = torch.cuda.current_stream()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            result = self.function(*given)
        here.wait_stream(stream)
        return result

    def _record(self, given: tuple[Any, ...]) -> bool:
        """Record the function, which does nothing yet; tell whether that could be done."""
        self.given = _each(torch.clone, given)
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                warnings.catch_warnings(),
                # A recording that fails may leave its own stream behind as the current one.
                torch.cuda.stream(torch.cuda.current_stream()),
                # Threads that load images may go on allocating pinned memory.
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                # Optimizers warn of steps that they do not see being made.
                warnings.simplefilter("ignore")
                self.result = self.function(*self.given)
        except RuntimeError as error:
            self.recordable, first = False, error
            while isinstance(first.__context__, RuntimeError):  # the end of a failed recording
                first = first.__context__  # fails as well
            self.tell(
                "This step cannot be recorded as a CUDA graph, so every operation of it is started "
                f"by itself, which is slower ({str(first).splitlines()[0].rstrip('.')})."
            )
            return False
        self.graph = graph
        return True


def _each(act: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Return ``first`` with ``act`` of each of its tensors and those at the same place in others.

    A place that holds no tensor must hold none in all of them.
    """
    if isinstance(first, Tensor):
        return act(first, *others)
    if isinstance(first, tuple):
        parts = [_each(act, *places) for places in zip(first, *others, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if first is not None or any(other is not None for other in others):
        raise ValueError("a recorded function was given something that it was not before")
    return None
