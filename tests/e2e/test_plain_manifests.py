"""The plain manifests by kustomize, in an overlay that sets nothing but namespace and image."""

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_access import MANIFESTS, Access, Image
from deadlines import eventually
from raftq_release import NAME, Release


@pytest.fixture(scope="module")
def installed(
    access: Access, image: Image, own_namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    overlay = tmp_path_factory.mktemp("overlay")
    replaced = {"name": "localhost/raftq", "newName": image.repository}
    replaced |= {"digest": image.digest} if image.digest else {"newTag": image.tag}
    base = os.path.relpath(MANIFESTS.resolve(), Path(overlay).resolve())
    (overlay / "kustomization.yaml").write_text(
        json.dumps({"namespace": own_namespace, "resources": [base], "images": [replaced]})
    )
    release = Release(access, own_namespace)
    release.watch.start()
    try:
        release.kubectl(
            "create", "secret", "generic", f"{NAME}-peers", f"--from-literal=secret={secrets.token_hex(32)}"
        )
        release.kubectl("apply", "--kustomize", str(overlay))
        release.kubectl("rollout", "status", f"statefulset/{NAME}", "--timeout=90s")
        yield release
    finally:
        release.watch.stop()


def test_the_plain_manifests_make_a_cluster_that_labels_its_leader(release: Release) -> None:
    leader = release.wait_settled()
    word = eventually("an answer", lambda: release.json(release.service("-leader"), "/leader"), 5)
    assert word["id"] == leader.name
