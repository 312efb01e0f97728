"""`raftq snapshot show` and `restore`: what is in a snapshot file or on a volume at rest; a new cluster out of it."""

import json
import secrets
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape

from raftq_k8s.agent.before_the_start import Recovered, note_recovery
from raftq_k8s.agent.settings import SettingsError, divided
from raftq_k8s.cli.connecting import complain
from raftq_k8s.cli.sizes import in_words
from raftq_k8s.node import recovery, snapshot_file
from raftq_k8s.node.snapshot_file import Heading
from raftq_k8s.raft.recovery import NotRecoverable
from raftq_k8s.raft.types import ClusterId, Index, MemberId
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged
from raftq_k8s.storage.inspection import copied, inspect
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import VolumeUnusable, WriteFailed

DAMAGED, UNUSABLE = 1, 2
_WRONG = (SnapshotDamaged, NotRecoverable, VolumeUnusable, WriteFailed)


class _Found(NamedTuple):
    heading: Heading
    state: StateMachine
    of_volume: bool


def show(path: Path, *, document: bool, as_json: bool) -> int:
    try:
        found = _on_volume(path) if path.is_dir() else _Found(*snapshot_file.read(path), of_volume=False)
    except OSError as error:
        return complain(f"{path}: {error.strerror or error}", UNUSABLE)
    except _WRONG as error:
        return complain(f"{path}: {error}", DAMAGED)
    if document:
        sys.stdout.buffer.write(found.state.document.whole()[0] + b"\n")
    elif as_json:
        print(json.dumps(dict(_facts(found))))
    else:
        _tell(path, found)
    return 0


def _on_volume(directory: Path) -> _Found:
    report = inspect(directory)
    if not report.sound:
        raise VolumeUnusable(f"it is damaged: {report.problems[0]}; see raftq storage check")
    if report.member is None or report.cluster is None or report.term is None:
        raise VolumeUnusable("it belongs to no cluster yet, and has nothing to show")
    with copied(directory) as copy, closing(SqliteVolume(copy, report.member, reserve_bytes=0)) as volume:
        state = recovery.state_of(volume, volume.open())
    return _Found(Heading(report.cluster, Index(report.last_index), report.term), state, of_volume=True)


def _facts(found: _Found) -> list[tuple[str, object]]:
    heading, document = found.heading, found.state.document
    picture = document.picture()
    keys = None if picture.segments is None else sum(map(len, picture.segments))
    return [
        ("cluster", heading.cluster),
        ("index", heading.index),
        ("term", heading.term),
        ("revision", document.whole()[1]),
        ("keys", keys),
        ("bytes", document.size_bytes),
        ("sessions", len(found.state.sessions)),
        ("paused", found.state.paused),
    ]


def _tell(path: Path, found: _Found) -> None:
    facts = dict(_facts(found))
    console = Console(highlight=False, soft_wrap=True)
    what = "volume" if found.of_volume else "snapshot"
    console.print(f" {escape(str(path))} is a [green]sound[/] {what}\n")
    keys = "no object" if facts["keys"] is None else f"{facts['keys']} {'key' if facts['keys'] == 1 else 'keys'}"
    document = f"{keys}, {in_words(found.state.document.size_bytes)}, revision {facts['revision']}"
    console.print(f"   cluster    {escape(str(facts['cluster']))}")
    console.print(f"   taken at   index {facts['index']}, term {facts['term']}")
    console.print(f"   document   {document}")
    console.print(f"   sessions   {facts['sessions']}")
    if facts["paused"] is not None:
        console.print(f"   paused     {escape(str(facts['paused']))}")
    if found.of_volume:
        console.print("\n With all that its log holds: whether that was committed, one volume cannot tell.")


def restore(file: Path, data: Path, name: str, *, as_json: bool) -> int:
    cluster = ClusterId(secrets.token_hex(8))
    try:
        divided(name)
    except SettingsError as error:
        return complain(str(error), UNUSABLE)
    try:
        heading, state = snapshot_file.read(file)
    except OSError as error:
        return complain(f"{file}: {error.strerror or error}", UNUSABLE)
    except SnapshotDamaged as error:
        return complain(f"{file}: {error}", DAMAGED)
    try:
        data.mkdir(parents=True, exist_ok=True)
        begun = recovery.begin(SqliteVolume(data, MemberId(name)), heading, state, cluster)
        note_recovery(data, Recovered(begun.cluster, out_of=heading.cluster))
    except OSError as error:
        return complain(f"{data}: {error.strerror or error}", UNUSABLE)
    except _WRONG as error:
        return complain(str(error), UNUSABLE)
    if as_json:
        print(json.dumps({"cluster": begun.cluster, "member": name, "term": begun.term, "index": begun.index}))
    else:
        print(f"{data} is the volume of {name}, the only member of the new cluster {begun.cluster}")
        print("start it, then the others with empty volumes: they ask to be taken in")
    return 0
