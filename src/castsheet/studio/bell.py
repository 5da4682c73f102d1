"""Wakes streams of events when there is something new: one question to the queue's file for all of them."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from castsheet.studio.queue import Queue

POLL_S = 0.2


class Bell:
    """Asks for the latest event now and then, as long as somebody waits for it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._asking: asyncio.Task[None] | None = None

    async def after(self, since: int, patience: float) -> bool:
        """Wait for an event after a number, so many seconds at most; whether there is one."""
        if await run_in_threadpool(self._queue.last_event) != since:
            return True
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        self._waiting[mine] = since
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask())
        try:
            await asyncio.wait_for(mine, patience)
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(mine, None)
        return True

    async def _ask(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_S)
            last = await run_in_threadpool(self._queue.last_event)
            for one, since in self._waiting.items():
                if since != last and not one.done():
                    one.set_result(None)
