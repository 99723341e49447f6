"""The bench: its opponent is the paper's, it takes turns, and it tells all that it promises."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from typing_extensions import Self


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    import bench

    return bench


@pytest.fixture(scope="module")
def textbook() -> ModuleType:
    import textbook

    return textbook


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def convolution(kernel: int, channels: int, out: int) -> int:
    return kernel**2 * channels * out + out


def test_the_textbooks_generator_is_that_of_the_paper(textbook: ModuleType) -> None:
    # c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3: the released code prints 11.378 M
    expected = (
        convolution(7, 3, 64) + convolution(3, 64, 128) + convolution(3, 128, 256)
        + 9 * 2 * convolution(3, 256, 256)
        + convolution(3, 256, 128) + convolution(3, 128, 64) + convolution(7, 64, 3)
    )  # fmt: skip
    generator = textbook.Generator(3, 3, width=64, blocks=9)
    assert parameters(generator) == expected
    assert round(expected / 1e6, 3) == 11.378
    small = textbook.Generator(3, 1, width=4, blocks=1)
    made = small(torch.rand(2, 3, 32, 40))
    assert made.shape == (2, 1, 32, 40)
    assert float(made.detach().abs().max()) <= 1


def test_the_textbooks_discriminator_sees_70_pixels(textbook: ModuleType) -> None:
    judge = textbook.PatchDiscriminator(3, width=64, layers=3)
    assert parameters(judge) == 2_764_737  # the released code prints 2.765 M
    assert judge(torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    # An instance's normalisation looks at all of it; the patch is what the convolutions see.
    local = nn.Sequential(*(part for part in judge if not isinstance(part, nn.InstanceNorm2d)))
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    local(image)[0, 0, 15, 15].backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(0) > 0
    assert [int(seen.any(axis).sum()) for axis in (0, 1)] == [70, 70]


def test_every_image_of_a_batch_tosses_its_own_coin(textbook: ModuleType) -> None:
    pool = textbook.ImagePool(4)
    filling = torch.zeros(4, 1, 2, 2)
    assert torch.equal(pool(filling), filling)
    old = 0
    for number in range(1, 101):
        made = torch.full((8, 1, 2, 2), float(number))
        shown = pool(made)
        given_back = int((shown[:, 0, 0, 0] != number).sum())
        old += given_back
        assert given_back < 8
    assert 0.3 < old / 800 < 0.55  # an old one may be of the same batch
    assert len(pool.held) == 4


def test_the_textbook_learns(textbook: ModuleType) -> None:
    torch.manual_seed(0)
    player = textbook.CycleGAN(
        width=4, blocks=1, judge_width=4, judge_layers=1, device=torch.device("cpu")
    )
    draw = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 4, 4, 4, generator=draw) * 2 - 1
    images = nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    losses = [player.step(images[:, :3], images[:, 3:]) for _ in range(60)]
    first, last = losses[0], losses[-1]
    assert float(last["cycle"]) < 0.7 * float(first["cycle"])
    assert float(last["identity"]) < 0.7 * float(first["identity"])
    assert float(last["judge_rgb"]) < float(first["judge_rgb"])


def test_generators_and_discriminators_learn_from_their_own_losses_alone(
    textbook: ModuleType,
) -> None:
    player = textbook.CycleGAN(
        width=4, blocks=1, judge_width=4, judge_layers=1, device=torch.device("cpu")
    )
    player.generator_optimizer.step = lambda: None
    kept = [weight.clone() for weight in player.generators.parameters()]
    before = [weight.clone() for weight in player.judges.parameters()]
    player.step(torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16))
    assert all(map(torch.equal, kept, player.generators.parameters()))
    assert not all(map(torch.equal, before, player.judges.parameters()))
    grown = [weight.grad.clone() for weight in player.generators.parameters()]
    player.generator_optimizer.zero_grad = lambda: None
    player.judges.zero_grad()
    made = player.to_thermal(torch.rand(1, 3, 16, 16)).detach()
    player._judge(player.judge_thermal, torch.rand(1, 1, 16, 16), made)
    assert all(
        torch.equal(weight.grad, old)
        for weight, old in zip(player.generators.parameters(), grown, strict=True)
    )


def test_both_steps_ask_about_as_much_of_the_machine(bench: ModuleType) -> None:
    sizes = [bench.Configuration.read(text) for text in ("128/1/64/1", "128/1/64/2")]
    counts = bench.alone(bench.bench_machine.flops_of_steps, sizes, device="cpu", patience=600)
    for package, textbook in counts:
        assert 0.6 < package / textbook < 1.4
    (_, one), (_, two) = counts
    assert two == 2 * one
    # Six passes through generators of 128 px forward, and as many twice backward, are most of it.
    block = 2 * 2 * 9 * 256**2 * 32**2  # two convolutions
    assert 18 * block < one < 8 * 18 * block


def test_opponents_take_turns_and_the_order_is_reversed_every_second_time() -> None:
    from bench_duel import alternate

    taken: list[str] = []
    times = iter(range(100))

    def measure(name: str) -> Callable[[], float]:
        return lambda: [taken.append(name), float(len(taken))][1]  # type: ignore[func-returns-value]

    found = alternate(
        {"one": measure("one"), "two": measure("two")}, alternations=3, seconds=1000, most=1000,
        told=lambda _: None, clock=lambda: next(times),
    )  # fmt: skip
    assert taken == ["one", "two", "two", "one", "one", "two"]
    assert found == {"one": [1, 4, 5], "two": [2, 3, 6]}


@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [(1000, 1000, 7), (45, 1000, 4), (5, 1000, 3), (5, 25, 2), (5, 5, 1)],
)
def test_the_budget_ends_the_alternations(seconds: float, most: float, expected: int) -> None:
    from bench_duel import alternate

    now = [0.0]

    def measure() -> float:
        now[0] += 10
        return 10.0

    found = alternate(
        {"textbook": measure}, alternations=7, seconds=seconds, most=most, told=lambda _: None,
        clock=lambda: now[0],
    )  # fmt: skip
    assert len(found["textbook"]) == expected


def test_a_ratio_is_the_median_over_pairs() -> None:
    from bench_duel import compare

    # Something else slowed the machine down during the last two pairs, all of the very last.
    found = {"textbook": [4.0, 4.4, 4.0, 9.0, 40.0], "package": [2.0, 2.0, 2.0, 4.5, 10.0]}
    figures = compare(found)
    assert figures["ratio"] == 2.0  # that of the medians would be 2.2
    assert (figures["ratio_lowest"], figures["ratio_highest"]) == (2.0, 4.0)
    assert (figures["seconds"], figures["textbook_seconds"]) == (2.0, 4.4)
    assert figures["alternations"] == 5
    assert "ratio_strict_float32" not in figures
    strict = compare({**found, "textbook, strict": [8.0, 8.0, 10.0, 16.0, 40.0]})
    assert strict["ratio"] == 2.0
    assert strict["ratio_strict_float32"] == 4.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution"),
        ("void cutlass__5x_cudnn::Kernel<cutlass_tensorop_s1688wgrad>", "convolution"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNT", "convolution"),
        ("aten::mkldnn_convolution_backward", "convolution"),
        ("void cudnn::ops::nchwToNhwcKernel<float>", "copies"),
        ("Memcpy HtoD (Pageable -> Device)", "copies"),
        ("void at::native::unrolled_elementwise_kernel<direct_copy_kernel_cuda>", "copies"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float>", "normalisation and elementwise"),
        ("aten::native_batch_norm", "normalisation and elementwise"),
        ("triton_poi_fused_convolution_relu_3", "normalisation and elementwise"),
        ("void at::native::reflection_pad2d_out_kernel<float>", "normalisation and elementwise"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
    ],
)
def test_kernels_are_sorted_by_what_they_do(name: str, kind: str) -> None:
    from bench_machine import kind_of

    assert kind_of(name) == kind


def test_a_share_is_of_the_rate_in_the_same_precision() -> None:
    from bench_machine import rate_of

    processor = {"float32_conv_gflops": {"1": 90.0, "8": 100.0}, "bfloat16_conv_gflops": {"1": 50}}
    assert rate_of(processor, "no") == 100e9
    assert rate_of(processor, "bf16") == 50e9
    assert rate_of({**processor, "bfloat16_matrix_tflops": 700.0}, "no") == 700e12
    assert rate_of({"processor": "any"}, "no") == 0


@pytest.mark.parametrize("text", ["256/9/64", "256/9/64/1/1", "a/9/64/1", "256/9/0/1", "30/1/4/1"])
def test_what_is_no_configuration_is_refused(
    bench: ModuleType, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--configurations", text])
    assert text in capsys.readouterr().err


class Here:
    """An opponent in this process, for a test has no time to start seven of them."""

    def __init__(self, spec: Any, *, patience: Callable[[], float]) -> None:
        import bench_opponents

        assert patience() > 0
        self.spec, self.opponent = spec, bench_opponents.build(spec)

    def built(self) -> str:
        return str(self.opponent.precision)

    def ask(self, command: str, value: Any = None) -> Any:
        import bench_process

        clock = bench_process.device_clock("cpu")
        return bench_process._answer(self.opponent, clock, self.spec, command, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return options of a run at tiny size; opponents are built in this process."""
    import bench
    import bench_duel
    import bench_opponents

    monkeypatch.setattr(bench_duel, "Process", Here)
    monkeypatch.setattr(bench, "DETECTOR_SIZE", 32)
    monkeypatch.setattr(bench_opponents, "DETECTOR_SIZE", 32)
    monkeypatch.setattr(bench_opponents, "DETECTOR_BATCH", 2)
    return [
        "--quick", "--json", "--device", "cpu", "--alternations", "1", "--images", "2",
        "--translate", "32/1/4/1", "--configurations", "32/1/4/1,32/1/4/2",
    ]  # fmt: skip


def test_all_that_is_promised_is_told_in_json(
    bench: ModuleType, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    assert bench.main([*small, "--out", str(kept), "--profile"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(kept.read_text("utf-8"))
    assert set(told) == {"train", "translate", "detect", "knee", "machine"}
    assert list(told["train"]) == ["32/1/4/1", "32/1/4/2"]
    for step in (*told["train"].values(), told["detect"]["resnet18"]["step"]):
        assert step["ratio"] == pytest.approx(step["textbook_seconds"] / step["seconds"], rel=2e-3)
        assert 100 < step["peak_mb"] < 20_000
        assert 100 < step["textbook_peak_mb"] < 20_000
    for step in told["train"].values():
        assert 0.6 < step["tflop"] / step["textbook_tflop"] < 1.4
        assert 0 < step["share_of_rate"] < 1.5
        for profile in step["profile"].values():
            assert sum(profile["shares"].values()) == pytest.approx(1, abs=1e-3)
            assert profile["shares"]["convolution"] > 0.1
    folders = (told["translate"]["32"], told["knee"], told["detect"]["resnet18"])
    for folder, count in zip(folders, (2, 2, 32), strict=True):
        assert folder["images"] == count
        assert folder["images_per_s"] == pytest.approx(count / folder["seconds"], rel=2e-3)
        rates = folder["images_per_s"] / folder["textbook_images_per_s"]
        assert folder["ratio"] == pytest.approx(rates, rel=2e-3)
    assert {"preservation", "textbook_preservation"} < set(told["knee"])
    machine = told["machine"]
    assert machine["cores"] >= 1
    assert machine["torch"] == torch.__version__
    assert all(rate > 0 for rate in machine["float32_conv_gflops"].values())
    assert bench.table(told).count("\n| ") >= 6


def test_a_part_that_fails_is_told_and_the_rest_goes_on(
    bench: ModuleType, small: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(bench.bench_machine, "rates", broken)
    monkeypatch.setattr("textbook.DetectorTraining", broken)
    assert bench.main([*small, "--only", "detect"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["detect"]["resnet18"]["ratio"] > 0
    assert "step" not in told["detect"]["resnet18"]
    assert set(told["failed"]) == {"machine", "detector's step resnet18"}
    assert "no such thing" in told["failed"]["detector's step resnet18"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_the_peak_is_counted_from_when_an_opponent_is_built() -> None:
    import bench_process

    held = bytearray(200 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    before = bench_process.peak_mb("cpu")
    del held
    bench_process._forget_peak()
    assert bench_process.peak_mb("cpu") < before - 150


def test_an_opponent_in_a_process_of_its_own_makes_rounds_or_says_why_not(tmp_path: Path) -> None:
    from bench_opponents import Configuration, Spec, writing
    from bench_process import PartFailedError, Process

    tiny = Configuration(32, 1, 4, 1)
    works = Spec(part="train", side="package", device="cpu", configuration=tiny)
    empty = tmp_path / "empty"
    empty.mkdir()
    fails = Spec(
        part="detect", side="package", device="cpu", pictures=empty, scratch=tmp_path / "scratch"
    )
    write, *what = writing(fails)
    write(*what)
    with Process(works, patience=lambda: 600) as one, Process(fails, patience=lambda: 600) as two:
        assert one.built() in ("no", "bf16")
        assert one.ask("warm") > 0
        assert 0 < one.ask("time", 2) < 60
        assert 100 < one.ask("memory") < 20_000
        assert two.built()
        with pytest.raises(PartFailedError, match=r"package of detect: DataError: .*empty"):
            two.ask("warm")
    assert not one._process.is_alive()
    late = Process(works, patience=lambda: 0.0)
    with late, pytest.raises(PartFailedError, match="not done in time"):
        late.built()


def test_how_well_action_units_are_kept_is_read_from_what_was_measured(
    bench: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "performance.json"
    none = {"preservation": None, "textbook_preservation": None}
    assert bench.preservation(file) == none
    file.write_text(json.dumps({"knee": {"preservation": 0.9, "textbook_preservation": 0.8}}))
    assert bench.preservation(file) == {"preservation": 0.9, "textbook_preservation": 0.8}


def test_a_folder_of_faces_has_as_many_as_were_asked_for(bench: ModuleType, tmp_path: Path) -> None:
    files = sorted(bench.write_faces(tmp_path / "faces", 20, 32).glob("*.png"))
    assert len(files) == 20
    assert len({file.read_bytes() for file in files}) == 16
