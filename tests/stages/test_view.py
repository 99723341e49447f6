"""``cycada view``: who is answered, what an image becomes, how a training looks from outside."""

from __future__ import annotations

import base64
import csv
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cycada import image_reading, image_writing, images, thermal
from cycada.cli import main
from cycada.config import DetectorConfig, TranslatorConfig
from cycada.data.index import read_index
from cycada.errors import UsageError
from cycada.footage import packages
from cycada.locking import LOCK_NAME, sole_writer
from cycada.progress import Progress
from cycada.report.view import render_view, script
from cycada.stages.detect import DetectOptions, detect
from cycada.stages.train_detector import run_training as train_detector
from cycada.stages.train_translator import run_training as train_translator
from cycada.stages.translate import run_translation
from cycada.stages.view import ViewOptions, bound, private_folder, view
from cycada.stages.view_live import Watch, spoken_time
from cycada.stages.view_server import LARGEST_UPLOAD
from cycada.stages.view_try import MOST_PIXELS
from cycada.training.loading import load_detector, load_translator
from cycada.training.run_reading import LOG_NAME

TOKEN = "abcdefgh" * 4
CPU = torch.device("cpu")


@dataclass
class Server:
    """A server in a thread of this process."""

    port: int
    report: Any

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None,
        whole: bool = False, **headers: str,
    ) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(
            method, path if whole else f"/{TOKEN}/{path}", skip_host="host" in headers
        )
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, {k.lower(): v for k, v in answer.getheaders()}

    def json(self, path: str) -> Any:
        status, content, _ = self.ask(path)
        assert status == 200, content
        return json.loads(content)

    def run(self, name: str) -> dict[str, Any]:
        return next(run for run in self.json("state")["runs"] if run["name"] == name)

    def attempt(self, content: bytes, **wanted: str) -> tuple[int, dict[str, Any]]:
        status, answer, _ = self.ask(
            f"try?{urllib.parse.urlencode(wanted)}", method="POST", body=content,
            content_type="application/octet-stream",
        )  # fmt: skip
        return status, json.loads(answer)


Serving = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def serving(serve: Callable[..., Any]) -> Serving:
    """Return what serves paths while it is entered, beside a secret."""

    @contextmanager
    def started(paths: list[Path], folder: Path, **changes: Any) -> Iterator[Server]:
        (folder / "secret.txt").write_text("a secret")
        with serve(paths, folder, token=TOKEN, **changes) as served:
            yield Server(served.port, served.report)

    return started


@pytest.fixture(scope="module")
def runs(
    tiny_translator: Callable[..., TranslatorConfig],
    tiny_detector: Callable[..., DetectorConfig],
    quiet: Progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder of a translator and two detectors, of RGB and of thermal faces."""
    folder = tmp_path_factory.mktemp("runs")
    train_translator(tiny_translator(), folder / "translator", progress=quiet)
    train_detector(tiny_detector(steps=2), folder / "rgb", progress=quiet)
    train_detector(tiny_detector(steps=2, source_domain="thermal"), folder / "warm", progress=quiet)
    return folder


@pytest.fixture
def server(runs: Path, tmp_path: Path, serving: Serving) -> Iterator[Server]:
    with serving([runs], tmp_path) as started:
        yield started


@pytest.fixture
def face(faces: Path) -> Path:
    return faces / read_index(faces).select(domain="rgb").faces[0].path


@pytest.fixture
def warm_face(faces: Path) -> Path:
    return faces / read_index(faces).select(domain="thermal").faces[0].path


def newest(server: Server, name: str) -> str:
    run = server.run(name)
    return f"{run['key']}@{run['checkpoints'][-1]}"


# Who is answered.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:{port}"}, 421),
        ({"host": "127.0.0.1.evil.example:{port}"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:{port}"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_dest": "script"}, 403),
        ({"sec_fetch_site": "same-site", "sec_fetch_dest": "image"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_dest": "document"}, 200),  # a link was opened
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:{port}"}, 200),
        ({"host": "localhost:{port}"}, 200),
        ({}, 200),
    ],
)
def test_pages_and_names_from_elsewhere_are_not_answered(
    server: Server, headers: dict[str, str], status: int
) -> None:
    given = {name: value.format(port=server.port) for name, value in headers.items()}
    found, content, _ = server.ask("state", **given)
    assert found == status
    assert (b"checkpoints" in content) == (status == 200)


@pytest.mark.parametrize("path", ["/", "/state", f"/{TOKEN[:-1]}/state", f"/{TOKEN}x/", "//x"])
def test_nobody_without_the_token_is_answered(server: Server, path: str) -> None:
    status, content, _ = server.ask(path, whole=True)
    assert status == 403
    assert b"token" in content


def test_an_image_from_another_page_is_refused_before_it_is_read(
    server: Server, face: Path
) -> None:
    for headers in (
        {"origin": "http://evil.example", "content_type": "application/octet-stream"},
        {"content_type": "text/plain"},
        {"content_type": "multipart/form-data; boundary=x"},
    ):
        status, _, _ = server.ask("try", method="POST", body=face.read_bytes(), **headers)
        assert status in (403, 415)
    for method in ("OPTIONS", "PUT", "DELETE"):
        status, _, given = server.ask("try", method=method)
        assert status == 405
        assert not any(name.startswith("access-control") for name in given)


def test_the_page_may_ask_nobody_but_this_server(server: Server) -> None:
    _, content, headers = server.ask("")
    policy = headers["content-security-policy"]
    for words in ("default-src 'none'", "script-src 'self'", "connect-src 'self'",
                  "frame-ancestors 'none'", "form-action 'none'"):  # fmt: skip
        assert words in policy
    assert "unsafe-eval" not in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    text = content.decode() + script()
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_it_listens_to_this_machine_alone() -> None:
    with bound(0) as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as other:
            assert other.connect_ex(("::1", port)) != 0


def test_a_port_in_use_is_one_sentence(runs: Path) -> None:
    with bound(0) as listening:
        port = listening.getsockname()[1]
        found = CliRunner().invoke(
            main, ["view", str(runs), "--port", str(port), "--no-browser", "--device", "cpu"]
        )
    assert found.exit_code == 2
    assert f"--port {port}" in found.output
    assert "another" in found.output
    assert found.output.count("\n") == 1


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(packages.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"uvicorn.*pip install 'cycada\[view\]'"):
        view(ViewOptions(paths=(runs,), port=0), ready=lambda *_: None)


@pytest.mark.parametrize(
    "path",
    ["report/../../secret.txt", "report/%2e%2e/secret.txt", "report/..%2fsecret.txt",
     "report/%2e%2e%2fsecret.txt", "report//secret.txt", "report/link.txt",
     "report/..%5csecret.txt", "report/report_files/../../secret.txt"],
)  # fmt: skip
def test_no_path_leads_out_of_the_report(server: Server, tmp_path: Path, path: str) -> None:
    (tmp_path / "made" / "link.txt").symlink_to(tmp_path / "secret.txt")
    status, content, _ = server.ask(path)
    assert status in (403, 404)
    assert b"a secret" not in content


def test_the_report_is_shown_in_this_page_alone(server: Server) -> None:
    status, content, headers = server.ask("report/report.html")
    assert (status, content) == (200, b"<!doctype html><p>the report</p>")
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert server.ask("report", method="POST", body=b"")[0] == 200
    assert server.report.asked == ["make"]


# What an image becomes.


def test_an_image_becomes_what_translate_makes_of_it(
    server: Server, runs: Path, face: Path, quiet: Progress, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(face, tmp_path / "one" / "face.png")
    run_translation(
        runs / "translator", tmp_path / "one", tmp_path / "out", depth="auto", progress=quiet
    )
    wanted = image_reading.read_image(tmp_path / "out" / "face.png")
    status, told = server.attempt(
        face.read_bytes(), name="face.png", translator=newest(server, "translator")
    )
    assert status == 200
    found = image_reading.decode_image(base64.b64decode(told["file"]), "file")
    assert found.dtype == wanted.dtype == torch.uint16
    assert torch.equal(found, wanted)
    # What is shown on the page is the same, in shares of the window.
    made = next(picture for picture in told["pictures"] if picture["key"] == "made")
    counts = np.frombuffer(base64.b64decode(made["counts"]), "<u2").reshape(
        made["height"], made["width"]
    )
    celsius = told["window"][0] + counts / 65535 * (told["window"][1] - told["window"][0])
    true = thermal.celsius_from_counts(wanted, "centikelvin")[0].numpy()
    assert np.abs(celsius - true).max() < 0.006  # half a centikelvin, and half a step of 16 bits


def test_the_way_back_and_the_difference_are_those_of_the_translator(
    server: Server, runs: Path, warm_face: Path
) -> None:
    _, told = server.attempt(
        warm_face.read_bytes(), name="w.png", translator=newest(server, "translator")
    )
    translator = load_translator(runs / "translator", CPU)
    window = translator.window
    assert window is not None
    image = image_reading.read_image(warm_face)
    seen = images.to_signed(image, unit="centikelvin", window=window)
    seen = images.resize(seen, (20, 16))[None]  # the shorter side is that of the training
    again = translator.to_thermal(translator.to_rgb(seen))
    error = (again - seen).abs()[0, 0].numpy() / 2 * (window.high - window.low)
    shown = told["difference"]
    assert shown["unit"] == "K"
    assert shown["mean"] == pytest.approx(float(error.mean()), rel=1e-4)
    assert shown["largest"] == pytest.approx(float(error.max()), rel=1e-4)
    assert [picture["key"] for picture in told["pictures"]] == ["source", "made", "again"]


@pytest.mark.parametrize(("domain", "run"), [("thermal", "warm"), ("rgb", "rgb")])
def test_action_units_are_those_that_detect_writes(
    server: Server, runs: Path, face: Path, warm_face: Path, tmp_path: Path, quiet: Progress,
    domain: str, run: str,
) -> None:  # fmt: skip
    file = warm_face if domain == "thermal" else face
    (tmp_path / "one").mkdir()
    shutil.copy(file, tmp_path / "one" / "face.png")
    from cycada.footage import ReadOptions

    options = DetectOptions(
        run=runs / run, sources=(tmp_path / "one",), out=tmp_path / "out", faces="whole",
        read=ReadOptions(domain=domain), device=CPU,
    )  # fmt: skip
    found = detect(options, progress=quiet)[0]
    with found.table.open() as stream:
        row = next(csv.DictReader(line for line in stream if not line.startswith("#")))
    _, told = server.attempt(file.read_bytes(), name="face.png", detector=newest(server, run))
    (reading,) = told["readings"]
    assert told["shows"] == domain
    for name, probability, present in zip(
        told["names"], reading["probabilities"], reading["present"], strict=True
    ):
        assert probability == pytest.approx(float(row[name]), abs=1e-3)
        assert present == bool(int(float(row[f"{name}_c"])))
    detector = load_detector(runs / run, CPU)
    raw = [probability >= threshold for probability, threshold in zip(
        reading["probabilities"], told["thresholds"], strict=True)]  # fmt: skip
    assert raw == reading["present"], "the mark on the page is where the decision is made"
    assert len(detector.thresholds) == len(told["thresholds"])


def test_of_an_rgb_image_a_thermal_detector_reads_the_translation(
    server: Server, face: Path
) -> None:
    both = {"translator": newest(server, "translator"), "detector": newest(server, "warm")}
    _, told = server.attempt(face.read_bytes(), name="f.png", **both)
    assert [reading["side"] for reading in told["readings"]] == ["made"]
    made = image_reading.decode_image(base64.b64decode(told["file"]), "made")
    content = image_writing.encode_png(made)
    _, direct = server.attempt(content, name="made.png", detector=both["detector"],
                               shows="thermal", unit="centikelvin")  # fmt: skip
    assert direct["readings"][0]["probabilities"] == pytest.approx(
        told["readings"][0]["probabilities"], abs=1e-3
    )
    _, alone = server.attempt(face.read_bytes(), name="f.png", detector=both["detector"])
    assert alone["readings"] == []
    assert any("choose a translator" in note for note in alone["notes"])


def test_a_chosen_checkpoint_is_the_one_that_is_used(
    server: Server, runs: Path, face: Path
) -> None:
    run = server.run("translator")
    assert run["checkpoints"] == [2, 4]
    made = []
    for step in run["checkpoints"]:
        _, told = server.attempt(face.read_bytes(), name="f.png", translator=f"{run['key']}@{step}")
        translator = load_translator(runs / "translator", CPU, step=step)
        signed = images.to_signed(image_reading.read_image(face))
        wanted = translator.to_thermal(images.resize(signed, (20, 16))[None])[0]
        picture = next(each for each in told["pictures"] if each["key"] == "made")
        counts = np.frombuffer(base64.b64decode(picture["counts"]), "<u2").reshape(20, 16)
        share = (wanted[0].numpy() + 1) / 2
        assert np.abs(counts / 65535 - share).max() < 2e-5
        made.append(counts)
    assert not np.array_equal(*made)
    status, told = server.attempt(face.read_bytes(), name="f.png", translator=f"{run['key']}@{3}")
    assert status == 422
    assert "step 3" in told["error"]
    assert str(runs) not in told["error"]


def test_a_damaged_checkpoint_is_not_offered(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "translator", tmp_path / "run")
    watch = Watch()
    assert watch.whole_checkpoints(run) == (2, 4)
    weights = run / "000004" / "generators.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert watch.whole_checkpoints(run) == (2,)


def gif() -> bytes:
    content = io.BytesIO()
    Image.new("P", (4, 4)).save(content, "GIF")
    return content.getvalue()


def pages() -> bytes:
    content = io.BytesIO()
    page = Image.new("L", (4, 4))
    page.save(content, "TIFF", save_all=True, append_images=[page])
    return content.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header alone promises many pixels."""
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG")
    whole = bytearray(content.getvalue())
    whole[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PNG, JPEG or TIFF"),
        (b"<html>not an image</html>", "no PNG, JPEG or TIFF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG, JPEG or TIFF"),
        (gif(), "no PNG, JPEG or TIFF"),
        (pages(), "several pages"),
        (bomb(6000, 5000), f"more than the {MOST_PIXELS:,}"),
        (bomb(60000, 50000), "cannot be read"),
        (b"\xff\xd8\xff\xe1\x00\x10FLIR\0" + b"\0" * 99, "no PNG, JPEG or TIFF"),
    ],
)
def test_a_broken_or_hostile_file_is_one_sentence(
    server: Server, face: Path, content: bytes, words: str
) -> None:
    status, told = server.attempt(content, name="x.png", translator=newest(server, "translator"))
    assert status == 422
    assert words in told["error"]
    assert told["error"].startswith("x.png: ")
    assert "Traceback" not in told["error"]
    assert server.attempt(face.read_bytes(), translator=newest(server, "translator"))[0] == 200


def test_a_cut_off_image_is_one_sentence(server: Server, face: Path) -> None:
    content = face.read_bytes()
    status, told = server.attempt(content[: len(content) // 2], name="half.png")
    assert status == 422
    assert told["error"].startswith("half.png: cannot be read")


def test_a_name_cannot_lead_anywhere_or_break_a_line(server: Server) -> None:
    _, told = server.attempt(b"", name="../../etc/passwd\r\nx: y\0")
    assert told["error"].startswith("....etcpasswdx: y: ")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    status, content, _ = server.ask(
        "try", method="POST", content_type="application/octet-stream",
        content_length=str(LARGEST_UPLOAD + 1),
    )  # fmt: skip
    assert status == 413
    assert "MB" in json.loads(content)["error"]


def test_a_file_that_hides_its_length_is_cut_off(server: Server) -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4 * (LARGEST_UPLOAD >> 20)):
            yield b"\0" * (1 << 20)
            sent += 1 << 20

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with suppress(ConnectionError):  # while it was still sending
        connection.request(
            "POST", f"/{TOKEN}/try", body=parts(), encode_chunked=True,
            headers={
                "Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked",
                "Host": f"127.0.0.1:{server.port}",
            },
        )  # fmt: skip
    connection.close()
    assert sent < 2 * LARGEST_UPLOAD


@pytest.mark.parametrize("wanted", [{"translator": "x@1"}, {"translator": "x"}, {"shows": "y"},
                                    {"unit": "furlongs"}])  # fmt: skip
def test_what_the_page_never_asks_is_refused(server: Server, wanted: dict[str, str]) -> None:
    status, told = server.attempt(b"", **wanted)
    assert status in (400, 404)
    assert told["error"]


def test_a_thermal_image_of_unknown_unit_is_asked_about(server: Server) -> None:
    content = image_writing.encode_png(
        torch.full((1, 16, 16), 5, dtype=torch.int32).to(torch.uint16)
    )
    place = newest(server, "warm")
    status, told = server.attempt(content, name="t.png", detector=place)
    assert status == 422
    assert "median pixel 5 does not tell the unit" in told["error"]
    assert server.attempt(content, name="t.png", detector=place, unit="decikelvin")[0] == 200
    colour = image_writing.encode_png(
        torch.eye(3, dtype=torch.uint8)[:, :, None].repeat(1, 6, 18) * 255
    )
    status, told = server.attempt(colour, name="c.png", detector=place, shows="thermal")
    assert status == 422
    assert "palette" in told["error"]


def test_grey_levels_are_told_to_be_no_temperatures(server: Server) -> None:
    content = image_writing.encode_png(torch.full((1, 16, 16), 128, dtype=torch.uint8))
    _, told = server.attempt(content, name="t.png", detector=newest(server, "warm"))
    assert any("no temperatures" in note for note in told["notes"])


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_opened: list[str] = []
_watched = threading.Event()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched.is_set() and event == "open" and isinstance(arguments[2], int):
        if arguments[2] & WRITES:
            _opened.append(str(arguments[0]))
    elif _watched.is_set() and event in ("os.mkdir", "os.rename", "os.remove", "os.truncate",
                                         "fcntl.lockf", "tempfile.mkstemp"):  # fmt: skip
        _opened.append(event)


@pytest.fixture(scope="module")
def auditing() -> Iterator[threading.Event]:
    """Return what, when set, has every file that is opened for writing noted in ``_opened``."""
    sys.addaudithook(_audit)  # for good: Python lets none go
    yield _watched
    _watched.clear()


def test_nothing_of_an_image_is_written_to_disk(
    server: Server, auditing: threading.Event, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(0)
    large = torch.randint(0, 256, (3, 1200, 900), generator=draw).to(torch.uint8)
    content = image_writing.encode_png(large)
    assert len(content) > 1 << 20  # forms of this size would be kept in a file by many servers
    places = {"translator": newest(server, "translator"), "detector": newest(server, "rgb")}
    _opened.clear()
    auditing.set()
    try:
        (tmp_path / "proof").write_text("is noticed")
        status, _ = server.attempt(content, name="large.png", **places)
    finally:
        auditing.clear()
    assert status == 200
    assert _opened == [str(tmp_path / "proof")]


# How a training looks.


def grow(run: Path, *, step: int, seconds: float, end: str = "\n") -> None:
    line = json.dumps({"step": step, "seconds": seconds, "cycle": 1 / step})
    with (run / LOG_NAME).open("a") as stream:
        stream.write(line + end)


@pytest.fixture
def training(runs: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a run of 100 steps that another process trains, at its second line."""
    run = shutil.copytree(runs / "translator", tmp_path / "runs" / "live")
    head = json.loads((run / "config.json").read_text())
    head["settings"]["steps"] = 100
    (run / "config.json").write_text(json.dumps(head))
    (run / LOG_NAME).unlink()
    shutil.rmtree(run / "samples")
    now = time.time()
    grow(run, step=4, seconds=now - 20)
    grow(run, step=6, seconds=now - 10)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom cycada.locking import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "held\n"
    try:
        yield run
    finally:
        trainer.kill()
        trainer.wait()


def test_new_lines_and_samples_appear_and_a_torn_one_waits(
    training: Path, tmp_path: Path, serving: Serving
) -> None:
    with serving([training.parent], tmp_path) as server:
        first = server.run("live")
        assert (first["state"], first["step"], first["steps"]) == ("training", 6, 100)
        assert first["left"] == "8 min"  # 94 steps of 5 s
        curves = f"runs/{first['key']}/curves"
        drawn = server.json(curves)["plots"]
        assert any("Cycle" in svg for svg in drawn)
        assert server.run("live")["version"] == first["version"]

        grow(training, step=8, seconds=time.time(), end="")
        assert server.run("live")["step"] == 6
        with (training / LOG_NAME).open("a") as stream:
            stream.write("\n")
        later = server.run("live")
        assert later["step"] == 8
        assert later["version"] != first["version"]
        assert server.json(curves)["plots"] != drawn

        assert later["samples"] == []
        grid = torch.randint(0, 256, (3, 6 * 16, 2 * 16), dtype=torch.int32).to(torch.uint8)
        image_writing.write_image(training / "samples" / "000008.png", grid)
        (training / "samples" / ".000009.part-1.png").write_bytes(b"half")
        assert server.run("live")["samples"] == ["000008"]
        status, content, headers = server.ask(f"runs/{first['key']}/samples/000008.png")
        assert (status, headers["content-type"]) == (200, "image/png")
        assert torch.equal(image_reading.decode_image(content, "grid"), grid)
        for step in ("000009", "..%2f..%2fconfig", ".000009.part-1"):
            assert server.ask(f"runs/{first['key']}/samples/{step}.png")[0] == 404


def test_it_is_told_when_a_training_stands_still_was_killed_stopped_or_has_ended(
    training: Path, runs: Path
) -> None:
    watch = Watch()
    assert watch.state(training).state == "training"
    still = watch.state(training, now=time.time() + 600)
    assert still.state == "still"
    assert "10 min" in still.told
    assert still.left is None

    signed = json.loads((training / LOG_NAME).parent.joinpath(LOCK_NAME).read_text())
    os.kill(signed["pid"], 9)
    for _ in range(100):
        if watch.state(training).state == "stopped":
            break
        time.sleep(0.05)
    killed = watch.state(training)
    assert killed.state == "stopped"
    assert "was killed at step 6" in killed.told
    assert "goes on from step 4" in killed.told

    (training / LOCK_NAME).unlink()
    assert watch.state(training).told.startswith("Stopped at step 6 of 100")
    assert watch.state(runs / "translator").state == "ended"


def test_a_process_with_the_number_of_one_that_was_killed_is_not_taken_for_it(
    training: Path,
) -> None:
    file = training / LOCK_NAME
    signed = json.loads(file.read_text()) | {"pid": os.getpid()}
    file.unlink()
    file.write_text(json.dumps(signed))
    os.utime(file, (1e9, 1e9))  # long before this process began
    assert Watch().state(training).state == "stopped"


def test_whoever_looks_on_locks_and_writes_nothing(
    training: Path, tmp_path: Path, auditing: threading.Event, serving: Serving
) -> None:
    before = {file: file.stat().st_mtime_ns for file in training.rglob("*")}
    with serving([training.parent], tmp_path) as server:
        _opened.clear()
        auditing.set()
        try:
            run = server.run("live")
            server.json(f"runs/{run['key']}/curves")
        finally:
            auditing.clear()
    assert _opened == []
    assert {file: file.stat().st_mtime_ns for file in training.rglob("*")} == before


def test_a_damaged_log_and_a_vanished_run_are_told(
    training: Path, tmp_path: Path, serving: Serving
) -> None:
    with serving([training.parent], tmp_path) as server:
        (training / LOG_NAME).write_text("no json\n")
        run = server.run("live")
        assert run["state"] == "broken"
        assert "damaged line" in run["told"]
        assert str(tmp_path) not in run["told"]
        shutil.rmtree(training)
        assert server.run("live")["state"] == "broken"


def test_without_samples_no_face_of_a_training_is_shown(
    runs: Path, tmp_path: Path, serving: Serving
) -> None:
    run = shutil.copytree(runs / "translator", tmp_path / "runs" / "t")
    image_writing.write_image(
        run / "samples" / "000002.png", torch.zeros(3, 96, 16, dtype=torch.uint8)
    )
    with serving([run], tmp_path, samples=False) as server:
        told = server.run("t")
        assert told["samples"] == []
        assert server.ask(f"runs/{told['key']}/samples/000002.png")[0] == 404
        assert server.ask("faces/faces.html")[0] == 404
        assert b'href="#faces"' not in server.ask("")[1]


def test_names_of_runs_cannot_become_a_part_of_the_page(
    runs: Path, tmp_path: Path, serving: Serving
) -> None:
    name = "<img src=x onerror=alert(1)>"
    shutil.copytree(runs / "rgb", tmp_path / "runs" / name)
    with serving([tmp_path / "runs"], tmp_path) as server:
        run = server.run(name)  # as text in JSON, which the script puts on the page as text
        drawn = "".join(server.json(f"runs/{run['key']}/curves")["plots"])
    assert drawn
    assert "<img" not in drawn
    page = render_view(title=name, samples=True, largest_upload=1, units=())
    assert name not in page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (42, "42 s"), (89, "89 s"), (90, "2 min"), (3000, "50 min"),
     (5400, "1 h 30 min"), (7200, "2 h"), (500_000, "6 days")],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert spoken_time(seconds) == said


# All faces of a set.


def read_script(content: bytes, call: str) -> list[Any]:
    text = content.decode().strip()
    assert text.startswith(f"{call}(")
    assert text.endswith(");")
    return list(json.loads(f"[{text[len(call) + 1 : -2]}]"))


def test_all_faces_are_listed_and_drawn_when_they_are_asked_for(
    runs: Path, faces: Path, tmp_path: Path, serving: Serving
) -> None:
    with serving([runs / "translator", faces], tmp_path) as server:
        status, page, _ = server.ask("faces/faces.html")
        assert status == 200
        places = re.findall(r"faces_files/([a-z0-9-]+)", page.decode())
        assert len(set(places)) == 4  # RGB and thermal, of the translator and of the dataset
        first = places[0]
        identity, columns = read_script(
            server.ask(f"faces/faces_files/{first}/items.js")[1], "cycadaSet"
        )
        rgb = read_index(faces).select(domain="rgb").faces
        assert columns["count"] == len(rgb) == 20
        assert [view["key"] for view in columns["views"]] == ["source", "made", "again"]
        assert not any(face.subject in json.dumps(columns) for face in rgb)
        assert not list((tmp_path / "lists").rglob("*.webp"))

        _, number, full = read_script(
            server.ask(f"faces/faces_files/{first}/full/7.js")[1], "cycadaFull"
        )
        assert (identity, number) == (first, 7)
        picture = base64.b64decode(full["views"]["source"]["uri"].partition(",")[2])
        shown = np.asarray(Image.open(io.BytesIO(picture)))
        signed = images.to_signed(image_reading.read_image(faces / rgb[7].path))
        wanted = images.from_signed(images.resize(signed, (20, 16)), dtype=torch.uint8)
        assert np.array_equal(shown, wanted[:, 2:18].numpy().transpose(1, 2, 0))

        for place, key in ((first, "source"), (list(dict.fromkeys(places))[2], "image")):
            content = server.ask(f"faces/faces_files/{place}/whole/7.js")[1]
            named, number, whole = read_script(content, "cycadaWhole")
            assert (named, number, list(whole["views"])) == (place, 7, [key])
            picture = base64.b64decode(whole["views"][key]["uri"].partition(",")[2])
            shown = np.asarray(Image.open(io.BytesIO(picture)))
            assert np.array_equal(
                shown, image_reading.read_image(faces / rgb[7].path).permute(1, 2, 0)
            )

        status, thumbs, headers = server.ask(f"faces/faces_files/{first}/thumbs/7.webp")
        assert (status, headers["content-type"]) == (200, "image/webp")
        width, height = Image.open(io.BytesIO(thumbs)).size
        assert width == 3 * height
        for path in (
            f"{first}/full/20.js",
            f"{first}/whole/20.js",
            "rgb-9/items.js",
            f"{first}/thumbs/x.webp",
        ):
            assert server.ask(f"faces/faces_files/{path}")[0] == 404


def test_a_face_that_cannot_be_read_is_a_sentence_and_the_others_are_shown(
    own_faces: Path, tmp_path: Path, serving: Serving
) -> None:
    face = read_index(own_faces).select(domain="rgb").faces[0]
    with serving([own_faces], tmp_path) as server:
        _, page, _ = server.ask("faces/faces.html")
        first = re.findall(r"faces_files/([a-z0-9-]+)", page.decode())[0]
        (own_faces / face.path).write_bytes(b"broken")
        status, content, _ = server.ask(f"faces/faces_files/{first}/thumbs/0.webp")
        assert status == 422
        assert json.loads(content) == {"error": "face 1: its image cannot be read."}
        assert server.ask(f"faces/faces_files/{first}/thumbs/1.webp")[0] == 200
        whole = read_script(server.ask(f"faces/faces_files/{first}/whole/0.js")[1], "cycadaWhole")
        assert whole[2]["views"] == {}


# The whole.


def test_the_folder_of_the_page_is_private_and_goes_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"cycada-view-{gone.pid}-abc"
    other = tmp_path / f"cycada-view-{os.getpid()}-abc"  # of a server that lives
    (tmp_path / f"cycada-view-{gone.pid}-link").symlink_to(tmp_path)
    left.mkdir()
    other.mkdir()
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "face.png").write_bytes(b"x")
        assert not left.exists()
        assert other.exists()
    assert not folder.exists()


def test_the_verb_serves_makes_the_report_and_ends_quietly(runs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cycada", "view", str(runs / "rgb"), "--port", "0",
               "--no-browser", "--device", "cpu"]  # fmt: skip
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert started.stdout is not None
        address = urllib.parse.urlsplit(started.stdout.readline().strip())
        assert address.hostname == "127.0.0.1"
        assert len(address.path.strip("/")) >= 32

        def ask(path: str) -> bytes:
            connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=60)
            connection.request("GET", f"{address.path}{path}")
            return connection.getresponse().read()

        end = time.monotonic() + 240
        while (made := json.loads(ask("state"))["report"])["making"]:
            assert time.monotonic() < end
            time.sleep(0.5)
        assert made["fault"] == ""
        assert b"<html" in ask("report/report.html")
        assert len(list(tmp_path.iterdir())) == 1
        way_in = next(tmp_path.iterdir()) / "open.html"
        assert address.path in way_in.read_text()  # not in the list of processes
        started.send_signal(2)
        _, told = started.communicate(timeout=60)
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 0
    assert told == ""
    assert list(tmp_path.iterdir()) == []


def test_sole_writer_is_not_kept_from_a_run_that_is_looked_at(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "rgb", tmp_path / "run")
    watch = Watch()
    with sole_writer(run):
        assert watch.state(run).state != "broken"
    assert watch.state(run).state == "ended"
