"""One WebSocket as Hypercorn has it, with turns for others and an end.

A frame costs some 0.1 ms of the event loop, even an empty one, and Hypercorn takes as many as fit
in 64 KiB one after the other: 11,000 of them kept everybody waiting for 0.8 s. Nor does it close
the connection of a handshake that it refuses by itself, and one whose client has left it keeps
until the next ping is due, which holds up the end of the service.
"""

import trio
from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.ws_stream import FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.events import Event as WsEvent
from wsproto.frame_protocol import CloseReason

FREE_FRAMES = 1_000  # at once, that end no message: pings, pongs, tiny fragments
FRAMES_PER_S = 100.0
LEAST_BYTES = 32  # of a part of a message that is none of them, however its sender's network cut it
TURN_FRAMES = 32
LET_GO_S = 5.0  # for a client to hear why it is told to leave, and to do so


class Frames(WSStream):
    """Whole messages are bounded by their credit; too many other frames end the connection."""

    _spare = float(FREE_FRAMES)
    _counted_at = 0.0
    _waiting: tuple[trio.CancelScope, ...] = ()
    _told_to_leave = False

    async def handle(self, event: Event) -> None:
        was_closed = self.closed
        await super().handle(event)
        if self.closed:
            for scope in self._waiting:
                scope.cancel()
        if self.closed and not was_closed and not isinstance(event, StreamClosed):
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        with self._until_closed():
            await super()._send_pings()

    async def _let_go(self) -> None:
        """Of a client that was told to leave: not at once, or it would not hear why."""
        with self._until_closed():
            await trio.sleep(LET_GO_S)
            await self.send(StreamClosed(stream_id=self.stream_id))

    def _until_closed(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._waiting = (*self._waiting, scope)
        return scope

    async def _handle_events(self) -> None:
        for number, event in enumerate(self.connection.events(), start=1):
            if number % TURN_FRAMES == 0:
                await trio.lowlevel.checkpoint()
            if self.closed:
                return
            if not self._may_go_on(event):
                await self._send_wsproto_event(CloseConnection(code=CloseReason.POLICY_VIOLATION))
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
            if isinstance(event, Message):
                if self._told_to_leave:
                    continue
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    close = CloseConnection(code=CloseReason.MESSAGE_TOO_BIG)
                    await self._send_wsproto_event(close)
                    self._told_to_leave = True
                    self.task_group.spawn(self._let_go)
                    continue
                if event.message_finished and self.app_put is not None:
                    await self.app_put(self.buffer.to_message())
                    self.buffer.clear()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))

    def _may_go_on(self, event: WsEvent) -> bool:
        if isinstance(event, CloseConnection):
            return True
        if isinstance(event, Message) and (
            event.message_finished or len(event.data) >= LEAST_BYTES
        ):
            return True
        now = trio.current_time()
        earned = (now - self._counted_at) * FRAMES_PER_S
        self._spare, self._counted_at = min(FREE_FRAMES, self._spare + earned) - 1, now
        return self._spare >= 0
