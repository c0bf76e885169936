"""Every configuration against the protobuf of the Triton that reads it, and every ensemble against its models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
CACHE = REPOSITORY.parent / ".cache"
PROFILES = ("container", "embedded-cpu", "embedded-gpu")
READERS = {
    "container": "2.63.0",
    "embedded-cpu": "2.51.0",
    "embedded-gpu": "2.51.0",
}  # release of the server, and of its client
PARSE = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
for path in sys.argv[1:]:
    config = text_format.Parse(open(path).read(), ModelConfig())
    print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


def config_path(model: str, profile: str) -> Path:
    """The file that Triton reads: `configs/<profile>.pbtxt`, else `config.pbtxt`."""
    special = REPOSITORY / model / "configs" / f"{profile}.pbtxt"
    return special if special.exists() else REPOSITORY / model / "config.pbtxt"


def models(profile: str) -> list[str]:
    names = sorted(path.name for path in REPOSITORY.iterdir() if (path / "config.pbtxt").exists())
    return [name for name in names if profile == "container" or (REPOSITORY / name / "configs").is_dir()]


def protobuf_of(release: str) -> Path:
    """The client of one Triton release, whose protobuf is the server's, unpacked beside the server."""
    folder = CACHE / f"tritonclient-{release}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", str(folder), f"tritonclient=={release}"], check=True)
    return folder


@pytest.fixture(scope="session", params=PROFILES)
def configs(request) -> dict[str, dict]:
    """All configurations of a profile as their own server's protobuf understands them."""
    names = models(request.param)
    paths = [str(config_path(name, request.param)) for name in names]
    environment = {"PYTHONPATH": str(protobuf_of(READERS[request.param])), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, *paths], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"Triton {READERS[request.param]} refuses a configuration: {done.stderr[-600:]}"
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


def tensors(config: dict, side: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {t["name"]: (t["data_type"], tuple(t["dims"])) for t in config[side]}


def test_every_model_is_there(configs):
    wanted = {"classifier", "deepfake_face", "deepfake_image", "deepfake_video", "face_detector", "preprocess"}
    assert wanted <= set(configs) <= wanted | {"image_check"}


def test_edges_of_the_ensemble_agree_with_their_models(configs):
    ensemble = configs["deepfake_face"]
    edges = tensors(ensemble, "input")
    for step in ensemble["ensemble_scheduling"]["step"]:
        model = configs[step["model_name"]]
        inputs, outputs = tensors(model, "input"), tensors(model, "output")
        assert set(step["input_map"]) == set(inputs), f"{step['model_name']} has an input without an edge"
        for name, edge in step["input_map"].items():
            assert inputs[name] == edges[edge], f"edge {edge} into {step['model_name']}"
        edges |= {edge: outputs[name] for name, edge in step["output_map"].items()}
    for name, declared in tensors(ensemble, "output").items():
        assert edges[name] == declared, f"output {name}"


def test_batches_fit_through_the_ensemble(configs):
    sizes = [
        configs[s["model_name"]]["max_batch_size"] for s in configs["deepfake_face"]["ensemble_scheduling"]["step"]
    ]
    assert configs["deepfake_face"]["max_batch_size"] <= min(sizes)


def test_queues_are_bounded_at_the_entry_models_and_where_faces_wait_on_a_cpu(configs):
    entries = {"deepfake_image", "image_check" if "image_check" in configs else "preprocess"}
    if configs["classifier"]["instance_group"][0]["kind"] == "KIND_CPU":
        entries.add("classifier")  # on a GPU it has one instance, which would stall, and is not what waits
    for name, config in configs.items():
        batching = config.get("dynamic_batching", {})
        bounded = int(batching.get("default_queue_policy", {}).get("max_queue_size", 0)) > 0
        assert bounded == (name in entries), name
        assert (int(batching.get("priority_levels", 0)) == 2) == (name in entries), name
        if bounded:
            assert config["instance_group"][0]["count"] >= 2, f"{name}: one instance stalls behind a queue policy"


def test_decoding_and_judging_take_turns_on_the_cores_where_they_share_them(configs):
    """Without turns preprocess decodes under overload what the classifier then refuses."""
    on_cores = configs["classifier"]["instance_group"][0]["kind"] == "KIND_CPU"
    for name, config in configs.items():
        resources = [
            r for g in config.get("instance_group", []) for r in g.get("rate_limiter", {}).get("resources", [])
        ]
        wanted = [{"name": "turn", "count": 1}] if on_cores and name in ("preprocess", "classifier") else []
        assert resources == wanted, name


def test_warm_up_data_has_the_stated_size(configs):
    for name, config in configs.items():
        for sample in config.get("model_warmup", []):
            for tensor in sample["inputs"].values():
                if "input_data_file" in tensor and tensor["data_type"] == "TYPE_UINT8":
                    file = REPOSITORY / name / "warmup" / tensor["input_data_file"]
                    assert file.stat().st_size == int(tensor["dims"][0]), f"{name}: {file.name}"


def test_limits_are_the_same_wherever_bytes_are_checked(configs):
    stated = {
        name: {
            k: v["string_value"]
            for k, v in config.get("parameters", {}).items()
            if k.startswith("max_") and k != "max_faces"
        }
        for name, config in configs.items()
    }
    values = [limits for limits in stated.values() if limits]
    assert values
    assert all(limits == values[0] for limits in values), stated


@pytest.mark.parametrize(
    "model", ["deepfake_face", "deepfake_image", "deepfake_video", "preprocess", "classifier", "face_detector"]
)
def test_profiles_differ_in_hosting_only(model):
    """What a caller sees is the same in every profile: the blocks of inputs and outputs are equal to the letter."""
    blocks = {profile: contract(config_path(model, profile).read_text()) for profile in PROFILES}
    assert blocks["container"] == blocks["embedded-cpu"] == blocks["embedded-gpu"]


def contract(text: str) -> str:
    """From the first input to the end of the outputs."""
    start = text.index("input [")
    return text[start : text.index("instance_group" if "instance_group" in text else "ensemble_scheduling")]
