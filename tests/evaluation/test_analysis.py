"""One split's figures against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from export import metrics
from export.evaluation import analysis
from export.evaluation.served import columns


def test_a_split_is_counted_completely(split):
    report = analysis.analyse(split, rounds=50, seed=0)
    assert report["images"] == {
        "given": 82,
        "real": 41,
        "fake": 41,
        "groups": 82,
        "several_faces": 0,
        "no_face": ["0-None.jpg"],
        "refused": {"1-broken.jpg": "The image is truncated."},
    }
    assert report["threshold"] == 0.7
    assert sum(report["confusion"].values()) == 80
    assert {kind: sum(row.values()) for kind, row in report["labels"].items()} == {"real": 41, "fake": 41}
    assert report["labels"]["real"]["no_face"] == report["labels"]["fake"]["refused"] == 1
    assert sum(row["images"] for row in report["by_source"]) == 80
    for bins in report["by_quality"].values():
        assert sum(row[kind]["images"] for row in bins for kind in ("real", "fake")) == 80


def test_figures_cells_and_sources_agree(split):
    report = analysis.analyse(split, rounds=50, seed=0)
    cells, values = report["confusion"], report["level"]["image"]["values"]
    assert values["fpr"] == pytest.approx(cells["false_fake"] / 40)
    assert values["fnr"] == pytest.approx(cells["false_real"] / 40)
    assert values["accuracy"] == pytest.approx((cells["true_real"] + cells["true_fake"]) / 80)
    wrong = sum(row["wrong"] * row["images"] for row in report["by_source"])
    assert wrong == pytest.approx(cells["false_fake"] + cells["false_real"])
    for name, (low, high) in report["level"]["image"]["intervals"].items():
        assert low <= values[name] <= high or name == "ece"  # that one is biased upwards in resamples


def test_quality_bins_hold_what_their_edges_say(split):
    rows = analysis.by_quality(columns(split), 0.5)["side (px)"]
    sides = columns(split).quality[:, 2]
    assert [row["from"] for row in rows] == [0, 64, 128, 256]
    for row in rows:
        expected = ((sides >= row["from"]) & (sides < row["to"])).sum()
        assert row["real"]["images"] + row["fake"]["images"] == expected


def test_a_video_counts_by_the_mean_of_its_frames(judged):
    frames = [
        judged(label, p, path=f"/frames/{i:06}.png", clip=clip, group=clip)
        for clip, label, scores in (("a", 0, (0.1, 0.8)), ("b", 1, (0.6, 0.9)), ("c", 1, (0.65, 0.85)))
        for i, p in enumerate(scores)
    ]
    levels = analysis.analyse([*frames, judged(0, 0.2)], rounds=20, seed=0)["level"]
    assert levels["image"]["count"] == 7
    assert levels["video"]["count"] == 3
    assert levels["video"]["values"]["accuracy"] == 1  # means 0.45, 0.75 and 0.75
    assert levels["video"]["values"]["auc"] == 1
    assert analysis.mistakes(frames, 0.5)[0]["path"] == "a, frame 1"
    assert levels["image"]["values"]["auc"] == pytest.approx(metrics.auc(*_labels_and_scores(frames, judged(0, 0.2))))


def _labels_and_scores(frames, more):
    table = columns([*frames, more])
    return table.labels, table.scores


def test_no_error_at_all_is_not_told_as_certainty(judged):
    rows = [judged(i % 2, 0.9 if i % 2 else 0.1, path=str(i)) for i in range(40)]
    level = analysis.analyse(rows, rounds=20, seed=0)["level"]["image"]
    assert level["values"]["fnr"] == 0
    assert level["intervals"]["fnr"] == pytest.approx(metrics.wilson(0, 20))
    assert level["intervals"]["accuracy"][0] < 0.95


def test_mistakes_come_worst_first(judged):
    rows = [judged(0, 0.6), judged(0, 0.99), judged(1, 0.2), judged(1, 0.9), judged(0, None)]
    assert [row["path"] for row in analysis.mistakes(rows, 0.5)] == ["0-0.99.jpg", "1-0.2.jpg", "0-0.6.jpg"]


def test_a_rival_with_the_same_scores_gains_nothing(split):
    table = columns(split)
    report = analysis.compare(table, {"twin": table.scores, "blind": np.full(80, 0.5)}, rounds=50, seed=0)
    assert report["twin"]["gain"] == 0
    assert report["twin"]["gain_interval"] == (0, 0)
    assert report["blind"]["auc"] == 0.5
    assert report["blind"]["gain_interval"][0] > 0


def test_a_robustness_point_without_any_face_is_told_as_such(judged):
    point = analysis.robustness_point([judged(0, None), judged(1, None)], 0.5, rounds=5, seed=0)
    assert point["without_face"] == point["images"] == 2
    assert np.isnan([point["auc"], point["accuracy"], *point["interval"]]).all()
