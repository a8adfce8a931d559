"""A server that does to a client what servers do, on request of that client.

It prints `listening on PORT` and ends with its standard input, so that nobody leaves it behind.
What the events mean is written in ../README.md; ../node/server.mjs speaks the same protocol.
"""

import argparse
import asyncio
import os
import sys
import time
from urllib.parse import parse_qs

import socketio
from aiohttp import web


def binary_bytes_in(value):
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return 0
    return sum(map(binary_bytes_in, value))


class Peer(socketio.AsyncNamespace):
    """One namespace. A tuple that a handler returns is the answer's arguments."""

    def __init__(self, namespace):
        super().__init__(namespace)
        self.noted = {}

    def name_of(self, session):
        query = self.server.environ[session]["QUERY_STRING"]
        return parse_qs(query).get("name", [None])[0]

    def session_of(self, sid):
        return self.server.manager.eio_sid_from_sid(sid, self.namespace)

    def sessions_of(self, name):
        """How many Engine.IO sessions with this `name` in their query are alive."""
        sockets = list(self.server.eio.sockets.items())
        return sum(not socket.closed and self.name_of(session) == name for session, socket in sockets)

    def on_connect(self, sid, _environ, auth):
        if self.namespace == "/guarded" and (auth or {}).get("token") != "secret":
            raise socketio.exceptions.ConnectionRefusedError("token refused", {"code": "bad-token"})
        self.noted[sid] = []

    def on_disconnect(self, sid, _reason):
        del self.noted[sid]

    async def on_echo(self, sid, *parameters):
        await self.emit("echoed", parameters, to=sid)
        return parameters

    async def on_binary_echo(self, sid, *parameters):
        answer = (binary_bytes_in(parameters), *parameters)
        await self.emit("binary_echoed", answer, to=sid)
        return answer

    async def on_count(self, sid, count, every_milliseconds):
        for number in range(count):
            await self.emit("counted", number, to=sid)
            if every_milliseconds > 0:
                await asyncio.sleep(every_milliseconds / 1000)
        return count

    def on_note(self, sid, number):
        self.noted[sid].append(number)

    def on_noted(self, sid):
        return self.noted[sid]

    async def on_ask(self, sid, *parameters):
        return await self.call("asked", parameters, to=sid)

    def on_about(self, sid):
        session = self.session_of(sid)
        return {
            "sid": sid,
            "transport": self.server.transport(sid, self.namespace),
            "sessions": self.sessions_of(self.name_of(session)),
            "recovered": False,
        }

    def on_sessions(self, _sid, name):
        return self.sessions_of(name)

    async def on_leave(self, sid):
        await self.disconnect(sid)

    async def on_close(self, sid):
        await self.server.eio.disconnect(self.session_of(sid))

    def on_freeze(self, _sid, milliseconds):
        time.sleep(milliseconds / 1000)

    async def on_exit(self, _sid, manner):
        if manner == "polite":
            # Closes every session, and returns once the clients have been told.
            await self.server.eio.disconnect()
        os._exit(0)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ping-interval", type=int, default=25000)
    parser.add_argument("--ping-timeout", type=int, default=20000)
    options = parser.parse_args()

    server = socketio.AsyncServer(
        async_mode="aiohttp",
        ping_interval=options.ping_interval / 1000,
        ping_timeout=options.ping_timeout / 1000,
    )
    for namespace in ["/", "/second", "/guarded"]:
        server.register_namespace(Peer(namespace))
    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


asyncio.run(main())
