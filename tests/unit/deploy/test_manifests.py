"""The plain manifests are the chart's rendering, and a kustomize base."""

import yaml
from rendered_chart import MANIFESTS, Deployment, parse


def test_the_plain_manifests_are_what_the_chart_renders(deployment: Deployment) -> None:
    committed = parse((MANIFESTS / "raftq.yaml").read_text())
    assert committed == deployment.render_manifests(), "run deploy/manifests/render.sh"


def test_the_plain_manifests_lack_nothing_of_the_chart_but_its_secret(deployment: Deployment) -> None:
    made_by_hand = {("Secret", "raftq-peers")}
    plain = parse((MANIFESTS / "raftq.yaml").read_text())
    assert plain.names() == deployment.template().names() - made_by_hand
    [volume] = plain.pod()["spec"]["volumes"]
    assert volume["secret"]["secretName"] == "raftq-peers"


def test_nobody_is_told_that_helm_made_them() -> None:
    assert "helm" not in (MANIFESTS / "raftq.yaml").read_text().split("\n", 1)[1].lower()


def test_the_image_that_kustomize_replaces_is_the_one_in_use() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    used = parse((MANIFESTS / "raftq.yaml").read_text()).agent()["image"]
    assert [f"{image['name']}:{image['newTag']}" for image in kustomization["images"]] == [used]
    assert kustomization["resources"] == ["raftq.yaml"]
