"""Every configuration against the protobuf of the Triton that reads it, and every ensemble against its models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from nvidia.dali._utils.autoserialize import _discover_autoserialize  # what the DALI backend runs

from serving.paths import CACHE, REPOSITORY
from serving.supervisor.api import DATATYPES
from serving.supervisor.canary import INPUTS, inputs
from serving.supervisor.options import CALLED, PROFILES, Options

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


def protobuf_of(release: str) -> Path:
    """The client of one Triton release, whose protobuf is the server's, unpacked beside the server."""
    folder = CACHE / f"tritonclient-{release}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", str(folder), f"tritonclient=={release}"], check=True)
    return folder


@pytest.fixture(scope="session", params=PROFILES)
def configs(request) -> dict[str, dict]:
    """All configurations of a profile, those that it loads first, as their own server's protobuf understands them."""
    loaded = Options(profile=request.param).models
    names = [
        *loaded,
        *sorted({path.parent.parent.name for path in REPOSITORY.glob(f"*/configs/{request.param}.pbtxt")} - {*loaded}),
    ]
    paths = [str(config_path(name, request.param)) for name in names]
    environment = {"PYTHONPATH": str(protobuf_of(READERS[request.param])), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, *paths], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"Triton {READERS[request.param]} refuses a configuration: {done.stderr[-600:]}"
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


def tensors(config: dict, side: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {t["name"]: (t["data_type"], tuple(t["dims"])) for t in config[side]}


def test_the_profiles_load_every_model_of_the_repository_and_the_canary_can_ask_it():
    loaded = {model for profile in PROFILES for model in Options(profile=profile).models}
    assert loaded == {path.parent.name for path in REPOSITORY.glob("*/config.pbtxt")} == set(INPUTS)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_canary_asks_every_model_for_what_it_takes(profile):
    models = Options(profile=profile).models
    for model in models:
        text = contract(config_path(model, profile).read_text()).split("output [")[0]
        stated = re.findall(r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ ([-\d, ]+) \]([^}]*)', text)
        asked = inputs(model, models)
        assert {name for name, _, _, more in stated if "optional: true" not in more} == set(asked), model
        for name, kind, dims, _ in stated:
            if name in asked:
                own = asked[name].shape[-len(dims.split(",")) :]
                assert DATATYPES[asked[name].dtype.name] == kind, f"{model}: {name}"
                assert all(int(d) in (-1, n) for d, n in zip(dims.split(","), own, strict=True)), f"{model}: {name}"


def test_an_ensemble_is_made_of_models_that_are_loaded_before_it(configs):
    names = list(configs)
    steps = [step["model_name"] for step in configs["deepfake_face"]["ensemble_scheduling"]["step"]]
    assert steps == names[: len(steps)]


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


def test_queues_are_bounded_at_the_entry_models(configs):
    first = configs["deepfake_face"]["ensemble_scheduling"]["step"][0]
    entries = {"deepfake_image", first["model_name"]}
    for name, config in configs.items():
        batching = config.get("dynamic_batching", {})
        bounded = int(batching.get("default_queue_policy", {}).get("max_queue_size", 0)) > 0
        assert bounded == (name in entries), name
        assert (int(batching.get("priority_levels", 0)) == 2) == (name in entries), name
        if bounded:
            assert config["instance_group"][0]["count"] >= 2, f"{name}: one instance stalls behind a queue policy"


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


@pytest.mark.parametrize("model", [*CALLED, "preprocess"])
def test_profiles_differ_in_hosting_only(model):
    """What a caller sees is the same in every profile: the blocks of inputs and outputs are equal to the letter."""
    blocks = {profile: contract(config_path(model, profile).read_text()) for profile in PROFILES}
    assert blocks["container"] == blocks["embedded-cpu"] == blocks["embedded-gpu"]


def test_both_gpu_profiles_judge_alike():
    """On a CPU the classifier takes what `preprocess` takes."""
    container, embedded = (
        contract(config_path("classifier", profile).read_text()) for profile in ("container", "embedded-gpu")
    )
    assert container == embedded


def contract(text: str) -> str:
    """From the first input to the end of the outputs."""
    start = text.index("input [")
    return text[start : text.index("instance_group" if "instance_group" in text else "ensemble_scheduling")]


def test_the_dali_backend_finds_one_pipeline_to_serialise():
    """As it searches: in the module of the model and in every module that this one can see."""
    spec = spec_from_file_location("dali_model", REPOSITORY / "preprocess" / "1" / "dali.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [pipeline.__name__ for pipeline in _discover_autoserialize(module, visited=[])] == ["preprocess"]
