#!/usr/bin/env python3
"""Writes tests/data/schemas: a JSON schema for each kind of object that deploy/ uses, for kubeconform.

They come from the Go modules below, by the ordinary module proxy, and are stripped of descriptions.
Kinds whose definitions are in no module, and those of which we use a corner, are written by hand in
tests/data/schemas/own and stay as they are. Needs Go (scripts/install-go.sh) and python3-yaml.

Run it again, and look at the difference, when a version here or a kind in deploy/ changes.
"""

import glob
import json
import os
import subprocess
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests/data/schemas")

KUBERNETES = "k8s.io/kubernetes@v1.36.3"
# `=` is a plain text in some of these files, and no value of its own type
yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)
BUILT_IN = {
    ("", "v1"): ["ConfigMap", "Namespace", "PersistentVolumeClaim", "Service", "ServiceAccount"],
    ("apps", "v1"): ["DaemonSet", "Deployment"],
    ("autoscaling", "v2"): ["HorizontalPodAutoscaler"],
    ("networking.k8s.io", "v1"): ["NetworkPolicy"],
    ("policy", "v1"): ["PodDisruptionBudget"],
}
# module, files in it, kinds by version
CUSTOM = [
    (
        "istio.io/api@v1.31.1",
        "kubernetes/customresourcedefinitions.gen.yaml",
        {
            "security.istio.io/v1": ["AuthorizationPolicy", "PeerAuthentication"],
            "networking.istio.io/v1": ["DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "VirtualService"],
            "networking.istio.io/v1alpha3": ["EnvoyFilter"],
        },
    ),
    (
        "sigs.k8s.io/gateway-api@v1.6.3",
        "config/crd/standard/*.yaml",
        {"gateway.networking.k8s.io/v1": ["Gateway", "HTTPRoute"]},
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_[ps]*.yaml",
        {"monitoring.coreos.com/v1": ["PrometheusRule", "ServiceMonitor"]},
    ),
    (
        "github.com/envoyproxy/gateway@v1.9.1",
        "charts/gateway-helm/charts/crds/crds/generated/*_[bs]*.yaml",
        {"gateway.envoyproxy.io/v1alpha1": ["Backend", "SecurityPolicy"]},
    ),
]


def module(name):
    """The folder of a module, which is downloaded where it is not there yet."""
    go = subprocess.run([f"{ROOT}/scripts/install-go.sh"], check=True, capture_output=True, text=True).stdout.strip()
    told = subprocess.run([go, "mod", "download", "-json", name], check=True, capture_output=True, text=True, cwd="/")
    return json.loads(told.stdout)["Dir"]


def write(kind, group, version, schema):
    """kubeconform's `{{.ResourceKind}}{{.KindSuffix}}`: the first word of the group, and the version."""
    suffix = "-".join(part for part in (group.split(".")[0], version) if part)
    with open(f"{OUT}/{kind.lower()}-{suffix}.json", "w", encoding="utf-8") as file:
        json.dump(schema, file, indent=None, separators=(",", ":"), sort_keys=True)
        file.write("\n")


def strict(schema):
    """The same without descriptions; what it does not name is refused, and what may be absent may be null."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    left_out = ("description", "default", "example", "format")
    found = {key: value for key, value in schema.items() if key not in left_out and not key.startswith("x-")}
    if "properties" in found:
        required = found.get("required", [])
        found["properties"] = {name: strict(value) for name, value in found["properties"].items()}
        for name, value in found["properties"].items():
            if isinstance(value.get("type"), str) and name not in required:
                value["type"] = [value["type"], "null"]
                if "enum" in value:
                    value["enum"] = value["enum"] + [None]
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties", "not"):
        if key in found:
            found[key] = strict(found[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in found:
            # alternatives name single fields of what stands beside them
            found[key] = [{k: v for k, v in one.items() if k in ("required", "not", "anyOf", "pattern", "type")} for one in found[key]]
    return found


def references(schema):
    """The names of the definitions that a schema names."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.rsplit("/", 1)[1]
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def built_in():
    """Kinds of Kubernetes itself, each with the definitions that it needs."""
    with open(f"{module(KUBERNETES)}/api/openapi-spec/swagger.json", encoding="utf-8") as file:
        definitions = json.load(file)["definitions"]
    strictly = {name: strict(definition) for name, definition in definitions.items()}
    strictly["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    for name, definition in definitions.items():
        for known in definition.get("x-kubernetes-group-version-kind", []):
            if known["kind"] not in BUILT_IN.get((known["group"], known["version"]), []):
                continue
            needed, new = {}, [name]
            while new:
                one = new.pop()
                if one not in needed:
                    needed[one] = strictly[one]
                    new.extend(references(strictly[one]))
            write(known["kind"], known["group"], known["version"], {"$ref": f"#/definitions/{name}", "definitions": needed})


def custom():
    """Kinds of others, from their CustomResourceDefinitions."""
    for name, files, kinds in CUSTOM:
        wanted = {(version, kind) for version, names in kinds.items() for kind in names}
        for path in sorted(glob.glob(os.path.join(module(name), files))):
            with open(path, encoding="utf-8") as file:
                for crd in yaml.safe_load_all(file):
                    if not crd or crd.get("kind") != "CustomResourceDefinition":
                        continue
                    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
                    for version in crd["spec"]["versions"]:
                        if (f"{group}/{version['name']}", kind) not in wanted:
                            continue
                        wanted.discard((f"{group}/{version['name']}", kind))
                        schema = strict(version["schema"]["openAPIV3Schema"])
                        schema["properties"].pop("status", None)
                        named = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
                        schema["properties"].update(named)
                        write(kind, group, version["name"], schema)
        if wanted:
            sys.exit(f"{name} has no {sorted(wanted)}")


for old in glob.glob(f"{OUT}/*.json"):
    os.remove(old)
built_in()
custom()
