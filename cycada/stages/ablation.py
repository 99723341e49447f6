"""The demo's adaptation without one term of the method, to tell what the term is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from cycada.progress import Progress
from cycada.stages.demo_jobs import PLANS, Budget, Maker, jobs_at_a_time, macro_f1
from cycada.stages.side_by_side import Job, start_workers

Term = Literal["semantic", "cycle", "pixel"]


def run_ablations(
    whole: Path, out: Path, *, without: Sequence[Term], size: int, seed: int, budget: Budget,
    progress: Progress,
) -> dict[Term, dict[str, float]]:  # fmt: skip
    """Repeat a demo's adaptation without one term of the method, for several terms side by side.

    What does not depend on the term is taken from the demo: the faces, and the detectors that
    learned from no translation. Stopped, it goes on.

    Args:
        whole: Folder of a finished demo of the same size, seed and budget.
        out: Where the runs go, in a folder ``no-TERM`` each.
        without: ``semantic`` or ``cycle``: a term of the translator; ``pixel``: no translation,
            the detectors learn from RGB faces.
        size: Side of the faces in px.
        seed: Of everything.
        budget: How long is trained.
        progress: Shows the stages.

    Returns:
        Without each of them the macro F1, on the thermal test faces, of ``both`` and, where there
        are translations, of ``pixel``.
    """
    folders: dict[Term, Path] = {term: out / f"no-{term}" for term in without}
    chains = []
    for term, folder in folders.items():
        make = Maker(folder, whole, whole / "faces", PLANS[budget], size, seed)
        chains.append(_named(_ablation(make, term), term))
    # By turns, so that translators are side by side: they take longest, and the rest needs them.
    jobs = [job for row in zip_longest(*chains) for job in row if job is not None]
    with start_workers(jobs_at_a_time(), progress) as workers:
        workers.run(jobs, begun=lambda job: progress.say(job.title), ended=lambda: None)
    return {
        term: {
            name: macro_f1(folder / "evaluation" / name)
            for name in ("pixel", "both")
            if (folder / "evaluation" / name).exists()
        }
        for term, folder in folders.items()
    }


def _ablation(make: Maker, term: Term) -> Sequence[Job]:
    if term == "pixel":
        return make.both(translated=False), make.score("both")
    made = make.translation(**{f"weights.{term}": 0.0})
    return (
        *made, make.aligned_regions(), make.pixel(), make.score("pixel"),
        make.both(translated=True), make.score("both"),
    )  # fmt: skip


def _named(jobs: Sequence[Job], term: Term) -> Sequence[Job]:
    """Return the jobs of one ablation among those of others; what the demo did is there."""
    here = {job.name for job in jobs}
    return [
        replace(
            job,
            name=f"{term}/{job.name}",
            title=f"[without {term}] {job.title}",
            after=tuple(f"{term}/{name}" for name in job.after if name in here),
            alone=False,  # there are others to be done beside it
        )
        for job in jobs
    ]
