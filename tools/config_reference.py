"""Write docs/configuration.md from the settings that the code declares.

python tools/config_reference.py           writes the file
python tools/config_reference.py --check   fails where the file is out of date
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from cycada.config import DetectorConfig, TranslatorConfig
from cycada.vitals.dyspnea_config import DyspneaConfig

FILE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

_HEAD = """\
# Settings

<!-- Written by tools/config_reference.py from the code; do not edit. -->

The two trainings have settings, and so has the score of `cycada monitor`, which reads them \
from the file of its `--score` ([monitoring-score.md](monitoring-score.md)). A TOML file \
says what differs from the defaults, and `--set` \
overrides single values; tables are reached with dots:

```bash
cycada train-translator --config docs/recipes/translator-faces-128.toml --set weights.cycle=5 \\
    --set steps=10000 --data data/rgb --data data/thermal --out runs/translator
```

The value after `=` is TOML: `0.1`, `true`, `[1, 4, 12]`; a word needs no quotes. An option of its \
own, such as `--data`, beats the file, and `--set` beats both. An unknown setting is an error. \
`--dry-run` prints all settings as TOML that `--config` reads again; so does it read the \
`config.json` of a run. [recipes](recipes) holds files to begin with.

Run the same command again to continue a training. Only `steps` may grow, and the settings that \
do not change what is learned (`workers`, `cache_mb`, `log_every`, `sample_every`, `save_every`, \
`keep`, `steps_back`, `trackers`, `share_samples`, of a translator also `accumulate`) may differ.
"""

_CONFIGS: tuple[tuple[str, Any], ...] = (
    ("cycada train-translator", TranslatorConfig),
    ("cycada train-detector", DetectorConfig),
    ("cycada monitor --score", DyspneaConfig),
)


def reference() -> str:
    """Return the text of docs/configuration.md."""
    parts = [_HEAD]
    for title, config in _CONFIGS:
        parts += [f"\n## {title}\n", *_tables(config, "")]
    return "\n".join(parts)


def _tables(config: Any, prefix: str) -> Iterator[str]:
    """Yield the table of a config's own settings, then those of its inner tables."""
    hints = typing.get_type_hints(config)
    rows, inner = [], []
    for item in dataclasses.fields(config):
        kind = hints[item.name]
        if dataclasses.is_dataclass(kind):
            inner.append((item.name, kind))
            continue
        rows.append(
            f"| `{prefix}{item.name}` | {_type(kind)}{_range(item.metadata)} "
            f"| `{_value(item.default)}` | {item.metadata['help']} |"
        )
    yield f"{config.__doc__}\n"
    yield "| Setting | Type | Default | What it means |"
    yield "|---|---|---|---|"
    yield "\n".join(rows) + "\n"
    for name, kind in inner:
        yield f"### {prefix}{name}\n"
        yield from _tables(kind, f"{prefix}{name}.")


def _type(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"list of {_type(typing.get_args(kind)[0])}s"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}[kind]


def _range(limits: Any) -> str:
    low, high = limits["low"], limits["high"]
    if low is None:
        return ""
    return f" ≥ {low:g}" if high is None else f" {low:g} to {high:g}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main() -> None:
    """Write the file, or check it."""
    text = reference()
    if "--check" in sys.argv[1:]:
        if FILE.read_text(encoding="utf-8") != text:
            sys.exit(f"{FILE.name} is out of date: run python tools/config_reference.py")
        return
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
