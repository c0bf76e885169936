"""What is read from a data folder: manifests and folders, groups, splits, and pictures that splits share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from export.data.duplicates import BITS, MAX_DISTANCE, across_splits
from export.data.sources import ManifestError, read_items, split_of


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,source\na.jpg,camera\n", r"lacks the columns \['label'\]"),
        ("path,label\na.jpg,real\nb.jpg,genuine\n", "line 3.*real or fake"),
        ("path,label\na.jpg,real\na.jpg,fake\n", "line 3: a.jpg is on line 2"),
        ("path,label,split,group\na.jpg,real,train,x\nb.jpg,fake,test,x\n", "group x is in train"),
        ("path,label\n", "no files"),
    ],
    ids=["no-column", "unknown-label", "path-twice", "group-in-two-splits", "empty"],
)
def test_a_manifest_that_cannot_be_used_is_named_with_its_fault(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_items(manifest(tmp_path, text), 1)


def test_a_folder_without_anything_says_what_is_expected(tmp_path):
    with pytest.raises(ManifestError, match="real/ and fake/"):
        read_items(tmp_path, 1)


def test_columns_that_are_missing_are_filled(tmp_path):
    path = manifest(
        tmp_path, "\ufeffpath,label,photo,split\ncam/a.jpg,real,p1,test\ncam/b.PNG,fake,p1,\nc.MP4,fake,,\n"
    )
    first, second, third = read_items(path, 1)
    assert read_items(tmp_path, 1) == [first, second, third]
    assert (first.source, first.group, first.split) == ("cam", "p1", "test")
    assert second.split == "test", "its group is in test"
    assert (third.source, third.group, third.split) == ("fake", "c.MP4", split_of("c.MP4", 1))
    assert [item.is_video for item in (first, second, third)] == [False, False, True]


def test_folders_give_label_source_and_group(tmp_path):
    names = ["real/x.jpg", "real/cam/y.png", "fake/swap/033/0001.png", "fake/swap/033/0002.png", "fake/swap/deep/v.mp4"]
    for name in [*names, "real/.DS_Store", "elsewhere/z.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    items = {item.path: item for item in read_items(tmp_path, 1)}
    assert set(items) == set(names)
    assert [items[name].label for name in names] == [0, 0, 1, 1, 1]
    assert [items[name].source for name in names] == ["real", "cam", "swap", "swap", "swap"]
    assert [items[name].group for name in names] == [*names[:2], "033", "033", names[4]]


def test_splits_go_by_group_and_seed_and_nothing_else():
    groups = [f"person{i}" for i in range(5000)]
    splits = [split_of(group, 20) for group in groups]
    counts = Counter(splits)
    assert [round(counts[name] / 5000, 1) for name in ("train", "val", "test")] == [0.7, 0.1, 0.2]
    assert splits != [split_of(group, 21) for group in groups]
    assert split_of("person0", 20) == splits[0]


def test_pairs_across_splits_are_those_of_a_plain_comparison():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (300, BITS), dtype=np.uint8)
    for i in range(150, 300):  # copies, a few bits apart on either side of the limit
        bits[i] = bits[i - 150]
        bits[i, : rng.integers(0, 2 * MAX_DISTANCE)] ^= 1
    splits = rng.choice(["train", "val", "test", "cross"], 300).tolist()
    rank = {"train": 0, "val": 1, "test": 2, "cross": 2}
    expected = {
        (i, j, int((bits[i] != bits[j]).sum()))
        for i in range(300)
        for j in range(300)
        if rank[splits[i]] < rank[splits[j]] and (bits[i] != bits[j]).sum() <= MAX_DISTANCE
    }
    assert expected
    found = across_splits([np.packbits(row).tobytes().hex() for row in bits], splits)
    assert {tuple(pair) for pair in found} == expected
    assert len(found) == len(expected)
