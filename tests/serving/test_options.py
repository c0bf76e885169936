"""Options are checked before anything starts."""

import pytest

from serving.errors import SetupError
from serving.options import Options


def test_unknown_profile_is_named_with_the_known_ones():
    with pytest.raises(SetupError, match=r"'fast'.*embedded-cpu"):
        Options(profile="fast")


def test_port_zero_becomes_a_free_port():
    options = Options(grpc_port=0, http_port=0, metrics_port=0)
    assert all(port > 1023 for port in options.ports().values())
    assert len(set(options.ports().values())) == 3


def test_url_of_a_server_on_every_interface_is_loopback():
    assert Options(host="0.0.0.0", grpc_port=8001).url == "127.0.0.1:8001"
