"""The measurement of a GPU host: its table, how generators add up, its verdicts, and that it refuses without a GPU."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from perf.load.loads import Load, Measured, Outcome
from perf.measure.nvml import Nvml
from perf.studies import gpu
from perf.studies.gpu_results import TABLE, Alone, GpuStudy, Served, figures, generators, page, shares, together
from reports import budgets
from serving.paths import ROOT
from serving.settings import read_toml


def measured(latencies_ms, errors=0, load=None, delay_ms=0.0):
    load = load or Load("face", ask="face", loop="closed", seconds=2.0, in_flight=4)
    count = len(latencies_ms) + errors
    error = ("",) * len(latencies_ms) + ("it failed",) * errors
    latency = np.array([*latencies_ms, *[1.0] * errors])
    outcome = Outcome(load, np.linspace(0, 1, count), latency, np.full(count, delay_ms), error, ("face",) * count, 0, 0)
    return Measured({load.name: outcome}, seconds=2.0, begin_s=0.0, generator_cores=0.9)


def served(rate=0.0, per_second=7000.0, p99_ms=9.0, held=True, cores=8.0, gpu_mb=1500.0):
    return Served("load", 256, rate, per_second, 5.0, p99_ms, 9000, 0, held, cores, 4.0, gpu_mb, 0.8, 5)


def test_the_committed_table_is_valid():
    table = read_toml(TABLE, GpuStudy)
    assert {bar.figure for bar in table.bars} <= set(figures([served(), served(rate=3100)], 16))
    assert [load.loop for load in gpu.loads(table)][-2:] == ["closed", "open"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("batches = [1, 8, 32, 64]", "batches = []"), id="no batches"),
        pytest.param(("half_rate = 3100.0", "half_rate = 0.0"), id="no rate"),
        pytest.param(("at_least = 6200.0", "above = 6200.0"), id="unknown limit"),
        pytest.param(("seconds = 5.0", "second = 5.0"), id="unknown key"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change, tmp_path):
    text, changed = TABLE.read_text(), tmp_path / "gpu.toml"
    assert change[0] in text
    changed.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=r"gpu\.toml"):
        read_toml(changed, GpuStudy)


@pytest.mark.parametrize(
    ("rate", "cores", "in_flight", "expected"),
    [
        pytest.param(3100, 32, 512, 5, id="as many as the rate needs"),
        pytest.param(6200, 8, 512, 4, id="half of the cores at most"),
        pytest.param(6200, 32, 1, 1, id="not more than requests in flight"),
        pytest.param(100, 1, 16, 1, id="one at least"),
    ],
)
def test_generators(rate, cores, in_flight, expected):
    assert generators(rate, 700, cores, in_flight) == expected


def test_requests_in_flight_are_shared_out_whole():
    assert shares(512, 5) == [103, 103, 102, 102, 102]
    assert sum(shares(1, 1)) == 1


def test_generators_add_up_and_percentiles_are_of_all_answers():
    found = together([measured([10.0] * 100), measured([20.0] * 300, errors=2)])
    assert (found.per_second, found.requests, found.failed, found.p50_ms) == (200.0, 402, 2, 20.0)
    assert found.held and found.generator_cores == pytest.approx(1.8)


def test_a_rate_that_was_not_held_by_one_generator_was_not_held():
    load = Load("half", ask="face", loop="open", seconds=2.0, in_flight=4, rate=100)
    kept, slow = measured([5.0] * 200, load=load), measured([5.0] * 200, load=load, delay_ms=500.0)
    assert together([kept]).held and not together([kept, slow]).held


def test_a_bar_whose_rate_was_not_held_is_not_measured_and_never_kept():
    bars = list(read_toml(TABLE, GpuStudy).bars)
    states = {v.budget.figure: v.state for v in budgets.judge(bars, figures([served(), served(3100)], 16))}
    assert set(states.values()) == {"kept"}
    unheld = budgets.judge(bars, figures([served(), served(3100, held=False)], 16))
    assert {v.budget.figure: v.state for v in unheld}["half.p99_ms"] == "not measured"
    bad = [served(per_second=500, gpu_mb=2500), replace(served(3100, p99_ms=20, cores=12), failed=90)]
    missed = budgets.judge(bars, figures(bad, 16))
    assert {v.state for v in missed} == {"missed"}


def test_the_page_holds_parts_loads_and_verdicts(squeezed):
    bars = read_toml(TABLE, GpuStudy).bars
    text = squeezed(
        page([Alone("decode", 64, 12345.6, 5.0, 6.0, 1.5, 900.0)], [served(), served(3100, held=False)], bars, 16)
    )
    assert "| decode | 64 | 12,346 | 5.00 | 6.00 | 1.50 | 900 |" in text
    assert "| open, 3100/s | 7,000 (rate not held) |" in text
    assert "not measured" in text and "JPEG to score" in text


def test_the_parts_alone_are_the_code_that_the_server_runs():
    code = "import perf.measure.alone; from serving.classifier.runtimes import on_gpu"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(Nvml().available, reason="this machine has a GPU")
def test_without_a_gpu_the_command_refuses_in_a_sentence_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "perf.studies.gpu", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no GPU" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
