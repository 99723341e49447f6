from __future__ import annotations

import pytest
import torch

from cycada.data.sampling import Order, generator, share


@pytest.mark.parametrize(("images", "lanes"), [(12, 4), (10, 4), (3, 8), (1, 2)])
def test_each_epoch_shows_every_image_once(images: int, lanes: int) -> None:
    order = Order(images, lanes, seed=1, stream="rgb")
    seen = torch.cat([order(step) for step in range(images * 3)])
    for epoch in seen[: len(seen) // images * images].view(-1, images):
        assert sorted(epoch.tolist()) == list(range(images))


def test_the_epochs_differ_in_their_order() -> None:
    order = Order(50, 50, seed=0, stream="rgb")
    assert not torch.equal(order(0), order(1))
    assert not torch.equal(order(0), Order(50, 50, seed=1, stream="rgb")(0))
    assert not torch.equal(order(0), Order(50, 50, seed=0, stream="thermal")(0))


def test_the_order_depends_on_the_seed_and_the_step_alone() -> None:
    forward = Order(10, 4, seed=3, stream="rgb")
    expected = [forward(step) for step in range(12)]
    jumping = Order(10, 4, seed=3, stream="rgb")
    torch.manual_seed(99)
    for step in (11, 0, 7, 6, 11, 3):
        assert torch.equal(jumping(step), expected[step])


def test_a_step_draws_without_a_pass_over_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first step of an epoch shuffles; the others look up their own few places."""
    shuffled = []
    shuffle = torch.randperm

    def counted(count: int, *, generator: torch.Generator) -> torch.Tensor:
        shuffled.append(count)
        return shuffle(count, generator=generator)

    monkeypatch.setattr(torch, "randperm", counted)
    order = Order(100_000, 8, seed=0, stream="rgb")
    for step in range(200):
        order(step)
    assert shuffled == [100_000]
    order(100_000 // 8)
    assert shuffled == [100_000] * 2


def test_the_order_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Order(10, 4, seed=3, stream="rgb")(5)
    generator(1, "flip", 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_shares_of_all_processes_join_to_the_whole(processes: int) -> None:
    drawn = torch.rand(6, 2)
    shares = [share(6, rank=rank, processes=processes) for rank in range(processes)]
    assert torch.equal(torch.cat([each.of(drawn) for each in shares]), drawn)
    assert [each.size for each in shares] == [6 // processes] * processes


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="7 images per step cannot be shared evenly by 2"):
        share(7, rank=0, processes=2)


def test_a_generator_depends_on_every_part_of_its_key() -> None:
    def draw(*key: int | str) -> list[float]:
        return torch.rand(4, generator=generator(*key)).tolist()

    assert draw(0, "flip", 1) == draw(0, "flip", 1)
    others = [draw(1, "flip", 1), draw(0, "flop", 1), draw(0, "flip", 2), draw(0, "flip", "1")]
    assert draw(0, "flip", 1) not in others
