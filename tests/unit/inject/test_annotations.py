"""What a pod's annotations may hold, and what is refused by name."""

import pytest

from lab.mesh import annotations
from lab.mesh.errors import AnnotationError
from tests.unit.inject.pods import annotated, inject


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("INTERCEPTION_MODE", ["REDIRECT", "TPROXY", "NONE"], ["redirect", ""]),
        ("PROXY_CPU", ["1", "100m", "1.5", "2e3", "1Ki"], ["-1", "1 m", "x", "1mm", ""]),
        ("STATUS_PORT", ["0", "15020"], ["65536", "-1", "", "٣"]),
        ("PERIOD", ["1"], ["0", "1.5"]),
        ("INCLUDE_OUTBOUND_CIDRS", ["*", "", "10.0.0.0/8,fd00::/8"], ["10.0.0.1", "*,10.0.0.0/8"]),
        ("EXCLUDE_OUTBOUND_CIDRS", ["", "1.2.3.4/32"], ["*", "10.0.0.0/33"]),
        ("INCLUDE_INBOUND_PORTS", ["*", "", "80, 81"], ["http", "80,*", "70000"]),
        ("EXCLUDE_INBOUND_PORTS", ["80"], ["*", "80,,81"]),
        ("EXCLUDE_OUTBOUND_PORTS", ["80"], ["-1"]),
        ("EXCLUDE_INTERFACES", ["eth0,tap1"], ["a b", "averyveryverylongname"]),
        ("PROXY_CONFIG", ["", "{}", "concurrency: 2", "holdApplicationUntilProxyStarts: true"],
         ["- a", "nonsense: 1", "concurrency: two", "a: [", "concurrency: -1",
          "concurrency: true"]),
    ],
)  # fmt: skip
def test_annotation_values_are_taken_or_refused_by_name(
    name: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        inject(annotated(**{name: value}))
    for value in bad:
        with pytest.raises(AnnotationError, match=getattr(annotations, name)):
            inject(annotated(**{name: value}))
