"""The Accelerator: what the settings, ``accelerate launch`` and the hardware together say."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import (
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
    gather_object,
)
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from cycada.config import Precision
from cycada.data.decoded import ALONE, Neighbours
from cycada.data.sampling import Share, share
from cycada.errors import ConfigError
from cycada.training.loop import Processes

PATIENCE = timedelta(hours=6)
"""How long a process waits for another. PyTorch's 10 minutes on GPUs are less than the main process
looks at a corpus of hundreds of thousands of images, while the others wait. Of those that die, the
others hear sooner, from their connection or their launcher."""

_OTHER_WAYS = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
"""Variables by which ``accelerate launch`` asks for other ways to share work, and their names."""


def make_accelerator(
    precision: Precision,
    *,
    double: bool,
    accumulate: int = 0,
    trackers: Sequence[str | GeneralTracker] = (),
    root: Path | None = None,
) -> Accelerator:
    """Return an Accelerator for this machine, alone or under ``accelerate launch``.

    Args:
        precision: Of the forward passes; ``auto`` takes what ``accelerate launch`` asks for, or
            what the hardware multiplies in.
        double: Whether all is computed in float64, whatever ``precision`` is.
        accumulate: Portions of a batch, ``accelerator.gradient_accumulation_steps``; 0 takes what
            accelerate is told, or 1.
        trackers: From :func:`cycada.training.trackers.chosen_trackers`.
        root: Folder for what trackers write.

    Raises:
        ConfigError: ``accelerate launch`` asks for what the settings rule out, or for what these
            trainings cannot do.
    """
    _refuse_other_ways()
    wanted = _precision(precision, double=double)
    accelerator = Accelerator(
        mixed_precision=wanted,
        cpu=joins_on_processor(),
        # Given so, no variable is read behind our back.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=_portions(accumulate)),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        log_with=list(trackers) or None,
        project_config=ProjectConfiguration(logging_dir=None if root is None else str(root)),
    )
    if wanted == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("mixed precision fp16 needs a GPU; on a processor choose bf16 or no.")
    if accelerator.num_processes > 1:
        atexit.unregister(_end_process_group)
        atexit.register(_end_process_group)
    return accelerator


def _refuse_other_ways() -> None:
    for variable, name in _OTHER_WAYS.items():
        if os.environ.get(variable, "").lower() == "true":
            raise ConfigError(
                f"accelerate launch asks for {name}, which cycada does not train with: its "
                "networks fit on every GPU whole (docs/scaling.md); leave it out, or run "
                "accelerate config again."
            )
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if compiler not in ("", "no"):
        raise ConfigError(
            f"accelerate launch asks for torch.compile (dynamo_backend {compiler}), which cycada "
            "does not use; leave it out, or run accelerate config again."
        )


def _precision(precision: Precision, *, double: bool) -> str:
    """Return what forward passes are computed in.

    ``accelerate launch`` says "no" also where nobody chose, so that is not taken for a choice.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower() or "no"
    setting = "double=true" if double else f"mixed_precision={precision}"
    if asked not in ("no", "bf16", "fp16"):
        raise ConfigError(
            f"accelerate launch asks for mixed precision {asked}, which cycada does not train in; "
            "choose no, bf16 or fp16."
        )
    if asked != "no" and (double or precision not in ("auto", asked)):
        raise ConfigError(
            f"accelerate launch asks for mixed precision {asked}, the settings for {setting}; make "
            "them agree."
        )
    if double:
        return "no"
    if precision != "auto":
        return precision
    if asked != "no":
        return asked
    return "bf16" if multiplies_in_bf16() else "no"


def _portions(accumulate: int) -> int:
    """Return in how many portions a batch is gone through."""
    name = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
    asked = os.environ.get(name, "")
    if not asked:
        return accumulate or 1
    if not (asked.isdecimal() and int(asked) > 0):
        raise ConfigError(f"{name} must be a whole number of at least 1, found {asked!r}.")
    if accumulate not in (0, int(asked)):
        raise ConfigError(
            f"{name} is {asked}, but the settings say accumulate={accumulate}; make them agree."
        )
    return int(asked)


def _end_process_group() -> None:
    """Join the threads that talk to the other processes; Python's end may abort over live ones."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def joins_on_processor() -> bool:
    """Tell whether this is one of several processes that compute on the CPU.

    Accelerate joins the processes of torchrun there only when it is told to (``cpu=True``);
    otherwise each of them would do all the work, into the same directory.
    """
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"  # accelerate launch --cpu
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and (asked or not torch.cuda.is_available())


def multiplies_in_bf16() -> bool:
    """Tell whether the hardware has instructions for bfloat16, rather than emulating it."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def my_share(lanes: int, accelerator: Accelerator) -> Share:
    """Return this process's part of a batch of ``lanes`` images.

    Raises:
        ConfigError: The batch cannot be shared evenly, or this part not be cut into portions.
    """
    processes, portions = accelerator.num_processes, accelerator.gradient_accumulation_steps
    try:
        mine = share(lanes, rank=accelerator.process_index, processes=processes)
    except ValueError:
        raise ConfigError(
            f"batch_size {lanes} cannot be shared evenly by {processes} processes; choose a "
            "multiple."
        ) from None
    if mine.size % portions:
        raise ConfigError(
            f"accumulate {portions} does not divide the {mine.size} images of each domain that "
            f"batch_size {lanes} gives each process; choose a divisor of {mine.size}."
        )
    return mine


def neighbours_of(accelerator: Accelerator) -> Neighbours:
    """Return the processes of this host; those of a host follow each other, as launchers do it."""
    if accelerator.num_processes == 1:
        return ALONE
    mine, places = accelerator.process_index, gather_object([accelerator.local_process_index])
    begins = [number for number, place in enumerate(places) if place == 0] + [len(places)]
    first = max(number for number in begins if number <= mine)
    last = min(number for number in begins if number > mine)

    def exchange(text: str) -> list[str]:
        told: list[str] = gather_object([text])
        return told[first:last]

    def agree(said: bool) -> bool:  # noqa: FBT001 - it is the whole question
        return all(gather_object([said]))

    return Neighbours(mine - first, last - first, exchange, agree)


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Yield ``module`` with its weights fixed: gradients pass through it, not into it."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)  # noqa: FBT003
    try:
        yield module
    finally:
        for weight in learning:
            weight.requires_grad_(True)  # noqa: FBT003


def loss_scale(accelerator: Accelerator) -> dict[str, Any]:
    """Return what fp16 multiplies losses by, as a part of a training state; nothing without it."""
    return {} if accelerator.scaler is None else {"loss_scale": accelerator.scaler.state_dict()}


def restore_loss_scale(accelerator: Accelerator, state: Mapping[str, Any]) -> None:
    """Go on with the scale in a training state."""
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["loss_scale"])


def processes_of(accelerator: Accelerator, *, log_every: int) -> Processes:
    """Return how a loop asks the processes of an Accelerator."""
    mean = partial(accelerator.reduce, reduction="mean")
    if accelerator.num_processes == 1:
        return Processes(mean, bool, 1)

    def any_process(asked: bool) -> bool:  # noqa: FBT001 - it is the whole question
        return bool(mean(torch.tensor(float(asked), device=accelerator.device)) > 0)

    # An answer of GPUs is waited for, so they are asked when they are waited for anyway.
    return Processes(mean, any_process, 1 if accelerator.device.type == "cpu" else log_every)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to ``factor`` times its ``base`` learning rate."""
    for group in optimizer.param_groups:
        rate = group["base"] * factor
        if isinstance(group["lr"], Tensor):  # of a recorded step, which reads it where it is
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def mean_over_processes(local: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes; gradients flow back to each of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return local
    total: Tensor = all_reduce(local)  # type: ignore[no-untyped-call]
    return total / torch.distributed.get_world_size()
