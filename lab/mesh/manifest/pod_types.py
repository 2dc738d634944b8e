"""Defines the types of the fields of a container and of a volume, as Kubernetes does. Pure.

The table repeats the API server's own description (OpenAPI); tests/live compares the two.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from lab.mesh.manifest.field_types import Fault
from lab.mesh.manifest.reading import FieldPath

_WORDS: Final = {
    "text": "text",
    "bool": "true or false",
    "int": "a whole number",
    "either": "a whole number or text",
    "quantity": "a quantity",
    "object": "a mapping",
}
TABLE: Final = """
AWSElasticBlockStoreVolumeSource fsType:text partition:int readOnly:bool volumeID:text!
AppArmorProfile localhostProfile:text type:text!
AzureDiskVolumeSource cachingMode:text diskName:text! diskURI:text! fsType:text kind:text
  readOnly:bool
AzureFileVolumeSource readOnly:bool secretName:text! shareName:text!
CSIVolumeSource driver:text! fsType:text nodePublishSecretRef:LocalObjectReference readOnly:bool
  volumeAttributes:{text
Capabilities add:[text drop:[text
CephFSVolumeSource monitors:[text! path:text readOnly:bool secretFile:text
  secretRef:LocalObjectReference user:text
CinderVolumeSource fsType:text readOnly:bool secretRef:LocalObjectReference volumeID:text!
ClusterTrustBundleProjection labelSelector:object name:text optional:bool path:text!
  signerName:text user:int
ConfigMapEnvSource name:text optional:bool
ConfigMapKeySelector key:text! name:text optional:bool
ConfigMapProjection items:[KeyToPath name:text optional:bool
ConfigMapVolumeSource defaultMode:int defaultUser:int items:[KeyToPath name:text optional:bool
Container args:[text command:[text env:[EnvVar envFrom:[EnvFromSource image:text
  imagePullPolicy:text lifecycle:Lifecycle livenessProbe:Probe name:text! ports:[ContainerPort
  readinessProbe:Probe resizePolicy:[ContainerResizePolicy resources:ResourceRequirements
  restartPolicy:text restartPolicyRules:[ContainerRestartRule securityContext:SecurityContext
  startupProbe:Probe stdin:bool stdinOnce:bool terminationMessagePath:text
  terminationMessagePolicy:text tty:bool volumeDevices:[VolumeDevice volumeMounts:[VolumeMount
  workingDir:text
ContainerPort containerPort:int! hostIP:text hostPort:int name:text protocol:text
ContainerResizePolicy resourceName:text! restartPolicy:text!
ContainerRestartRule action:text! exitCodes:ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes operator:text! values:[int
DownwardAPIProjection items:[DownwardAPIVolumeFile
DownwardAPIVolumeFile fieldRef:ObjectFieldSelector mode:int path:text!
  resourceFieldRef:ResourceFieldSelector user:int
DownwardAPIVolumeSource defaultMode:int defaultUser:int items:[DownwardAPIVolumeFile
EmptyDirVolumeSource medium:text mode:int sizeLimit:quantity
EnvFromSource configMapRef:ConfigMapEnvSource prefix:text secretRef:SecretEnvSource
EnvVar name:text! value:text valueFrom:EnvVarSource
EnvVarSource configMapKeyRef:ConfigMapKeySelector fieldRef:ObjectFieldSelector
  fileKeyRef:FileKeySelector resourceFieldRef:ResourceFieldSelector
  secretKeyRef:SecretKeySelector
EphemeralVolumeSource volumeClaimTemplate:PersistentVolumeClaimTemplate
ExecAction command:[text
FCVolumeSource fsType:text lun:int readOnly:bool targetWWNs:[text wwids:[text
FileKeySelector key:text! optional:bool path:text! volumeName:text!
FlexVolumeSource driver:text! fsType:text options:{text readOnly:bool
  secretRef:LocalObjectReference
FlockerVolumeSource datasetName:text datasetUUID:text
GCEPersistentDiskVolumeSource fsType:text partition:int pdName:text! readOnly:bool
GRPCAction mode:text port:int! service:text
GitRepoVolumeSource directory:text repository:text! revision:text
GlusterfsVolumeSource endpoints:text! path:text! readOnly:bool
HTTPGetAction host:text httpHeaders:[HTTPHeader path:text port:either! protocol:text scheme:text
HTTPHeader name:text! value:text!
HostPathVolumeSource path:text! type:text
ISCSIVolumeSource chapAuthDiscovery:bool chapAuthSession:bool fsType:text initiatorName:text
  iqn:text! iscsiInterface:text lun:int! portals:[text readOnly:bool
  secretRef:LocalObjectReference targetPortal:text!
ImageVolumeSource pullPolicy:text reference:text
KeyToPath key:text! mode:int path:text! user:int
Lifecycle postStart:LifecycleHandler preStop:LifecycleHandler stopSignal:text
LifecycleHandler exec:ExecAction httpGet:HTTPGetAction sleep:SleepAction
  tcpSocket:TCPSocketAction
LocalObjectReference name:text
NFSVolumeSource path:text! readOnly:bool server:text!
ObjectFieldSelector apiVersion:text fieldPath:text!
PersistentVolumeClaimSpec accessModes:[text dataSource:TypedLocalObjectReference
  dataSourceRef:TypedObjectReference resources:VolumeResourceRequirements selector:object
  storageClassName:text volumeAttributesClassName:text volumeMode:text volumeName:text
PersistentVolumeClaimTemplate metadata:object spec:PersistentVolumeClaimSpec!
PersistentVolumeClaimVolumeSource claimName:text! readOnly:bool
PhotonPersistentDiskVolumeSource fsType:text pdID:text!
PodCertificateProjection certificateChainPath:text credentialBundlePath:text keyPath:text
  keyType:text! maxExpirationSeconds:int signerName:text! user:int userAnnotations:{text
PortworxVolumeSource fsType:text readOnly:bool volumeID:text!
Probe exec:ExecAction failureThreshold:int grpc:GRPCAction httpGet:HTTPGetAction
  initialDelaySeconds:int periodSeconds:int successThreshold:int tcpSocket:TCPSocketAction
  terminationGracePeriodSeconds:int timeoutSeconds:int
ProjectedVolumeSource defaultMode:int defaultUser:int sources:[VolumeProjection
QuobyteVolumeSource group:text readOnly:bool registry:text! tenant:text user:text volume:text!
RBDVolumeSource fsType:text image:text! keyring:text monitors:[text! pool:text readOnly:bool
  secretRef:LocalObjectReference user:text
ResourceClaim name:text! request:text
ResourceFieldSelector containerName:text divisor:quantity resource:text!
ResourceRequirements claims:[ResourceClaim limits:{quantity requests:{quantity
SELinuxOptions level:text role:text type:text user:text
ScaleIOVolumeSource fsType:text gateway:text! protectionDomain:text readOnly:bool
  secretRef:LocalObjectReference! sslEnabled:bool storageMode:text storagePool:text system:text!
  volumeName:text
SeccompProfile localhostProfile:text type:text!
SecretEnvSource name:text optional:bool
SecretKeySelector key:text! name:text optional:bool
SecretProjection items:[KeyToPath name:text optional:bool
SecretVolumeSource defaultMode:int defaultUser:int items:[KeyToPath optional:bool
  secretName:text
SecurityContext allowPrivilegeEscalation:bool appArmorProfile:AppArmorProfile
  capabilities:Capabilities privileged:bool procMount:text readOnlyRootFilesystem:bool
  runAsGroup:int runAsNonRoot:bool runAsUser:int seLinuxOptions:SELinuxOptions
  seccompProfile:SeccompProfile windowsOptions:WindowsSecurityContextOptions
ServiceAccountTokenProjection audience:text expirationSeconds:int path:text! user:int
SleepAction seconds:int!
StorageOSVolumeSource fsType:text readOnly:bool secretRef:LocalObjectReference volumeName:text
  volumeNamespace:text
TCPSocketAction host:text port:either!
TypedLocalObjectReference apiGroup:text kind:text! name:text!
TypedObjectReference apiGroup:text kind:text! name:text! namespace:text
Volume awsElasticBlockStore:AWSElasticBlockStoreVolumeSource azureDisk:AzureDiskVolumeSource
  azureFile:AzureFileVolumeSource cephfs:CephFSVolumeSource cinder:CinderVolumeSource
  configMap:ConfigMapVolumeSource csi:CSIVolumeSource downwardAPI:DownwardAPIVolumeSource
  emptyDir:EmptyDirVolumeSource ephemeral:EphemeralVolumeSource fc:FCVolumeSource
  flexVolume:FlexVolumeSource flocker:FlockerVolumeSource
  gcePersistentDisk:GCEPersistentDiskVolumeSource gitRepo:GitRepoVolumeSource
  glusterfs:GlusterfsVolumeSource hostPath:HostPathVolumeSource image:ImageVolumeSource
  iscsi:ISCSIVolumeSource name:text! nfs:NFSVolumeSource
  persistentVolumeClaim:PersistentVolumeClaimVolumeSource
  photonPersistentDisk:PhotonPersistentDiskVolumeSource portworxVolume:PortworxVolumeSource
  projected:ProjectedVolumeSource quobyte:QuobyteVolumeSource rbd:RBDVolumeSource
  scaleIO:ScaleIOVolumeSource secret:SecretVolumeSource storageos:StorageOSVolumeSource
  vsphereVolume:VsphereVirtualDiskVolumeSource
VolumeDevice devicePath:text! name:text!
VolumeMount bindMountOptions:[text mountPath:text! mountPropagation:text name:text!
  readOnly:bool recursiveReadOnly:text subPath:text subPathExpr:text
VolumeProjection clusterTrustBundle:ClusterTrustBundleProjection configMap:ConfigMapProjection
  downwardAPI:DownwardAPIProjection podCertificate:PodCertificateProjection
  secret:SecretProjection serviceAccountToken:ServiceAccountTokenProjection
VolumeResourceRequirements limits:{quantity requests:{quantity
VsphereVirtualDiskVolumeSource fsType:text storagePolicyID:text storagePolicyName:text
  volumePath:text!
WindowsSecurityContextOptions gmsaCredentialSpec:text gmsaCredentialSpecName:text
  hostProcess:bool runAsUserName:text
"""
"""API types, each with its fields. `[T`: a list of T; `{T`: a mapping to T; `T!`: required."""


@lru_cache(maxsize=1)
def types() -> Mapping[str, Mapping[str, str]]:
    """Returns TABLE as a mapping from an API type to its fields, each with the field's type."""
    fields_by_type: dict[str, dict[str, str]] = {}
    name = ""
    for line in TABLE.splitlines():
        words = line.split()
        if not words:
            continue
        if not line.startswith(" "):
            name = words.pop(0)
            fields_by_type[name] = {}
        fields_by_type[name].update(
            (field, kind) for field, _, kind in (word.partition(":") for word in words)
        )
    return fields_by_type


def walk(value: Any, kind: str, path: FieldPath = ()) -> Iterator[tuple[str, Any, FieldPath]]:
    """Yields (type, object, path) for each object in `value` whose type is in TABLE.

    The types of `value` must have been checked (see `faults`).
    """
    if kind[:1] in ("[", "{"):
        inside = enumerate(value) if kind[0] == "[" else value.items()
        for key, entry in inside:
            yield from walk(entry, kind[1:], (*path, key))
    elif kind in types():
        yield kind, value, path
        for key, entry in value.items():
            if entry is not None:
                yield from walk(entry, types()[kind][key].rstrip("!"), (*path, key))


def faults(
    value: Any, kind: str, path: FieldPath = (), *, types_alone: bool = False
) -> Iterator[Fault]:
    """Yields a fault for each field that has a wrong type, is unknown or is missing.

    A null counts as missing. `types_alone`: yields only the faults of wrong types.
    """
    if kind[0] in "[{":
        listed = kind[0] == "["
        if not isinstance(value, list if listed else dict):
            yield Fault(path, f"must be {'a list' if listed else 'a mapping'}")
            return
        entries: Any = enumerate(value) if isinstance(value, list) else value.items()
        for key, entry in entries:
            if entry is None and kind[1:] not in types():
                continue  # "" or 0 to an API server; an object would lack its name
            yield from faults(entry, kind[1:], (*path, key), types_alone=types_alone)
    elif kind in types():
        if not isinstance(value, dict):
            yield Fault(path, "must be a mapping")
            return
        known = types()[kind]
        for key, entry in value.items():
            if key not in known:
                if not types_alone:
                    yield Fault((*path, key), "is no field that Kubernetes knows")
            elif entry is not None:
                inner = known[key].rstrip("!")
                yield from faults(entry, inner, (*path, key), types_alone=types_alone)
        for key, inner in () if types_alone else known.items():
            if inner.endswith("!") and value.get(key) is None:
                yield Fault((*path, key), "is missing")
    elif not _is(value, kind):
        yield Fault(path, f"must be {_WORDS[kind]}")


def known(value: Any, kind: str) -> Any:
    """Returns the value without unknown fields, as an API server stores it."""
    if kind[0] == "[" and isinstance(value, list):
        return [known(entry, kind[1:]) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if kind[0] == "{":
        return {key: known(entry, kind[1:]) for key, entry in value.items()}
    if kind not in types():
        return value
    kinds = types()[kind]
    return {k: known(v, kinds[k].rstrip("!")) for k, v in value.items() if k in kinds}


def _is(value: Any, kind: str) -> bool:
    exact = not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1
    number = exact and -(2**63) <= value < 2**63
    if kind == "either":
        return isinstance(value, str) or (number and -(2**31) <= value < 2**31)
    if kind == "quantity":
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind == "int":
        return number
    return isinstance(value, {"text": str, "bool": bool, "object": dict}[kind])
