"""The real client against the relay: client.py URL CHECK, with a name from CHECKS below.

The relay knows two users, anna and boris, whose tokens are "secret". Ends with 0 if the check passes.
"""

import asyncio
import base64
import hmac
import re
import sys

import socketio

CANDIDATES = 20
PATIENCE_SECONDS = 15


async def connect(url, user, token, transports, events=()):
    client = socketio.AsyncClient(reconnection=False)
    for event, handle in events:
        client.on(event, handle)
    auth = {"user": user, "token": token, "device": f"{user}-phone"}
    await client.connect(url, auth=auth, transports=transports)
    return client


async def call(url, transports):
    """Anna calls boris and trickles candidates; he gets each once, in order."""
    frames = asyncio.Queue()
    boris = await connect(url, "boris", "secret", transports, [("call", frames.put)])
    heard = asyncio.Queue()
    anna = await connect(url, "anna", "secret", transports, [("call", heard.put)])

    common = {"from": "nobody", "device": "none", "to": "boris", "call": "c" * 32}
    offer = {"follows": 0, "body": {"type": "offer", "sdp": "v=0"}}
    candidate = {"type": "candidate", "candidate": "", "sdpMid": "0", "usernameFragment": "abcd"}
    for number in range(1, CANDIDATES + 2):
        said = offer if number == 1 else {"body": candidate}
        answer = await anna.call("call", {**common, "kind": "message", "number": number, **said})
        assert answer == {"delivered": 1}, answer
    for number in range(1, CANDIDATES + 2):
        frame = await frames.get()
        assert frame["number"] == number, frame
        assert (frame["from"], frame["device"]) == ("anna", "anna-phone"), frame
    assert anna.transport() == transports[-1], anna.transport()

    back = {**common, "to": "anna", "to_device": "anna-phone"}
    acknowledge = {"kind": "acknowledge", "up_to": CANDIDATES + 1, "beyond": []}
    await boris.emit("call", {**back, **acknowledge})
    frame = await heard.get()
    found = (frame["from"], frame["kind"], frame["up_to"])
    assert found == ("boris", "acknowledge", CANDIDATES + 1), frame
    assert frames.empty() and heard.empty(), "something arrived twice"
    await boris.disconnect()
    await anna.disconnect()


async def rejected(url):
    refusals = asyncio.Queue()
    try:
        await connect(url, "anna", "wrong", ["websocket"], [("connect_error", refusals.put)])
    except socketio.exceptions.ConnectionError:
        refusal = await refusals.get()
        assert "anna" in refusal["message"], refusal
    else:
        raise AssertionError("a wrong token was accepted")


async def turn_credentials(url):
    anna = await connect(url, "anna", "secret", ["websocket"])
    answer = await anna.call("turn-credentials")
    assert re.match(r"\d+:anna", answer["username"]), answer
    code = hmac.digest(b"shared with the TURN servers", answer["username"].encode(), "sha1")
    assert answer["credential"] == base64.b64encode(code).decode(), answer
    assert answer["ttl"] > 0, answer
    assert answer["uris"] == ["turn:127.0.0.1:3478"], answer
    await anna.disconnect()


CHECKS = {
    "websocket": lambda url: call(url, ["websocket"]),
    "polling": lambda url: call(url, ["polling"]),
    "upgrade": lambda url: call(url, ["polling", "websocket"]),
    "rejected": rejected,
    "turn_credentials": turn_credentials,
}

asyncio.run(asyncio.wait_for(CHECKS[sys.argv[2]](sys.argv[1]), PATIENCE_SECONDS))
