"""The comparison with other servers: its table, its student, its ratios. No peer is started."""

import json

import pytest

from perf.studies.peers import compare
from perf.studies.peers.compare import OURS, Measurement
from perf.studies.peers.settings import TABLE, Peer, PeersError, PeerStudy, network_of
from reports import budgets
from serving.files import digest
from serving.paths import ROOT
from serving.settings import read_toml


def measurement(server=OURS, round=0, in_flight=8, per_second=100.0, p95_ms=40.0, memory_mb=1000.0, failed=0):
    return Measurement(server, round, in_flight, per_second, p95_ms / 2, p95_ms, failed, memory_mb, 1.5, 0.0, 0.0, 0.3)


def test_the_committed_table_is_valid_and_names_servers_that_exist():
    table = read_toml(TABLE, PeerStudy)
    assert {peer.environment for peer in table.peers} == {"torch", "onnx", "litserve"}
    for peer in table.peers:
        assert (ROOT / "requirements" / "peers" / f"{peer.environment}.txt").is_file()
        script = next(part for part in peer.command if part.endswith((".py", ":app")))
        name = script.removesuffix(":app").removesuffix(".py").rpartition("/")[2]
        assert (ROOT / "perf" / "studies" / "peers" / "servers" / f"{name}.py").is_file()


def test_zero_workers_and_threads_are_the_machines_cores():
    peer = Peer("name", "what", "onnx", ("{port}",), workers=0, threads=0)
    assert peer.processes >= 1 and peer.threads_each == peer.processes


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("in_flight = [1, 8, 16]", "in_flight = []"), id="no load"),
        pytest.param(("tolerance = 0.06", "tolerance = 0.0"), id="no tolerance"),
        pytest.param(('environment = "torch"', 'environment = "conda"'), id="unknown environment"),
        pytest.param(('"--port", "{port}", ', ""), id="no port"),
        pytest.param(("rounds = 2", "runs = 2"), id="unknown key"),
        pytest.param(("[[peer]]", "[peer"), id="no TOML"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change, tmp_path):
    text, changed = TABLE.read_text(), tmp_path / "peers.toml"
    assert change[0] in text
    changed.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=r"peers\.toml"):
        read_toml(changed, PeerStudy)


def test_ratios_are_of_medians_over_rounds_and_of_the_same_load():
    found = compare.rows(
        [
            measurement(per_second=90),
            measurement(per_second=110, round=1),
            measurement(in_flight=1, per_second=50),
            measurement("peer", per_second=40, p95_ms=80, memory_mb=500),
            measurement("peer", per_second=60, p95_ms=80, memory_mb=500, round=1, failed=2),
            measurement("peer", in_flight=1, per_second=25),
        ]
    )
    row = next(row for row in found if (row.server, row.in_flight) == ("peer", 8))
    assert (row.per_second, row.throughput_ratio, row.p95_ratio, row.memory_ratio) == (50, 0.5, 2.0, 0.5)
    assert row.server_ms == pytest.approx((1500 / 40 + 1500 / 60) / 2)
    assert row.generator_ms == pytest.approx((300 / 40 + 300 / 60) / 2)
    assert row.per_second_spread == pytest.approx(0.4) and row.failed == 2
    assert next(row for row in found if row.server == "peer" and row.in_flight == 1).throughput_ratio == 0.5


def test_a_peer_that_answered_nothing_has_no_ratio_to_divide_by(squeezed):
    found = compare.rows([measurement(), measurement("peer", per_second=0.0)])
    page = squeezed(compare.page(found, {}, {"peer": 0.001}, "How.", []))
    assert "| peer | | 0.0 (40.0) |" in page


def test_the_page_says_how_many_times_more_ours_serves_at_each_ones_best(squeezed):
    measured = [measurement(per_second=150), measurement(in_flight=1, per_second=60)]
    measured += [measurement("peer", per_second=50), measurement("peer", in_flight=1, per_second=75)]
    page = squeezed(compare.page(compare.rows(measured), {"peer": "what it is"}, {"peer": 0.0012}, "How.", []))
    assert "| peer | 2.00 | 75.0 (40.0) | 50.0 (40.0) | 20.0 | 1000 | 0 | 0.0012 | what it is |" in page


def test_the_network_of_a_graph_is_known_by_its_hash(tmp_path):
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"a graph")
    (tmp_path / "network.pt").write_bytes(b"weights")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"model.onnx": digest(graph)}}))
    assert network_of(graph) == tmp_path / "network.pt"
    graph.write_bytes(b"another graph")
    with pytest.raises(PeersError, match=r"network\.pt"):
        network_of(graph)


def peer(name, environment):
    return Peer(name, "what", environment, ("{port}",), 1, 1)


def test_the_bars_are_about_the_better_torch_and_the_best_of_those_with_our_graph():
    measured = [measurement(per_second=120, p95_ms=60), measurement(in_flight=16, per_second=200)]
    measured += [measurement("slow torch", per_second=20), measurement("torch", per_second=40)]
    measured += [measurement("FastAPI", per_second=150, p95_ms=50), measurement("LitServe", per_second=100)]
    peers = [peer("slow torch", "torch"), peer("torch", "torch"), peer("FastAPI", "onnx"), peer("LitServe", "litserve")]
    judgements = budgets.judge(list(read_toml(TABLE, PeerStudy).bars), compare.figures(compare.rows(measured), peers))
    found = {v.budget.figure: (v.state, v.measured, v.reason) for v in judgements}
    assert found == {
        "torch.throughput": ("kept", pytest.approx(3.0), "torch, 8 in flight"),
        "our graph.throughput": ("missed", pytest.approx(0.8), "FastAPI, 8 in flight"),
        "our graph.p95": ("missed", pytest.approx(1.2), "FastAPI, 8 in flight"),
    }


def test_a_bar_about_peers_that_were_left_out_does_not_fail():
    judgements = budgets.judge(
        list(read_toml(TABLE, PeerStudy).bars), compare.figures(compare.rows([measurement()]), [])
    )
    assert budgets.exit_code(judgements) == 0
