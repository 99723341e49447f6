"""The model card: what a network is, what it has learned from, how well it does, and its limits.

Markdown with a head of YAML, as the Hugging Face Hub reads it. It names no subject and no path.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from cycada.action_units import meaning
from cycada.report.methods import figure_text
from cycada.task import Task
from cycada.thermal import Window

_TASKS: Mapping[str, str] = MappingProxyType(
    {"detector": "image-classification", "translator": "image-to-image"}
)
_CLASSES: Mapping[str, str] = MappingProxyType(
    {"detector": "ActionUnitDetector", "translator": "Translator"}
)
_KEYS: Mapping[str, str] = MappingProxyType(
    {"macro F1": "f1", "macro ROC-AUC": "roc_auc", "accuracy": "accuracy"}
)
_PATH = re.compile(
    r"""(?<![^\s"'(\[=,;:`<>{|*])"""  # at the beginning of a word: and/or and 1/2 are no paths
    r"""(?:file:/*|(?:~[\w.-]*|\.{1,2}|[A-Za-z]:)?(?!(?<=:)//)[\\/]{1,2})"""  # nor are addresses
    r"""[^\s\\/"')\],;`<>{}|*]+(?:[\\/]+[^\s\\/"')\],;`<>{}|*]+)*[\\/]*"""
    # Names of folders may hold spaces: what follows in capitals, and all up to the end of the
    # clause if there are more separators in it.
    r"""(?:[ ][A-Z][^\s\\/"')\],;`<>{}|*]*)*"""
    r"""(?:(?:(?!\w+://)[^"'()\[\],;`<>{}|*\n\\/])*[\\/](?:(?!\w+://)[^"'()\[\],;`<>{}|*\n])*)?"""
)
INITIAL_WEIGHTS = "initial weights"
"""Role of what a network began from that is no dataset of faces."""

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_MARKED = re.compile(r"([\\`*_{}\[\]<>|#])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A dataset that a network, or one before it, has learned from."""

    role: str  # such as "labelled source"
    source: str = ""  # as its index says, without paths
    licence: str = ""
    labels: str = ""  # their kind
    rgb: int | None = None  # faces to learn from and to validate with; None: not known any more
    thermal: int | None = None
    subjects: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Learned:
        """Read back what ``dataclasses.asdict`` made.

        Raises:
            TypeError: It is something else.
        """
        found = cls(**data)
        texts = (found.role, found.source, found.licence, found.labels)
        counts = (found.rgb, found.thermal, found.subjects)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is none")
        if not all(count is None or type(count) is int for count in counts):
            raise TypeError("a count is none")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of an evaluation, with its interval where there is one."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What an evaluation says of these weights."""

    faces: str  # such as "thermal test"
    source: str  # of the dataset, as its index says, without paths
    images: int
    subjects: int
    figures: tuple[Figure, ...]
    units: tuple[tuple[str, float, float, int, int], ...] = ()  # name, F1, AUC, present, annotated

    def to_json(self) -> dict[str, Any]:
        """Return plain data; NaN becomes null."""
        found = asdict(self)
        found["figures"] = [
            {name: _plain(value) for name, value in figure.items()} for figure in found["figures"]
        ]
        found["units"] = [[_plain(value) for value in unit] for unit in self.units]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluated:
        """Read back what :meth:`to_json` made."""
        figures = tuple(
            Figure(**{name: _number(value) for name, value in figure.items()})
            for figure in data["figures"]
        )
        units = tuple(tuple(_number(value) for value in unit) for unit in data["units"])
        return cls(**{**data, "figures": figures, "units": units})


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Everything that a model card tells."""

    kind: str  # "detector" or "translator"
    place: str  # what from_pretrained is to be given
    version: str  # of cycada
    steps: int | None  # None: trained with other code, which noted none here
    size: int  # px
    licence: str
    fingerprint: str  # SHA-256 of the weights
    subjects: int | None  # all whom it has learned from; None: not noted
    digests: bool  # whether digests of their names are handed on
    learned: tuple[Learned, ...]
    evaluations: tuple[Evaluated, ...]
    settings: tuple[tuple[str, str], ...]  # that tell the method
    window: Window | None  # deg C of thermal images
    task: Task | None = None  # of a detector
    domains: tuple[str, ...] = ()  # of its labelled source
    unnamed: bool = False  # whether there are no digests of some of them
    trained_with: str = ""  # whose code; empty: ours
    adapted: bool = False  # whether it has learned from unlabelled faces of another domain

    @property
    def title(self) -> str:
        """The first line."""
        if self.kind == "translator":
            return "Translator of RGB faces into thermal ones"
        what = "Classes" if self.task is not None and self.task.classes else "Action Units"
        return f"Detector of {what} in faces"


def model_card(card: Card) -> str:
    """Return ``README.md``."""
    sections = (
        _what(card), _use(card), _intended(card), _learned(card), _training(card),
        _evaluated(card), _limits(card),
    )  # fmt: skip
    body = "\n".join(line for section in sections for line in (*section, ""))
    return f"---\n{_head(card)}\n---\n\n# {card.title}\n\n{body}"


def without_paths(text: str) -> str:
    """Return a text that users wrote without the paths of their folders; addresses stay."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.expanduser raises where there is none
    if len(home) > 1:
        text = text.replace(home, "~")
    return _PATH.sub("(a folder)", text).strip()


def _head(card: Card) -> str:
    # Loaded here: it takes a second, and the report writes pages without it.
    from huggingface_hub import EvalResult, ModelCardData  # noqa: PLC0415

    results = [
        EvalResult(
            task_type=_TASKS[card.kind], dataset_type="faces",
            dataset_name=found.source or f"{found.faces} faces", metric_type=_KEYS[figure.name],
            metric_name=figure.name, metric_value=round(figure.value, 4),
        )
        for found in card.evaluations for figure in found.figures
        if figure.name in _KEYS and math.isfinite(figure.value)
    ]  # fmt: skip
    known = card.licence.lower()
    slug = re.sub(r"[^a-z0-9.-]+", "-", known).strip("-.")
    data = ModelCardData(
        library_name="cycada",
        license=known if _LICENCE.fullmatch(known) else "other" if known else None,
        license_name=None if _LICENCE.fullmatch(known) else slug or None,
        pipeline_tag=_TASKS[card.kind],
        tags=["facial-action-units", "infrared", "thermal", "domain-adaptation", "research-only"],
        model_name=card.title if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _what(card: Card) -> Iterator[str]:
    yield (
        "**Research use only.** This is no medical device; do not base care, or any other decision "
        "about a person, on it."
    )
    yield ""
    known = (
        "It knows no temperatures: thermal images are grey." if card.window is None
        else f"Thermal images span {card.window.low:g} to {card.window.high:g} °C."
    )  # fmt: skip
    if card.task is None:
        yield (
            f"Makes thermal faces of RGB ones that keep their Action Units, {card.size} px on the "
            f"shorter side. {known}"
        )
        return
    names = [_named(name) for name in card.task.names]
    what = "one of the classes" if card.task.classes else "how probable each of these Action Units"
    adapted = ", then from unlabelled thermal ones" if card.adapted else ""
    domains = (
        f"labelled {_escaped(' and '.join(card.domains))} faces"
        if card.domains
        else "labelled faces"
    )
    yield (
        f"Tells of a face, cut out and {card.size} px wide and high, {what} "
        f"{'' if card.task.classes else 'is'}".rstrip()
        + f": {', '.join(names)}. It has learned from {domains}{adapted}. {known}"
    )


def _use(card: Card) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import cycada"
    yield ""
    yield f'model = cycada.{_CLASSES[card.kind]}.from_pretrained("{card.place}")'
    if card.kind == "translator":
        yield 'for image in model.translate(["face.png"]):'
        yield '    image.save("thermal.png")'
    else:
        yield 'print(model.detect(["face.png"]).to_csv())'
    yield "```"
    yield ""
    yield (
        f"Written by cycada {_escaped(card.version)}. The weights are safetensors, which run no "
        f"code; their SHA-256 begins with `{card.fingerprint[:16]}`."
    )


def _intended(card: Card) -> Iterator[str]:
    yield "## Intended use"
    yield ""
    if card.kind == "translator":
        yield (
            "Making labelled thermal training data of labelled RGB faces, and studying how that "
            "is done. What it makes is no measurement: nobody had these temperatures."
        )
    else:
        yield (
            "Research on facial Action Units in infrared images of people who have agreed to it. "
            "Measure it on labelled faces of your own camera before you believe it."
        )
    yield ""
    yield (
        "Not for diagnosis, monitoring or triage of patients, for surveillance, for telling "
        "emotions or character, or for recognising who someone is."
    )


def _learned(card: Card) -> Iterator[str]:
    yield "## Data"
    yield ""
    if card.learned:
        yield "| Role | Source | Licence | Labels | RGB faces | Thermal faces | Subjects |"
        yield "|---|---|---|---|---|---|---|"
        for each in card.learned:
            counts = (each.rgb, each.thermal, each.subjects)
            cells = (
                each.role, each.source or "not stated",
                each.licence or "not stated", each.labels or "–",
                *("–" if count is None else f"{count:,}" for count in counts),
            )  # fmt: skip
            yield f"| {' | '.join(map(_escaped, cells))} |"
        yield ""
        yield "Faces to learn from and to validate with; those to test on do not count."
        if any(each.subjects is None and each.role != INITIAL_WEIGHTS for each in card.learned):
            yield (
                "– stands where a dataset was not there any more, or had changed, when this was "
                "written."
            )
        yield ""
    if card.subjects is None:
        yield "How many subjects it has learned from was not noted."
    else:
        yield (
            f"In all it has learned from {card.subjects:,} subjects, itself or through networks "
            "before it. "
            + (
                "Of their names digests alone are kept, so that nobody is scored whom it knows."
                if card.digests
                else "Nothing in it tells who they are, so nothing keeps them from being scored."
            )
            + (
                " A network before it was handed on without digests, so nothing keeps those whom "
                "that one knows from being scored."
                if card.unnamed
                else ""
            )
        )
    yield ""
    yield (
        f"Licence of the weights: {_escaped(card.licence)}. " if card.licence
        else "No licence of the weights was stated. "
    ) + "Licences of the data may bind them, too."  # fmt: skip


def _training(card: Card) -> Iterator[str]:
    yield "## Training"
    yield ""
    if card.trained_with:
        yield f"Trained with {_escaped(card.trained_with)}'s code; its settings were not noted."
        return
    yield f"{card.steps:,} steps with:"
    yield ""
    for name, value in card.settings:
        yield f"- `{name}`: {_escaped(value)}"
    yield ""
    yield "`config.json` holds all settings but paths."


def _evaluated(card: Card) -> Iterator[str]:
    yield "## Evaluation"
    yield ""
    if not card.evaluations:
        yield "No evaluation of these weights lay beside the run. `cycada evaluate` makes one."
        return
    yield "On subjects that no stage has seen; intervals, 95 %, by resampling subjects."
    for found in card.evaluations:
        yield ""
        of = f" of {_escaped(found.source)}" if found.source else ""
        counts = f"images: {found.images:,}, subjects: {found.subjects:,}"
        yield f"{_escaped(found.faces).capitalize()} faces{of} ({counts}):"
        yield ""
        yield "| Figure | Value | Interval |"
        yield "|---|---|---|"
        for figure in found.figures:
            bounds = math.isfinite(figure.low) and math.isfinite(figure.high)
            interval = f"{figure_text(figure.low)} to {figure_text(figure.high)}" if bounds else "–"
            yield f"| {_escaped(figure.name)} | {figure_text(figure.value)} | {interval} |"
        if found.units:
            yield ""
            yield "| Answer | F1 | ROC-AUC | Faces that show it |"
            yield "|---|---|---|---|"
            for name, f1, auc, present, frames in found.units:
                yield (
                    f"| {_named(name)} | {figure_text(f1)} | {figure_text(auc)} | "
                    f"{present:,} of {frames:,} |"
                )


def _limits(card: Card) -> Iterator[str]:
    yield "## Limits"
    yield ""
    if any("phantom" in each.source for each in card.learned):
        yield (
            "- It has learned from phantom faces, drawn by cycada, which are simpler than real "
            "ones. Its figures on them say nothing about patients."
        )
    yield (
        "- Faces unlike those it has learned from, in age, skin, beard, illness, tubes and masks, "
        "camera, distance or room temperature, may be read wrongly without a sign of it."
    )
    if card.kind == "translator":
        yield (
            "- It invents what RGB images do not show, and may lose Action Units, or make some "
            "that are not there."
        )
        yield "- A translation of a real face shows that person, and falls under the same rules."
    else:
        yield (
            "- Probabilities are calibrated for faces like those of its validation; elsewhere, how "
            "often an AU occurs shifts them."
        )
        yield "- Masks and hands as warm as skin are not noticed; glasses and caps are."
        yield "- Action Units are movements. They do not tell what a person feels."


def _named(name: str) -> str:
    told = meaning(name)
    return _escaped(f"{name} ({told})" if told else name)


def _escaped(text: str) -> str:
    """Return a text without line breaks, which Markdown shows as it is."""
    return _MARKED.sub(r"\\\1", " ".join(text.split()))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def told_settings(settings: Mapping[str, Any], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return settings by dotted name as texts, in this order; those that are not there are not."""
    return tuple((name, _told(settings[name])) for name in names if name in settings)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "all"
    return str(value)
