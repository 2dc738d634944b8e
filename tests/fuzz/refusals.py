"""What is refused on purpose though the API server would take it: one table, each with its reason.

Each sample is looked at before a run: we must refuse it in these words, and whoever judges it must
say what the reason says. So a reason that is no longer true is a finding of the run.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from lab.mesh.errors import SidecarLabError
from lab.mesh.redirection.options import parse
from tests.fuzz.apiserver import Judge

Kubectl = Callable[[str], str]
"""A manifest to kubectl's dry run on the server: "" when it is taken, else what is said."""
Truth = Literal["taken", "taken, and refused when injected", "refused by kubectl", "no grammar"]
"""What makes a refusal one of ours alone: how the API server takes the plain sample, and why that
is not the last word on it."""

POD: Final = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
APP: Final = f"{POD}  - {{name: c, image: i}}\n"
_RANGES: Final = "traffic.sidecar.istio.io/includeOutboundIPRanges"
_DEEP: Final = (
    "{manager: m, operation: Update, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: "
    + "{f:a: " * 250
    + "{}"
    + "}" * 251
)
_WINDOWS: Final = (
    "the sidecar's programs are Linux's: a pod for other nodes would wait for them for ever"
)


@dataclass(frozen=True)
class Refusal:
    """`said`: a pattern of our message. `reason` is shown; `truth` is what is checked of it."""

    name: str
    said: str
    reason: str
    truth: Truth
    samples: tuple[str, ...]


REFUSALS: Final = (
    Refusal(
        "Windows by its own field",
        r"the sidecar does not run on Windows",
        _WINDOWS,
        "taken",
        (f"{APP}  os: {{name: windows}}\n",),
    ),
    Refusal(
        "nodes of another system",
        r"the sidecar runs only on Linux",
        _WINDOWS,
        "taken",
        (f"{APP}  nodeSelector: {{kubernetes.io/os: darwin}}\n",),
    ),
    Refusal(
        "what follows a document",
        r"kubectl reads one document here, and drops",
        "kubectl and the API server drop it unsaid",
        "taken",
        (f"{APP}...\nlost: words\n",),
    ),
    Refusal(
        "too many annotations",
        r"with the sidecar's own, the annotations are \d+ bytes",
        "the API server counts the sidecar's annotations, too",
        "taken, and refused when injected",
        (APP.replace("{name: p}", f"{{name: p, annotations: {{a: {'x' * (256 * 1024 - 1)}}}}}"),),
    ),
    Refusal(
        "binary that is no text",
        r"the value of !!binary is not UTF-8 text in base64",
        "the API server puts replacement characters there, so that the text is lost unsaid",
        "taken",
        (f"{POD}  - {{name: c, image: i, args: [!!binary /w==]}}\n",),
    ),
    Refusal(
        "a tag of somebody else",
        r"tag \S+ means nothing to Kubernetes",
        "the API server drops the tag unsaid, and with it what it was to do",
        "taken",
        (f"{POD}  - {{name: c, image: !mine i}}\n",),
    ),
    Refusal(
        "no apiVersion",
        r"apiVersion (is missing|must be text)(?!, and is the number)",
        "the API server has it from the URL; kubectl, which makes the URL, refuses",
        "refused by kubectl",
        (APP.partition("\n")[2], APP.replace("v1", "''", 1), APP.replace("v1", "~", 1)),
    ),
    Refusal(
        "an empty apiVersion",
        r"there is no \w+ in '/'",
        "an empty one to the API server, which has it from the URL; kubectl refuses",
        "refused by kubectl",
        (APP.replace("v1", '"/"', 1),),
    ),
    Refusal(
        "a setting of the pod's own istio-init",
        r"istio-init could not use its settings",
        "the API server knows no program's grammar; the init program refuses what it is given",
        "taken",
        (f"{POD}  - {{name: istio-init, image: auto, args: [-z, surely]}}\n",),
    ),
    Refusal(
        "a volume of the mesh",
        r"is a volume of the mesh, and a container mounts the pod's volume",
        "the application would find Envoy's folder in place of its own volume",
        "taken",
        (
            f"{POD}  - name: c\n    image: i\n"
            "    volumeMounts: [{name: istio-envoy, mountPath: /d}]\n"
            "  volumes: [{name: istio-envoy, hostPath: {path: /x}}]\n",
        ),
    ),
    Refusal(
        "deeper than any field",
        r"nested (too deep|deeper than)",
        "no field of a pod has so many levels: the API server drops what is there unsaid",
        "taken",
        (APP.replace("{name: p}", f"{{name: p, managedFields: [{_DEEP}]}}"),),
    ),
    Refusal(
        "what no program can be given",
        r"the most that Linux passes to a program",
        "the kernel refuses a longer argument or variable, so the container never starts",
        "taken",
        (f"{POD}  - {{name: istio-proxy, image: auto, args: [{'x' * 128 * 1024}]}}\n",),
    ),
    Refusal(
        "an annotation's value",
        r"annotation \S+: |field metadata\.annotations|annotations\.\S+",
        "the API server knows no annotation's grammar; the init program refuses what it is given",
        "no grammar",
        (APP.replace("{name: p}", f"{{name: p, annotations: {{{_RANGES}: 10.0.0/8}}}}"),),
    ),
)


def refusal_of(message: str) -> Refusal | None:
    """The deliberate refusal that a message of ours is, None for any other."""
    return next((one for one in REFUSALS if re.search(one.said, message)), None)


def untrue(refused: Callable[[bytes], str], judge: Judge, kubectl: Kubectl) -> Iterator[str]:
    """What is not, or no longer, as the table says: a sentence for each such row.

    `refused`: a manifest to our message, "" when it is injected.
    """
    for one in REFUSALS:
        for sample in one.samples:
            said = refused(sample.encode())
            if not re.search(one.said, said):
                yield f"{one.name}: not refused so, but {said or 'injected'}"
            elif wrong := _untrue(one, sample, judge, kubectl):
                yield f"{one.name}: {wrong}"


def _untrue(one: Refusal, sample: str, judge: Judge, kubectl: Kubectl) -> str:
    if one.truth == "refused by kubectl":
        return "" if kubectl(sample) else "kubectl takes it"
    if isinstance(told := _asked(judge, sample), str):
        return f"the API server refuses it, too: {told[:200]}"
    if one.truth == "taken, and refused when injected":
        larger = sample.replace("annotations: {", f"annotations: {{b: {'y' * 1000}, ")
        return "" if isinstance(_asked(judge, larger), str) else "a larger one is taken"
    if one.truth == "no grammar":
        given = yaml.safe_load(sample)["metadata"]["annotations"]
        with contextlib.suppress(SidecarLabError):
            parse(["-i", *given.values()], {})
            return "the init program takes it"
    return ""


def _asked(judge: Judge, sample: str) -> Any:
    return judge.dry_run_text("Pod", sample.encode(), is_json=False, strict=True)
