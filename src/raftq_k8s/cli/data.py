"""`raftq data`: the document from the command line. A value is JSON; on a terminal it is shown over several lines, in a
pipe it is what was stored, byte for byte."""

import json
import sys
from collections.abc import Awaitable, Callable

import msgspec

from raftq_k8s.cli.connecting import NO, USAGE, Reach, ask, complain
from raftq_k8s.client import Change, Client, Value
from raftq_k8s.client.client import Consistency
from raftq_k8s.client.writes import Expected


def get(reach: Reach, key: str, *, consistency: Consistency, bare: bool, as_json: bool) -> int:
    async def work(client: Client) -> int:
        found = await client.get(key, consistency=consistency)
        if found is None:
            return complain(f"there is no key {_printable(key)}", NO)
        _show(found, key, bare=bare, as_json=as_json)
        return 0

    return ask(reach, work)


def get_whole(reach: Reach, *, consistency: Consistency, as_json: bool) -> int:
    async def work(client: Client) -> int:
        _show(await client.whole(consistency=consistency), None, bare=False, as_json=as_json)
        return 0

    return ask(reach, work)


def get_prefix(reach: Reach, prefix: str, *, consistency: Consistency, as_json: bool) -> int:
    async def work(client: Client) -> int:
        found = await client.keys(prefix, consistency=consistency)
        if as_json:
            keys = {key: _members(None, value) for key, value in found.keys.items()}
            _print(msgspec.json.encode({"revision": found.revision, "keys": keys}))
            return 0
        width = max(map(len, map(_printable, found.keys)), default=0)
        for key, value in sorted(found.keys.items()):
            _print(f"{_printable(key):<{width}}  {value.revision:>9}  ".encode() + _one_line(value.text))
        return 0

    return ask(reach, work)


def put(reach: Reach, key: str, value: str, *, bare: bool, expected: Expected, as_json: bool) -> int:
    text = _read(value)
    try:
        encoded = msgspec.json.encode(text.decode()) if bare else _json(text)
    except ValueError as error:
        return complain(f"{error}; a text that is no JSON is put with --text", USAGE)

    async def work(client: Client) -> int:
        written = await client.put(key, msgspec.Raw(encoded), if_revision=expected)
        _tell(as_json, {"revision": written.revision, "existed": written.existed}, f"revision {written.revision}")
        return 0

    return ask(reach, work)


def delete(reach: Reach, key: str, *, expected: Expected, as_json: bool) -> int:
    async def work(client: Client) -> int:
        existed = await client.delete(key, if_revision=expected)
        if as_json:
            _tell(as_json, {"existed": existed}, "")
        elif not existed:
            return complain(f"there is no key {_printable(key)}", NO)
        return 0 if existed else NO

    return ask(reach, work)


def replace(reach: Reach, document: str, *, expected: int | None, as_json: bool) -> int:
    return _change_whole(reach, document, lambda client, text: client.replace(text, if_revision=expected), as_json)


def patch(reach: Reach, change: str, *, expected: int | None, as_json: bool) -> int:
    return _change_whole(reach, change, lambda client, text: client.patch(text, if_revision=expected), as_json)


def _change_whole(
    reach: Reach, argument: str, change: Callable[[Client, msgspec.Raw], Awaitable[int]], as_json: bool
) -> int:
    try:
        text = msgspec.Raw(_json(_read(argument)))
    except ValueError as error:
        return complain(str(error), USAGE)

    async def work(client: Client) -> int:
        revision = await change(client, text)
        _tell(as_json, {"revision": revision}, f"revision {revision}")
        return 0

    return ask(reach, work)


def transact(reach: Reach, argument: str, as_json: bool) -> int:
    try:
        text = _json(_read(argument))
    except ValueError as error:
        return complain(str(error), USAGE)

    async def work(client: Client) -> int:
        done = await client.transact_text(text)
        _tell(as_json, {"revision": done.revision, "existed": done.existed}, f"revision {done.revision}")
        return 0

    return ask(reach, work)


def watch(reach: Reach, *, prefix: str, after: int | None, as_json: bool) -> int:
    async def work(client: Client) -> int:
        async for changed in client.watch(after, prefix=prefix):
            for change in changed.changes:
                _print(_line(changed.revision, change, as_json))
        return 0

    return ask(reach, work)


def _line(revision: int, change: Change, as_json: bool) -> bytes:
    if as_json:
        told: dict[str, object] = {"revision": revision, "key": change.key}
        told |= {"deleted": True} if change.text is None else {"value": msgspec.Raw(change.text)}
        return msgspec.json.encode(told)
    key = "(the whole document)" if change.key is None else _printable(change.key)
    what = b"deleted" if change.text is None else b"= " + _one_line(change.text)
    return f"{revision:>9}  {key} ".encode() + what


def _show(value: Value, key: str | None, *, bare: bool, as_json: bool) -> None:
    if as_json:
        _print(msgspec.json.encode(_members(key, value)))
    elif bare and value.text.startswith(b'"'):
        _print(value.value.encode("utf-8", "surrogatepass"))
    else:
        _print(msgspec.json.format(value.text, indent=2) if sys.stdout.isatty() else value.text)


def _members(key: str | None, value: Value) -> dict[str, object]:
    named = {} if key is None else {"key": key}
    return named | {"revision": value.revision, "value": msgspec.Raw(value.text)}


def _printable(key: str) -> str:
    """A key may hold anything, also what moves the cursor of a terminal: that is shown as JSON has it."""
    return key if key.isprintable() else json.dumps(key)


def _one_line(text: bytes) -> bytes:
    return msgspec.json.format(text, indent=-1) if b"\n" in text else text


def _tell(as_json: bool, members: dict[str, object], sentence: str) -> None:
    print(json.dumps(members) if as_json else sentence)


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _read(argument: str) -> bytes:
    """`-` is standard input."""
    return sys.stdin.buffer.read() if argument == "-" else argument.encode("utf-8", "surrogateescape")


def _json(text: bytes) -> bytes:
    """Raises `ValueError`."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        shown = text[:60].decode(errors="replace")
        raise ValueError(f"{shown!r} is not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    return text
