"""How well an adapted detector does in a domain in which nothing is labelled.

None of these sees a label, and each can be fooled: surest of all is a detector that says the same
of every face. So they are read together. Those that go by the spread of the answers
(:func:`information_maximisation`, :func:`batch_nuclear_norm`, :func:`prevalence_shift`) show such a
collapse; :func:`prediction_entropy` and :func:`soft_neighbourhood_density` reward it.

Throughout, classes are one question with A answers. Action Units are A questions with two answers
each, absent and present; a criterion for classes then holds for every AU, and the mean over AUs is
given. Nothing is asked of how AUs go together: some do in any face (AU01 and AU02), which a
criterion that wants answers to be diverse would hold against the detector.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cycada.metrics.bootstrap import Floats
from cycada.task import TaskKind

_ROUNDING = 1e-4  # by which probabilities may miss the range, and those of classes the sum of 1

_AT_ONCE = 2**21  # similarities held at a time: 16 MiB, twice


def soft_neighbourhood_density(
    features_or_probabilities: npt.ArrayLike, *, temperature: float = 0.05
) -> float:
    """Return how many near neighbours a face has, as the entropy of its similarity to the others.

    A detector that suits the target puts faces that show the same close together (SND: Saito et
    al., "Tune it the right way", ICCV 2021). With rows of length 1, the similarities to the other
    faces ``s_ij = f_i · f_j`` become ``P_ij = exp(s_ij / τ) / Σ_k≠i exp(s_ik / τ)``, and SND is the
    mean over ``i`` of ``-Σ_j P_ij ln P_ij``. The paper applies it to softmax outputs. Probabilities
    go through :func:`neighbourhood_rows` first: those of AUs are of no use as they are.

    It grows with the logarithm of N, so only values of equally many faces compare; and it is
    highest if all rows are equal.

    Args:
        features_or_probabilities: ``(N, D)``, at least two rows, none of zeros only.
        temperature: τ; 0.05 in the paper.

    Returns:
        Nats in [0, ln(N - 1)]; higher is better.

    Raises:
        ValueError: Wrong shape, fewer than two rows, a value that is not finite, a row without
            a direction, or a temperature that is not above 0.
    """
    rows = np.array(features_or_probabilities, dtype=np.float64)  # a copy: it is scaled in place
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1]:
        raise ValueError(f"expected (N, D) with at least two rows, found {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("features must be finite")
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not lengths.all():
        raise ValueError(f"row {lengths.argmin()} is all zeros and so without a direction")
    rows /= lengths[:, None]

    entropies = np.empty(len(rows))
    step = max(_AT_ONCE // len(rows), 1)
    for first in range(0, len(rows), step):
        some = slice(first, min(first + step, len(rows)))
        own = np.arange(some.start, some.stop)
        scores = rows[some] @ rows.T
        scores /= temperature
        scores[own - first, own] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(scores)
        scores[own - first, own] = 0  # its weight is 0, and 0 times infinity would be NaN
        total = weights.sum(axis=1)
        entropies[some] = np.log(total) - np.einsum("nm,nm->n", weights, scores) / total
    return max(float(entropies.mean()), 0.0)


def neighbourhood_rows(probabilities: npt.ArrayLike, kind: TaskKind) -> Floats:
    """Return probabilities in the form whose neighbourhoods mean something.

    Softmax outputs stay as they are, as in the paper. AUs become ``(√(1-p), √p)`` for every AU:
    each row has the length √A, and after the division by it the inner product of two faces is the
    Bhattacharyya coefficient of their answers, averaged over AUs: 1 if they agree in all, less by
    1/A for every AU of which they surely say the opposite (at τ = 0.05 and with 12 AUs, each of
    those leaves a fifth of the weight). The plain probabilities would not do: only AUs that are
    present have a direction there, so faces without any are strewn by noise, or have no direction
    at all, and (0.1, 0.1) is the same as (0.9, 0.9).

    Args:
        probabilities: ``(N, A)`` in [0, 1]; those of classes add up to 1.
        kind: What they are of.

    Returns:
        ``(N, A)`` for classes, ``(N, 2 A)`` for AUs.

    Raises:
        ValueError: Wrong shape, empty, NaN, out of range, or classes that do not add up to 1.
    """
    answers = _answers(probabilities, kind)
    if kind == "action_units":
        answers = np.sqrt(answers)
    return answers.swapaxes(0, 1).reshape(answers.shape[1], -1)


def information_maximisation(probabilities: npt.ArrayLike, kind: TaskKind) -> float:
    """Return the mutual information of faces and answers: sure of each, and diverse in all.

    ``H(mean p) - mean H(p)`` (Krause et al., "Discriminative clustering by regularized information
    maximization", NIPS 2010; compared as a validator by Musgrave et al., "Three new
    validators and a large-scale benchmark ranking for UDA", arXiv 2208.07360). For AUs it is the
    mean over AUs of the binary mutual information. It favours answers that are equally frequent,
    which AUs are not: a detector that rightly finds a rare AU has little of it to gain.

    Args:
        probabilities: ``(N, A)`` in [0, 1]; those of classes add up to 1.
        kind: What they are of.

    Returns:
        Nats, in [0, ln A] for classes, in [0, ln 2] for AUs; higher is better.

    Raises:
        ValueError: Wrong shape, empty, NaN, out of range, or classes that do not add up to 1.
    """
    answers = _answers(probabilities, kind)
    gained = _entropy(answers.mean(axis=1)).mean() - _entropy(answers).mean()
    return max(float(gained), 0.0)


def prediction_entropy(probabilities: npt.ArrayLike, kind: TaskKind) -> float:
    """Return how unsure the detector is: the mean entropy of its answers.

    The criterion of entropy minimisation (Grandvalet & Bengio, NIPS 2004; for choosing among
    adapted models: Morerio et al., ICLR 2018). For AUs it is the mean over AUs of the binary
    entropy. A detector that is sure of the same for every face has none.

    Args:
        probabilities: ``(N, A)`` in [0, 1]; those of classes add up to 1.
        kind: What they are of.

    Returns:
        Nats, in [0, ln A] for classes, in [0, ln 2] for AUs; lower is better.

    Raises:
        ValueError: Wrong shape, empty, NaN, out of range, or classes that do not add up to 1.
    """
    return float(_entropy(_answers(probabilities, kind)).mean())


def batch_nuclear_norm(probabilities: npt.ArrayLike, kind: TaskKind) -> float:
    """Return the nuclear norm of the answers, as a share of the largest there can be.

    The sum of the singular values of the ``(N, C)`` matrix of answers is large if they are sure
    (its Frobenius norm) and diverse (its rank): Cui et al., "Towards discriminability and
    diversity", CVPR 2020; as a validator, Musgrave et al., arXiv 2208.07360. The norm is convex, so
    it is largest where all answers are sure; there it is ``Σ_c √n_c``, which is largest if the
    counts ``n_c`` differ by one at most. This is the divisor; where C divides N it is the paper's
    bound ``√(min(N, C) N)``.

    For AUs it is the mean over AUs of the norm of the ``(N, 2)`` matrix of ``(1-p, p)``, each
    divided by its largest. The ``(N, A)`` matrix of plain probabilities would not do: saying that
    every AU is present makes it larger, absent AUs add nothing, and AUs that rightly go together
    make it smaller. An AU that is surely found in a share f of the faces gives
    ``(√f + √(1-f)) / √2``: like the mutual information, it favours an AU that is found in half.

    Args:
        probabilities: ``(N, A)`` in [0, 1]; those of classes add up to 1.
        kind: What they are of.

    Returns:
        A share in [0, 1]; higher is better. For many faces and C answers (2 for AUs), answers that
        tell nothing give 1/C, and one sure answer for all faces 1/√C.

    Raises:
        ValueError: Wrong shape, empty, NaN, out of range, or classes that do not add up to 1.
    """
    answers = _answers(probabilities, kind)
    _, faces, count = answers.shape
    each, more = divmod(faces, count)
    largest = (count - more) * math.sqrt(each) + more * math.sqrt(each + 1)
    norms = np.linalg.svd(answers, compute_uv=False).sum(axis=-1)
    return min(float(norms.mean() / largest), 1.0)


def prevalence_shift(
    probabilities: npt.ArrayLike, expected: npt.ArrayLike, kind: TaskKind
) -> float:
    """Return how far the mean answer is from the expected frequencies.

    The Kullback-Leibler divergence ``Σ_c m_c ln(m_c / e_c)`` of the mean answer m from the expected
    frequencies e (Kullback & Leibler, 1951); for AUs the mean over AUs. For equal expected
    frequencies it is what the mean answer lacks of the highest entropy. A collapse to one
    answer c shows as ``-ln e_c``, and is finite this way round only. It needs no label of the
    target, but a belief: expected are the frequencies of the source, if nothing better is known.

    Args:
        probabilities: ``(N, A)`` in [0, 1]; those of classes add up to 1.
        expected: ``(A,)`` frequencies above 0, those of AUs also below 1; those of classes add up
            to 1.
        kind: What they are of.

    Returns:
        Nats, 0 or more; lower is better.

    Raises:
        ValueError: Wrong shapes, empty, NaN, out of range, classes that do not add up to 1, or an
            answer that is expected never.
    """
    found = _answers(probabilities, kind).mean(axis=1)
    wanted = np.asarray(expected, dtype=np.float64)
    if wanted.shape != np.shape(probabilities)[1:]:
        raise ValueError(
            f"expected frequencies of {np.shape(probabilities)[1]} answers, found {wanted.shape}"
        )
    frequencies = _answers(wanted[None], kind)[:, 0]
    if not frequencies.all():
        raise ValueError("expected frequencies must leave every answer possible")
    shifts = -(found * np.log(frequencies)).sum(axis=-1) - _entropy(found)
    return max(float(shifts.mean()), 0.0)


def _answers(probabilities: npt.ArrayLike, kind: TaskKind) -> Floats:
    """Return ``(questions, N, answers)``, adding up to 1: ``(1, N, A)`` or ``(A, N, 2)``."""
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"expected (N, A) probabilities, at least one, found {given.shape}")
    if not ((given >= -_ROUNDING) & (given <= 1 + _ROUNDING)).all():  # NaN is neither
        raise ValueError("probabilities must be numbers in [0, 1]")
    given = np.clip(given, 0, 1)
    if kind == "action_units":
        return np.stack((1 - given.T, given.T), axis=-1)
    sums = given.sum(axis=1, keepdims=True)
    worst = float(sums.flat[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > _ROUNDING:
        raise ValueError(f"the probabilities of classes must add up to 1, not {worst:.6g}")
    return np.asarray(given / sums)[None]


def _entropy(answers: Floats) -> Floats:
    """Return the entropy in nats over the last axis; 0 ln 0 is 0."""
    logarithms = np.log(np.where(answers > 0, answers, 1))
    return np.asarray(-(answers * logarithms).sum(axis=-1))
