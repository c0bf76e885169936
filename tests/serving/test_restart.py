"""A server that stops and comes back under a client that keeps asking."""

from __future__ import annotations

import threading
import time

import pytest

from facewarden import Client, UnavailableError
from serving.supervisor.server import Server


def test_a_restart_loses_no_request_of_a_retrying_client(new_options, portrait_jpeg):
    options = new_options()
    answers, stop = [], threading.Event()

    def keep_asking() -> None:
        with Client(options.url, timeout_s=1800, retries=10_000) as client:
            while not stop.is_set():
                answers.append(len(client.check_image(portrait_jpeg).faces))

    with Server(options):
        asking = threading.Thread(target=keep_asking)
        asking.start()
        while len(answers) < 3:
            assert asking.is_alive()
            time.sleep(0.05)
    before = len(answers)
    with Server(options):
        while len(answers) < before + 3:
            assert asking.is_alive(), "the client gave up"
            time.sleep(0.05)
        stop.set()
        asking.join()
    assert set(answers) == {1}


def test_a_server_gone_for_good_is_named(new_options, portrait_jpeg):
    options = new_options()
    with Client(options.url, timeout_s=5, retries=1) as client, pytest.raises(UnavailableError, match=options.url):
        client.check_image(portrait_jpeg)
