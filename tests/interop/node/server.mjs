// A server that does to a client what servers do, on request of that client.
//
// It prints `listening on PORT` and ends with its standard input, so that nobody leaves it behind.
// What the events mean is written in ../README.md; ../python/server.py speaks the same protocol.

import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    "ping-interval": { type: "string", default: "25000" },
    "ping-timeout": { type: "string", default: "20000" },
    recovery: { type: "boolean", default: false },
  },
});

const http = createServer();
const io = new Server(http, {
  pingInterval: Number(options["ping-interval"]),
  pingTimeout: Number(options["ping-timeout"]),
  ...(options.recovery && { connectionStateRecovery: {} }),
});

// How many Engine.IO sessions are alive, by the `name` in the query of their first request.
const sessions = new Map();
const sessionsOf = (name) => sessions.get(name) ?? 0;
io.engine.on("connection", (session) => {
  const { name } = session.request._query;
  sessions.set(name, sessionsOf(name) + 1);
  session.on("close", () => sessions.set(name, sessionsOf(name) - 1));
});

io.of("/guarded").use((socket, next) => {
  const refusal = Object.assign(new Error("token refused"), { data: { code: "bad-token" } });
  next(socket.handshake.auth.token === "secret" ? undefined : refusal);
});

for (const namespace of ["/", "/second", "/guarded"]) {
  io.of(namespace).on("connection", serve);
}

function serve(socket) {
  socket.data.noted ??= [];
  const ignore = () => {};
  const on = (event, handle) =>
    socket.on(event, (...parameters) => {
      const asksForAnswer = typeof parameters.at(-1) === "function";
      const answer = asksForAnswer ? parameters.pop() : ignore;
      handle(parameters, answer);
    });

  on("echo", (parameters, answer) => {
    socket.emit("echoed", ...parameters);
    answer(...parameters);
  });
  on("binary_echo", (parameters, answer) => {
    const total = binaryBytesIn(parameters);
    socket.emit("binary_echoed", total, ...parameters);
    answer(total, ...parameters);
  });
  on("count", async ([count, everyMilliseconds], answer) => {
    for (let number = 0; number < count; number += 1) {
      socket.emit("counted", number);
      if (everyMilliseconds > 0) {
        await sleep(everyMilliseconds);
      }
    }
    answer(count);
  });
  on("note", ([number]) => socket.data.noted.push(number));
  on("noted", (_, answer) => answer(socket.data.noted));
  on("ask", (parameters, answer) =>
    socket.emit("asked", ...parameters, (...answers) => answer(...answers)),
  );
  on("about", (_, answer) => {
    const { name } = socket.conn.request._query;
    answer({
      sid: socket.id,
      transport: socket.conn.transport.name,
      sessions: sessionsOf(name),
      recovered: socket.recovered,
    });
  });
  on("sessions", ([name], answer) => answer(sessionsOf(name)));
  on("leave", () => socket.disconnect());
  on("close", () => socket.conn.close());
  on("miss", ([count]) => {
    socket.conn.close();
    for (let number = 0; number < count; number += 1) {
      socket.emit("counted", number);
    }
  });
  on("freeze", ([milliseconds]) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  });
  on("exit", ([manner]) => (manner === "polite" ? exitPolitely() : process.exit()));
}

function binaryBytesIn(value) {
  if (Buffer.isBuffer(value)) {
    return value.length;
  }
  const parts = value !== null && typeof value === "object" ? Object.values(value) : [];
  return parts.map(binaryBytesIn).reduce((sum, length) => sum + length, 0);
}

// Tells every client; does not wait for those that keep their connections.
async function exitPolitely() {
  await Promise.race([io.close(), sleep(500)]);
  process.exit();
}

process.stdin.resume().on("end", () => process.exit());
http.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`listening on ${http.address().port}`);
});
