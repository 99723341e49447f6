"""Generators of CycleGAN's code come over: what they make is what the paper's network makes."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import cycada
from cycada import image_reading, images
from cycada.cli import main
from cycada.config import TranslatorConfig
from cycada.data.index import read_index
from cycada.errors import DataError, RunError, UsageError
from cycada.progress import Progress
from cycada.stages.evaluate import EvaluateOptions, evaluate
from cycada.stages.export import run_export
from cycada.stages.report import report
from cycada.stages.train_translator import run_training
from cycada.stages.translate import run_translation
from cycada.stages.view_sets import WholeSets
from cycada.stages.view_try import Wanted, try_image
from cycada.thermal import Window
from cycada.training.loading import load_translator

TOOLS = Path(__file__).parents[2] / "tools"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import compare_cyclegan

    return compare_cyclegan


@pytest.fixture(scope="module")
def textbook() -> ModuleType:
    import textbook

    return textbook


def drawn(
    textbook: ModuleType, channels: int = 3, out: int = 1, *, width: int = 4, blocks: int = 6
) -> nn.Module:
    """Return a textbook generator whose weights are larger than at the start of a training."""
    network: nn.Module = textbook.Generator(channels, out, width=width, blocks=blocks)
    draw = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=draw) * 0.2
    return network.eval()


def named_as_theirs(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights by the names that CycleGAN's code gives them."""
    return {
        f"model.{name}".replace(".layers.", ".conv_block."): value.clone()
        for name, value in network.state_dict().items()
    }


def bring_over(
    tool: ModuleType, tmp_path: Path, weights: dict[str, Tensor],
    back: dict[str, Tensor] | None = None, *, data: tuple[Path, ...] = (),
    window: Window | None = None, size: int = 16,
) -> Path:  # fmt: skip
    files = tmp_path / "latest_net_G_A.pth", tmp_path / "latest_net_G_B.pth"
    torch.save(weights, files[0])
    if back is not None:
        torch.save(back, files[1])
    run = tmp_path / "theirs"
    tool.bring_over(
        files[0], files[1] if back is not None else None, run, size=size, data=list(data),
        window=window,
    )  # fmt: skip
    return run


@pytest.mark.parametrize("blocks", [6, 9])
@pytest.mark.parametrize(("channels", "out"), [(3, 1), (3, 3), (1, 1), (1, 3)])
def test_what_it_makes_is_what_the_textbooks_network_makes(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path, channels: int, out: int, blocks: int
) -> None:
    theirs = drawn(textbook, channels, out, width=5, blocks=blocks)
    run = bring_over(tool, tmp_path, named_as_theirs(theirs))
    rgb = torch.rand(3, 3, 24, 16) * 2 - 1
    with torch.no_grad():
        wanted = images.with_channels(theirs(images.with_channels(rgb, channels)), 1)
    made = load_translator(run, CPU).to_thermal(rgb)
    assert made.shape == (3, 1, 24, 16)
    assert float(made.std()) > 0.1
    assert float((made - wanted).abs().max()) < 1e-5


def test_the_names_and_shapes_are_those_of_the_released_networks(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path
) -> None:
    """As error messages in its issues list them: nine blocks, 64 channels, RGB to RGB."""
    shapes = {
        "model.1.weight": (64, 3, 7, 7), "model.4.weight": (128, 64, 3, 3),
        "model.7.bias": (256,), "model.10.conv_block.1.weight": (256, 256, 3, 3),
        "model.18.conv_block.5.bias": (256,), "model.19.weight": (256, 128, 3, 3),
        "model.22.weight": (128, 64, 3, 3), "model.26.weight": (3, 64, 7, 7),
        "model.26.bias": (3,),
    }  # fmt: skip
    weights = named_as_theirs(drawn(textbook, 3, 3, width=64, blocks=9))
    assert {name: tuple(weights[name].shape) for name in shapes} == shapes
    torch.save(weights, tmp_path / "G.pth")
    shape = tool.read_generator(tmp_path / "G.pth").shape
    assert (shape.channels, shape.out_channels, shape.width, shape.blocks) == (3, 3, 64, 9)


def test_wrappers_dropout_and_running_statistics_change_nothing(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path
) -> None:
    """Of DataParallel and compile, pix2pix's flag, and PyTorch before 0.4."""
    weights = named_as_theirs(drawn(textbook))
    old = {}
    for name, value in weights.items():
        old[f"module._orig_mod.{name}".replace("conv_block.5.", "conv_block.6.")] = value
    for name in ("model.2", "model.10.conv_block.7", "model.17"):
        old[f"module._orig_mod.{name}.running_mean"] = torch.full((4,), 7.0)
        old[f"module._orig_mod.{name}.running_var"] = torch.full((4,), 7.0)
        old[f"module._orig_mod.{name}.num_batches_tracked"] = torch.tensor(9)
    for name, saved in (("plain", weights), ("old", old)):
        torch.save(saved, tmp_path / f"{name}.pth")
    plain, same = (tool.read_generator(tmp_path / f"{name}.pth") for name in ("plain", "old"))
    assert same.shape == plain.shape
    assert set(same.weights) == set(plain.weights)
    assert all(torch.equal(same.weights[name], plain.weights[name]) for name in plain.weights)


def test_translate_writes_what_their_network_makes_and_carries_labels(
    tool: ModuleType, textbook: ModuleType, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    theirs = drawn(textbook)
    run = bring_over(tool, tmp_path, named_as_theirs(theirs))
    made = run_translation(run, faces, tmp_path / "out", depth="auto", progress=quiet)
    source = read_index(faces).select(domain="rgb")
    for before, after in zip(source.faces, made.faces, strict=True):
        assert after.action_units == before.action_units
    pixels = image_reading.read_image(source.file(source.faces[0])).float() / 127.5 - 1
    with torch.no_grad():
        wanted = theirs(pixels[None])[0]  # 20 x 16 px: as high as it is, for 16 px are wide enough
    written = image_reading.read_image(made.file(made.faces[0]))
    assert written.dtype == torch.uint8
    assert float((written.float() / 127.5 - 1 - wanted).abs().max()) < 0.6 / 127.5


def test_black_and_white_are_the_temperatures_that_are_told(
    tool: ModuleType, textbook: ModuleType, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    theirs = drawn(textbook)
    run = bring_over(tool, tmp_path, named_as_theirs(theirs), window=Window(18, 38))
    made = run_translation(run, faces, tmp_path / "out", depth="auto", progress=quiet)
    assert (made.info.unit, made.info.window) == ("centikelvin", Window(18, 38))
    source = read_index(faces).select(domain="rgb")
    pixels = image_reading.read_image(source.file(source.faces[0])).float() / 127.5 - 1
    with torch.no_grad():
        kelvin = (theirs(pixels[None])[0] + 1) * 10 + 18 + 273.15
    counts = image_reading.read_image(made.file(made.faces[0]))
    assert float((counts.float() / 100 - kelvin).abs().max()) < 0.0055


def test_both_directions_are_evaluated_like_a_translator_of_ours(
    tool: ModuleType, textbook: ModuleType, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    weights, back = drawn(textbook), drawn(textbook, 1, 3, width=3, blocks=2)
    run = bring_over(
        tool, tmp_path, named_as_theirs(weights), named_as_theirs(back), window=Window()
    )
    options = EvaluateOptions(run=run, index=faces, out=tmp_path / "scores", device=CPU)
    scores = evaluate(options, progress=quiet)
    rgb = torch.cat([
        image_reading.read_image(faces / face.path)[None, :, 2:18].float() / 127.5 - 1
        for face in read_index(faces).select(domain="rgb", split="test").faces
    ])  # fmt: skip
    with torch.no_grad():
        cycle = (back(weights(rgb)) - rgb).abs().mean()
    figures = {name: figure["mean"] for name, figure in scores["scores"]["figures"].items()}
    assert figures["cycle_rgb"] == pytest.approx(float(cycle), rel=1e-3)


def test_data_of_other_temperatures_than_those_told_are_refused(
    tool: ModuleType, textbook: ModuleType, faces: Path, tmp_path: Path
) -> None:
    weights = named_as_theirs(drawn(textbook))
    own = read_index(faces).info.window
    for window, told in ((Window(18, 38), "18 to 38 deg C"), (None, "no temperatures")):
        with pytest.raises(UsageError, match=f"span 20 to 40 deg C, and --window tells {told}"):
            bring_over(tool, tmp_path, weights, data=(faces,), window=window)
        assert not (tmp_path / "theirs").exists()
    assert own == Window(20, 40)
    bring_over(tool, tmp_path, weights, data=(faces,), window=own)


def test_nobody_is_evaluated_whom_it_has_learned_from(
    tool: ModuleType, textbook: ModuleType, faces: Path, quiet: Progress, tmp_path: Path
) -> None:
    run = bring_over(
        tool, tmp_path, named_as_theirs(drawn(textbook)), data=(faces,), window=Window()
    )
    options = EvaluateOptions(
        run=run, index=faces, out=tmp_path / "scores", split="train", device=CPU
    )
    with pytest.raises(RunError, match="has learned from 6 of the subjects"):
        evaluate(options, progress=quiet)


def test_a_direction_that_was_not_given_is_missed_in_a_sentence(
    tool: ModuleType, textbook: ModuleType, faces: Path, tmp_path: Path
) -> None:
    run = bring_over(tool, tmp_path, named_as_theirs(drawn(textbook)), window=Window())
    translator = load_translator(run, CPU)
    assert not translator.goes_back
    with pytest.raises(RunError, match="translates RGB into thermal alone"):
        translator.to_rgb(torch.zeros(1, 1, 16, 16))
    told = CliRunner().invoke(
        main, ["evaluate", str(run), str(faces), "--out", str(tmp_path / "scores")]
    )
    assert told.exit_code == 1
    assert "give tools/compare_cyclegan.py both" in told.output
    assert not (tmp_path / "scores").exists()


def test_a_page_shows_the_one_direction_that_there_is(
    tool: ModuleType, textbook: ModuleType, faces: Path, tmp_path: Path
) -> None:
    weights = named_as_theirs(drawn(textbook))
    run = bring_over(tool, tmp_path, weights, data=(faces,), window=Window())
    text = report([run], tmp_path / "page").read_text(encoding="utf-8")
    assert "Trained with CycleGAN&#39;s code; it is shown images of 16 px." in text
    assert "As thermal" in text
    assert "The translator knows the way from RGB to thermal alone." in text
    assert "Back in RGB" not in text
    assert "No gallery" not in text
    assert "No translations to show" not in text


def test_a_dropped_image_is_translated_where_there_is_no_way_back(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path
) -> None:
    theirs = drawn(textbook)
    run = bring_over(tool, tmp_path, named_as_theirs(theirs))
    translator = load_translator(run, CPU)
    image = torch.randint(0, 256, (3, 16, 16)).to(torch.uint8)
    tried = try_image(image, "a.png", Wanted(), translator=translator, detector=None)
    assert [picture.key for picture in tried.pictures] == ["source", "made"]
    with torch.no_grad():
        wanted = theirs(image[None].float() / 127.5 - 1)[0]
    torch.testing.assert_close(tried.pictures[1].pixels, wanted, atol=1e-5, rtol=0)
    assert any("does not go back" in note for note in tried.notes)
    with pytest.raises(RunError, match="translates RGB into thermal alone"):
        try_image(image[:1], "a.png", Wanted(), translator=translator, detector=None)


def test_the_server_draws_the_one_direction_that_there_is(
    tool: ModuleType, textbook: ModuleType, faces: Path, tmp_path: Path
) -> None:
    weights = named_as_theirs(drawn(textbook))
    run = bring_over(tool, tmp_path, weights, data=(faces,), window=Window())
    whole = WholeSets([run], tmp_path / "lists", CPU, subjects=False, outside=False)
    assert "Its faces cannot be shown" not in whole.page([run])
    (only,) = whole.sets.values()
    assert only.faces.images.domain == "rgb"
    assert only.thumbs(0)
    assert '"again"' not in only.script.decode("utf-8")


def test_it_is_handed_on_as_what_it_is_and_makes_the_same_bit_for_bit(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path
) -> None:
    run = bring_over(tool, tmp_path, named_as_theirs(drawn(textbook)), window=Window(18, 38))
    first = cycada.Translator.from_pretrained(run, device="cpu")
    first.save_pretrained(tmp_path / "shared")
    again = cycada.Translator.from_pretrained(tmp_path / "shared", device="cpu")
    again.save_pretrained(tmp_path / "twice")
    picture = torch.randint(0, 256, (24, 16, 3)).to(torch.uint8).numpy()
    (made,), (same,) = first.translate(picture), again.translate(picture)
    assert (made.pixels == same.pixels).all()
    for folder in ("shared", "twice"):
        card = (tmp_path / folder / "README.md").read_text(encoding="utf-8")
        assert "Trained with CycleGAN's code" in card
        assert " steps with" not in card
        assert "generator.width" not in card


def test_its_card_tells_of_the_data_that_were_named_unless_they_have_changed(
    tool: ModuleType, textbook: ModuleType, own_faces: Path, tmp_path: Path
) -> None:
    weights = named_as_theirs(drawn(textbook))
    run = bring_over(tool, tmp_path, weights, data=(own_faces,), window=Window())
    translator = cycada.Translator.from_pretrained(run, device="cpu")
    config = run / "config.json"
    facts = json.loads(config.read_text())
    rows = []
    for name, inputs in (("noted", facts["inputs"]), ("other", {str(own_faces): "0" * 64}),
                         ("none", {})):  # fmt: skip
        config.write_text(json.dumps({**facts, "inputs": inputs}))
        card = translator.save_pretrained(tmp_path / name) / "README.md"
        lines = card.read_text(encoding="utf-8").splitlines()
        rows.append(next(line for line in lines if line.startswith("| both domains")))
    assert (
        rows[0] == "| both domains, unpaired | not stated | not stated | occurrence | 12 | 12 | 6 |"
    )
    assert rows[1] == rows[2]
    assert rows[1].endswith("| – | – | – | – |")


def test_an_export_leaves_no_other_direction_of_another_run(
    tool: ModuleType, textbook: ModuleType, quiet: Progress, tmp_path: Path
) -> None:
    run = bring_over(tool, tmp_path, named_as_theirs(drawn(textbook)))
    out = tmp_path / "exported"
    out.mkdir()
    for name in ("to_rgb.pt", "to_rgb.onnx"):
        (out / name).write_bytes(b"of another run")
    run_export(run, out, form="torchscript", progress=quiet)
    assert sorted(file.name for file in out.iterdir()) == ["to_rgb.onnx", "to_thermal.pt"]


def test_a_training_does_not_go_on_from_it(
    tool: ModuleType, textbook: ModuleType, tiny_translator: Callable[..., TranslatorConfig],
    faces: Path, tmp_path: Path,
) -> None:  # fmt: skip
    from cycada.training.run_reading import run_config

    weights, back = named_as_theirs(drawn(textbook)), named_as_theirs(drawn(textbook, 1, 3))
    run = bring_over(tool, tmp_path, weights, back, data=(faces,), window=Window(), size=24)
    with pytest.raises(RunError, match="was trained with CycleGAN's code, and holds nothing"):
        run_training(tiny_translator(), run, progress=Progress(shown=False))
    config = run_config(run, "translator", TranslatorConfig)
    with pytest.raises(RunError, match="was trained with CycleGAN's code, and holds nothing"):
        run_training(config, run, progress=Progress(shown=False))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda w: w | {"model.2.weight": torch.ones(4), "model.2.bias": torch.ones(4)},
         "normalisation has weights"),
        (lambda _: {"model.model.0.weight": torch.ones(4, 3, 4, 4)}, "U-Net"),
        (lambda _: {"model.0.weight": torch.ones(4, 3, 4, 4)}, "a discriminator"),
        (lambda w: w | {"model.7.filt": torch.ones(4, 1, 3, 3)}, "as CUT's does"),
        (lambda w: {k: v for k, v in w.items() if k != "model.7.bias"}, r"lacks model\.7\.bias"),
        (lambda w: w | {"model.4.weight": torch.ones(8, 4, 4, 4)}, "8 x 4 x 4 x 4 instead of"),
        (lambda w: w | {"model.1.bias": torch.full((4,), torch.nan)}, "is not finite"),
        (lambda w: w | {"fc.weight": torch.ones(2, 2)}, r"holds fc\.weight besides"),
        (lambda w: w | {"model.1.weight": torch.ones(4, 2, 7, 7)}, "no ResNet generator"),
        (lambda w: w | {"module.model.1.bias": torch.ones(4)}, r"holds model\.1\.bias twice"),
        (lambda w: w | {"model.10.conv_block.6.bias": torch.ones(16)}, "with dropout and without"),
        (lambda w: w | {"model.1.bias": torch.ones(4).to_sparse()}, "no dense tensor"),
        (lambda w: w | {"model.1.bias": torch.ones(4, device="meta")}, "no dense tensor"),
        (lambda w: w | {"model.1.weight": torch.zeros(1).expand(10**6, 3, 7, 7)},
         "has 1000000 channels"),
        (lambda w: {"state": w}, "expected a state dict of named tensors"),
        (lambda _: {}, "no ResNet generator"),
    ],
    ids=[
        "batch norm", "U-Net", "discriminator", "CUT", "cut off", "other kernel", "not finite",
        "surplus", "two channels", "twice", "dropout", "sparse", "meta", "wide", "nested", "empty",
    ],
)  # fmt: skip
def test_another_file_is_refused_in_a_sentence(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path,
    spoil: Callable[[dict[str, Tensor]], object], told: str,
) -> None:  # fmt: skip
    file = tmp_path / "net.pth"
    torch.save(spoil(named_as_theirs(drawn(textbook))), file)
    with pytest.raises(DataError, match=told) as error:
        tool.bring_over(file, None, tmp_path / "run", size=16, data=[], window=None)
    assert str(error.value).startswith(f"{file}: ")
    assert not (tmp_path / "run").exists()


class _Runs:
    """Would run when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_code_in_a_checkpoint_is_not_run(tool: ModuleType, tmp_path: Path) -> None:
    file, trace = tmp_path / "net.pth", tmp_path / "it_ran"
    torch.save({"model.1.weight": _Runs(trace)}, file)
    with pytest.raises(DataError, match=r"which could run any code|which is no tensor"):
        tool.read_generator(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists()


def test_nothing_is_written_over(tool: ModuleType, textbook: ModuleType, tmp_path: Path) -> None:
    weights = named_as_theirs(drawn(textbook))
    bring_over(tool, tmp_path, weights)
    with pytest.raises(RunError, match="is not empty"):
        bring_over(tool, tmp_path, weights)


def test_a_network_that_differs_from_the_textbooks_is_not_brought_over(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Squashed(tool.CycleGANGenerator):  # type: ignore[name-defined,misc]
        def forward(self, image: Tensor) -> Tensor:
            made: Tensor = super().forward(image) * (1 - 3e-5)
            return made

    monkeypatch.setattr("cycada.models.cyclegan.CycleGANGenerator", Squashed)
    with pytest.raises(DataError, match="from the textbook's"):
        bring_over(tool, tmp_path, named_as_theirs(drawn(textbook)))
    assert not (tmp_path / "theirs").exists()


def test_the_command_says_what_it_did(
    tool: ModuleType, textbook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    torch.save(named_as_theirs(drawn(textbook)), tmp_path / "G.pth")
    words = [str(tmp_path / "G.pth"), "--out", str(tmp_path / "run"), "--size", "18"]
    monkeypatch.setattr(sys, "argv", ["compare_cyclegan.py", *words])
    with pytest.raises(UsageError, match="--size must be a multiple of 4"):
        tool.main()
    monkeypatch.setattr(sys, "argv", ["compare_cyclegan.py", *words[:-1], "16"])
    runpy.run_path(str(TOOLS / "compare_cyclegan.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "differs from the textbook's network by" in told
    assert "Whom it has learned from is not known" in told
    assert f"cycada translate {tmp_path / 'run'}" in told
