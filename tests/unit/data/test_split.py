"""Laws of the split: sizes, balance, official partitions, disjointness, determinism, nesting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from perceived.data import split, table
from perceived.errors import ConfigError, DataError, SplitError
from perceived.storage import sha256_file
from perceived.workspace import Workspace


def examples(counts: split.Counts) -> pl.DataFrame:
    """Return a table of examples with so many pictures per partition and label, labels interleaved."""
    rows = [(part, label, i) for part, labels in counts.items() for label, n in labels.items() for i in range(n)]
    rows.sort(key=lambda row: (row[2], row[0]))
    ids = [f"{i:06}.jpg" for i in range(len(rows))]
    return pl.DataFrame(
        {
            "id": ids,
            "path": [f"/pictures/{name}" for name in ids],
            "partition": [row[0] for row in rows],
            "label": [row[1] for row in rows],
            "identity": list(range(len(rows))),
        },
        schema_overrides={"partition": pl.String, "label": pl.String, "id": pl.String, "path": pl.String},
    )


label_counts = st.fixed_dictionaries({"female": st.integers(2, 12), "male": st.integers(2, 12)})
tables = st.fixed_dictionaries({"train": label_counts, "val": label_counts, "test": label_counts}).map(examples)
seeds = st.integers(0, 2**40)


@st.composite
def requests(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[str, int], bool]:
    """Draw a table, sizes that it can satisfy with both labels, and whether to balance."""
    frame, balance = draw(tables), draw(st.booleans())
    available, sizes = split.count(frame, "partition"), {}
    for name in split.SPLITS:
        most = split.most(available[name], balance=balance)
        alone = dict.fromkeys(split.SPLITS, 0) | {name: draw(st.integers(1, most))}
        both = all(split.allocate(available, alone, balance=balance)[name].values())
        sizes[name] = alone[name] if both else most
    return frame, sizes, balance


@settings(deadline=None, max_examples=40)
@given(requests(), seeds)
def test_sizes_partitions_and_labels(request: tuple[pl.DataFrame, dict[str, int], bool], seed: int) -> None:
    frame, sizes, balance = request
    chosen = split.choose(frame, sizes=sizes, balance=balance, seed=seed)
    assert chosen.columns == list(split.COLUMNS)
    counts = split.count(chosen, "split")
    assert {name: sum(labels.values()) for name, labels in counts.items()} == sizes
    assert chosen["id"].n_unique() == chosen.height
    official = chosen.join(frame, on="id")
    assert official.height == chosen.height
    assert (official["split"] == official["partition"]).all()
    assert (official["label"] == official["label_right"]).all()
    assert (official["identity"] == official["identity_right"]).all()
    available = split.count(frame, "partition")
    for name, labels in counts.items():
        if balance:
            assert labels["female"] - labels["male"] == sizes[name] % 2
        else:
            share = available[name]["male"] / sum(available[name].values())
            assert abs(labels["male"] - share * sizes[name]) <= 0.5


@settings(deadline=None, max_examples=40)
@given(requests(), seeds, st.randoms(use_true_random=False))
def test_rows_in_another_order_give_the_same_split(
    request: tuple[pl.DataFrame, dict[str, int], bool], seed: int, random: Any
) -> None:
    frame, sizes, balance = request
    order = list(range(frame.height))
    random.shuffle(order)
    chosen = split.choose(frame, sizes=sizes, balance=balance, seed=seed)
    shuffled = split.choose(frame[order], sizes=sizes, balance=balance, seed=seed)
    assert chosen.sort("id").equals(shuffled.sort("id"))
    assert chosen["split"].to_list() == sorted(chosen["split"], key=split.SPLITS.index)
    inside = chosen.filter(pl.col("split") == "train")["id"]
    assert inside.to_list() == sorted(inside)


@settings(deadline=None, max_examples=40)
@given(requests(), seeds, st.data())
def test_a_smaller_split_lies_inside_a_larger_one(
    request: tuple[pl.DataFrame, dict[str, int], bool], seed: int, data: st.DataObject
) -> None:
    frame, sizes, balance = request
    smaller = {name: data.draw(st.sampled_from([0, size // 2, size])) for name, size in sizes.items()}
    large = split.choose(frame, sizes=sizes, balance=balance, seed=seed)
    try:
        small = split.choose(frame, sizes=smaller, balance=balance, seed=seed)
    except SplitError:
        return  # nothing, or one label only, was left
    assert small.join(large, on="id", how="anti").is_empty()


@settings(deadline=None, max_examples=40)
@given(tables, seeds)
def test_everything_is_everything(frame: pl.DataFrame, seed: int) -> None:
    chosen = split.choose(frame, sizes=None, balance=False, seed=seed)
    assert sorted(chosen["id"]) == sorted(frame["id"])
    assert split.count(chosen, "split") == split.count(frame, "partition")


@settings(deadline=None, max_examples=40)
@given(tables, st.booleans(), st.sampled_from(split.SPLITS))
def test_one_more_than_the_most_is_refused_with_the_counts(frame: pl.DataFrame, balance: bool, name: str) -> None:
    available = split.count(frame, "partition")
    most = split.most(available[name], balance=balance)
    sizes = dict.fromkeys(split.SPLITS, 0) | {name: most + 2}
    with pytest.raises(SplitError) as error:
        split.choose(frame, sizes=sizes, balance=balance, seed=0)
    message = str(error.value)
    assert f"{available[name]['female']} female and {available[name]['male']} male" in message
    assert f"at most {name} {most} " in message
    assert f"--{name} {most}" in message
    split.choose(frame, sizes=sizes | {name: most}, balance=balance, seed=0)


def test_seeds_give_different_splits() -> None:
    frame = examples({name: {"female": 50, "male": 50} for name in split.SPLITS})
    sizes = dict.fromkeys(split.SPLITS, 20)
    drawn = [tuple(split.choose(frame, sizes=sizes, balance=True, seed=seed)["id"]) for seed in range(5)]
    assert len(set(drawn)) == 5


PINNED = [9, 14, 21, 32, 10, 23, 34, 35, 1, 12, 19, 30]


def test_the_choice_itself_is_pinned() -> None:
    """A published split must never change under anybody: not by a library, not by us."""
    frame = examples({name: {"female": 6, "male": 6} for name in split.SPLITS})
    chosen = split.choose(frame, sizes=dict.fromkeys(split.SPLITS, 4), balance=True, seed=0)
    assert [int(name[:6]) for name in chosen["id"]] == PINNED


def test_a_draw_is_of_the_pictures_not_of_their_order() -> None:
    rows = pl.DataFrame({"id": [f"{i}.jpg" for i in range(50)]})
    drawn = split.draw(rows, 20)["id"]
    assert len(drawn) == 20
    assert drawn.to_list() == [name for name in rows["id"] if name in set(drawn)], "in the table's order"
    assert set(split.draw(rows.reverse(), 20)["id"]) == set(drawn)
    assert set(split.draw(rows, 10)["id"]) < set(drawn)
    assert split.draw(rows, 60).height == 50


def test_every_picture_is_as_likely() -> None:
    frame = examples({name: {"female": 10, "male": 10} for name in split.SPLITS})
    times = dict.fromkeys(frame["id"], 0)
    for seed in range(100):
        for name in split.choose(frame, sizes=dict.fromkeys(split.SPLITS, 10), balance=True, seed=seed)["id"]:
            times[name] += 1
    assert min(times.values()) > 25
    assert max(times.values()) < 75


@pytest.mark.parametrize("sizes", [(0, 0, 0), (-2, 4, 4)])
def test_impossible_sizes(sizes: tuple[int, int, int]) -> None:
    frame = examples({name: {"female": 6, "male": 6} for name in split.SPLITS})
    with pytest.raises(SplitError, match="make no split"):
        split.choose(frame, sizes=dict(zip(split.SPLITS, sizes, strict=True)), balance=True, seed=0)


def test_one_class_in_a_split_is_refused() -> None:
    frame = examples(
        {"train": {"female": 6, "male": 6}, "val": {"female": 6, "male": 0}, "test": {"female": 1, "male": 1}}
    )
    with pytest.raises(SplitError, match="Every picture of the val split is female"):
        split.choose(frame, sizes=None, balance=False, seed=0)


def test_no_balance_is_offered_only_where_it_helps() -> None:
    frame = examples({name: {"female": 8, "male": 4} for name in split.SPLITS})
    with pytest.raises(SplitError, match="--no-balance"):
        split.choose(frame, sizes={"train": 12, "val": 4, "test": 4}, balance=True, seed=0)
    with pytest.raises(SplitError) as error:
        split.choose(frame, sizes={"train": 13, "val": 4, "test": 4}, balance=True, seed=0)
    assert "--no-balance" not in str(error.value)


def test_a_partition_of_one_label_is_left_out_as_the_message_says() -> None:
    counts = {"train": {"female": 8, "male": 8}, "val": {"female": 4, "male": 4}, "test": {"female": 0, "male": 9}}
    frame, sizes = examples(counts), {"train": 12, "val": 4, "test": 4}
    with pytest.raises(SplitError) as balanced:
        split.choose(frame, sizes=sizes, balance=True, seed=0)
    assert "use --test 0" in str(balanced.value)
    assert "--all" not in str(balanced.value), "it would be refused: all of the test partition is male"
    assert "--no-balance" not in str(balanced.value)
    with pytest.raises(SplitError, match="--test 0"):
        split.choose(frame, sizes=sizes, balance=False, seed=0)
    assert split.choose(frame, sizes=sizes | {"test": 0}, balance=True, seed=0).height == 16


def prepared(faces: Any, tmp_path: Path, **options: Any) -> Path:
    work = tmp_path / "work"
    table.prepare(faces.write(tmp_path), work, **options)
    return work


def test_make_writes_the_split_and_its_record(faces: Any, tmp_path: Path) -> None:
    work = prepared(faces, tmp_path)
    made = split.make(work, train=6, val=4, test=2, seed=3)
    assert Workspace(work).read_split().equals(made)
    record = json.loads((work / "split.json").read_text())
    assert record["seed"] == 3
    assert record["sizes"] == {"train": 6, "val": 4, "test": 2}
    assert record["counts"]["train"] == {"female": 3, "male": 3}
    assert record["examples_sha256"] == sha256_file(work / "examples.parquet")
    assert split.make(work, train=6, val=4, test=2, seed=3).equals(made)
    assert json.loads((work / "split.json").read_text()) == record


def test_everything_keeps_natural_proportions(faces: Any, tmp_path: Path) -> None:
    del faces.pictures["000002.jpg"]
    made = split.make(prepared(faces, tmp_path), everything=True)
    assert made.height == 23
    assert split.count(made, "split")["train"] == {"female": 4, "male": 3}


def test_a_boost_of_nobody_is_refused(faces: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        split.make(prepared(faces, tmp_path), everything=True, boost={"label=nobody": 2})


def test_a_refused_split_leaves_the_old_one(faces: Any, tmp_path: Path) -> None:
    work = prepared(faces, tmp_path)
    split.make(work, train=6, val=4, test=2)
    before = sha256_file(work / "split.parquet")
    with pytest.raises(SplitError, match="train of 20,000 asked for"):
        split.make(work)
    assert sha256_file(work / "split.parquet") == before


def test_a_table_that_changed_is_refused(faces: Any, tmp_path: Path) -> None:
    work = prepared(faces, tmp_path)
    changed = Workspace(work).read_examples().with_columns(label=pl.lit("male"))
    changed.write_parquet(work / "examples.parquet")
    with pytest.raises(DataError, match=r"not the file that prepare.json describes[\s\S]*perceived prepare"):
        split.make(work, train=6, val=4, test=2)


def test_a_split_of_a_table_that_was_prepared_anew_is_refused(faces: Any, tmp_path: Path) -> None:
    work = prepared(faces, tmp_path)
    split.make(work, train=6, val=4, test=2)
    assert prepared(faces, tmp_path) == work
    assert Workspace(work).read_split().height == 12, "prepared again from the same, it holds"
    del faces.pictures["000001.jpg"]
    (tmp_path / "set" / "img_align_celeba" / "img_align_celeba" / "000001.jpg").unlink()
    prepared(faces, tmp_path)
    with pytest.raises(DataError, match=r"drawn from another table[\s\S]*perceived split"):
        Workspace(work).read_split()
    split.make(work, train=6, val=4, test=2)
    assert Workspace(work).read_split().height == 12


def test_annotations_alone_cannot_be_split(faces: Any, tmp_path: Path) -> None:
    faces.pictures = {}
    work = prepared(faces, tmp_path, annotations_only=True)
    with pytest.raises(SplitError, match="names no pictures"):
        split.make(work, train=6, val=4, test=2)


def test_a_workspace_that_was_never_prepared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="perceived prepare"):
        split.make(tmp_path)


def test_real_pictures(shared_data: Path, tmp_path: Path) -> None:
    table.prepare(shared_data / "celeba-mini", tmp_path)
    made = split.make(tmp_path, train=2000, val=500, test=500)
    assert split.count(made, "split")["train"] == {"female": 1000, "male": 1000}
    with pytest.raises(SplitError, match="the test partition holds 250 female and 250 male"):
        split.make(tmp_path, train=2000, val=500, test=502)


@pytest.mark.parametrize(("column", "value"), [("id", "other.jpg"), ("label", "male"), ("split", "val")])
def test_a_fingerprint_tells_pictures_labels_and_sides_apart_wherever_they_lie(column: str, value: str) -> None:
    frame = examples({name: {"female": 1, "male": 1} for name in split.SPLITS}).rename({"partition": "split"})
    first = frame.with_row_index().with_columns(
        pl.when(pl.col("index") == 0).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )
    assert first[column][0] != frame[column][0]
    assert split.fingerprint(first) != split.fingerprint(frame)
    assert split.pictures_fingerprint(first) != split.pictures_fingerprint(frame)
    assert split.fingerprint(frame.with_columns(path=pl.lit("/elsewhere"))) == split.fingerprint(frame)


def test_a_fingerprint_tells_weights_apart_where_it_is_not_of_the_pictures_alone() -> None:
    columns = {"id": ["a", "b"], "label": ["male", "female"], "split": "train", "weight": [1.0, 1.0]}
    frame = pl.DataFrame(columns)
    other = frame.with_columns(weight=pl.Series([1.5, 0.5]))
    assert split.fingerprint(other) != split.fingerprint(frame)
    assert split.pictures_fingerprint(other) == split.pictures_fingerprint(frame)
