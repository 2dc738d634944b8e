"""`pilot-agent request` and `pilot-agent wait`: query a running agent from a shell or a hook."""

import http.client
import sys
import time

from lab.mesh.errors import SidecarLabError


def ask(port: int, method: str, path: str, timeout: float = 5.0) -> tuple[int, str]:
    """Send a request to the agent on loopback; return the answer's status and body.

    `timeout` is in seconds. Raises SidecarLabError when there is no answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as bad:
        raise SidecarLabError(
            f"the agent on port {port} does not answer: {bad}",
            hint="the agent listens on it while `pilot-agent proxy sidecar` runs in this pod",
        ) from bad
    finally:
        connection.close()


def request(port: int, method: str, path: str) -> int:
    """Send a request and print the answer; return the exit code: 0 for a status of 2xx, else 1."""
    status, body = ask(port, method, path)
    sys.stdout.write(body)
    if not 200 <= status < 300:
        sys.stderr.write(f"error: {method} {path}: {status}\n")
        return 1
    return 0


def wait(port: int, timeout: float, period: float) -> int:
    """Ask the agent every `period` seconds until the proxy is ready; return the exit code 0.

    If the proxy is not ready within `timeout` seconds, print the last reason and return 1.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            status, reason = ask(port, "GET", "/healthz/ready", max(0.1, min(5.0, timeout)))
        except SidecarLabError as silent:
            status, reason = 0, silent.message
        if status == 200:
            return 0
        left = deadline - time.monotonic()
        if left <= 0:
            sys.stderr.write(f"error: not ready within {timeout:g} s: {reason.strip()}\n")
            return 1
        time.sleep(min(period, left))
