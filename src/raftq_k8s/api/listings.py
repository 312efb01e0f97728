"""The keys that begin with a prefix, each with its revision: what a client of one part of the document reads, and the
only way to the revisions of many keys at once.

    {"revision": 21, "keys": {"locks/a": {"revision": 12, "value": {"by": "me"}}}}

Put together by concatenation, as the document itself is: values stay as they were sent. The `revision` is that of the
last change of the whole, so that `GET /v1/events?after=` goes on from there.
"""

import msgspec

from raftq_k8s.state.document import Document

_encode_key = msgspec.json.Encoder().encode


def listing(document: Document, prefix: str) -> bytes:
    """Raises `DocumentIsNotAnObject`."""
    members = [
        b'%s:{"revision":%d,"value":%s}' % (_encode_key(key), revision, value)
        for key, (value, revision) in document.items()
        if key.startswith(prefix)
    ]
    return b'{"revision":%d,"keys":{%s}}' % (document.revision, b",".join(members))
