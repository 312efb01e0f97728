"""One release of the chart in a namespace of its own, and what its pods say."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from cluster_access import CHART, Access, Answer, CommandFailed, Image, Object, Place, helm, kubectl
from deadlines import Unanswered, eventually
from label_history import Pod, labelled_at, leaders
from label_watch import LabelWatch

NAME = "raftq"
MEMBERS = tuple(f"{NAME}-{ordinal}" for ordinal in range(3))
SELECTOR = f"app.kubernetes.io/name=raftq,app.kubernetes.io/instance={NAME}"


class Leader(NamedTuple):
    """A pod's word about itself."""

    name: str
    term: int


class Failover(NamedTuple):
    leader: Leader
    elected_s: float
    """From the fault to the moment when a pod says that it leads."""
    labelled_s: float
    """To the label in the watch."""
    answered_s: float
    """To the first answer of the new leader through its Service."""

    def __str__(self) -> str:
        return (
            f"elected {self.elected_s:.2f} s, labelled {self.labelled_s:.2f} s (elected to label "
            f"{self.labelled_s - self.elected_s:.2f} s), first answer through the leader's Service "
            f"{self.answered_s:.2f} s"
        )


@contextmanager
def namespace(subject: str) -> Iterator[str]:
    """One that enforces the restricted Pod Security Standard; it is deleted at the end, which nobody waits for."""
    name = f"e2e-{subject}-{secrets.token_hex(3)}"
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    kubectl(
        *("create", "--filename", "-"),
        feed=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": level}}),
    )
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


class Release:
    """Pods are known by the watch, so that they can be asked while the API server is away."""

    def __init__(self, access: Access, namespace: str) -> None:
        self.access = access
        self.namespace = namespace
        self.watch = LabelWatch(access, namespace)
        self._services: dict[str, Place] = {}

    def install(self, image: Image) -> None:
        options = ("--namespace", self.namespace, *image.settings, "--wait", "--timeout", "90s")
        try:
            helm("install", NAME, CHART, *options)
        except CommandFailed as error:
            raise AssertionError(f"{error}\n{self.evidence()}") from None

    def upgrade(self, image: Image, *values: str) -> None:
        helm("upgrade", NAME, CHART, "--namespace", self.namespace, *image.settings, *values)

    def kubectl(self, *words: str, feed: str | None = None) -> str:
        return kubectl("--namespace", self.namespace, *words, feed=feed)

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        return found

    # What is there

    @property
    def pods(self) -> dict[str, Pod]:
        return {name: pod for name, pod in self.watch.pods.items() if name in MEMBERS}

    def place(self, pod: Pod) -> Place:
        if pod.address is None:
            raise Unanswered(f"{pod.name} has no address yet")
        return Place("pods", self.namespace, pod.name, pod.address)

    def service(self, suffix: str = "") -> Place:
        name = NAME + suffix
        if name not in self._services:
            spec = self.get("service", name)["spec"]
            self._services[name] = Place("services", self.namespace, name, spec["clusterIP"], spec["ports"][0]["port"])
        return self._services[name]

    def reachable_without_api(self) -> bool:
        return self.access.reaches(self.service()) and all(
            self.access.reaches(self.place(pod)) for pod in self.pods.values()
        )

    # What they say

    def json(self, place: Place, path: str, timeout_s: float = 2.0) -> Any:
        answer = self.access.ask(place, "GET", path, timeout_s=timeout_s)
        if answer.status != 200:
            raise Unanswered(f"{place.name}{path}: {answer.status} {answer.body[:300]!r}")
        return answer.json()

    def put(self, place: Place, key: str, value: Any, timeout_s: float = 2.0) -> Answer:
        return self.access.ask(place, "PUT", f"/v1/data/{key}", value, timeout_s)

    def word_of(self, pod: Pod, timeout_s: float = 1.0) -> Leader | None:
        """What a pod says of itself, if that is that it leads."""
        word = self.json(self.place(pod), "/leader", timeout_s)
        return Leader(pod.name, word["term"]) if word["is_me"] and word["established"] else None

    def leading(self) -> Leader | None:
        """Who says that it leads; the highest term, should a frozen pod still think so."""
        words = []
        for pod in self.pods.values():
            try:
                words.append(self.word_of(pod))
            except Unanswered:
                continue
        return max((word for word in words if word), key=lambda word: word.term, default=None)

    def settled(self) -> Leader | None:
        """The leader, when all is as it should be: three ready pods, the label on its pod alone."""
        pods, leader = self.pods, self.leading()
        if leader is None or len(pods) != len(MEMBERS):
            return None
        roles = {name: "leader" if name == leader.name else "follower" for name in pods}
        well = all(
            pod.ready and not pod.terminating and pod.role == roles[name] and pod.term == str(leader.term)
            for name, pod in pods.items()
        )
        return leader if well else None

    def wait_settled(self, within_s: float = 30.0) -> Leader:
        return eventually("three ready pods, rightly labelled", self.settled, within_s, every_s=0.1)

    def wait_labelled_rightly(self, within_s: float) -> Leader:
        """Labels alone: exactly one leader, and it is the one that leads."""

        def rightly() -> Leader | None:
            leader = self.leading()
            return leader if leader and [pod.name for pod in leaders(self.pods)] == [leader.name] else None

        return eventually("one label, on the pod that leads", rightly, within_s)

    def wait_elected(self, after: Leader, within_s: float) -> Leader:
        """Another pod, in a later term: on a busy machine the old one may win an election or two before it ends."""

        def elected() -> Leader | None:
            leader = self.leading()
            return leader if leader and leader.name != after.name and leader.term > after.term else None

        return eventually(f"a leader after {after}", elected, within_s, every_s=0.02)

    # What is done to them

    def failover(self, fault: Callable[[], object], within_s: float = 20.0) -> Failover:
        """Cause the fault, and time how leadership, label and traffic arrive at another pod."""
        before, leader_service = self.wait_settled(), self.service("-leader")
        ended, elected, answered = threading.Event(), dict[str, float](), dict[str, float]()

        def watch_pod(name: str) -> None:
            while not ended.wait(0.01):
                try:
                    pod = self.pods.get(name)
                    word = pod and self.word_of(pod, 0.5)
                except Unanswered:
                    continue
                if word:
                    elected.setdefault(name, time.monotonic())

        def watch_service() -> None:
            while not ended.wait(0.01):
                try:
                    word = self.json(leader_service, "/leader", 0.5)
                except Unanswered:
                    continue
                if word["is_me"] and word["id"] != before.name:
                    answered.setdefault(word["id"], time.monotonic())

        threads = [threading.Thread(target=watch_pod, args=(name,)) for name in MEMBERS if name != before.name]
        threads.append(threading.Thread(target=watch_service))
        for thread in threads:
            thread.start()
        try:
            start = time.monotonic()
            fault()
            self.wait_elected(before, within_s)
            eventually("an answer of another leader through the leader's Service", lambda: answered, within_s)
            leader = self.wait_labelled_rightly(within_s)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert leader.name != before.name, "it leads again"
        assert leader.name in elected, f"{leader} was elected, seen were {elected}"
        assert leader.name in answered, f"{leader} leads, but answers came from {answered}"
        labelled = labelled_at(self.watch.history, leader.name, after=start)
        assert labelled is not None
        return Failover(leader, elected[leader.name] - start, labelled - start, answered[leader.name] - start)

    # For whoever has to find out why

    def evidence(self) -> str:
        wanted = [
            ("get", "pods,endpointslices,pvc", "--output", "wide", "--show-labels"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            *(("logs", name, "--tail=100", "--timestamps") for name in MEMBERS),
            *(("logs", name, "--tail=30", "--previous") for name in MEMBERS),
        ]
        found = []
        for words in wanted:
            try:
                said = self.kubectl(*words)
            except CommandFailed as error:
                said = str(error)
            found.append(f"$ kubectl {' '.join(words)}\n{said}")
        for pod in self.pods.values():
            try:
                said = self.access.ask(self.place(pod), "GET", "/v1/status").body.decode()
            except Unanswered as error:
                said = str(error)
            found.append(f"$ GET {pod.name}/v1/status\n{said}")
        return "\n".join([*found, "labels as the watch saw them:", self.watch.story()])


class AcknowledgedWrites:
    """A client that writes one new key after the other and remembers which were acknowledged."""

    def __init__(self, release: Release, prefix: str) -> None:
        self._release = release
        self._place = release.service()
        self._prefix = prefix
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: dict[str, tuple[int, float]] = {}
        self.failed = 0

    def __enter__(self) -> "AcknowledgedWrites":
        self._thread.start()
        eventually("a first acknowledged write", lambda: self.acknowledged, 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.02):
            number += 1
            key = f"{self._prefix}{number}"
            try:
                answer = self._release.put(self._place, key, number, timeout_s=1.0)
            except Unanswered:
                self.failed += 1
                continue
            if answer.status in (200, 201):
                self.acknowledged[key] = (number, time.monotonic())
            else:
                self.failed += 1

    def wait_goes_on(self, since: float, within_s: float = 10.0) -> float:
        """Seconds from that moment to the end of the longest pause that followed, when ten writes were acknowledged."""

        def later() -> list[float]:
            found = [at for _, at in list(self.acknowledged.values()) if at > since]
            return found if len(found) >= 10 else []

        times = [since, *eventually("ten more acknowledged writes", later, within_s)]
        return max(second - first for first, second in pairwise(times))

    def assert_all_there(self, within_s: float = 20.0) -> None:
        """Every pod has every acknowledged key."""

        def lacking() -> dict[str, list[str]]:
            found = {}
            for pod in self._release.pods.values():
                document = self._release.json(self._release.place(pod), "/v1/data?consistency=local")
                found[pod.name] = [key for key, (value, _) in self.acknowledged.items() if document.get(key) != value]
            return found

        def complete() -> bool:
            found = lacking()
            return len(found) == len(MEMBERS) and not any(found.values())

        try:
            eventually(f"{len(self.acknowledged)} acknowledged keys on every pod", complete, within_s, every_s=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; lacking: {lacking()}") from None
