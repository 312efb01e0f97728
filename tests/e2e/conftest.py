"""End to end on a real cluster: KUBECONFIG says which, RAFTQ_E2E_IMAGE which image (its nodes can pull it or have it).

A namespace a module, one release of the chart in it with nothing but the image set, and a watch of its pods from before
the first of them: after every test, whatever it did, the watch must never have shown two pods with the leader's label.
"""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import cluster_access
import cluster_faults
import pytest
from cluster_access import Access, Image
from cluster_faults import Faults
from raftq_release import Release, namespace

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(240))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    release = getattr(item, "funcargs", {}).get("release")
    if report.failed and isinstance(release, Release):
        report.sections.append((f"evidence from {release.namespace}", release.evidence()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("measured on the cluster")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the summary at the end of the run."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
def access() -> Iterator[Access]:
    if reason := cluster_access.missing():
        pytest.skip(reason)
    with cluster_access.open_access() as access:
        yield access


@pytest.fixture(scope="session")
def image(access: Access) -> Image:
    return Image.parse(os.environ["RAFTQ_E2E_IMAGE"])


@pytest.fixture(scope="session")
def faults(access: Access) -> Faults:
    found = cluster_faults.find()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module")
def own_namespace(access: Access, request: pytest.FixtureRequest) -> Iterator[str]:
    subject = re.sub(r"^test_|[^a-z]", "", Path(request.node.path).stem)
    with namespace(subject[:20]) as name:
        yield name


@pytest.fixture(scope="module")
def installed(access: Access, image: Image, own_namespace: str) -> Iterator[Release]:
    release = Release(access, own_namespace)
    release.watch.start()
    try:
        release.install(image)
        yield release
    finally:
        release.watch.stop()


@pytest.fixture
def release(installed: Release) -> Iterator[Release]:
    """The module's release, well at the start of the test; and, at its end, never with two labelled leaders."""
    try:
        installed.wait_settled()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{installed.evidence()}") from None
    yield installed
    installed.watch.assert_never_two_leaders()
