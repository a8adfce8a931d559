// The real client against the relay: client.mjs URL CHECK, with a name from CHECKS below.
//
// The relay knows two users, anna and boris, whose tokens are "secret". Ends with 0 if the check passes.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { io } from "socket.io-client";

const CANDIDATES = 20;
const PATIENCE_MILLISECONDS = 15_000;

const CHECKS = {
  websocket: () => call(["websocket"]),
  polling: () => call(["polling"]),
  upgrade: () => call(["polling", "websocket"]),
  rejected: async () => {
    const stranger = connect("anna", "wrong", ["websocket"]);
    const [error] = await once(stranger, "connect_error");
    assert.match(error.message, /anna/);
    assert.equal(stranger.active, false, "a rejected client does not try again");
  },
  turn_credentials: async () => {
    const answer = await connect("anna", "secret", ["websocket"]).emitWithAck("turn-credentials");
    assert.match(answer.username, /^\d+:anna/);
    const code = createHmac("sha1", "shared with the TURN servers").update(answer.username);
    assert.equal(answer.credential, code.digest("base64"));
    assert(answer.ttl > 0);
    assert.deepEqual(answer.uris, ["turn:127.0.0.1:3478"]);
  },
};

const [url, check] = process.argv.slice(2);
const sockets = [];
setTimeout(() => {
  console.error(`${check} is not done after ${PATIENCE_MILLISECONDS} ms`);
  process.exit(1);
}, PATIENCE_MILLISECONDS).unref();
await CHECKS[check]();
sockets.forEach((socket) => socket.close());

function connect(user, token, transports) {
  const auth = { user, token, device: `${user}-phone` };
  const socket = io(url, { auth, transports, forceNew: true });
  sockets.push(socket);
  return socket;
}

// Anna calls boris and trickles candidates while her transport changes; he gets each once, in order.
async function call(transports) {
  const boris = connect("boris", "secret", transports);
  await once(boris, "connect");
  const frames = [];
  const hasAll = new Promise((resolve) =>
    boris.on("call", (frame, acknowledge) => {
      acknowledge?.();
      if (frames.push(frame) > CANDIDATES) {
        resolve();
      }
    }),
  );

  const anna = connect("anna", "secret", transports);
  const upgraded = transports.length > 1 ? once(anna.io.engine, "upgrade") : undefined;
  await once(anna, "connect");
  const common = { from: "nobody", device: "none", to: "boris", call: "c".repeat(32) };
  const say = (number, body) =>
    anna.emitWithAck("call", { ...common, kind: "message", number, ...body });
  const said = [say(1, { follows: 0, body: { type: "offer", sdp: "v=0" } })];
  for (let number = 2; number <= CANDIDATES + 1; number += 1) {
    const candidate = { candidate: "", sdpMid: "0", usernameFragment: "abcd" };
    said.push(say(number, { body: { type: "candidate", ...candidate } }));
    await said.at(-1);
  }
  for (const answer of await Promise.all(said)) {
    assert.deepEqual(answer, { delivered: 1 });
  }
  await hasAll;
  await upgraded;
  assert.equal(anna.io.engine.transport.name, transports.at(-1));
  assert.deepEqual(
    frames.map(({ number }) => number),
    Array.from({ length: CANDIDATES + 1 }, (_, index) => index + 1),
  );
  for (const frame of frames) {
    assert.deepEqual([frame.from, frame.device], ["anna", "anna-phone"]);
  }

  const heard = once(anna, "call");
  const back = { ...common, to: "anna", to_device: "anna-phone" };
  boris.emit("call", { ...back, kind: "acknowledge", up_to: CANDIDATES + 1, beyond: [] });
  const [frame] = await heard;
  assert.deepEqual([frame.from, frame.kind, frame.up_to], ["boris", "acknowledge", CANDIDATES + 1]);
}
