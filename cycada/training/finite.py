"""Losses and weights that are no numbers: found before they are saved, and a way back from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cycada.errors import RunError
from cycada.training.run import Run


class NonFiniteError(RunError):
    """A loss, or a weight, is infinite or no number."""

    def __init__(self, found: str) -> None:
        """Take what was found, and where."""
        super().__init__(
            f"{found}; the last checkpoint is kept. Lower learning_rate, or set "
            "mixed_precision=no, and start a new run."
        )
        self.found = found


def backward(loss: Tensor, accelerator: Accelerator) -> None:
    """Run the backward pass of a loss, unless it is known not to be finite.

    A processor knows it at once, so the weights stay as they were. To ask a GPU would be to wait
    for it in every step; there, and with several processes, which must agree, such a loss is found
    before anything is logged or saved.

    Raises:
        NonFiniteError: The loss is infinite or no number.
    """
    alone = loss.device.type == "cpu" and accelerator.num_processes == 1
    if alone and not bool(torch.isfinite(loss)):
        raise NonFiniteError(f"the loss is {loss.item()}")
    accelerator.backward(loss)


def check_weights(modules: Iterable[nn.Module], step: int) -> None:
    """Refuse weights that are not finite: a loss may have been, and its gradient not.

    Raises:
        NonFiniteError: One is infinite or no number.
    """
    sums = [weight.detach().sum(dtype=torch.float64) for module in modules
            for weight in (*module.parameters(), *module.buffers())
            if weight.is_floating_point()]  # fmt: skip
    if sums and not bool(torch.isfinite(torch.stack(sums)).all()):
        raise NonFiniteError(f"a weight is not finite after step {step}")


def stepping_back(
    train: Callable[[float], None],
    run: Run,
    *,
    limit: int,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> None:
    """Train, and where a loss is not finite go back to the last checkpoint, more slowly.

    Each time the learning rates are halved, for the rest of the run; a run that is continued
    remembers it.

    Args:
        train: Trains from the newest checkpoint; takes a factor of the learning rates.
        run: Remembers how often that was done.
        limit: How often it may be done in the whole run.
        accelerator: All processes go back together.
        tell: Takes a sentence for the user.

    Raises:
        NonFiniteError: It was done ``limit`` times, and a loss is not finite again.
    """
    while True:
        before = _of_main_process(run.steps_back(), accelerator)
        try:
            train(0.5**before)
            return
        except NonFiniteError as error:
            if before >= limit:
                raise
            found = error.found
        accelerator.free_memory()
        run.note_step_back(found)
        tell(
            f"{run.root}: {found}; going back to the last checkpoint, with learning rates halved "
            f"({before + 1} of at most {limit} times)."
        )


def _of_main_process(number: int, accelerator: Accelerator) -> int:
    """Return the number of the main process: what others see of its files may be older."""
    mine = torch.tensor(number if accelerator.is_main_process else 0, device=accelerator.device)
    return int(accelerator.reduce(mine, "sum"))


def slow_down(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Multiply the learning rates that were planned by ``factor``, whatever was before."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            name = "base" if "base" in group else "lr"  # of a rate that never changes otherwise
            group[name] = group.setdefault("planned", group[name]) * factor
