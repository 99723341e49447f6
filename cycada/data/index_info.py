"""``index.toml``: what is true of all rows of an index."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from cycada.action_units import INTENSITY_MAX, OCCURRENCE_THRESHOLD, PROBABILITY_THRESHOLD
from cycada.data.subjects import DIGESTS_KEY, NAMES_KEY, digests_of
from cycada.errors import DataError
from cycada.files import check_text
from cycada.thermal import Unit, Window

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["occurrence", "intensity", "probability", "class", "none"]

KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: tuple[Unit, ...] = get_args(Unit)

TOML_NAME = "index.toml"

_THRESHOLDS = MappingProxyType(
    {"threshold": INTENSITY_MAX, "intensity_threshold": INTENSITY_MAX, "probability_threshold": 1.0}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """What is true of all rows of an index."""

    kind: Kind  # what the labels are
    threshold: float = 0.0  # value from which an AU occurs; 0 is replaced by the usual one
    intensity_threshold: float = 0.0  # intensities that became occurrences did so from here on;
    probability_threshold: float = 0.0  # so did probabilities; 0: there were none
    unit: Unit = "grey"  # of the thermal images
    window: Window = Window()  # deg C that the thermal images span
    source: str = ""
    licence: str = ""
    translator: str = ""  # run that made a translated set
    translator_hash: str = ""
    excluded: int = 0  # images that were left out on purpose (``excluded.csv``)
    seen_digests: tuple[str, ...] = ()  # whom the translator learned from; never to test on
    seen_subjects: tuple[str, ...] = ()  # the same as names, as earlier versions wrote them
    # Where the index was written, as a digest, and the folders outside of its own that its paths
    # led to then; noted where any did.
    outside_of: str = field(default="", compare=False)
    outside: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.threshold:
            usual = PROBABILITY_THRESHOLD if self.kind == "probability" else OCCURRENCE_THRESHOLD
            object.__setattr__(self, "threshold", usual)

    @property
    def seen(self) -> frozenset[str]:
        """Digests of the subjects that the translator learned from."""
        return digests_of(self.seen_subjects).union(self.seen_digests)


def read_info(file: Path) -> IndexInfo:
    """Read ``index.toml``.

    Raises:
        DataError: the file is missing or wrong, naming it and the key.
    """
    try:
        check_text(file)
        with file.open("rb") as stream:
            given = tomllib.load(stream)
    except FileNotFoundError:
        raise DataError(
            f"{file}: is missing; write at least one line that says what the labels are: "
            f'kind = "occurrence" (0 or 1), "intensity" (0 to 5), "probability" (0 to 1), "class" '
            f'or "none".'
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as TOML ({error}).") from error
    known = [item.name for item in fields(IndexInfo)]
    for name in given:
        if name not in known:
            raise DataError(f"{file}: unknown key {name!r}.{did_you_mean(name, known)}")
    if "kind" not in given:
        raise DataError(f"{file}: the key 'kind' is missing; it is one of {', '.join(KINDS)}.")
    info = IndexInfo(**{name: _info_value(name, value, file) for name, value in given.items()})
    if info.kind == "probability" and info.threshold > 1:
        raise DataError(
            f"{file}: expected a threshold up to 1 with kind = {info.kind!r}, "
            f"found {info.threshold!r}."
        )
    return info


def _info_value(name: str, value: Any, file: Path) -> Any:
    if name == "window":
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
            raise DataError(f"{file}: expected window = [LOW, HIGH] in deg C, found {value!r}.")
        try:
            return Window(float(value[0]), float(value[1]))
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
    if largest := _THRESHOLDS.get(name):
        if not (_is_number(value) and 0 < value <= largest):
            raise DataError(
                f"{file}: expected a {name} above 0 and up to {largest:g}, found {value!r}."
            )
        return float(value)
    if name in (NAMES_KEY, DIGESTS_KEY, "outside"):
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise DataError(f"{file}: expected {name} to be a list of texts.")
        return tuple(value)
    if name == "excluded":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise DataError(f"{file}: expected {name} to be a whole number, found {value!r}.")
        return value
    if not isinstance(value, str):
        raise DataError(f"{file}: expected {name} to be a text in quotes, found {value!r}.")
    choices: Sequence[str] = {"kind": KINDS, "unit": UNITS}.get(name, ())
    if choices and value not in choices:
        hint = did_you_mean(value, choices)
        raise DataError(f"{file}: {name} = {value!r} is unknown.{hint}")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def info_text(info: IndexInfo) -> str:
    """Return ``info`` as the text of ``index.toml``."""
    lines = [f"kind = {json.dumps(info.kind)}"]
    if info.kind in ("intensity", "probability"):
        lines.append(
            f"threshold = {float(info.threshold)!r}  # {info.kind} from which an AU occurs"
        )
    for kind, made in (
        ("intensity", info.intensity_threshold),
        ("probability", info.probability_threshold),
    ):
        if made:
            lines.append(f"{kind}_threshold = {float(made)!r}  # from here on it became occurrence")
    lines.append(f"unit = {json.dumps(info.unit)}")
    low, high = float(info.window.low), float(info.window.high)
    lines.append(f"window = [{low!r}, {high!r}]  # deg C")
    for name in ("source", "licence", "translator", "translator_hash"):
        if text := getattr(info, name):
            lines.append(f"{name} = {_toml(text)}")
    if info.excluded:
        lines.append(f"excluded = {info.excluded}  # images left out on purpose")
    if info.outside_of:
        lines.append(f"outside_of = {_toml(info.outside_of)}  # where this was written")
    for name in (NAMES_KEY, DIGESTS_KEY, "outside"):
        if listed := getattr(info, name):
            lines.append(f"{name} = {_toml(list(listed))}")
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str]) -> str:
    """Return texts as TOML: as in JSON, but without halves of characters, and with DEL escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that names the nearest known name, or else all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known are {', '.join(known)}."
