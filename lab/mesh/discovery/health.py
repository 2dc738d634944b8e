"""Plain HTTP for kubelet and for a curious reader: /healthz, /readyz, /metrics, /debug/snapshot."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

REQUEST_SECONDS: Final = 5.0
"""How long a client may take to send its request."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Answer]]
_REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Not Ready"}


async def serve(pages: Pages, port: int, host: str = "0.0.0.0") -> asyncio.Server:  # noqa: S104
    """Answer GET requests for `pages`, one a connection. The pod's network is the audience."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_encoded(_answer(pages, head)))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that goes away or says nothing is owed nothing
        except asyncio.LimitOverrunError:
            writer.write(_encoded(Answer(405, "request too long\n")))
        finally:
            writer.close()

    return await asyncio.start_server(handle, host, port, limit=16384)


def _answer(pages: Pages, head: bytes) -> Answer:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or words[0] != "GET":
        return Answer(405, "only GET is answered\n")
    page = pages.get(words[1].partition("?")[0])
    return page() if page else Answer(404, "pages: " + " ".join(pages) + "\n")


def _encoded(answer: Answer) -> bytes:
    body = answer.body.encode()
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"content-type: {answer.content_type}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
