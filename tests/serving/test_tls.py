"""gRPC over TLS and mutual TLS, with certificates of an authority made for the test."""

from __future__ import annotations

import pytest
import trustme

from facewarden import Client, FacewardenError
from serving.errors import SetupError
from serving.supervisor.options import Options
from serving.supervisor.server import Server


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """ca.pem, and cert and key of server and client."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("localhost", "client.example"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def test_mutual_tls_lets_in_whom_the_authority_knows(new_options, files, portrait_jpeg):
    options = new_options(
        tls_cert=files / "localhost.pem", tls_key=files / "localhost.key", tls_client_ca=files / "ca.pem"
    )
    url, ca = f"localhost:{options.grpc_port}", str(files / "ca.pem")
    known = {"cert": str(files / "client.example.pem"), "key": str(files / "client.example.key")}
    with Server(options):
        with Client(url, ca=ca, **known) as client:
            assert len(client.check_image(portrait_jpeg).faces) == 1
        with Client(url, ca=ca, timeout_s=10, retries=1) as client, pytest.raises(FacewardenError):
            client.check_image(portrait_jpeg)
        with Client(url, timeout_s=10, retries=1) as client, pytest.raises(FacewardenError):
            client.check_image(portrait_jpeg)


def test_half_a_pair_of_files_is_refused_before_the_start(files):
    with pytest.raises(SetupError, match="--tls-key"):
        Options(tls_cert=files / "localhost.pem")
    with pytest.raises(SetupError, match="no such certificate"):
        Options(tls_cert=files / "missing.pem", tls_key=files / "localhost.key")
