"""Whether the domain classifier and the answers on the target stay sound while a detector trains.

Adaptation fails without an error: the domain classifier wins or never learns anything, or all
target faces get one answer. The figures that are logged anyway give it away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from cycada.task import TaskKind

LONG = 0.2
"""Share of a run over which figures are averaged before anything is said of them."""

FEWEST = 100
"""Steps that are averaged at least: a run of fewer is a trial, of which nothing is said."""

WINS = 0.99
"""Accuracy from which the domain classifier wins. Where adaptation helped, faces of phantoms and
digits had 0.93 at most; digits whose accuracy adda spoiled, 0.98 to 1."""

WINS_NO_MORE = 0.97
"""Accuracy below which it can win anew: not one line that happens to be lower."""

STRETCH = 0.02
"""Share of a run over which the mean accuracy tells learning from guessing ..."""

SHORTEST = 50
"""... and its steps at least: with 64 faces a step their mean errs by 0.009."""

LEARNED = 0.53
"""Accuracy that one stretch must exceed, three such errors above chance, to show that anything is
learned. In all sound runs the first one does; what comes back to 0.5 later is the aim."""

SURE = 0.1
"""Entropy, of its largest value, below which answers are sure."""

COLLAPSED = 0.5
"""Shift, of that of one answer for all faces, above which sure answers have collapsed. Digits had
0.8 with self_training.consistency=100 (and were told in 0.2 to 0.3 of the cases), 0.07 with
self_training.information=10 (0.7); AUs that vanished from nearly all faces had 0.53."""

RUNS_AWAY = 0.25
"""Rise of the shift above its lowest mean, in the same unit, that says where this leads. Detectors
that learn without adaptation rise by less than 0.1 once a fifth of the run is over."""

LEAST = 0.1
"""Nats that one answer for all faces is taken to shift at least: in a batch of 32 faces, chance
alone makes 0.016 of an AU however rare it is."""

_FIGURES = ("domain_accuracy", "target_entropy", "target_shift")


class Health:
    """Looks at the figures of a training, and says once what has been wrong for long.

    Its state follows from the figures alone, so a training that goes on replays its log.
    """

    def __init__(self, total_steps: int, *, one_answer: float = math.log(2)) -> None:
        """Begin before the first step.

        Args:
            total_steps: Steps of the whole run.
            one_answer: Shift in nats of a detector with one answer for all faces
                (:func:`shift_of_one_answer`); as it is, for two classes.
        """
        self._long = max(FEWEST, math.ceil(LONG * total_steps))
        self._short = max(SHORTEST, math.ceil(STRETCH * total_steps))
        self._one_answer = max(one_answer, LEAST)
        self._last = 0  # step of the newest line
        self._accuracy, self._entropy, self._shift = (_Mean(self._long) for _ in range(3))
        self._stretch = _Mean(self._short)
        self._best = 0.0  # mean accuracy of a stretch
        self._lowest = math.inf  # mean shift, and the step at which it was reached
        self._lowest_at = 0
        self._said: set[str] = set()

    def look(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """Take a line of the log, and return what is to be said of it.

        Args:
            step: Steps made.
            figures: Means over the steps since the last line. Read are, where they are there,
                ``domain_accuracy``; ``target_entropy``, the mean entropy of the answers on target
                faces as a share of its largest value; and ``target_shift``, the Kullback-Leibler
                divergence in nats of their mean from the expected frequencies.

        Returns:
            Sentences, none a second time unless what it says had ended.
        """
        steps = step - self._last
        if steps <= 0 or not any(name in figures for name in _FIGURES):
            return []
        self._last = step
        told = []
        if "domain_accuracy" in figures:
            told += self._accuracy_seen(step, steps, figures["domain_accuracy"])
        if "target_entropy" in figures:
            self._entropy.add(step, steps, figures["target_entropy"])
        if "target_shift" in figures:
            told += self._shift_seen(step, steps, figures["target_shift"])
        return told

    def replay(self, log: Iterable[Mapping[str, float]]) -> None:
        """Take the lines of ``metrics.jsonl``, without a word, to go on after the last.

        Lines of validation do not count, whatever figures of the target they hold.
        """
        for line in log:
            if "validation" not in line:
                self.look(int(line["step"]), line)

    def _accuracy_seen(self, step: int, steps: int, accuracy: float) -> list[str]:
        mean = self._accuracy
        mean.add(step, steps, accuracy)
        self._stretch.add(step, steps, accuracy)
        if self._stretch.full:
            self._best = max(self._best, self._stretch.value)
        return [
            *self._once(
                "wins",
                begins=mean.full and mean.value >= WINS,
                ends=mean.value < WINS_NO_MORE,
                text=f"since step {mean.since} the domain classifier is right in {mean.value:.1%} "
                "of the faces: it wins, the features of the domains stay apart, and alignment "
                "pulls blindly. Lower alignment.learning_rate, or raise alignment.weight.",
            ),
            *self._once(
                "guesses",
                begins=mean.full and self._best <= LEARNED,
                ends=False,  # once it has learned, it has
                text=f"since step 0 the domain classifier is right in {self._best:.1%} of the "
                f"faces at best, over {self._short} steps: it guesses, or the features escape it "
                "before it has learned anything, so alignment has nothing to follow. Raise "
                "alignment.learning_rate; if that changes nothing, the domains look alike to the "
                "detector already.",
            ),
        ]

    def _shift_seen(self, step: int, steps: int, shift: float) -> list[str]:
        mean, entropy = self._shift, self._entropy
        mean.add(step, steps, shift)
        if not mean.full:
            return []
        if mean.value < self._lowest:
            self._lowest, self._lowest_at = mean.value, step
        share = mean.value / self._one_answer
        rise = (mean.value - self._lowest) / self._one_answer
        collapsed = entropy.value < SURE and share > COLLAPSED
        return [
            *self._once(
                "collapsed",
                begins=collapsed,
                ends=entropy.value > 2 * SURE or share < COLLAPSED / 2,
                text=f"since step {mean.since} the answers on target faces are sure (entropy "
                f"{entropy.value:.1%} of the largest) and far from the expected frequencies "
                f"({mean.value:.3f} nats; one answer for all faces makes {self._one_answer:.3f}): "
                f"they collapse to one answer. {_WEAKEN}",
            ),
            *self._once(
                "runs away",
                begins=rise > RUNS_AWAY and not collapsed,
                ends=rise < RUNS_AWAY / 2,
                text=f"since step {self._lowest_at} the answers on target faces move away from the "
                f"expected frequencies: from {self._lowest:.3f} to {mean.value:.3f} nats, where "
                f"one answer for all faces makes {self._one_answer:.3f}; a collapse begins like "
                f"this. {_WEAKEN}",
            ),
        ]

    def _once(self, kind: str, *, begins: bool, ends: bool, text: str) -> list[str]:
        if ends:
            self._said.discard(kind)
        if not begins or kind in self._said:
            return []
        self._said.add(kind)
        return [text]


def shift_of_one_answer(expected: Tensor, kind: TaskKind) -> float:
    """Return the shift in nats of a detector that gives all faces the answer that is expected most.

    This is the least that one answer for all faces can shift. Of Action Units, as of the shift
    itself, it is the mean over them: each is always present or always absent.

    Args:
        expected: ``(A,)`` frequencies of the answers; of classes they add up to 1.
        kind: Action Units or classes.
    """
    if kind == "classes":
        return -math.log(float(expected.max()))
    return -float(torch.maximum(expected, 1 - expected).double().log().mean())


_WEAKEN = (
    "Lower alignment.weight, self_training.information or self_training.consistency, whichever is "
    "in use (with adda: lower learning_rate or raise alignment.healthy_from)."
)


class _Mean:
    """The mean of a figure over its newest lines that cover ``span`` steps."""

    def __init__(self, span: int) -> None:
        self.span = span
        self._lines: deque[tuple[int, int, float]] = deque()  # last step, steps, mean over them
        self._steps = 0
        self._total = 0.0

    def add(self, step: int, steps: int, value: float) -> None:
        self._lines.append((step, steps, value))
        self._steps += steps
        self._total += steps * value
        while self._steps - self._lines[0][1] >= self.span:
            _, old, value = self._lines.popleft()
            self._steps -= old
            self._total -= old * value

    @property
    def full(self) -> bool:
        return self._steps >= self.span

    @property
    def value(self) -> float:
        return self._total / self._steps if self._steps else math.nan

    @property
    def since(self) -> int:
        step, steps, _ = self._lines[0]
        return step - steps
