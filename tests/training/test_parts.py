"""Replay pool, averaged weights, schedules and the loop, each against something plain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from cycada.data.sampling import generator, share
from cycada.errors import RunError
from cycada.training import loop
from cycada.training.average import update_average
from cycada.training.pool import ReplayPool
from cycada.training.schedule import cosine, dann_strength, linear_decay

LANES, SLOTS, STEPS = 4, 3, 30


def made_images() -> Iterator[torch.Tensor]:
    """Yield batches of images of one pixel; each value names its step and lane."""
    for step in range(STEPS):
        yield torch.tensor([100.0 * step + lane for lane in range(LANES)]).view(LANES, 1, 1, 1)


def reference(seed: int) -> list[list[float]]:
    """Simulate the pool of each lane as a dictionary of slots."""
    held: dict[tuple[int, int], float] = {}
    shown: list[list[float]] = []
    for step, batch in enumerate(made_images()):
        draw = generator(seed, "pool", "rgb", step)
        coins = torch.rand(LANES, generator=draw).tolist()
        slots = torch.randint(SLOTS, (LANES,), generator=draw).tolist()
        row = []
        for lane in range(LANES):
            image = float(batch[lane])
            if step < SLOTS:
                held[lane, step] = image
            elif coins[lane] < 0.5:
                key = (lane, slots[lane])
                image, held[key] = held[key], image
            row.append(image)
        shown.append(row)
    return shown


def pool_of(rank: int, processes: int, slots: int = SLOTS * LANES) -> ReplayPool:
    return ReplayPool(slots, share(LANES, rank=rank, processes=processes), seed=5, stream="rgb")


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_pool_does_what_a_dictionary_of_slots_does(processes: int) -> None:
    pools = [pool_of(rank, processes) for rank in range(processes)]
    found = [
        torch.cat([pool.swap(pool.share.of(batch), step) for pool in pools]).flatten().tolist()
        for step, batch in enumerate(made_images())
    ]
    assert found == reference(5)


def test_about_half_of_the_shown_images_are_old_and_none_comes_twice() -> None:
    pool = pool_of(0, 1)
    shown = [pool.swap(batch, step).flatten() for step, batch in enumerate(made_images())]
    late = torch.stack(shown[SLOTS:])
    new = torch.stack([batch.flatten() for batch in made_images()])[SLOTS:]
    share_of_old = float((late != new).float().mean())
    assert 0.35 < share_of_old < 0.65
    # After the pool is full, an image is shown when it is new or when it leaves the pool.
    assert len(set(late.flatten().tolist())) == late.numel()


def test_a_pool_without_slots_shows_what_it_is_given() -> None:
    pool = pool_of(0, 1, slots=0)
    for step, batch in enumerate(made_images()):
        assert pool.swap(batch, step) is batch
    assert pool.images is None


def test_the_pool_does_not_change_the_batch_that_it_is_given() -> None:
    pool = pool_of(0, 1)
    for step, batch in enumerate(made_images()):
        before = batch.clone()
        pool.swap(batch, step)
        assert torch.equal(batch, before)


def test_the_average_is_its_closed_form() -> None:
    module, average = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
    weights = [float(w) for w in torch.randn(40, generator=torch.Generator().manual_seed(0))]
    start = float(average.weight.detach())
    for step, weight in enumerate(weights, start=1):
        with torch.no_grad():
            module.weight.fill_(weight)
            assert module.running_mean is not None
            module.running_mean.fill_(step)
        update_average(average, module, decay=0.6, step=step)
    decays = [min(0.6, (1 + step) / (10 + step)) for step in range(1, 41)]
    expected = start * math.prod(decays) + sum(
        weight * (1 - decays[k]) * math.prod(decays[k + 1 :]) for k, weight in enumerate(weights)
    )
    assert float(average.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert average.running_mean is not None
    assert float(average.running_mean) == 40  # statistics are copied


def test_the_learning_rate_stays_and_then_falls_to_zero() -> None:
    rates = [linear_decay(step, total=10, start=0.5) for step in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert linear_decay(10, total=10, start=0.5) == 0
    assert [linear_decay(step, total=4, start=1.0) for step in range(4)] == [1, 1, 1, 1]
    assert [linear_decay(step, total=4, start=0.0) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_the_cosine_rises_over_its_warm_up_and_falls_by_half_a_wave() -> None:
    rates = [cosine(step, total=100, warm_up=0.05) for step in range(100)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert rates[5 + 95 // 5] == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert all(late < early for early, late in pairwise(rates[5:]))
    assert cosine(100, total=100, warm_up=0.05) == pytest.approx(0)
    assert cosine(0, total=1) == 1


def test_the_strength_of_dann_follows_its_formula() -> None:
    for step in (0, 3, 30, 60):
        p = step / 60
        expected = 2 / (1 + math.exp(-10 * p)) - 1
        assert dann_strength(step, total=200, warm_up=0.3) == pytest.approx(expected)
    assert dann_strength(150, total=200, warm_up=0.3) == dann_strength(60, total=200, warm_up=0.3)
    assert dann_strength(1, total=200, warm_up=0.0) == pytest.approx(1, abs=1e-4)


def run_loop(
    total: int, *, done: int = 0, value: float = 1.0, since_log: Sequence[float] = ()
) -> list[tuple[str, int, float]]:
    told: list[tuple[str, int, float]] = []
    kept = [{"loss": loss} for loss in since_log]
    loop.run(
        iter(range(done, total)),
        lambda batch, step: {"loss": torch.tensor(float(step) * value), **(
            {"rare": torch.tensor(float(batch))} if step % 3 == 0 else {})},
        done=done,
        total=total,
        log=lambda number, figures, _waiting: told.append(("log", number, figures["loss"])),
        log_every=4,
        since_log=kept,
        processes=loop.Processes(lambda figures: figures, bool, 1),
        periodic=[loop.Periodic(5, lambda number: told.append(("save", number, len(kept))))],
        on_stop=pytest.fail,
    )  # fmt: skip
    return told


def test_the_loop_tells_what_share_of_the_time_it_waited_for_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def batches() -> Iterator[int]:
        for number, seconds in enumerate((1.0, 2.0, 0.0, 6.0)):
            clock[0] += seconds
            yield number

    def step(_batch: int, _step: int) -> dict[str, Tensor]:
        clock[0] += 3.0
        return {"loss": torch.tensor(1.0)}

    def validate(_number: int) -> None:
        clock[0] += 100.0  # is neither

    loop.run(
        batches(), step, done=0, total=4, log=lambda *figures: told.append(figures[2]),
        log_every=2, since_log=[], processes=loop.Processes(lambda figures: figures, bool, 1),
        periodic=[loop.Periodic(1, validate)], on_stop=pytest.fail,
    )  # fmt: skip
    assert told == [pytest.approx(3 / 9), pytest.approx(6 / 12)]


def test_the_loop_logs_means_and_acts_when_due_and_at_the_end() -> None:
    assert run_loop(6) == [
        ("log", 4, 1.5), ("save", 5, 1), ("log", 6, 4.5), ("save", 6, 0),
    ]  # fmt: skip


def test_a_loop_that_goes_on_from_what_was_saved_logs_the_same_means() -> None:
    assert run_loop(6, done=5, since_log=[4.0]) == [("log", 6, 4.5), ("save", 6, 0)]
    assert run_loop(6, done=5) == [("log", 6, 5.0), ("save", 6, 0)]


def test_a_loss_that_is_not_finite_ends_the_training_before_it_is_saved() -> None:
    with pytest.raises(RunError, match="loss is nan before step 4"):
        run_loop(6, value=math.nan)
