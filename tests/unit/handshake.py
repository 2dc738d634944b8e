"""A TLS handshake in memory: OpenSSL decides."""

import contextlib
import ssl


def shown(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> bytes | None:
    """The certificate that a client sees, DER; None when the handshake does not end.

    `name`: what the client calls the server. Raises ssl.SSLCertVerificationError.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(up, down, server_side=True)
    here = client.wrap_bio(down, up, server_hostname=name)
    for _ in range(4):
        for side in (here, there):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return here.getpeercert(binary_form=True)
