"""A run with everything a report can hold; also what the page is looked at with (`python -m`)."""

from lab.records.model import (
    Attachment,
    BreakRecord,
    ChapterRecord,
    ClaimRecord,
    CommandRecord,
    Failure,
    Grid,
    RunRecord,
    SetupRecord,
    StepRecord,
)

NETSTAT = """Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 0.0.0.0:80              0.0.0.0:*               LISTEN      1/nginx: master pro
"""
COLUMNS = ("address", "port", "process", "container")
PLAIN = (("0.0.0.0", "80", "nginx: master process nginx", "nginx"),)
SIDECAR = tuple(
    (address, port, process, "istio-proxy")
    for address, port, process in [
        ("127.0.0.1", "15000", "/usr/local/bin/envoy"),
        ("0.0.0.0", "15001", "/usr/local/bin/envoy"),
        ("0.0.0.0", "15006", "/usr/local/bin/envoy"),
        ("0.0.0.0", "15020", "/usr/local/bin/pilot-agent"),
        ("0.0.0.0", "15090", "/usr/local/bin/envoy"),
    ]
)
RULES = (
    ("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",),
    ("-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -j ISTIO_IN_REDIRECT",),
)

PASSED = StepRecord(
    id="1.4",
    name="one_listener",
    title="one listener",
    prose="Only nginx's master process listens, on port 80 of every address.\n\nNothing <else>.",
    outcome="passed",
    commands=(
        CommandRecord(
            "kubectl exec -n jiuxi-ns jiuxi-7c5d8bf9f-x2x4z -- netstat -ntlp", NETSTAT, "", 0, 0.31
        ),
    ),
    checked=("listeners that netstat prints is {0.0.0.0:80 1/nginx: master pro}",),
    attachments=(
        Attachment("ports", Grid(COLUMNS, PLAIN), Grid(COLUMNS, (*PLAIN, *SIDECAR))),
        Attachment("rules", Grid((), ()), Grid(("",), RULES)),
        Attachment(
            "routes", None, Grid(("destination", "gateway"), (("0.0.0.0/0", "10.244.0.1"),))
        ),
    ),
    breaks=(
        BreakRecord("a second server listens in the pod", True, "seen 0.0.0.0:8080", True, 1.9),
    ),
    claims=(
        ClaimRecord("listeners (equal)", "ch1.py:7", "a second server listens in the pod"),
        ClaimRecord("the kernel (equal)", "ch1.py:8", "", "there is only one"),
    ),
    proves=(1, 5),
    hint="is the pod Ready?",
    seconds=0.42,
)
FAILED = StepRecord(
    id="2.2",
    name="a_new_pod_takes_over",
    title="a new pod takes over",
    prose="The old pod goes, the new one says 2/2.",
    outcome="failed",
    commands=(
        CommandRecord("kubectl get po -n jiuxi-inject", "", "error: \x1b[31mno pods\x07\n", 1, 0.2),
    ),
    proves=(3,),
    failure=Failure(
        "check",
        "READY of pod jiuxi-5d9c7 (waited 20 s)",
        "2/2",
        "1/2",
        hint="`kubectl describe po` says why",
        link="envoy",
        diagnosis="Envoy in pod jiuxi-5d9c7 accepted no listeners: rejected 3 updates",
        bundle=".lab/sidecar-lab/records/bundles/jiuxi-inject-2.2",
        difference="--- expected\n+++ seen\n-2/2\n+1/2",
    ),
    seconds=20.3,
)
NOT_REACHED = StepRecord(
    id="2.3",
    name="the_same_network",
    title="the same network",
    prose="Both containers see one network.",
    outcome="not reached",
    failure=Failure("fault", "not reached: step 2.2 failed"),
)
RUN = RunRecord(
    run="abc",
    lab="sidecar-lab",
    started="2026-11-23T11:00:00+00:00",
    seconds=31.5,
    chapters=(
        ChapterRecord(
            1,
            "Plain nginx",
            "jiuxi-ns",
            "What a pod is before anything is injected.",
            (SetupRecord("a fresh namespace", 0.4), SetupRecord("the manifests", 0.0)),
            (PASSED,),
            "abc",
            0.9,
        ),
        ChapterRecord(
            2,
            "Injection",
            "jiuxi-inject",
            "What injection changes.",
            (SetupRecord("a fresh namespace", 0.4),),
            (FAILED, NOT_REACHED),
            "abc",
            21.0,
        ),
        ChapterRecord(
            3,
            "Rules",
            "jiuxi-rules",
            "Who redirects.",
            (SetupRecord("an injected pod", 3.0, Failure("fault", "no pod", hint="look")),),
            (),
            "abc",
            3.0,
        ),
    ),
    breaks=True,
    versions=(("Kubernetes", "v1.37.2"), ("Node", "sidecar-lab-control-plane")),
)
ABORTED = RunRecord(
    "", "sidecar-lab", "2026-11-23T11:00:00+00:00", 2.0,
    aborted=Failure("fault", "the Docker daemon does not answer", hint="start it"),
)  # fmt: skip
