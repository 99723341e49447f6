"""How settings are declared, read from TOML and ``--set key=value``, and told apart.

The settings themselves are the dataclasses of :mod:`cycada.config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeVar

from cycada.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

_CONTROL = {code: f"\\u{code:04x}" for code in (0x7F,)}  # TOML escapes it, JSON does not
_LARGEST = 1 << 24  # bytes of a file of settings


def setting(default: Any, text: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare a setting: its default, what it means, and the range it must lie in.

    ``text`` is also the entry in ``docs/configuration.md``.
    """
    limits = {"help": text, "low": low, "high": high}
    if dataclasses.is_dataclass(default):
        return field(default_factory=lambda: default, metadata=limits)
    return field(default=default, metadata=limits)


def load_config(
    cls: type[T],
    file: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> T:
    """Read the settings of ``cls``: defaults, then ``file``, then ``values``, then ``overrides``.

    Args:
        cls: One of the dataclasses of :mod:`cycada.config`.
        file: TOML file, or the ``config.json`` of a run.
        overrides: ``key=value`` each; dots reach into tables; the value is TOML, or a bare word.
        values: Settings by dotted name, from a verb's own options.

    Raises:
        ConfigError: An unknown setting, a wrong type, or a value out of range.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        tree = _read(file)
        _build(cls, tree, where=str(file))  # so that a fault in the file is blamed on the file
    for key, value in (values or {}).items():
        _plant(tree, key, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: expected KEY=VALUE, such as --set steps=1000.")
        _plant(tree, key.strip(), _value(text.strip()))
    return _build(cls, tree, where="settings")


def to_dict(config: Any) -> dict[str, Any]:
    """Return the settings as plain JSON values, tables as nested dicts."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config))))


def flatten(config: Any) -> dict[str, Any]:
    """Return the settings by dotted name, such as ``weights.cycle``."""
    return dict(_leaves(to_dict(config), ""))


def differences(left: Any, right: Any) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two configs differ: dotted name -> (left, right)."""
    one, two = flatten(left), flatten(right)
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return {name: (one.get(name), two.get(name)) for name in names}


def settings_text(config: Any, *, table: str = "") -> str:
    """Return settings as TOML that ``--config`` reads back as they are.

    Args:
        config: One of the config dataclasses.
        table: Name of the table that the settings are in, with a dot at its end.
    """
    lines: list[str] = []
    tables: list[str] = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            name = table + item.name
            tables.append(f"\n[{name}]\n{settings_text(value, table=name + '.')}")
        else:
            lines.append(f"{item.name} = {_toml(value)}  # {item.metadata['help']}\n")
    return "".join([*lines, *tables])


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    # Otherwise JSON and TOML write a value alike.
    return json.dumps(value, ensure_ascii=False).translate(_CONTROL)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.exists() and not (file.is_file() and file.stat().st_size < _LARGEST):
            raise ConfigError(f"{file}: is no file of settings.")  # a pipe would be waited for
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a settings file ({error}).") from error
    try:
        if file.suffix == ".json":
            tree = json.loads(text)
            tree = tree.get("settings", tree) if isinstance(tree, dict) else tree
        else:
            tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid {file.suffix[1:].upper()}: {error}.") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a table of settings, found {type(tree).__name__}.")
    return tree


def _value(text: str) -> Any:
    """Parse one TOML value; a bare word counts as a string, so that paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _plant(tree: dict[str, Any], key: str, value: Any) -> None:
    *tables, leaf = key.split(".")
    for table in tables:
        inner = tree.setdefault(table, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {table} is a single value, not a table of settings.")
        tree = inner
    if isinstance(value, Mapping) and isinstance(tree.get(leaf), dict):
        for name, inner_value in value.items():  # the rest of the table stays as it is
            _plant(tree[leaf], name, inner_value)
    else:
        tree[leaf] = value


def _build(cls: type[T], tree: Mapping[str, Any], *, where: str, prefix: str = "") -> T:
    hints = typing.get_type_hints(cls)
    declared = {item.name: item for item in dataclasses.fields(typing.cast(Any, cls))}
    for key in tree:
        if key not in declared:
            near = difflib.get_close_matches(key, declared, n=1, cutoff=0.5)
            hint = (
                f" Did you mean {prefix}{near[0]}?" if near else f" Known: {', '.join(declared)}."
            )
            raise ConfigError(f"{where}: unknown setting {prefix}{key}.{hint}")
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name, kind = prefix + key, hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{where}: {name} is a table; set {name}.{_first(kind)}=… inside."
                )
            values[key] = _build(typing.cast(type, kind), value, where=where, prefix=f"{name}.")
            continue
        values[key] = _typed(value, kind, f"{where}: {name}")
        _check_range(values[key], declared[key].metadata, f"{where}: {name}")
    return cls(**values)


def _first(cls: Any) -> str:
    return dataclasses.fields(cls)[0].name


def _check_range(value: Any, limits: Mapping[str, Any], name: str) -> None:
    if isinstance(value, (str, bool, tuple)):
        return
    if math.isinf(value):
        raise ConfigError(f"{name} must be finite, found {value}.")
    low, high = limits.get("low"), limits.get("high")
    below, above = low is not None and value < low, high is not None and value > high
    if math.isnan(value) or below or above:
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ConfigError(f"{name} must be {bounds}, found {value}.")


def _typed(value: Any, kind: Any, name: str) -> Any:
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            listed = ", ".join(str(choice) for choice in choices)
            raise ConfigError(f"{name} must be one of {listed}; found {value!r}.")
        return value
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_typed(item, choices[0], name) for item in items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name} must be {_spoken(kind)}, found {value!r}.")
    return value


def _spoken(kind: type | types.GenericAlias) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(typing.cast(type, kind), str(kind))
