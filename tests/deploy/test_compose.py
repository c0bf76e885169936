"""compose.yaml and the Dockerfiles, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    """The services as docker-compose understands them, profiles included."""
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is not installed (Debian: apt-get install docker-compose)")
    command = ["docker-compose", "--profile", "cpu", "-f", str(ROOT / "compose.yaml"), "config"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_into_an_image_exists(dockerfile):
    for line in dockerfile.read_text().splitlines():
        if line.startswith("COPY"):
            assert (ROOT / line.split()[1]).exists(), line


def test_one_tag_for_the_server_and_for_the_engine(services):
    tags = {services[name]["build"]["args"]["NGC_TAG"] for name in ("triton", "engine")}
    assert len(tags) == 1


def test_the_gpu_server_waits_for_its_engine_and_reads_only(services):
    triton = services["triton"]
    assert triton["depends_on"]["engine"]["condition"] == "service_completed_successfully"
    assert triton["read_only"] is True
    assert [volume.rpartition(":")[2] for volume in triton["volumes"]] == ["ro"]
    assert triton["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("name", ["triton", "server-cpu"])
def test_servers_are_bounded_checked_by_a_canary_and_on_loopback(services, name):
    service = services[name]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["healthcheck"]["test"][:5] == ["CMD", "python3", "-m", "serving", "canary"]
    assert "shm_size" in service
    assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])


def test_without_a_profile_only_the_gpu_services_start(services):
    assert [name for name in services if not services[name].get("profiles")] == ["engine", "triton"]
