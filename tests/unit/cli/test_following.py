"""Whom `raftq run --server` asks, and what it says when that cannot be."""

import pytest

from raftq_k8s.cli.following import Agent, Unanswered


@pytest.mark.parametrize("url", ["", "http://", "ftp://raftq", "https://raftq", "http://raftq:http", "http://[::1"])
def test_what_is_no_address_is_named_as_such(url):
    with pytest.raises(ValueError, match="is no http://HOST:PORT"):
        Agent(url, "")


def test_a_token_file_that_cannot_be_read_is_no_agent_that_does_not_answer(tmp_path):
    with pytest.raises(Unanswered, match=r"^the token file .*/none cannot be read: No such file or directory$"):
        Agent("127.0.0.1:1", str(tmp_path / "none")).ask()
