"""The Kubernetes example: whole objects, locked containers, probes and limits, and commands that are del-audit's."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OBJECTS = [one for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text(encoding="utf8"))]
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in OBJECTS if "template" in one["spec"]}
CONTAINERS = [
    pytest.param(pod, one, id=f"{name}:{one['name']}")
    for name, pod in PODS.items()
    for one in [*pod["containers"], *pod["initContainers"]]
]
(SERVER,) = PODS["del-audit-server"]["containers"]
(PROXY,) = PODS["app"]["initContainers"]


def test_the_objects_are_whole():
    assert [one["kind"] for one in OBJECTS] == ["StatefulSet", "Deployment", "Service", "NetworkPolicy"]
    assert all({"apiVersion", "kind", "metadata", "spec"} <= set(one) for one in OBJECTS)
    for one in OBJECTS[:2]:
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pods_are_not_root_and_have_no_token(pod):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] > 30  # what open answers have


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_containers_are_locked_and_limited(pod, container):
    locked = container["securityContext"]
    assert locked["readOnlyRootFilesystem"] is True
    assert locked["allowPrivilegeEscalation"] is False
    assert locked["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert ":" in container["image"]
    assert not container["image"].endswith(":latest")


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_what_is_mounted_is_there(pod, container):
    claims = [one for found in OBJECTS for one in found["spec"].get("volumeClaimTemplates", ())]
    names = {one["name"] for one in pod["volumes"]} | {one["metadata"]["name"] for one in claims}
    assert {one["name"] for one in container.get("volumeMounts", ())} <= names


def test_both_are_probed():
    for container in (SERVER, PROXY):
        assert {"startupProbe", "readinessProbe"} <= set(container)
    assert "/health" in str(SERVER["readinessProbe"])
    assert "/health" in str(PROXY["readinessProbe"])
    assert "/health" not in str(SERVER["livenessProbe"])


def test_the_proxy_is_a_side_car_that_only_its_pod_reaches():
    assert PROXY["restartPolicy"] == "Always"
    assert "ports" not in PROXY
    assert not [word for word in PROXY["args"] if word.startswith("--host")]
    (app,) = PODS["app"]["containers"]
    assert {"name": "OPENAI_BASE_URL", "value": "http://localhost:8701/v1"} in app["env"]


def test_the_ledger_outlives_the_pod_and_stays_its_owners():
    (claim,) = OBJECTS[0]["spec"]["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/var/lib/del-audit"} in PROXY["volumeMounts"]
    assert PODS["app"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert OBJECTS[0]["spec"]["replicas"] == 1


def test_secrets_are_named_and_not_written_down():
    texts = [path.read_text(encoding="utf8") for path in FOLDER.glob("*.yaml")]
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]
    assert all("secretName" in text for text in texts)


def test_their_commands_are_del_audits(parsed):
    assert parsed(["serve", *SERVER["args"]])
    assert parsed(["proxy", "/client", *PROXY["args"]])
