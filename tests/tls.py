"""TLS before a server that has none: it is ended here, and what it says passed on."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future

_PATIENCE = 10.0  # seconds


@contextlib.contextmanager
def tls_before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Listen for the length of a `with` block, and give the port that does."""
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    serving = _served(port, context, ready)
    thread = threading.Thread(target=lambda: asyncio.run(serving), daemon=True)
    thread.start()
    port, loop, ended = ready.result(_PATIENCE)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(_PATIENCE)


async def _served(
    target: int,
    context: ssl.SSLContext,
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, said: None)  # handshakes that fail, as they should
    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        relays.add(this)
        with contextlib.suppress(OSError):
            asking, answering = await asyncio.open_connection("127.0.0.1", target)
            both = asyncio.gather(_passed_on(reader, answering), _passed_on(asking, writer))
            try:
                await both
            except asyncio.CancelledError:
                pass
            finally:
                answering.transport.abort()
        writer.transport.abort()
        relays.discard(this)

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    ready.set_result((server.sockets[0].getsockname()[1], loop, ended))
    await ended.wait()
    server.close()
    for task in list(relays):
        task.cancel()
    await asyncio.gather(*relays)


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
