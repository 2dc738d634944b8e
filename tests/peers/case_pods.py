"""The corpus: what is in the pod itself."""

from collections.abc import Iterator

from lab.mesh.injector.settings import annotations as names
from tests.peers.pods import Data, app, pod


def various() -> Iterator[tuple[str, Data]]:
    """Pods of many containers, volumes, settings and labels."""
    two = [{"name": "one", "image": "nginx"}, {"name": "two", "image": "redis"}]
    inits = [{"name": "first", "image": "a"}, {"name": "second", "image": "b"}]
    native = {names.NATIVE_SIDECAR: "true"}
    held = {names.PROXY_CONFIG: "holdApplicationUntilProxyStarts: true"}
    yield "two containers", pod({"containers": two})
    yield "two containers, held", pod({"containers": two}, annotations=held)
    yield "init containers", pod({"containers": two, "initContainers": inits})
    yield (
        "init containers, native",
        pod({"containers": two, "initContainers": inits}, annotations=native),
    )
    log = {"name": "log", "image": "c", "restartPolicy": "Always"}
    yield "a user's native sidecar", pod({"initContainers": [inits[0], log, inits[1]]})
    yield (
        "a user's native sidecar, ours native too",
        pod({"initContainers": [inits[0], log]}, annotations=native),
    )
    yield "volumes", pod(
        {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
                     {"name": "conf", "configMap": {"name": "c", "optional": True}}]}
    )  # fmt: skip
    yield (
        "a volume named as one of ours",
        pod({"volumes": [{"name": "istio-envoy", "emptyDir": {"sizeLimit": "5Mi"}}]}),
    )
    yield "security of the pod", pod(
        {"securityContext": {"runAsUser": 1000, "fsGroup": 2000, "runAsNonRoot": True,
                             "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]}}
    )  # fmt: skip
    hardened = {"runAsUser": 1000, "readOnlyRootFilesystem": True, "privileged": False,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}  # fmt: skip
    yield "security of a container", app(securityContext=hardened)
    yield "the proxy's own user", app(securityContext={"runAsUser": 1337})
    yield "a rich pod", pod(
        {
            "serviceAccountName": "robot", "nodeSelector": {"disk": "ssd"}, "hostname": "h",
            "imagePullSecrets": [{"name": "pull"}], "priorityClassName": "high",
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "dnsPolicy": "ClusterFirst",
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
            "readinessGates": [{"conditionType": "example.com/gate"}],
            "automountServiceAccountToken": False, "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5, "restartPolicy": "OnFailure",
        },
        annotations={"example.com/any": "thing"},
    )  # fmt: skip
    yield (
        "a DNS policy of its own",
        pod({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}),
    )
    yield "environment of all sorts", app(
        env=[
            {"name": "PLAIN", "value": "v"}, {"name": "EMPTY", "value": ""},
            {"name": "REF", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        envFrom=[{"configMapRef": {"name": "all"}}],
        resources={"requests": {"cpu": "0.25"}, "limits": {"memory": "1024Mi", "cpu": 1}},
        volumeDevices=[{"name": "raw", "devicePath": "/dev/xvda"}],
    )  # fmt: skip
    yield "ports of all sorts", app(
        ports=[{"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"},
               {"name": "node", "containerPort": 9000, "hostPort": 9000, "hostIP": "127.0.0.1"}]
    )  # fmt: skip
    yield (
        "labels that name the workload",
        pod(labels={"app.kubernetes.io/name": "n", "app.kubernetes.io/version": "2", "app": "a"}),
    )
    canonical = {"service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "r"}
    yield "canonical labels of its own", pod(labels=canonical)
    ephemeral = [{"name": "debug", "image": "busybox", "targetContainerName": "app"}]
    yield "an ephemeral container", pod({"ephemeralContainers": ephemeral})
    yield "no labels at all", pod(labels={})


def unfit() -> Iterator[tuple[str, Data]]:
    """Pods in which no API server would take a sidecar, or not as asked."""
    yield "a pod for Windows", pod({"os": {"name": "windows"}})
    yield "a pod for Linux", pod({"os": {"name": "linux"}})
    less = {names.PROXY_CPU: "2", names.PROXY_CPU_LIMIT: "1"}
    yield "a limit below its request", pod(annotations=less)
    mount = {names.USER_VOLUME_MOUNT: '{"mine": {"mountPath": "/mine"}}'}
    yield "a mount without its volume", pod(annotations=mount)
    ours = {names.USER_VOLUME: '{"istio-envoy": {"emptyDir": {}}}'}
    yield "a volume of the user named as one of ours", pod(annotations=ours)
    clash = {names.USER_VOLUME_MOUNT: '{"mine": {"mountPath": "/etc/istio/proxy"}}'}
    mine = {"volumes": [{"name": "mine", "emptyDir": {}}]}
    yield "a mount where one of ours is", pod(mine, annotations=clash)
    yield "annotations of 256 KiB", pod(annotations={"big": "x" * 262_100})
    shared = {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    yield "resources of the whole pod", pod(shared)


def probes() -> Iterator[tuple[str, Data]]:
    """Each kind of probe and hook."""
    actions: dict[str, Data] = {
        "HTTP": {"httpGet": {"path": "/p", "port": 8080}},
        "HTTP of a named port": {"httpGet": {"path": "/p", "port": "web"}},
        "HTTP of an unknown port": {"httpGet": {"path": "/p", "port": "nowhere"}},
        "HTTPS": {"httpGet": {"path": "/p", "port": 8443, "scheme": "HTTPS"}},
        "HTTP with headers": {
            "httpGet": {"path": "/p", "port": 8080, "httpHeaders": [{"name": "Host", "value": "h"}]}
        },
        "HTTP of another host": {"httpGet": {"path": "/p", "port": 8080, "host": "10.1.2.3"}},
        "HTTP of the agent": {"httpGet": {"path": "/healthz/ready", "port": 15020}},
        "HTTP without a path": {"httpGet": {"port": 8080}},
        "TCP": {"tcpSocket": {"port": 8080}},
        "TCP of a named port": {"tcpSocket": {"port": "web"}},
        "TCP of another host": {"tcpSocket": {"port": 8080, "host": "10.1.2.3"}},
        "gRPC": {"grpc": {"port": 9000}},
        "gRPC of a service": {"grpc": {"port": 9000, "service": "shop.Cart"}},
        "exec": {"exec": {"command": ["true"]}},
    }
    ports = [{"name": "web", "containerPort": 8080}]
    for name, action in actions.items():
        timed = {**action, "periodSeconds": 3, "timeoutSeconds": 2, "failureThreshold": 4}
        yield (
            f"probes by {name}",
            app(ports=ports, readinessProbe=timed, livenessProbe=action, startupProbe=timed),
        )
    for name in ("HTTP", "HTTP of a named port", "HTTPS", "HTTP with headers", "TCP", "exec"):
        hooks = {"postStart": actions[name], "preStop": actions[name]}
        yield f"hooks by {name}", app(ports=ports, lifecycle=hooks)
    yield "a hook that sleeps", app(lifecycle={"preStop": {"sleep": {"seconds": 3}}})
    log = {"name": "log", "image": "c", "restartPolicy": "Always", "startupProbe": actions["TCP"]}
    yield "probes of an init container", pod({"initContainers": [{**log, "ports": ports}]})
    probed = {"image": "nginx", "livenessProbe": actions["HTTP"]}
    yield (
        "probes of two containers",
        pod({"containers": [{"name": "one", **probed}, {"name": "two", **probed}]}),
    )


def own_proxies() -> Iterator[tuple[str, Data]]:
    """A user's own istio-proxy or istio-init, each with one setting."""
    own: dict[str, Data] = {
        "nothing": {},
        "resources": {"resources": {"limits": {"cpu": "9"}, "requests": {"memory": "1Gi"}}},
        "an image": {"image": "example.com/own:1"},
        "environment": {
            "env": [{"name": "TRUST_DOMAIN", "value": "td"}, {"name": "X", "value": "y"}]
        },
        "a mount": {"volumeMounts": [{"name": "mine", "mountPath": "/mine"}]},
        "a hook": {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}},
        "a user": {"securityContext": {"runAsUser": 4711, "runAsGroup": 4711}},
        "arguments": {"args": ["proxy", "sidecar", "--concurrency", "1"]},
        "a port": {"ports": [{"name": "more", "containerPort": 15999}]},
        "a probe": {"readinessProbe": {"httpGet": {"path": "/other", "port": 15020}}},
    }  # fmt: skip
    for name, fields in own.items():
        proxy = {"name": "istio-proxy", "image": "auto", **fields}
        both = [proxy, {"name": "app", "image": "nginx"}]
        yield f"own istio-proxy: {name}", pod({"containers": both})
    proxy = {"name": "istio-proxy", "image": "auto", **own["resources"]}
    both = [{"name": "app", "image": "nginx"}, proxy]
    native = {names.NATIVE_SIDECAR: "true"}
    yield "own istio-proxy, native", pod({"containers": both}, annotations=native)
    yield (
        "own istio-proxy as an init container, native",
        pod({"initContainers": [proxy]}, annotations=native),
    )
    user = {"name": "istio-proxy", "image": "auto", **own["a user"]}
    tproxy = {names.INTERCEPTION_MODE: "TPROXY"}
    yield (
        "own istio-proxy: a user with TPROXY",
        pod({"containers": [user, {"name": "app", "image": "nginx"}]}, annotations=tproxy),
    )
    init = {"name": "istio-init", "image": "auto", "env": [{"name": "A", "value": "b"}]}
    yield "own istio-init", pod({"initContainers": [init]})
    yield "only an istio-proxy", pod({"containers": [proxy]})
