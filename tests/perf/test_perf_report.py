"""From results to the page: figures by name, a document that is plain JSON, a page that needs nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from perf.budgets import about_run, load_budgets
from perf.load.loads import Measured
from perf.load.profiles import Phase, Profile
from perf.measure import named_figures, overload, report
from perf.measure.bytes_moved import Moved
from perf.measure.ceilings import Ceiling
from perf.measure.document import Material, document, taken
from perf.measure.phases import Result
from perf.measure.resources import ITSELF, Sample, Use, cores
from perf.measure.server_steps import ZERO, Counts, server_time
from perf.measure.summaries import summary
from reports.budgets import Budget, judge

CEILING = Ceiling(preprocess=900.0, classifier=200.0, composed=160.0, batch=4, cores=2)
MEASURED = {
    "date": "2026-01-01 00:00 UTC", "command": "python -m perf <x>", "commit": "abc", "deployment": "embedded-cpu",
    "url": "", "triton": "2.51.0", "classifier": "7",
    "versions": {"numpy": "2"}, "load_before": 0.1, "duration_s": 60.0,
    "machine": {"cpu": "one", "cores": 2, "memory_gib": 8, "gpu": None, "system": "Linux"},
}  # fmt: skip


def counts(requests: int, batch: int, queue_ms: float, compute_ms: float) -> Counts:
    """A model's counters after `requests` of so many ms each."""
    ns = (round(ms * requests * 1e6) for ms in (queue_ms + compute_ms, queue_ms, 0.0, compute_ms, 0.0))
    return Counts(requests, requests, requests // batch, *ns)


@pytest.fixture
def way():
    """Of 100 faces: 2 ms in preprocess, 3 ms queue and 4 ms compute in the classifier, 1 ms elsewhere."""
    after = {
        "deepfake_face": ZERO._replace(requests=100, inferences=100, executions=100, total=round(10e6) * 100),
        "preprocess": counts(100, 2, 0, 2),
        "classifier": counts(100, 4, 3, 4),
    }
    return server_time("deepfake_face", dict.fromkeys(after, ZERO), after)


@pytest.fixture
def result(load, outcome, way):
    """result(profile, loads, latency_ms): a phase of loads that all went alike, 2 MB more memory a minute."""

    def make(profile: str, *loads, latency_ms: float = 20.0, samples: int = 10) -> Result:
        outcomes = {one.name: outcome(one, [latency_ms] * round(10 * one.seconds)) for one in loads}
        return Result(
            profile=profile,
            phase=Phase(loads[0].name, tuple(loads)),
            measured=Measured(outcomes, loads[0].seconds, 0.0, generator_cores=0.2),
            summaries={name: summary(each) for name, each in outcomes.items()},
            server_times={loads[0].name: way},
            use=Use(loads[0].seconds, {"classifier": 0.4, ITSELF: 0.1}, others_cores=0.1, stolen_cores=0.0),
            pss_mb=1200.0 if samples else None,
            samples=[Sample(6.0 * i, 1000.0 + 0.2 * i, None, None) for i in range(samples)],
        )

    return make


@pytest.fixture
def results(result, load):
    """One phase of each profile."""
    interactive, bulk = load(name="interactive", seconds=20.0), load(name="bulk", begin_s=5.0)
    return [
        result("steady", load()),
        result("saturate", load(name="face x 1", loop="closed", rate=0.0, in_flight=1)),
        result("saturate", load(name="image x 1", loop="closed", rate=0.0, in_flight=1, ask="image")),
        result("overload", interactive, bulk),
        result("soak", load(), latency_ms=30.0),
    ]


@pytest.fixture
def material(results):
    outcomes = results[3].measured.outcomes
    told = overload.judge(outcomes["interactive"], outcomes["bulk"])
    figures = named_figures.figures(results, CEILING, told, gpu=False)
    budgets = [
        Budget("steady.face.p95_ms", "30 <faces>/s", "bar", "ms", below=15.0),
        Budget("memory.gpu_gb", "GPU memory", "floor", "GB", below=4.0),
    ]
    profiles = [
        Profile(name, f"about {name}", 1.0, tuple(r.phase for r in results if r.profile == name))
        for name in ("steady", "saturate", "overload", "soak")
    ]
    return Material(
        MEASURED, profiles, results, figures, judge(budgets, figures), CEILING,
        (told, outcomes["interactive"], outcomes["bulk"]), {"deepfake_face": Moved(13_000, 150_528, 300)},
    )  # fmt: skip


def test_figures_have_the_names_that_budgets_use(material):
    figures = {name: figure.value for name, figure in material.figures.items()}
    assert figures["steady.face.p95_ms"] == 20.0
    assert figures["steady.face.queue_share"] == pytest.approx(0.3)
    assert figures["saturate.face.per_second"] == 10.0
    assert figures["saturate.face.mean_batch"] == 4.0
    assert figures["saturate.face.share_of_limit"] == pytest.approx(10 / (160 * 1.8 / 2))
    assert figures["cpu.server_ms_per_face"] == pytest.approx(50.0)
    assert figures["cpu.at_100_per_second_on_4_cores"] == pytest.approx(1.25)
    assert figures["soak.memory_mb_per_minute"] == pytest.approx(2.0)
    assert figures["memory.host_mb"] == 1200.0
    assert figures["memory.gpu_gb"] is None
    assert figures["errors.ratio"] == 0.0
    of_all = [b.figure for b in load_budgets("embedded-cpu") if about_run(b, {"overload", "soak"})]
    assert len(of_all) > 6 and set(of_all) <= set(figures)


def test_what_others_took_of_the_machine_is_told(results):
    assert taken([replace(result, use=None) for result in results]) == ""
    disturbed = replace(results[0], use=replace(results[0].use, others_cores=0.2, stolen_cores=0.75))
    calm = replace(results[1], use=replace(results[1].use, seconds=3 * disturbed.use.seconds, others_cores=0.0))
    assert taken([disturbed, calm]) == (
        f"In the mean other processes used 0.05 of {cores()} cores and the hypervisor took 0.19; "
        f"most during steady, {disturbed.phase.name}: 0.95 cores together."
    )


def test_the_rest_of_the_way_is_what_no_step_explains(way):
    assert way.rest_ms == pytest.approx(1.0)
    assert way.server_ms == 10.0
    assert way.mean_batch("preprocess") == 2.0


def test_an_overload_whose_rate_was_not_held_is_none(results):
    outcomes = results[3].measured.outcomes
    told = overload.judge(outcomes["interactive"], outcomes["bulk"])
    assert named_figures.figures(results, None, told, gpu=False)["overload.bulk.shed"].value == 0.0
    results[3].summaries["bulk"] = replace(results[3].summaries["bulk"], held=False)
    found = named_figures.figures(results, None, told, gpu=False)
    of_it = [figure for name, figure in found.items() if name.startswith("overload.")]
    assert {(figure.value, figure.reason) for figure in of_it if figure.reason} == {(None, named_figures.NOT_HELD)}
    assert found["overload.bulk.shed"].value is None and found["overload.recovery_s"].value is None


def test_a_rate_that_was_not_held_is_no_figure(result, load, outcome):
    behind = result("steady", load())
    late = outcome(load(), [20.0] * 100, delay_ms=np.full(100, 500.0))
    behind.summaries["face"] = summary(late)
    figure = named_figures.figures([behind], None, None, gpu=False)["steady.face.p95_ms"]
    assert figure.value is None
    assert "could not hold" in figure.reason


def test_the_document_is_plain_json(material):
    made = document(material)
    assert json.loads(report.dumps(made)) == made
    assert "NaN" not in report.dumps(made)
    assert made["verdicts"][0]["state"] == "missed"


def test_the_cpu_of_a_picture_is_told_by_who_used_it(material):
    made = document(material)
    parts = {"classifier": 40.0, ITSELF: 10.0, "load generator": 20.0}
    assert made["cpu_ms"] == {"face": pytest.approx(parts), "image": pytest.approx(parts)}
    assert '<tr><td>classifier</td><td class="n">40.00</td><td class="n">40.00</td></tr>' in report.html(made)


def test_the_page_needs_nothing_and_says_what_the_figures_say(material, tmp_path):
    page = report.write(tmp_path, "perf", document(material))
    html = page.read_text()
    assert (tmp_path / "perf.json").exists()
    assert not re.search(r"<script|@import|url\(|https?://", re.sub(r'src="data:[^"]*"', "", html))
    assert html.count('src="data:image/svg+xml;base64,') == 7
    assert "1 of 1 budgets missed, 1 not measured" in html
    assert "no GPU here" in html
    assert "30 &lt;faces&gt;/s" in html
    assert all(f"about {name}" in html for name in ("steady", "saturate", "overload", "soak"))


def test_a_page_of_one_load_alone_is_a_page(result, load):
    one = result("steady", load(), samples=0)
    made = document(Material(MEASURED, [Profile("steady", "about", 1.0, (one.phase,))], [one], {}, []))
    assert "Overload" not in report.html(made)
