"""WebDataset shards: tar files in which members that follow one another make a sample.

Names are split as the library webdataset splits them: ``a/12.cls.json`` is the member ``cls.json``
of the sample ``a/12``. Shards are written by the library's writer. They are not read by its reader,
which passes over a header that is broken, an end that is missing, links, and archives joined
together without a word, and gives members other names: here nothing may be lost.
"""

from __future__ import annotations

import math
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cycada.data.index import CSV_NAME, fault_of_path
from cycada.errors import DataError, UsageError, reason
from cycada.files import check_regular, replacing
from cycada.footage.packages import optional
from cycada.image_reading import IMAGE_SUFFIXES

SHARD_SUFFIX = ".tar"

PICTURES = ("png", "jpg", "jpeg", "tif", "tiff")
"""Members that are the image of a sample, in lower case."""

MOST_BYTES = 1 << 30
"""Bytes of the largest sample, which is held in memory."""

MOST_SHARDS = 1_000_000
"""Shards that a pattern may name; all names are in memory before the first is looked for."""

_PACKED = re.compile(r"\.(tgz|tar\.[a-z0-9]+)$", flags=re.IGNORECASE)
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})")
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_OWN = "__"  # names that the library keeps for itself begin so


class ShardError(DataError):
    """A shard that is broken, or is none; the message names it and where it is so."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a shard holds under one key."""

    key: str
    members: Mapping[str, bytes]  # by what follows the key and a dot, in the order of the shard

    @property
    def pictures(self) -> list[str]:
        """Names of the members that are images."""
        return [name for name in self.members if name.lower() in PICTURES]


def shards_named(source: Path) -> list[Path] | None:
    """Return the shards that ``source`` names, in their order; ``None`` if it names something else.

    Args:
        source: A ``.tar`` file, a folder of them, or a pattern with braces such as
            ``rgb-{000000..000099}.tar``, expanded as in bash.

    Raises:
        UsageError: A pattern that cannot be expanded, or names something else than shards; a folder
            that also holds images; nothing is there.
        DataError: A shard is not there, or named twice.
    """
    if source.is_dir():
        return None if (source / CSV_NAME).exists() else _shards_in(source)
    if not source.exists() and "{" in str(source):
        return _expanded(source)
    if source.suffix.lower() != SHARD_SUFFIX:
        if not source.exists():
            raise UsageError(f"{source}: there is no such index, folder or shard.")
        if _PACKED.search(source.name):
            raise UsageError(f"{source}: is compressed; unpack it to a .tar file first.")
        return None
    if not source.exists():
        raise DataError(f"{source}: there is no such shard.")
    return [source]


def _shards_in(folder: Path) -> list[Path] | None:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    shards = [name for name in names if Path(name).suffix.lower() == SHARD_SUFFIX]
    if not shards:
        return None
    if picture := _picture_below(folder):
        raise UsageError(
            f"{folder}: holds shards ({shards[0]}) and images ({picture}); name the shards by a "
            "pattern such as 'rgb-{000..099}.tar', or put the images elsewhere."
        )
    if packed := [name for name in names if _PACKED.search(name)]:
        raise UsageError(
            f"{folder}: holds shards and a compressed one ({packed[0]}); unpack that to a .tar "
            "file, or name the others by a pattern such as 'rgb-{000..099}.tar'."
        )
    return [folder / name for name in shards]


def _picture_below(folder: Path) -> Path | None:
    """Return an image that would be translated if there were no shards."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and not hidden:
            return inside
    return None


def _expanded(pattern: Path) -> list[Path]:
    braces = optional("braceexpand", extra="webdataset", what="a pattern of shards")
    ranges = _RANGE.findall(str(pattern))
    if math.prod(abs(int(last) - int(first)) + 1 for first, last in ranges) > MOST_SHARDS:
        raise UsageError(f"{pattern}: names more than {MOST_SHARDS:,} shards.")
    found: dict[Path, None] = {}
    try:
        for text in braces.braceexpand(str(pattern)):
            path = Path(text)
            if path.suffix.lower() != SHARD_SUFFIX:
                raise UsageError(f"{pattern}: names {path}, which is no shard (.tar).")
            if not path.exists():
                raise DataError(f"{pattern}: names the shard {path}, which is not there.")
            if path in found:
                raise DataError(f"{pattern}: names {path} twice.")
            found[path] = None
    except braces.UnbalancedBracesError:
        raise UsageError(f"{pattern}: has a brace without its other half.") from None
    return list(found)


def read_samples(file: Path, *, ignored: Callable[[str], None]) -> Iterator[Sample]:
    """Yield the samples of a shard, one by one; one of them is in memory, and the keys of all.

    Args:
        file: The shard.
        ignored: Is told the name of each file that belongs to no sample, for it has no dot, or
            begins with one, or is a note of the library's (``__name__``).

    Raises:
        ShardError: It is no tar file, is cut off or broken, holds links, names that lead out of
            its folder, or a key twice.
    """
    split = _library().tariterators.base_plus_ext
    keys: set[str] = set()
    key, members, held = "", dict[str, bytes](), 0
    for name, content in _files(file):
        own, member = split(name)
        if not own or not member or own.endswith("/") or _is_note(name):
            ignored(name)
            continue
        if own != key:
            if members:
                yield Sample(key, members)
            if own in keys:
                raise ShardError(
                    f"{file}: has the sample {own!r} twice, again at {name!r}; keys are to differ, "
                    "and members of a sample to follow one another (tar --sort=name)."
                )
            keys.add(own)
            key, members, held = own, {}, 0
        if member.startswith(_OWN):
            raise ShardError(f"{file}: its member {name!r} has a name that readers keep for notes.")
        if member.lower() in map(str.lower, members):
            raise ShardError(f"{file}: has the member {name!r} twice.")
        held += len(content)
        if held > MOST_BYTES:
            raise _too_large(file, f"sample {own!r}")
        members[member] = content
    if not keys:
        raise ShardError(f"{file}: holds no sample.")
    yield Sample(key, members)


def _is_note(name: str) -> bool:
    """Tell whether readers pass over a file, or a folder of them: ``__name__``."""
    first = name.partition("/")[0]
    return first.startswith(_OWN) and first.endswith(_OWN)


def _files(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each regular file, in order."""
    where = "at its beginning"
    try:
        _check_regular(file)
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            kept: Any = archive
            end = 0
            while (member := archive.next()) is not None:
                kept.members.clear()  # or it would keep a note of all that it has read
                _check_member(member, file)
                end = member.offset_data
                if member.isdir():
                    continue
                end += -(-member.size // _BLOCK) * _BLOCK
                where = f"in the member {member.name!r}"
                content = archive.extractfile(member)
                yield member.name, b"" if content is None else content.read()
                where = f"after the member {member.name!r}"
            _check_end(stream, end, file, where)
    except ShardError:
        raise
    except FileNotFoundError:
        raise ShardError(f"{file}: there is no such shard.") from None
    except Exception as error:  # tarfile raises many kinds on broken bytes
        raise ShardError(
            f"{file}: cannot be read as a tar file {where} ({reason(error)}); it is cut off, "
            "broken or compressed."
        ) from error


def _check_regular(file: Path) -> None:
    try:
        check_regular(file)
    except DataError as error:
        raise ShardError(str(error)) from None


def _too_large(file: Path, what: str) -> ShardError:
    return ShardError(
        f"{file}: its {what} has more than {MOST_BYTES >> 20} MB, and is held in memory as a whole."
    )


def _check_member(member: tarfile.TarInfo, file: Path) -> None:
    if member.isdir():  # made anew from the names of files; that of `tar -C folder .` is "."
        return
    name = member.name
    if fault_of_path(name) or ".." in PurePosixPath(name).parts:
        raise ShardError(
            f"{file}: the name of its member {name!r} leads out of the folder that a shard is "
            "unpacked into, or is none on every system; pack it again without that."
        )
    if not member.isfile() or member.issparse():
        raise ShardError(
            f"{file}: its member {name!r} is a link, a device or a sparse file; pack it again with "
            "plain files alone (tar --dereference --hard-dereference)."
        )
    if member.size > MOST_BYTES:
        raise _too_large(file, f"member {name!r}")


def _check_end(stream: BinaryIO, end: int, file: Path, where: str) -> None:
    """Refuse an archive that does not end with zeros alone: tarfile takes much for the end."""
    stream.seek(end)
    rest = stream.read(_BLOCK)
    if len(rest) < _BLOCK:
        raise ShardError(f"{file}: is cut off {where}.")
    while rest:
        if rest.strip(b"\0"):
            raise ShardError(
                f"{file}: is broken {where}, where something follows that is no member, or a "
                "second archive."
            )
        rest = stream.read(_CHUNK)


@contextmanager
def shard_writer(file: Path) -> Iterator[Callable[[Sample], None]]:
    """Yield what adds a sample to a shard, which appears whole when the block succeeds.

    The same samples make the same bytes: members have no time, owner or order of their own (the
    library's writer sorts those of a sample by name).

    Raises:
        DataError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        writer_to = partial(
            _library().TarWriter,
            encoder=False, mtime=0, user="", group="", mode=0o644, keep_meta=True,
        )  # fmt: skip
        with (
            replacing(file) as temporary,
            temporary.open("wb") as stream,
            writer_to(stream) as writer,
        ):
            yield lambda sample: writer.write({"__key__": sample.key, **sample.members})
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({reason(error)}).") from error


def check_library() -> None:
    """Refuse to begin without the library.

    Raises:
        UsageError: naming the command that installs it.
    """
    _library()


def _library() -> Any:
    return optional("webdataset", extra="webdataset", what="a WebDataset shard")
