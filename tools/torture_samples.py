"""What ``torture.py`` breaks: whole small files of every kind, and how the package reads them."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np
import torch
from cptv import CPTVWriter
from cptv import Frame as CPTVFrame
from numpy.typing import NDArray
from PIL import Image

from cycada import image_reading
from cycada.config import AlignmentConfig, DetectorConfig, TranslatorConfig
from cycada.data.faces.crops import CROPS_NAME, read_crops
from cycada.data.faces.places import read_places
from cycada.data.index import DOMAINS, SPLITS, Face, Index, IndexInfo, read_index, write_index
from cycada.data.label_table import Reading
from cycada.data.labels import read_labels
from cycada.data.landmarks import read_landmarks, write_landmarks
from cycada.data.shards import read_samples
from cycada.errors import DataError
from cycada.footage import ReadOptions, open_footage
from cycada.footage.palettes import read_palette
from cycada.footage.radiometry import read_calibration
from cycada.landmarks import EYE_CORNERS
from cycada.progress import Progress
from cycada.settings import load_config
from cycada.stages.report import report
from cycada.stages.train_detector import run_training
from cycada.training.checkpoint import newest_checkpoint
from cycada.training.loading import load_detector
from cycada.training.run_reading import read_log

_HEIGHT, _WIDTH = 24, 20
_SIDE = 16
_FRAMES = 6


def read_one_image(folder: Path, _frames: int) -> None:
    """Read an image, and its size, as every verb does."""
    file = _only(folder)
    if file.suffix != ".npy":
        image_reading.read_size(file)
        image_reading.count_pages(file)
    image_reading.read_image(file)


def read_recording(folder: Path, frames: int) -> None:
    """Read a camera's file as thermal frames."""
    footage = open_footage(_only(folder), ReadOptions())
    for _ in islice(footage.frames(), frames):
        pass


def read_label_files(folder: Path, _frames: int) -> None:
    """Read label files whatever layout they seem to have."""
    read_labels(folder, reading=Reading())


def read_tables(folder: Path, _frames: int) -> None:
    """Read tables of places, crops, palettes and calibrations."""
    file = _only(folder)
    if file.suffix == ".toml":
        read_calibration(file)
    elif file.suffix in (".png", ".jpg"):
        read_palette(str(file))
    elif file.name == CROPS_NAME:
        read_crops(folder)
    else:
        read_places(file)


def read_an_index(folder: Path, _frames: int) -> None:
    """Read an index with its landmarks and images."""
    index = read_index(folder)
    read_landmarks(folder)
    for face in index.faces:
        image_reading.read_image(index.file(face))


def read_settings(folder: Path, _frames: int) -> None:
    """Read the settings of a training."""
    file = _only(folder)
    load_config(TranslatorConfig if "translator" in file.name else DetectorConfig, file)


def read_a_run(folder: Path, _frames: int) -> None:
    """Load a detector to use it, and its state to go on."""
    read_log(folder)
    checkpoint = newest_checkpoint(folder)
    if checkpoint is not None:
        checkpoint.state()
    load_detector(folder, torch.device("cpu"))


def read_scores(folder: Path, _frames: int) -> None:
    """Make the page of an evaluation."""
    report([folder], folder / "page")


def read_shards(folder: Path, _frames: int) -> None:
    """Read a WebDataset shard and its pictures, as translate does."""
    for sample in read_samples(_only(folder), ignored=lambda _name: None):
        for name in sample.pictures:
            with suppress(DataError):  # it is set aside, and the next one tried
                image_reading.decode_image(sample.members[name], name)


READERS: Mapping[str, Callable[[Path, int], None]] = MappingProxyType(
    {
        "images": read_one_image, "recordings": read_recording, "labels": read_label_files,
        "tables": read_tables, "index": read_an_index, "settings": read_settings,
        "run": read_a_run, "scores": read_scores, "shards": read_shards,
    }
)  # fmt: skip
"""Name of a reader -> what it does with a sample's folder; of recordings with so many frames."""


def write_samples(root: Path, *, recordings: Path | None) -> dict[str, list[Path]]:
    """Write the samples of every reader, each in a folder of its own, and return these.

    Args:
        root: Where to.
        recordings: A folder whose files are broken, too.
    """
    made: dict[str, list[Path]] = {name: [] for name in READERS}

    def place(reader: str, name: str) -> Path:
        folder = root / reader / f"{len(made[reader]):03d}"
        folder.mkdir(parents=True)
        made[reader].append(folder)
        return folder / name

    _images(lambda name: place("images", name))
    _recordings(lambda name: place("recordings", name))
    for file in sorted(recordings.iterdir()) if recordings else ():
        place("recordings", file.name).write_bytes(file.read_bytes())
    for names in _LABELS:
        first = place("labels", next(iter(names)))
        for name, text in names.items():
            file = first.parent.joinpath(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
    _tables(lambda name: place("tables", name))
    index = _index(place("index", "index.csv").parent)
    _settings(lambda name: place("settings", name))
    _run(place("run", "run").parent, index)
    place("scores", "scores.json").write_text(json.dumps(_SCORES), encoding="utf-8")
    _shards(lambda name: place("shards", name))
    return made


def _only(folder: Path) -> Path:
    found = sorted(folder.iterdir())
    if not found:
        raise DataError(f"{folder}: holds no file.")
    return found[0]


def _grey(dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    return np.asarray(3 * y + 5 * x, dtype=dtype)


def _counts(number: int = 0) -> NDArray[np.uint16]:
    return np.asarray(29500 + 8 * _grey(np.uint16) + number, dtype=np.uint16)


def _images(place: Callable[[str], Path]) -> None:
    colour = Image.fromarray(np.stack([_grey()] * 3, axis=-1))
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.save(place("a.png"))
    colour.save(place("a.tif"))
    colour.save(place("a.jpg"), exif=exif)
    Image.fromarray(_grey()).convert("P").save(place("palette.png"))
    Image.fromarray(_counts()).save(place("deep.png"))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        Image.fromarray(_counts()).save(place("deep.tif"), compression=compression)
    Image.fromarray(_counts() / np.float32(1000)).save(place("float.tif"))
    np.save(place("a.npy"), _counts())


def _recordings(place: Callable[[str], Path]) -> None:
    frames = [_counts(number) for number in range(_FRAMES)]
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(place("deep.png"))
    pages[0].save(place("stack.tif"), save_all=True, append_images=pages[1:])
    np.save(place("stack.npy"), np.stack(frames))
    np.savez(place("stack.npz"), frames=np.stack(frames), fps=8)
    np.savez_compressed(place("small.npz"), frames=np.stack(frames), timestamps=np.arange(6) / 8)
    celsius = frames[0] / 100 - 273.15
    np.savetxt(place("map.csv"), celsius, delimiter=",", fmt="%.2f", header="Frame 1", comments="")
    np.savetxt(place("map.tsv"), celsius, delimiter="\t", fmt="%.2f")
    _write_cptv(place("clip.cptv"), frames)
    _write_radiometric(place("flir.jpg"), np.asarray(frames[0] - 13000, dtype=np.uint16))
    _write_video(place("deep.mkv"), frames, codec="ffv1", layout="gray16le")
    for name, codec in (("grey.mp4", "mpeg4"), ("grey.avi", "mjpeg")):
        shown = [np.repeat(np.repeat(_grey() + n, 2, 0), 2, 1).astype(np.uint8) for n in range(6)]
        layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        _write_video(place(name), shown, codec=codec, layout=layout, given="gray")


def _write_cptv(file: Path, frames: list[NDArray[np.uint16]]) -> None:
    with file.open("wb") as stream:
        writer = CPTVWriter(stream)
        writer.brand, writer.model, writer.fps = b"flir", b"lepton3.5", 9
        for number, pixels in enumerate(frames):
            large = np.pad(pixels, ((0, 120 - _HEIGHT), (0, 160 - _WIDTH)), mode="edge")
            at = timedelta(milliseconds=80000 + 114 * number)
            writer.write_frame(CPTVFrame(large, at, timedelta(), 20.0, 20.0, False))  # noqa: FBT003
        writer.close()


def _write_radiometric(file: Path, raw: NDArray[np.uint16]) -> None:
    """Write a JPEG with FLIR's FFF file in a segment, by the layout that ExifTool documents."""
    body = io.BytesIO()
    Image.fromarray(raw.byteswap()).save(body, "png")
    pixels = struct.pack("<3H", 2, raw.shape[1], raw.shape[0]).ljust(32, b"\0") + body.getvalue()
    info = bytearray(1024)
    struct.pack_into("<H", info, 0, 2)
    struct.pack_into("<6f", info, 32, 0.95, 1.0, 293.15, 293.15, 293.15, 1.0)
    struct.pack_into("<f", info, 60, 0.5)
    struct.pack_into("<3f", info, 88, 16556.0, 1428.0, 1.0)
    struct.pack_into("<5f", info, 112, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into("<if", info, 776, -342, 0.0460)
    records = ((1, pixels), (32, bytes(info)))
    start, directory = 64 + 32 * len(records), b""
    for kind, content in records:
        entry = struct.pack(">2H4I", kind, 1, 100, 1, start, len(content))
        directory += entry.ljust(32, b"\0")
        start += len(content)
    head = b"FFF\0".ljust(20, b"\0") + struct.pack(">3I", 101, 64, len(records))
    camera = head.ljust(64, b"\0") + directory + b"".join(content for _, content in records)
    segment = b"FLIR\0\x01\x00\x00" + camera
    shown = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 40, 40)).save(shown, "jpeg")
    jpeg = shown.getvalue()
    marker = b"\xff\xe1" + struct.pack(">H", len(segment) + 2)
    file.write_bytes(jpeg[:2] + marker + segment + jpeg[2:])


def _write_video(
    file: Path, frames: list[Any], *, codec: str, layout: str, given: str = ""
) -> None:
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = layout
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format=given or layout)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


_OPENFACE = (
    "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r, AU01_c, AU12_c\r\n"
    "1, 0, 0.000, 0.98, 1, 0.30, 2.10, 1, 1\r\n2, 0, 0.033, 0.02, 0, 0.00, 0.00, 0, 0\r\n"
)
_EIGHT = "[[1.0, 0.0, 0.25, 0.5, 0.125, 0.75, 0.875, 0.375]]"
_BP4D = "0,1,2,4\n1,0,1,9\n2,1,9,0\n3,0,0,0\n"
_LABELS: tuple[Mapping[str, str], ...] = (
    {"own.csv": "path,subject,AU01,AU12\nS1/a.png,S1,1,0\nS1/b.png,S1,,9\nS2/a.png,S2,0,1\n"},
    {"own.csv": "path;AU01;AU12L;AU12R\na.png;3.5;0;2\nb.png;1;;5\n"},
    {"SN001/SN001_au1.txt": "1,0\r\n2,3\r\n3,5\r\n", "SN001/SN001_au12.txt": "1,1\n2,2\n3,0\n"},
    {"AU_OCC/F001_T1.csv": _BP4D, "AU_OCC/F001_T2.csv": _BP4D},
    {"AU_INT/AU06/F001_T1_AU06.csv": "1,0\n2,3\n3,9\n"},
    {"clip.csv": _OPENFACE},
    {"face_analysis_clip.csv": "timestamp,video_path,frame_index,face_id,face_detection,landmarks,"
     "emotion,gaze_yaw,gaze_pitch,action_units\n"
     f'2026-01-01 10:00:00,clip.mp4,0,0.0,"[1, 2]","[[3, 4]]",1.0,0.1,0.2,"{_EIGHT}"\n'},
    {"fex.csv": "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU01,AU12,input,frame\n"
     "1,2,30,40,0.99,0.25,0.75,clip.mp4,0\n1,2,30,40,0.99,0.5,nan,clip.mp4,1\n"},
    {"clip.csv": "frame_idx,frame_time_in_ms,pitch,yaw,lm_mp_0_x,au_1,au_1_intensity,"
     "facial_expression\n0,0.0,1.0,2.0,0.5,1,2.4,Neutral\n1,33.3,1.0,2.0,0.5,0,0.1,Sad\n"},
    {"subj_facs.txt": "  1.0000000e+00   2.0000000e+00\n  1.2000000e+01   0.0000000e+00\n"},
    {"raf.txt": "a.jpg 1+12\nb.jpg L4+R10\nc.jpg null\n"},
    {"video_1.txt": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n"
     "0,1,0,0,1,0,1,0,0,0,1,-1\n-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1\n"},
)  # fmt: skip

_SCORES = {
    "kind": "detector", "run": "runs/both", "index": "data", "split": "test", "domain": "thermal",
    "notes": ["a note"],
    "scores": {
        "kind": "action_units", "frames": 40, "subjects": 2, "macro_f1": 0.5,
        "macro_f1_interval": [0.4, 0.6], "macro_roc_auc": 0.7, "macro_roc_auc_interval": [0.6, 0.8],
        "macro_average_precision": 0.4, "averaged": ["AU01"], "left_out": [],
        "units": [{
            "name": "AU01", "frames": 40, "present": 10, "prevalence": 0.25, "threshold": 0.5,
            "f1": 0.5, "f1_interval": [0.4, 0.6], "roc_auc": 0.7, "roc_auc_interval": [0.6, 0.8],
            "average_precision": 0.4,
        }],
    },
}  # fmt: skip


def _tables(place: Callable[[str], Path]) -> None:
    place("boxes.csv").write_text("path,left,top,width,height\na.png,1,2,30,40\nb.png,0,0,9,9\n")
    place("clip.csv").write_text("frame;left;top;width;height;angle\n0;1.5;2;30;40;3\n")
    sides = ",".join(f"x_{n}" for n in range(68)) + "," + ",".join(f"y_{n}" for n in range(68))
    numbers = ",".join(str(n) for n in range(136))
    place("openface.csv").write_text(f"frame,face_id,success,{sides}\n1,0,1,{numbers}\n")
    place("planck.toml").write_text("R1 = 16556.0\nR2 = 0.046\nB = 1428.0\nO = -342.0\nF = 1.0\n")
    bar = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 8, 0)
    shades = np.concatenate((bar, bar[:, ::-1], np.full_like(bar, 90)), axis=2)
    Image.fromarray(shades).save(place("palette.png"))


def _index(root: Path) -> Path:
    faces = []
    draw = np.random.default_rng(0)  # the audit refuses a picture that is there twice
    for domain in DOMAINS:
        for number, split in enumerate(SPLITS):
            for frame in range(2):
                path = f"{domain}/{number}_{frame}.png"
                (root / domain).mkdir(exist_ok=True)
                shape = (_SIDE, _SIDE, 3) if domain == "rgb" else (_SIDE, _SIDE)
                picture = draw.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(picture).save(root / path)
                units = {1: float(frame), 12: float(1 - frame)}
                faces.append(
                    Face(path=path, domain=domain, subject=f"{domain}{number}", split=split,
                         frame=frame, action_units=units)
                )  # fmt: skip
    write_index(Index(root, IndexInfo(kind="occurrence"), tuple(faces)))
    corners = tuple(float(n) for n in range(2 * len(EYE_CORNERS)))
    write_landmarks(root, EYE_CORNERS, [(face.path, corners) for face in faces[:3]])
    return root


def _settings(place: Callable[[str], Path]) -> None:
    place("detector.toml").write_text(
        'source = ["data/rgb"]\nsteps = 2000\nbatch_size = 16\nsize = 64\nlearning_rate = 1e-3\n'
        'backbone = "small"\n[alignment]\nmethod = "dann"\nweight = 0.5\n[augment]\nflip = 0.5\n'
    )
    place("translator.toml").write_text(
        'data = ["data/rgb", "data/thermal"]\nsteps = 1000\n[generator]\nwidth = 16\nblocks = 3\n'
        "[weights]\ncycle = 10.0\nsemantic = 1.0\n"
    )


def _shards(place: Callable[[str], Path]) -> None:
    """Write shards in each of the formats that tar has, one with names too long for the oldest."""
    for kind, folder in (
        (tarfile.USTAR_FORMAT, "rgb"), (tarfile.GNU_FORMAT, "rgb/" + 150 * "a"),
        (tarfile.PAX_FORMAT, "rgb/" + 150 * "é"),
    ):  # fmt: skip
        with tarfile.open(place("rgb.tar"), "w", format=kind) as shard:
            for number in range(3):
                picture = io.BytesIO()
                Image.fromarray(np.stack([_grey() + number] * 3, axis=-1)).save(picture, "png")
                for suffix, content in ((".png", picture.getvalue()), (".json", b'{"AU01": 1}')):
                    member = tarfile.TarInfo(f"{folder}/{number}{suffix}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))


def _run(root: Path, index: Path) -> None:
    config = DetectorConfig(
        source=(str(index),), backbone="small", width=4, size=_SIDE, pretrained="none",
        alignment=AlignmentConfig(hidden=8), batch_size=2, steps=2, mixed_precision="no",
        workers=0, log_every=1, validate_every=2, save_every=2,
    )  # fmt: skip
    root.rmdir()
    run_training(config, root, progress=Progress(shown=False))
