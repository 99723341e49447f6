"""What a step does on a GPU, recorded once as a CUDA graph and repeated from then on.

A step of small batches is thousands of short operations, and Python starts them more slowly than
the GPU ends them. A recorded step is started as one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

WARM_UP = 3
"""Calls before the recording: libraries choose their algorithms in the first ones."""


def make_recordable(optimizer: Any, device: torch.device) -> None:
    """Keep on the device what an Adam optimizer counts, and its learning rates, to be filled."""
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


class Recorded(Generic[T]):
    """A function of tensors that is recorded in its fourth call, and repeated in all later ones.

    What it changes, such as weights, it must change in place, and whatever it takes besides the
    tensors given must stay what it was. Each call gives the same tensors, filled anew.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        """Take a function; the tensors given to it keep their shapes and types."""
        self.function = function
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: tuple[Tensor | None, ...] = ()
        self.result: T

    def __call__(self, *given: Tensor | None) -> T:
        """Do what the function does with ``given``."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._apart(given)
        if self.graph is None:
            self._record(given)
        else:
            for kept, new in zip(self.given, given, strict=True):
                if kept is not None and new is not None:
                    kept.copy_(new, non_blocking=True)
        graph: Any = self.graph
        graph.replay()
        return self.result

    def _apart(self, given: tuple[Tensor | None, ...]) -> T:
        """Call the function on another stream, as autograd wants before a recording."""
        here = torch.cuda.current_stream()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            result = self.function(*given)
        here.wait_stream(stream)
        return result

    def _record(self, given: tuple[Tensor | None, ...]) -> None:
        self.given = tuple(None if tensor is None else tensor.clone() for tensor in given)
        self.graph = torch.cuda.CUDAGraph()
        with warnings.catch_warnings(), torch.cuda.graph(self.graph):
            # Schedulers and optimizers warn of steps that they do not see being made.
            warnings.simplefilter("ignore")
            self.result = self.function(*self.given)
