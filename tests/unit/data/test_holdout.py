"""Laws of what is held out: its size, its make-up, whole people, and that it depends on nothing else."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings, strategies as st

from perceived.data.holdout import hold_out

cells = st.lists(st.tuples(st.sampled_from("fm"), st.sampled_from(["a", "b", None])), min_size=1, max_size=80)
shares = st.sampled_from([0.1, 0.25, 1 / 3, 0.5])
seeds = st.integers(0, 2**40)


def table(found: list[tuple[str, str | None]], identities: list[int | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"{i}.jpg" for i in range(len(found))],
            "partition": ["train"] * len(found),
            "label": [label for label, _ in found],
            "identity": identities or [None] * len(found),
            "race": [race for _, race in found],
        },
        schema_overrides={"identity": pl.Int64, "race": pl.String},
    )


def held(rows: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    return hold_out(rows, of="train", to="val", share=share, by=("label", "race"), seed=seed)


@settings(deadline=None, max_examples=60)
@given(cells, shares, seeds)
def test_the_part_is_made_up_as_the_whole(found: list[tuple[str, str | None]], share: float, seed: int) -> None:
    after = held(table(found), share, seed)
    assert after.drop("partition").equals(table(found).drop("partition"))
    taken = pl.col("partition") == "val"
    assert abs(after.filter(taken).height - share * len(found)) < 1
    for by in (["label"], ["label", "race"]):
        strata = after.group_by(by).agg(all=pl.len(), taken=taken.sum())
        assert all(abs(part - share * whole) < 1 for whole, part in strata.select("all", "taken").iter_rows())


@settings(deadline=None, max_examples=30)
@given(cells, seeds, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    found: list[tuple[str, str | None]], seed: int, random: st.DataObject
) -> None:
    rows = table(found)
    order = list(range(len(found)))
    random.shuffle(order)
    assert held(rows[order], 0.5, seed).sort("id").equals(held(rows, 0.5, seed).sort("id"))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1, max_size=40), seeds)
def test_people_are_never_parted(identities: list[int | None], seed: int) -> None:
    after = held(table([("f", "a")] * len(identities), identities), 0.5, seed)
    people = after.drop_nulls("identity").group_by("identity").agg(pl.col("partition").n_unique())
    assert set(people["partition"]) <= {1}


def test_other_partitions_stay() -> None:
    rows = table([("f", "a")] * 10).with_columns(partition=pl.Series(["train"] * 6 + ["test"] * 4))
    after = held(rows, 0.5, 0)
    assert after["partition"].to_list().count("val") == 3
    assert after["partition"].to_list()[6:] == ["test"] * 4


def test_a_persons_pictures_of_another_partition_stay_there() -> None:
    rows = table([("f", "a")] * 8, [0, 1, 2, 3] * 2).with_columns(partition=pl.Series(["train"] * 4 + ["test"] * 4))
    after = held(rows, 0.5, 0)
    assert after["partition"].to_list().count("val") == 2
    assert after["partition"].to_list()[4:] == ["test"] * 4


def test_rows_without_a_partition_can_be_held_out_of() -> None:
    rows = table([("f", "a")] * 10).with_columns(partition=pl.lit(None, pl.String))
    after = hold_out(rows, of=None, to="test", share=0.2, by=("label",), seed=0)
    assert sorted(after["partition"].to_list(), key=str).count("test") == 2


PINNED = ["0", "1", "10", "18", "19"]


def test_the_choice_itself_is_pinned() -> None:
    """What a model was chosen on must never change under anybody."""
    after = held(table([("fm"[i % 2], "ab"[i // 2 % 2]) for i in range(20)]), 0.25, 0)
    assert sorted(name.removesuffix(".jpg") for name in after.filter(partition="val")["id"]) == PINNED
