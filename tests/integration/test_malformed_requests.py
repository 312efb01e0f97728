"""Garbage of many kinds on the HTTP port of a leader at work: it goes on leading and answering, and counts."""

import random

from garbage import CONVERSATIONS, leader_at_work, metrics, say

SEED = 11

PATHS = (
    "/v1/data",
    "/v1/data/garbage",
    "/v1/transactions",
    "/v1/sessions/1",
    "/v1/members/raftq-9",
    "/v1/members/raftq-9/promote",
    "/v1/transfer",
    "/v1/recover",
    "/v1/application",
    "/v1/events",
    "/v1/nothing",
    "/../../etc/passwd",
    "*",
)
METHODS = ("GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "get")
NO_JSON = (
    b'{"a":',
    b"[" * 5000,
    b'"\xff\xfe"',
    b"NaN",
    b"1e999",
    b"\x00" * 50,
    b'{"to":3}',
    b'{"do":[{"put":"","value":1}]}',
    b'{"if":[{"key":"a","revision":-1}],"do":[]}',
    b'{"do":[{"put":"a"}]}',
)
HEADERS = (
    "If-Match: 12",
    'If-Match: W/"',
    "If-None-Match: nothing",
    "Idempotency-Key: 1/",
    "Idempotency-Key: 99999999999999999999/1",
    "Last-Event-ID: soon",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "Connection: \x01",
    "Content-Encoding: gzip",
    "Authorization: Bearer",
    "Cookie: " + "x" * 4000,
)


class Garbage:
    """What strangers say, each time in some pieces."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def conversation(self):
        kinds = (self._no_http, self._no_json, self._odd, self._spoilt, self._bad_chunks, self._false_length, self._row)
        return self.random.choice(kinds)()

    def _no_http(self):
        return [self.random.randbytes(self.random.randrange(1, 3000)) + b"\r\n\r\n"]

    def _no_json(self):
        return [self._request(self._path(), self.random.choice(NO_JSON))]

    def _odd(self):
        headers = self.random.choices(HEADERS, k=3)
        return [self._request(self._path(), self.random.choice(NO_JSON), *headers, method=self.random.choice(METHODS))]

    def _spoilt(self):
        """A flipped bit may well address the whole document: so it stays an object, and the writer can go on."""
        spoilt = bytearray(self._request("/v1/data/garbage", b'{"1":2}'))
        for _ in range(self.random.randrange(1, 5)):
            spoilt[self.random.randrange(len(spoilt))] ^= 1 << self.random.randrange(8)
        return [bytes(spoilt)]

    def _bad_chunks(self):
        """Of which the headers know nothing."""
        head = b"PUT /v1/data/garbage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n"
        return [head, self.random.choice((b"zz\r\n", b"-1\r\n\r\n", b"ffffffffffffffffff\r\n", b"1\r\nab"))]

    def _false_length(self):
        length = self.random.choice((b"-5", b"99999999999999999999999", b"1e3", b"3, 4", b"99999999", b"7"))
        return [b"PUT /v1/data/garbage HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n", b'"abc']

    def _row(self):
        """Of requests, each with something wrong, on one connection."""
        return [self._request(self._path(), self.random.choice(NO_JSON)) for _ in range(20)]

    def _path(self):
        query = self.random.choice(("", "?consistency=perhaps", "?redirect=2", "?after=-1", "?prefix=%ff", "?%00"))
        return self.random.choice(PATHS) + query

    def _request(self, path, body, *headers, method=None):
        lines = [f"{method or self.random.choice(('PUT', 'POST', 'PATCH'))} {path} HTTP/1.1", "Host: x", *headers]
        head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()
        return head + body


async def test_garbage_on_the_http_port_ends_nothing_and_is_counted(tmp_path):
    async with leader_at_work(tmp_path) as (leader, _):
        await say(leader.http_port, Garbage(SEED).conversation)
        counted = await metrics(leader)
    problems = {
        name.split('"')[1]: value for name, value in counted.items() if name.startswith("raftq_http_problems_total")
    }
    print(problems)
    assert sum(problems.values()) > CONVERSATIONS
    assert min(problems[kind] for kind in ("bad-request", "not-json", "no-such-resource")) > 0
    assert "internal" not in problems
