"""What the chart makes of its values: everything by the parsed objects, nothing by the text."""

import base64
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rendered_chart import CHART, Deployment, Refused

from raftq_k8s.agent.departure import ENDPOINT_SETTLE_S, QUORUM_WAIT_S, TRANSFER_PATIENCE
from raftq_k8s.agent.settings import PROFILES, Settings
from raftq_k8s.agent.sources import explained
from raftq_k8s.api.server import CLOSING_GRACE_S
from raftq_k8s.kube.labeller import Times

ALL_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def selected(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("values", ALL_VALUES, ids=lambda path: path.stem)
def test_every_example_of_values_passes_lint_and_renders(deployment: Deployment, values: Path) -> None:
    deployment.lint(values)
    assert deployment.template(files=(values,)).agent()["image"]


def test_no_values_make_exactly_these_objects(deployment: Deployment) -> None:
    assert deployment.template().names() == {
        ("StatefulSet", "raftq"),
        ("Service", "raftq"),
        ("Service", "raftq-headless"),
        ("Service", "raftq-leader"),
        ("Service", "raftq-followers"),
        ("ServiceAccount", "raftq"),
        ("ConfigMap", "raftq-birth"),
        ("Role", "raftq"),
        ("RoleBinding", "raftq"),
        ("PodDisruptionBudget", "raftq"),
        ("Secret", "raftq-peers"),
    }


def test_everything_is_named_after_the_release(deployment: Deployment) -> None:
    endings = {name.removeprefix("election") for _, name in deployment.template(release="election").names()}
    assert endings == {"", "-headless", "-leader", "-followers", "-peers", "-birth"}


TEXTS = {
    *("name", "namespace", "value", "serviceName", "serviceAccountName", "priorityClassName", "image", "storage"),
    *("labels", "annotations", "matchLabels", "selector", "nodeSelector", "resourceNames", "args", "accessModes"),
}
"""What holds texts, or lists or maps of texts, wherever it stands."""


def no_texts(where: str, value: Any, text: bool = False) -> list[str]:
    """Where something else stands than the text that Kubernetes wants there."""
    if isinstance(value, dict):
        keys = [f"the key {key!r} of {where}" for key in value if not isinstance(key, str)]
        parts = (no_texts(f"{where}.{key}", part, text or key in TEXTS) for key, part in value.items())
        return [*keys, *chain.from_iterable(parts)]
    if isinstance(value, list):
        return [found for part in value for found in no_texts(where, part, text)]
    return [f"{where}: {value!r}"] if value is None or (text and not isinstance(value, str)) else []


@pytest.mark.parametrize(
    "values",
    [
        *({"namespace": word} for word in ("123", "1e3", "true", "null", "0x1f")),
        *({"release": word} for word in ("true", "null", "on", "y", "no")),
        *({"release": word, "fullnameOverride": "raftq"} for word in ("123", "1e3", "true", "0b1")),
        *({"fullnameOverride": word} for word in ("true", "null", "on")),
        *({"roleLabel": word} for word in ("true", "null", "1", "on", "1e3")),
        *({"serviceAccount": {"name": word}} for word in ("123", "true", "1e3", "a: b")),
        *({"priorityClassName": word} for word in ("123", "null", "no")),
        {"persistence": {"size": "10"}},
        {"podLabels": {"1": "2"}, "podAnnotations": {"true": "no"}, "nodeSelector": {"null": "1"}},
        {"extraArgs": ["1", "true"], "extraEnv": [{"name": "yes", "value": "1e3"}]},
        {"podDisruptionBudget": {"maxUnavailable": "50%"}, "terminationGracePeriodSeconds": 10000000},
    ],
    ids=str,
)
def test_a_text_stays_a_text_whatever_it_looks_like(deployment: Deployment, values: dict[str, Any]) -> None:
    chart = deployment.template(**values, tests=True)
    assert [found for each in chart for found in no_texts(each["kind"], each)] == []
    assert type(chart.one("StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) is int


OPTIONAL = [
    *("fullnameOverride", "imagePullSecrets", "profile", "resources", "updateStrategy", "podSecurityContext"),
    *("securityContext", "startupProbe", "livenessProbe", "readinessProbe", "topologySpreadConstraints", "affinity"),
    *("nodeSelector", "tolerations", "priorityClassName", "podLabels", "podAnnotations", "extraArgs", "extraEnv"),
    *("extraContainers", "extraVolumes", "extraVolumeMounts"),
]


@pytest.mark.parametrize("value", OPTIONAL)
def test_what_is_optional_may_be_null(deployment: Deployment, value: str) -> None:
    chart = deployment.template(**{value: None}, tests=True)
    assert [found for each in chart for found in no_texts(each["kind"], each)] == []
    assert value not in chart.agent()


@pytest.mark.parametrize(
    "value",
    [
        *(
            "image.repository",
            "replicaCount",
            "birth",
            "log.format",
            "log.level",
            "roleLabel",
            "service.port",
            "service.type",
        ),
        *("service.leaderType", "persistence.size", "persistence.accessMode", "serviceAccount.create", "rbac.create"),
        *("peers", "peers.authentication", "token"),
        *("podDisruptionBudget.enabled", "podDisruptionBudget.maxUnavailable", "terminationGracePeriodSeconds"),
        *("image", "log", "service", "persistence", "serviceAccount", "rbac", "podDisruptionBudget"),
    ],
)
def test_what_is_needed_may_not_be_null(deployment: Deployment, value: str) -> None:
    whole, _, part = value.partition(".")
    with pytest.raises(Refused, match="values don't meet the specifications of the schema"):
        deployment.template(**{whole: {part: None} if part else None})


def test_every_value_may_be_null_or_is_needed() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert {*OPTIONAL, *schema["required"], "global"} == set(schema["properties"])


@pytest.mark.parametrize("file", [CHART / "values.yaml", *ALL_VALUES], ids=lambda path: path.stem)
def test_examples_name_settings_that_there_are(file: Path) -> None:
    text = file.read_text()
    variables = {setting.variable for setting in explained().values()}
    assert set(re.findall(r"\bRAFTQ_\w+", text)) <= variables
    assert set(re.findall(r"(?<![-\w])--[a-z][-a-z]+(?==)", text)) <= {each.flag for each in explained().values()} | {
        "--replicas"
    }


def test_all_members_start_at_once_and_keep_their_volumes(deployment: Deployment) -> None:
    spec = deployment.template().one("StatefulSet")["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Retain"}
    assert spec["replicas"] == 3
    assert spec["serviceName"] == "raftq-headless"
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert {"name": "data", "mountPath": "/data"} in deployment.template().agent()["volumeMounts"]


def test_a_new_version_of_the_chart_changes_nothing_that_cannot_be_changed(deployment: Deployment) -> None:
    spec = deployment.template().one("StatefulSet")["spec"]
    unchangeable = [
        spec["selector"]["matchLabels"],
        *(claim["metadata"]["labels"] for claim in spec["volumeClaimTemplates"]),
    ]
    for labels in unchangeable:
        assert set(labels) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


def test_pods_keep_the_restricted_standard(deployment: Deployment) -> None:
    chart = deployment.template(tests=True)
    for spec in (chart.pod()["spec"], chart.one("Pod")["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_leader_is_never_throttled(deployment: Deployment) -> None:
    resources = deployment.template().agent()["resources"]
    assert "cpu" not in resources["limits"]
    assert {"cpu", "memory"} <= resources["requests"].keys()


def test_pods_spread_over_zones_and_nodes_but_start_anyway(deployment: Deployment) -> None:
    chart = deployment.template()
    constraints = chart.pod()["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for each in constraints:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"
        assert selected(each["labelSelector"]["matchLabels"], chart.pod()["metadata"]["labels"])


def test_a_constraint_keeps_the_selector_that_it_brings(deployment: Deployment) -> None:
    mine = {
        "topologyKey": "rack",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}},
    }
    assert deployment.template(topologySpreadConstraints=[mine]).pod()["spec"]["topologySpreadConstraints"] == [mine]


def test_probes_ask_for_what_they_mean(deployment: Deployment) -> None:
    agent = deployment.template().agent()
    asked = {probe: agent[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"path": "/startupz", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def test_ports_are_those_that_the_agent_listens_on(deployment: Deployment) -> None:
    chart, defaults = deployment.template(), Settings()
    ports = {each["name"]: each["containerPort"] for each in chart.agent()["ports"]}
    assert ports == {"raft": defaults.raft_port, "http": defaults.http_port}
    assert defaults.data == "/data"
    headless = chart.one("Service", "raftq-headless")["spec"]["ports"]
    assert {each["name"]: each["port"] for each in headless} == ports


def test_the_agent_knows_every_setting_that_the_chart_gives_it(deployment: Deployment) -> None:
    given = environment(deployment.template().agent())
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert {name.removeprefix("RAFTQ_").lower() for name in given} <= fields
    assert given["RAFTQ_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert given["RAFTQ_POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert given["RAFTQ_SERVICE"] == "raftq-headless"
    assert given["RAFTQ_BIRTH_REPLICAS"] == "3"
    assert given["RAFTQ_LOG_FORMAT"] == "json"


def test_the_agent_selects_the_pods_of_this_release(deployment: Deployment) -> None:
    chart = deployment.template(release="one", fullnameOverride="two")
    selector = dict(pair.split("=") for pair in environment(chart.agent())["RAFTQ_POD_SELECTOR"].split(","))
    assert selector == chart.one("StatefulSet")["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    ("values", "profile"),
    [
        ({}, "fast"),
        ({"extraContainers": [{"name": "application", "image": "application"}]}, "steady"),
        ({"profile": "fast", "extraContainers": [{"name": "application", "image": "application"}]}, "fast"),
    ],
)
def test_an_agent_is_fast_alone_and_steady_beside_an_application(
    deployment: Deployment, values: dict[str, Any], profile: str
) -> None:
    assert environment(deployment.template(**values).agent())["RAFTQ_PROFILE"] == profile


def test_services_route_to_whom_they_name(deployment: Deployment) -> None:
    chart = deployment.template()
    labels = chart.pod()["metadata"]["labels"]
    assert "role" not in labels
    leader, follower = {**labels, "role": "leader"}, {**labels, "role": "follower"}

    def routes(name: str, pod: dict[str, str]) -> bool:
        return selected(chart.one("Service", name)["spec"]["selector"], pod)

    assert [routes("raftq-leader", pod) for pod in (labels, leader, follower)] == [False, True, False]
    assert [routes("raftq-followers", pod) for pod in (labels, leader, follower)] == [False, False, True]
    assert [routes("raftq", pod) for pod in (labels, leader, follower)] == [True, True, True]
    assert [routes("raftq-headless", pod) for pod in (labels, leader, follower)] == [True, True, True]


def test_only_discovery_sees_pods_that_are_not_ready(deployment: Deployment) -> None:
    chart = deployment.template()
    unready = {
        each["metadata"]["name"]
        for each in chart
        if each["kind"] == "Service" and each["spec"]["publishNotReadyAddresses"]
    }
    assert unready == {"raftq-headless"}
    assert chart.one("Service", "raftq-headless")["spec"]["clusterIP"] == "None"


def test_more_ports_reach_an_application_through_the_leader(deployment: Deployment) -> None:
    port = {"name": "sql", "port": 5432, "targetPort": 5432}
    chart = deployment.template(service={"extraPorts": [port]})
    for name in ("raftq", "raftq-leader", "raftq-followers"):
        assert port in chart.one("Service", name)["spec"]["ports"]
    assert port not in chart.one("Service", "raftq-headless")["spec"]["ports"]


def test_a_pod_may_write_to_members_by_name_and_to_nothing_else(deployment: Deployment) -> None:
    chart = deployment.template()
    rules = chart.one("Role")["rules"]
    granted = {(each["resources"][0], verb): each.get("resourceNames") for each in rules for verb in each["verbs"]}
    members = [f"raftq-{ordinal}" for ordinal in range(64)]
    assert granted == {
        ("pods", "get"): None,
        ("pods", "list"): None,
        ("pods", "patch"): members,
        ("configmaps", "get"): ["raftq-birth"],
        ("configmaps", "patch"): ["raftq-birth"],
    }
    [subject] = chart.one("RoleBinding")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "raftq", "namespace": "here"}
    assert chart.pod()["spec"]["serviceAccountName"] == "raftq"
    assert not [kind for kind, _ in chart.names() if kind.startswith("Cluster")]


@pytest.mark.parametrize("create", [True, False])
def test_the_witness_is_rendered_without_data_which_an_upgrade_would_put_back(
    deployment: Deployment, create: bool
) -> None:
    witness = deployment.template(rbac={"create": create}).one("ConfigMap", "raftq-birth")
    assert set(witness) == {"apiVersion", "kind", "metadata"}


def test_the_rule_of_birth_is_the_agents_setting(deployment: Deployment) -> None:
    assert environment(deployment.template().agent())["RAFTQ_BIRTH"] == Settings().birth
    assert environment(deployment.template(birth="witness").agent())["RAFTQ_BIRTH"] == "witness"
    with pytest.raises(Refused, match="birth"):
        deployment.template(birth="first")


def test_an_account_that_exists_is_used_and_not_made(deployment: Deployment) -> None:
    chart = deployment.template(serviceAccount={"create": False, "name": "mine"})
    assert chart.pod()["spec"]["serviceAccountName"] == "mine"
    assert chart.one("RoleBinding")["subjects"][0]["name"] == "mine"
    assert ("ServiceAccount", "mine") not in chart.names()


def test_a_drain_takes_one_pod_at_a_time_leader_or_not(deployment: Deployment) -> None:
    chart = deployment.template()
    budget = chart.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"] == chart.one("StatefulSet")["spec"]["selector"]["matchLabels"]


def secrets_of(chart: Any) -> dict[str, str]:
    """By where the agent finds them."""
    mounted = {each["name"]: each["mountPath"] for each in chart.agent()["volumeMounts"]}
    volumes = chart.pod()["spec"].get("volumes", [])
    return {mounted[each["name"]]: each["secret"]["secretName"] for each in volumes if "secret" in each}


def test_members_share_a_secret_that_the_chart_makes(deployment: Deployment) -> None:
    chart = deployment.template()
    assert secrets_of(chart) == {"/etc/raftq/peers": "raftq-peers"}
    assert environment(chart.agent())["RAFTQ_PEER_SECRET_FILE"] == "/etc/raftq/peers/secret"
    made = base64.b64decode(chart.one("Secret")["data"]["secret"])
    assert len(made) >= 32
    assert made != base64.b64decode(deployment.template().one("Secret")["data"]["secret"])


def test_a_secret_that_exists_is_used_and_not_made(deployment: Deployment) -> None:
    chart = deployment.template(peers={"secretName": "mine"})
    assert secrets_of(chart) == {"/etc/raftq/peers": "mine"}
    assert not [name for kind, name in chart.names() if kind == "Secret"]


def test_members_show_certificates_of_a_secret(deployment: Deployment) -> None:
    chart = deployment.template(peers={"authentication": "tls", "secretName": "mine"})
    given = environment(chart.agent())
    assert secrets_of(chart) == {"/etc/raftq/peers": "mine"}
    assert [given[f"RAFTQ_TLS_{part}"] for part in ("CERT", "KEY", "CA")] == [
        f"/etc/raftq/peers/{file}" for file in ("tls.crt", "tls.key", "ca.crt")
    ]
    assert "RAFTQ_PEER_SECRET_FILE" not in given


def test_members_may_be_left_unguarded(deployment: Deployment) -> None:
    chart = deployment.template(peers={"authentication": "none"})
    assert secrets_of(chart) == {}
    assert not {"RAFTQ_PEER_SECRET_FILE", "RAFTQ_TLS_CERT"} & environment(chart.agent()).keys()


@pytest.mark.parametrize(("reads", "asked"), [(False, "off"), (True, "on")])
def test_clients_show_a_token_of_a_secret(deployment: Deployment, reads: bool, asked: str) -> None:
    chart = deployment.template(token={"secretName": "mine", "reads": reads}, tests=True)
    given = environment(chart.agent())
    assert secrets_of(chart)["/etc/raftq/token"] == "mine"
    assert (given["RAFTQ_TOKEN_FILE"], given["RAFTQ_AUTH_READS"]) == ("/etc/raftq/token/token", asked)
    shown = [each["secret"]["secretName"] for each in chart.one("Pod")["spec"].get("volumes", [])]
    assert shown == (["mine"] if reads else [])


def test_a_pod_has_the_time_to_hand_over(deployment: Deployment) -> None:
    """The longest of each step, for the slower profile, and what the HTTP face gives those whom it answers."""
    transfer_s = TRANSFER_PATIENCE * PROFILES["steady"].maximum_election / 1000
    steps_s = QUORUM_WAIT_S + Settings().application_stop_timeout_ms / 1000 + transfer_s + Times().release
    whole_s = steps_s + ENDPOINT_SETTLE_S + CLOSING_GRACE_S
    assert deployment.template().pod()["spec"]["terminationGracePeriodSeconds"] > whole_s
    with pytest.raises(Refused):
        deployment.template(terminationGracePeriodSeconds=int(whole_s) - 1)


def test_another_key_carries_the_role_everywhere(deployment: Deployment) -> None:
    chart = deployment.template(roleLabel="example.com/duty", podLabels={"role": "database"})
    assert chart.one("Service", "raftq-leader")["spec"]["selector"]["example.com/duty"] == "leader"
    assert chart.one("Service", "raftq-followers")["spec"]["selector"]["example.com/duty"] == "follower"
    assert environment(chart.agent())["RAFTQ_LABEL_KEY"] == "example.com/duty"
    assert chart.pod()["metadata"]["labels"]["role"] == "database"


def test_the_pod_of_helm_test_is_no_member(deployment: Deployment) -> None:
    chart = deployment.template(tests=True)
    labels = chart.one("Pod")["metadata"]["labels"]
    assert not selected(chart.one("StatefulSet")["spec"]["selector"]["matchLabels"], labels)


@pytest.mark.parametrize(("value", "claimed"), [("", None), ("fast", "fast"), ("-", "")])
def test_a_storage_class_is_the_default_a_name_or_none_at_all(
    deployment: Deployment, value: str, claimed: str | None
) -> None:
    [claim] = deployment.template(persistence={"storageClass": value}).one("StatefulSet")["spec"][
        "volumeClaimTemplates"
    ]
    assert claim["spec"].get("storageClassName") == claimed


def test_a_digest_pins_the_image(deployment: Deployment) -> None:
    digest = "sha256:" + "0" * 64
    image = {"repository": "registry.example/raftq", "tag": "1", "digest": digest}
    assert deployment.template(image=image).agent()["image"] == f"registry.example/raftq@{digest}"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"replicaCount": 0},
            r"replicaCount 0: a cluster has at least one member.*scale statefulset raftq --replicas=0",
        ),
        ({"replicaCount": -1}, r"replicaCount -1: a cluster has at least one member"),
        ({"replicaCount": 65}, r"replicaCount 65: the Role names the pods raftq-0 to raftq-63"),
        ({"fullnameOverride": "a.b"}, r'the name "a\.b" does not fit'),
        ({"fullnameOverride": "a" * 53}, r"at most 52"),
        ({"podLabels": {"role": "database"}}, r'podLabels sets "role", the label by which the agents say who leads'),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, r'podLabels sets "app\.kubernetes\.io/name", which the chart'),
        ({"podLabels": {"controller-revision-hash": "x"}}, r'podLabels sets "controller-revision-hash"'),
        ({"roleLabel": "app.kubernetes.io/instance"}, r"roleLabel .* selects or identifies the pods already"),
        ({"podAnnotations": {"raftq.io/term": "7"}}, r'podAnnotations sets "raftq\.io/term"'),
        (
            {"extraEnv": [{"name": "RAFTQ_NAME", "value": "x"}]},
            r"extraEnv sets RAFTQ_NAME, which the chart sets itself",
        ),
        *(
            ({"extraEnv": [{"name": name, "value": "1"}]}, f"extraEnv sets {name}, but ports, probes and the volume")
            for name in ("RAFTQ_HTTP_PORT", "RAFTQ_RAFT_PORT", "RAFTQ_DATA")
        ),
        *(
            ({"extraArgs": arguments}, f"extraArgs sets {arguments[0][:6]}.*, but ports, probes and the volume")
            for arguments in (["--http-port=1"], ["--http-port", "1"], ["--raft-port=1"], ["--data=/tmp"], ["--data"])
        ),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds 5: a pod needs up to 35 s"),
        (
            {"peers": {"authentication": "tls"}},
            r"peers\.secretName; its certificate is for \*\.raftq-headless\.here\.svc",
        ),
        ({"token": {"reads": True}}, r"token\.secretName names none"),
        *(
            ({"extraVolumes": [{"name": name, "emptyDir": {}}]}, f'the volume "{name}" is the chart')
            for name in ("data", "peers", "token")
        ),
        ({"extraContainers": [{"name": "agent"}]}, r'extraContainers names a container "agent"'),
        *(
            ({"extraContainers": [{"name": "x", "ports": [{"name": port, "containerPort": 1}]}]}, f'port "{port}"')
            for port in ("http", "raft")
        ),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    deployment: Deployment, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refused) as refusal:
        deployment.template(**values)
    assert re.search(sentence, str(refusal.value))


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"peers": {"authentication": "password"}},
        {"token": {"reads": "yes"}},
        {"image": {"name": "x"}},
        {"image": {"repository": ""}},
        {"replicaCount": "three"},
        {"profile": "slow"},
        {"log": {"level": "loud"}},
        {"roleLabel": "no spaces here"},
        {"service": {"port": 0}},
        {"persistence": {"size": "much"}},
        {"persistence": {"accessMode": "ReadWriteMany"}},
        *({"podDisruptionBudget": {"maxUnavailable": value}} for value in (0, "0%", "00%", "0", "101%")),
        {"livenessProbe": {"successThreshold": 2}},
        {"startupProbe": {"successThreshold": 2}},
        {"readinessProbe": {"terminationGracePeriodSeconds": 5}},
        {"livenessProbe": {"httpGet": {"path": "/"}}},
        {"podLabels": {"number": 1}},
    ],
    ids=str,
)
def test_values_that_the_schema_does_not_know_are_refused(deployment: Deployment, values: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="values don't meet the specifications of the schema"):
        deployment.template(**values)


def test_the_chart_can_be_part_of_another(deployment: Deployment) -> None:
    assert deployment.template(**{"global": {"anything": {"goes": 1}}})


def test_values_and_schema_know_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert {*values, "global"} == set(schema["properties"])


def test_the_chart_installs_the_agent_of_this_version() -> None:
    project = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]
