"""What a Docker daemon leaves in the machine's network when it is stopped for good."""

import shutil

from lab.command import run


def remove() -> None:
    """Delete docker0 and Docker's iptables chains, which a stopped daemon leaves behind."""
    if shutil.which("ip"):
        run(["ip", "link", "delete", "docker0"], check=False)
    for family in ("iptables", "ip6tables"):
        if not shutil.which(family):
            continue
        saved = run([f"{family}-save"], check=False)
        if saved.ok and "DOCKER" in saved.stdout:
            run([f"{family}-restore"], stdin=without_docker(saved.stdout), check=False)


def without_docker(saved: str) -> str:
    """An `iptables-save` text without Docker's chains, jumps to them and docker0's rules."""

    def is_dockers(line: str) -> bool:
        return line.startswith((":DOCKER", "-A DOCKER")) or (
            line.startswith("-A ")
            and ("DOCKER" in line or " docker0 " in line or "172.17.0.0/16" in line)
        )

    return "".join(line + "\n" for line in saved.splitlines() if not is_dockers(line))
