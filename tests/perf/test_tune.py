"""The search of `make tune`: its table, what settings do to a configuration, how candidates are compared."""

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from perf.studies import tune_page
from perf.studies.repository import add_classifier, repository_copy
from perf.studies.tune import Bench, line
from perf.studies.tune_space import SERVER, TABLE, Comparison, SearchSpace, Setting
from serving.configs import read_config, write_config
from serving.paths import REPOSITORY
from serving.settings import read_toml
from serving.supervisor.versions import newest

FACE, ONE = "face, saturated", "face, one in flight"


@pytest.fixture(scope="module")
def table():
    return read_toml(TABLE, SearchSpace)


def test_every_setting_of_the_committed_table_is_one_of_the_repository(table, tmp_path):
    present = Bench(table, tmp_path).present()
    assert set(present) == {setting.key for setting in table.settings}
    for setting in table.settings:
        assert present[setting.key] not in setting.values, "the present value is tried anyway"


def test_a_setting_put_into_a_configuration_is_read_back(table):
    for setting in table.settings:
        if setting.model != SERVER:
            config = read_config(REPOSITORY, setting.model, table.profile)
            for value in setting.values:
                setting.put(config, value)
                assert setting.of(config) == value
            assert max((sample.batch_size for sample in config.model_warmup), default=0) <= config.max_batch_size


def test_a_parameter_that_a_model_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no such parameter"):
        Setting("classifier", "thread", (1,), ("face",)).of(ModelConfig(name="classifier"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(('asks = ["face", "image"]', 'asks = ["video"]'), id="unknown ask"),
        pytest.param(('figure = "p50_ms"', 'figure = "mean_ms"'), id="unknown figure"),
        pytest.param(("pairs = 2", "pairs = 0"), id="no pairs"),
        pytest.param(('name = "max_batch_size"', 'name = "instances"'), id="a setting twice"),
        pytest.param(("margin = 0.02", "margins = 0.02"), id="unknown key"),
        pytest.param(("[[load]]", "[load"), id="no TOML"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change, tmp_path):
    text, changed = TABLE.read_text(), tmp_path / "tune.toml"
    assert change[0] in text
    changed.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=r"tune\.toml"):
        read_toml(changed, SearchSpace)


def test_some_settings_alone(table):
    some = table.only(["classifier.instances", "classifier.threads"])
    assert {setting.key for setting in some.settings} == {"classifier.instances", "classifier.threads"}
    assert some.trials == table.trials
    with pytest.raises(ValueError, match=r"no setting classifier\.thread .*holds .*classifier\.threads"):
        table.only(["classifier.instances", "classifier.thread"])


def compared(pairs, candidate=None, failed=""):
    figures = {FACE: "per_second", ONE: "p50_ms"}
    return Comparison(candidate or {"a.b": 2}, {"a.b": 1}, pairs, figures, failed)


def test_the_score_is_above_one_where_throughput_rises_or_latency_falls():
    assert compared({FACE: [(100, 100)], ONE: [(20, 20)]}).score == pytest.approx(1)
    assert compared({FACE: [(100, 121)], ONE: [(20, 20)]}).score == pytest.approx(1.1)
    assert compared({FACE: [(100, 100)], ONE: [(20, 16)]}).score == pytest.approx((20 / 16) ** 0.5)


def test_each_pair_is_scored_by_itself_so_that_a_slow_minute_of_the_machine_cancels():
    found = compared({FACE: [(100, 110), (50, 55)], ONE: [(20, 20), (40, 40)]})
    assert found.scores == pytest.approx([1.1**0.5] * 2)


@pytest.mark.parametrize(
    ("pairs", "better"),
    [
        pytest.param([(100, 110), (100, 105)], True, id="in every pair"),
        pytest.param([(100, 130), (100, 99)], False, id="not in every pair"),
        pytest.param([(100, 101), (100, 102)], False, id="less than the margin"),
    ],
)
def test_a_candidate_has_to_win_by_the_margin_and_in_every_pair(pairs, better):
    assert compared({FACE: pairs}).better(0.02) is better


def test_a_candidate_that_failed_is_no_better_and_says_why():
    found = compared({}, failed="it ended")
    assert not found.better(0.0) and found.score == 0
    assert line(found) == "a.b 2 (was 1): failed: it ended"


def test_the_page_names_what_won_what_failed_and_what_was_not_tried(squeezed, table):
    tried = [compared({FACE: [(100, 90), (100, 95)]}), compared({}, {"a.b": 3}, failed="it ended")]
    won = compared({FACE: [(100, 110), (100, 120)]}, {"a.b": 4})
    page = squeezed(tune_page.page(table, tried, won, ["server.x 64"]))
    assert "Better than the repository's configuration, by 15%: a.b 4 (was 1)." in page
    assert "Not tried for want of time: server.x 64." in page
    assert "failed: it ended" in page and "| 1.15 (1.10-1.20) | 1.15 [115.0] |" in page
    assert "it stays" in tune_page.verdict(None, 0.02)
    assert "did not beat" in tune_page.verdict(tried[0], 0.02)


def test_the_search_writes_to_a_copy_and_never_to_the_repository(tmp_path):
    config = read_config(REPOSITORY, "classifier", "embedded-cpu")
    with pytest.raises(ValueError, match="the repository's own"):
        write_config(REPOSITORY, "classifier", "embedded-cpu", config)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"a graph")
    with repository_copy(graph) as copy:
        config.max_batch_size = 3
        write_config(copy, "classifier", "embedded-cpu", config)
        assert read_config(copy, "classifier", "embedded-cpu").max_batch_size == 3
        served = newest(copy / "classifier")
        assert [path.name for path in served.iterdir()] == ["model.onnx"]
        assert (served / "model.onnx").read_bytes() == b"a graph"
        assert add_classifier(copy, graph).name == str(int(served.name) + 1)
    assert not copy.exists()
