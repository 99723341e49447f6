"""Tell what each part of the method is worth, on phantom faces: a table of demos that lack one.

python tools/ablate.py --out ablation --seeds 0 1 2 --json ablation.json

For each seed it walks the whole demo, then repeats its adaptation without the semantic term,
without the cycle term, and without translation. Without alignment, teachers and teaching there is
what the demo calls ``pixel`` anyway; that is told without each term of the translator as well, for
a translated corpus is of use by itself. How well it keeps the labels is told by the detector that
learned from labelled thermal faces, which reads the translations of faces that no stage has seen.
Stopped, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from ending import run_tool

from cycada.files import replacing
from cycada.metrics.scores import DetectionScores
from cycada.progress import Progress
from cycada.stages.ablation import Term, run_ablations
from cycada.stages.demo import run_demo
from cycada.stages.demo_jobs import Budget
from cycada.stages.evaluate import evaluate
from cycada.stages.scoring import SCORES_NAME, EvaluateOptions

SIZE = 64  # px

READ: Mapping[str, str] = MappingProxyType(
    {"all": "all terms", "semantic": "no semantic term", "cycle": "no cycle term"}
)

ROWS: Mapping[str, str] = MappingProxyType(
    {
        "all": "all terms",
        "semantic": "no semantic term",
        "cycle": "no cycle term",
        "pixel": "no pixel level: RGB faces without translated ones",
        "feature": "no feature level: translated faces alone",
        "feature, semantic": "no feature level, no semantic term",
        "feature, cycle": "no feature level, no cycle term",
        "source_only": "source only",
        "target_supervised": "target supervised",
    }
)


def main() -> None:
    """Read the command, run what is missing, print and write the table."""
    options = _parser().parse_args()
    progress = Progress(shown=True)
    found: dict[str, list[float]] = {row: [] for row in ROWS}
    read: dict[str, list[float]] = {row: [] for row in READ}
    for seed in options.seeds:
        folder = options.out / f"seed-{seed}"
        whole = run_demo(
            folder / "all", size=SIZE, seed=seed, budget=options.budget, progress=progress
        )["macro_f1"]
        found["all"].append(whole["both"])
        found["feature"].append(whole["pixel"])
        for end in ("source_only", "target_supervised"):
            found[end].append(whole[end])
        without = run_ablations(
            folder / "all", folder, without=get_args(Term), size=SIZE, seed=seed,
            budget=options.budget, progress=progress,
        )  # fmt: skip
        for term, macro_f1 in without.items():
            found[term].append(macro_f1["both"])
            if "pixel" in macro_f1:
                found[f"feature, {term}"].append(macro_f1["pixel"])
        for row, values in read.items():
            made = folder / ("all" if row == "all" else f"no-{row}") / "translated"
            reader = folder / "all" / "target_supervised"
            values.append(roc_auc(reader, made, folder / "read" / row, progress))
    print(table(options.seeds, found))
    print()
    print(read_table(options.seeds, read))
    if options.json:
        result = {
            "seeds": options.seeds, "budget": options.budget, "macro_f1": found,
            "roc_auc_of_translations": read,
        }  # fmt: skip
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def roc_auc(detector: Path, faces: Path, out: Path, progress: Progress) -> float:
    """Return the detector's mean ROC-AUC on the thermal test faces of an index."""
    if not (out / SCORES_NAME).exists():
        evaluate(EvaluateOptions(run=detector, index=faces, out=out), progress=progress)
    result = json.loads((out / SCORES_NAME).read_text(encoding="utf-8"))
    return round(DetectionScores.from_json(result["scores"]).macro_roc_auc, 4)


def table(seeds: Sequence[int], found: Mapping[str, Sequence[float]]) -> str:
    """Return a Markdown table: one row for what is left out, one column for each seed.

    What a term of the translator is worth without a feature level is told from ``pixel``.
    """
    rows: dict[str, tuple[Sequence[float], Sequence[float] | None]] = {}
    for row, title in ROWS.items():
        compared = "feature" if row.startswith("feature, ") else "all"
        rows[title] = found[row], found[compared]
        if row in ("all", "source_only", "target_supervised"):
            rows[title] = found[row], None
    return _markdown("macro F1", seeds, rows)


def read_table(seeds: Sequence[int], found: Mapping[str, Sequence[float]]) -> str:
    """Return a Markdown table of how well the labels of translations are read from them."""
    rows = {
        title: (found[row], None if row == "all" else found["all"]) for row, title in READ.items()
    }
    return _markdown("ROC-AUC of the translations", seeds, rows)


def _markdown(
    title: str,
    seeds: Sequence[int],
    rows: Mapping[str, tuple[Sequence[float], Sequence[float] | None]],
) -> str:
    """Return a table; each row beside what it is compared with, if with anything."""
    heads = (title, *(f"seed {seed}" for seed in seeds), "mean", "worth")
    lines = [heads, ("---",) * len(heads)]
    for name, (values, whole) in rows.items():
        mean = statistics.fmean(values)
        worth = "" if whole is None else f"{statistics.fmean(whole) - mean:+.3f}"
        lines.append((name, *(f"{value:.3f}" for value in values), f"{mean:.3f}", worth))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="where all runs go")
    add("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="default: 0")
    add("--budget", choices=get_args(Budget), default="quick", help="as of cycada demo")
    add("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


if __name__ == "__main__":
    run_tool(main)
