"""Checkpoints side by side: calibrated as publication does, judged as the served graph does."""

import re

import numpy as np
import pytest
import torch

from export.data.faces import of_split
from export.errors import ExportError
from export.network import ServedGraph
from export.publication import compare
from export.publication.calibrate import calibrated
from export.synthesis.batches import Loader
from export.training.config import TrainConfig
from export.training.weights import save_network

CONFIG = TrainConfig(backbone="mobilenetv3_small_050", side_px=64, batch_size=2)


def test_a_network_is_calibrated_as_for_publication(net, data, faces):
    loader = Loader(data, 2, 0)
    calibration, figures = compare.judge(net, loader, faces)
    assert calibration == calibrated(net, loader, faces, 1)[0]
    assert {name: row["images"] for name, row in figures.items()} == {"val": 4, "test": 4, "test_self_blended": 4}
    assert figures["test"]["threshold"] == calibration.fake_from
    cells = dict(zip(compare.COLUMNS, compare.cells(figures), strict=True))
    assert cells["cross AUC"] == "-"
    assert cells["test AUC"] == "{:.3f} ({:.3f}-{:.3f})".format(figures["test"]["auc"], *figures["test"]["auc_95"])


def test_a_known_picture_gets_the_verdict_of_the_served_graph(net, data, faces):
    loader = Loader(data, 2, 0)
    calibration, _ = compare.judge(net, loader, faces)
    served = ServedGraph(net, calibration)
    pictures = of_split(faces, "train") + of_split(faces, "test")  # thresholds lie on faces of val
    expected = []
    for batch in loader.plain(pictures):
        with torch.inference_mode():
            verdict = served(torch.from_numpy(batch.faces))
        below, above = verdict.THRESHOLD[0].tolist()
        expected += [
            (p, "fake" if p >= above else "real" if p < below else "review")
            for p in verdict.FAKE_PROBABILITY[:, 0].tolist()
        ]
    told = [text.split() for text in compare.verdicts(net, loader, pictures, calibration)]
    np.testing.assert_allclose([float(score) for score, _ in told], [p for p, _ in expected], atol=6e-4)
    assert [label for _, label in told] == [label for _, label in expected]


def test_the_command_prints_one_row_a_checkpoint(export, net, data, tmp_path):
    save_network(net, CONFIG, tmp_path / "first.pt")
    (known := tmp_path / "known.csv").write_text(f"path,label\n{data / 'real0.jpg'},real\n")
    checkpoints = (tmp_path / "first.pt", f"again={tmp_path}/first.pt")
    options = ("--data", data, "--out", tmp_path / "run", "--known", known)
    assert export("compare", *options).code == 2, "of nothing"
    told = export("compare", *checkpoints, *options)
    assert told.code == 0, told.err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.out.splitlines() if line[:1] == "|"]
    names = [row[0] for row in rows if not row[0].startswith("--")]
    assert names == ["network", "first", "again"] * 2
    assert rows[2][1:] == rows[3][1:], "the same network twice"
    assert rows[4][1] == "real0.jpg" and re.fullmatch(r"\d\.\d{3} (real|review|fake)", rows[6][1])


def test_data_without_a_split_to_calibrate_on_is_refused(net, data, faces):
    with pytest.raises(ExportError, match="val"):
        compare.judge(net, Loader(data, 2, 0), of_split(faces, "test"))
