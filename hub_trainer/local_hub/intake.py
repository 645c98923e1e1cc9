"""Request bodies on their way in: one block is written and hashed while the next one comes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from hub_trainer.local_hub.errors import WireError

BLOCK_BYTES = 4 * 1024 * 1024
Block = list[bytes]
"""Bytes as the socket gave them: joining them would copy every body once more."""


async def pour(
    request: Request, most: int, refusal: WireError, *sinks: Callable[[Block], object]
) -> int:
    """Give each block of the body to every sink, in threads; gives back how many bytes came.

    Memory holds two blocks. A body of more than `most` bytes is refused. When this returns or
    raises, no sink is at work any more, so files may be closed.
    """
    size = 0
    working: list[asyncio.Future[object]] = []
    try:
        async for block in _blocks(request):
            size += sum(map(len, block))
            if size > most:
                raise refusal
            await asyncio.gather(*working)
            working = [asyncio.ensure_future(run_in_threadpool(sink, block)) for sink in sinks]
        await asyncio.gather(*working)
    finally:
        await asyncio.gather(*working, return_exceptions=True)
    return size


async def _blocks(request: Request) -> AsyncIterator[Block]:
    """The body in larger pieces than the socket gives, to save thread hops."""
    block: Block = []
    length = 0
    async for chunk in request.stream():
        block.append(chunk)
        length += len(chunk)
        if length >= BLOCK_BYTES:
            yield block
            block, length = [], 0
    if length:
        yield block


def sync_file(stream: BinaryIO) -> None:
    """What was written is on disk afterwards."""
    stream.flush()
    os.fsync(stream.fileno())
