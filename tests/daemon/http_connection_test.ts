// HTTP/1.1 over the daemon's socket, with clients of all kinds, including malicious ones.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { objectOf } from "../../lib/cni/shape.ts";
import { Acceptor, type Listener } from "../../lib/daemon/acceptor.ts";
import { guardProcess } from "../../lib/daemon/guard.ts";
import { Handler } from "../../lib/daemon/handler.ts";
import { type Handle, HttpConnection } from "../../lib/daemon/http_connection.ts";
import type { ByteStream } from "../../lib/daemon/inbox.ts";
import { type Route, withBody } from "../../lib/daemon/route.ts";
import { openSocketServer, type SocketServerOptions } from "../../lib/daemon/server.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { Lines } from "../attachment/world.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

/** The pattern of a response whose body has a length. */
const text = (body: string) => new Response(body, { headers: { "content-length": `${body.length}` } });

/** Answers with the method, the path and the body. */
const echo: Handle = async ({ method, url, body }) =>
  text(`${method} ${new URL(url).pathname} ${body === null ? "-" : await new Response(body).text()}`);

async function served(
  options: Omit<SocketServerOptions, "path" | "log">,
  fn: (path: string) => Promise<void>,
): Promise<void> {
  await inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    const server = await openSocketServer({ path, log: silentLogger, ...options });
    try {
      await fn(path);
    } finally {
      await server.close(1_000);
    }
  });
}

const connect = (path: string) => Deno.connect({ transport: "unix", path });

async function send(connection: Deno.Conn, request: string): Promise<void> {
  const bytes = new TextEncoder().encode(request);
  for (let at = 0; at < bytes.byteLength;) at += await connection.write(bytes.subarray(at));
}

/** Reads what arrives until the connection is closed, or until it contains this text. */
async function receive(connection: Deno.Conn, until?: string): Promise<string> {
  let received = "";
  const buffer = new Uint8Array(4_096);
  while (until === undefined || !received.includes(until)) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) break;
    received += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return received;
}

Deno.test("an answer whose length is known is one write, and a stream begins before it has anything to say", async () => {
  const written: string[] = [];
  const answers = [text("body"), new Response(new ReadableStream({ start() {} }))];
  const requests = ["GET /a HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"].map((each) =>
    new TextEncoder().encode(each)
  );
  const closed = Promise.withResolvers<null>();
  const began = Promise.withResolvers<void>();
  const stream: ByteStream = {
    read: (buffer) => {
      const request = requests.shift();
      if (request === undefined) return closed.promise;
      buffer.set(request);
      return Promise.resolve(request.byteLength);
    },
    write: (bytes) => {
      written.push(new TextDecoder().decode(bytes));
      if (written.length === 2) began.resolve();
      return Promise.resolve(bytes.byteLength);
    },
    close: () => closed.resolve(null),
  };
  const connection = new HttpConnection(stream, () => Promise.resolve(answers.shift() ?? text("")));
  const serving = connection.serve();
  await began.promise;
  connection.close();
  await serving;
  assertMatch(written[0] ?? "", /^HTTP\/1\.1 200 .*\r\n\r\nbody$/s);
  assertMatch(written[1] ?? "", /^HTTP\/1\.1 200 .*transfer-encoding: chunked.*\r\n\r\n$/s);
});

Deno.test("a connection answers requests sent one by one or at once, and ends when the client asks for it", () =>
  served({ handle: echo }, async (path) => {
    using connection = await connect(path);
    await send(connection, "GET /one HTTP/1.1\r\nhost: x\r\n\r\n");
    await receive(connection, "GET /one -");
    await send(
      connection,
      "POST /two HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /three HTTP/1.1\r\nconnection: close\r\n\r\n",
    );
    const rest = await receive(connection);
    assert(rest.indexOf("POST /two abc") < rest.indexOf("GET /three -"), rest);
    assertMatch(rest, /connection: close/);
  }));

Deno.test("a body may arrive in chunks, and only after 100 Continue", () =>
  served({ handle: echo }, async (path) => {
    using connection = await connect(path);
    await send(connection, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n");
    assertMatch(await receive(connection, "\r\n\r\n"), /^HTTP\/1\.1 100 /);
    await send(connection, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\ntrailer: z\r\n\r\n");
    assertMatch(await receive(connection, "abcde"), /^HTTP\/1\.1 200 OK\r\n[^]*POST \/ abcde$/);
    await send(connection, "HEAD / HTTP/1.0\r\n\r\n");
    assertMatch(await receive(connection), /^HTTP\/1\.1 200 [^]*\r\n\r\n$/);
  }));

Deno.test("an invalid or ambiguous request is refused, and its connection closed", () =>
  served({ handle: echo }, async (path) => {
    const cases: readonly (readonly [string, number])[] = [
      ["PRI * HTTP/2.0\r\n\r\n", 400],
      ["GET /\r\n\r\n", 400],
      ["GET / HTTP/1.1\r\nbad header\r\n\r\n", 400],
      ["GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400],
      ["POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400],
      ["POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400],
      ["POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400],
      ["POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 501],
      [`GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`, 431],
      [`GET /${"y".repeat(20_000)}`, 431],
      ["POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", 400],
      ["POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400],
      ["CONNECT host:80 HTTP/1.1\r\n\r\n", 400],
      ["GET * HTTP/1.1\r\n\r\n", 400],
      ["GET etc/passwd HTTP/1.1\r\n\r\n", 400],
    ];
    for (const [request, status] of cases) {
      using connection = await connect(path);
      await send(connection, request);
      assertEquals(Number((await receive(connection)).split(" ")[1]), status, request.slice(0, 60));
    }
  }));

Deno.test("connections that send nothing, or half of a request, are closed after a while; a stream goes on", () => {
  const stream: Handle = () => {
    let count = 0;
    let timer: ReturnType<typeof setInterval>;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        timer = setInterval(() => controller.enqueue(new TextEncoder().encode(`event ${++count}\n`)), 100);
      },
      cancel: () => clearInterval(timer),
    });
    return Promise.resolve(new Response(body));
  };
  return served({ handle: stream, limits: { idleMs: 200, headMs: 200 } }, async (path) => {
    using silent = await connect(path);
    using half = await connect(path);
    using listening = await connect(path);
    await send(half, "GET / HTTP/1.1\r\nhost:");
    await send(listening, "GET / HTTP/1.1\r\n\r\n");
    assertEquals([await receive(silent), await receive(half)], ["", ""]);
    assertMatch(await receive(listening, "event 10"), /transfer-encoding: chunked[^]*event 10/);
  });
});

Deno.test("a client that disconnects cancels its request, also in the middle of its body, and no error is logged", async () => {
  const log = new Lines();
  const aborted: unknown[] = [];
  const routes: readonly Route[] = [withBody(objectOf({}, {}), {
    method: "POST",
    path: "/slow",
    id: "slow",
    summary: "",
    answers: { 200: { description: "" } },
    handle: async ({ signal }) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      aborted.push(signal.reason);
      throw signal.reason;
    },
  })];
  const handler = new Handler({ routes, log });
  await served({ handle: (request) => handler.handle(request) }, async (path) => {
    {
      using connection = await connect(path);
      await send(connection, "POST /slow HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}");
      await until(() => handler.underWay === 1);
    }
    await until(() => aborted.length === 1);
    {
      using connection = await connect(path);
      await send(connection, "POST /slow HTTP/1.1\r\ncontent-length: 100\r\n\r\n{");
      await until(() => handler.underWay === 1);
    }
    await until(() => handler.underWay === 0);
  });
  assertEquals(log.all.filter((line) => line.startsWith("error")), []);
  assertEquals(log.all.filter((line) => line === "info request").length, 2);
});

/** A handler with one route that reads a body, and one that streams. */
function handlerOf(limits: { readMs?: number } = {}): Handler {
  const route = { summary: "", answers: { 200: { description: "" } } };
  const routes: readonly Route[] = [
    withBody(objectOf({}, {}), { ...route, method: "POST", path: "/things", id: "a", handle: () => ok }),
    { ...route, method: "GET", path: "/things", id: "b", handle: () => ok },
  ];
  return new Handler({ routes, log: silentLogger, ...limits });
}

const ok = { status: 200, json: {} };

/** Programs that get `/one` and post `abc` to `/two`, if they are on this machine. */
function clients(): Readonly<Record<string, readonly string[]>> {
  const script = `const http = require("node:http");
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (method, path, body) => new Promise((done, failed) => {
      const request = http.request({ socketPath: "SOCKET", method, path, agent }, async (answer) => {
        for await (const piece of answer) process.stdout.write(piece);
        process.stdout.write("\\n");
        done(answer.socket);
      });
      request.on("error", failed).end(body);
    });
    ask("GET", "/one").then(() => ask("POST", "/two", "abc")).finally(() => agent.destroy());`;
  const curl = ["curl", "-sS", "--unix-socket", "SOCKET"];
  const all = {
    curl: [
      ...curl,
      "http://x/one",
      "--next",
      ...curl.slice(1),
      "-d",
      "abc",
      "-H",
      "expect: 100-continue",
      "http://x/two",
    ],
    node: ["node", "-e", script],
  };
  return Object.fromEntries(Object.entries(all).filter(([name]) => isThere(name)));
}

function isThere(program: string): boolean {
  try {
    new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync();
    return true;
  } catch {
    return false;
  }
}

Deno.test("a body that stops or is too slow is answered with 408, and an invalid one with 400", () => {
  const handler = handlerOf({ readMs: 300 });
  return served({ handle: (request) => handler.handle(request) }, async (path) => {
    using silent = await connect(path);
    await send(silent, "POST /things HTTP/1.1\r\ncontent-length: 100\r\n\r\n{");
    assertMatch(await receive(silent), /^HTTP\/1\.1 408 Request Timeout\r\n[^]*connection: close/);
    using dripping = await connect(path);
    await send(dripping, "POST /things HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n");
    const drip = setInterval(() => void dripping.write(new Uint8Array(1)).catch(() => {}), 20);
    const answer = await receive(dripping);
    clearInterval(drip);
    assertMatch(answer, /^HTTP\/1\.1 408 /);
    for (const chunks of ["zz\r\n", "1\r\nab\r\n", "1\na\r\n0\r\n\r\n", `${"1".repeat(2_000)}`]) {
      using bad = await connect(path);
      await send(bad, `POST /things HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`);
      assertMatch(await receive(bad), /^HTTP\/1\.1 400 [^]*connection: close[^]*"kind":"usage"/, chunks);
    }
    assertEquals(handler.underWay, 0);
  });
});

Deno.test("a target may be an absolute URL, and OPTIONS may ask about the server itself", () => {
  const handler = handlerOf();
  return served({ handle: (request) => handler.handle(request) }, async (path) => {
    const statuses: number[] = [];
    for (
      const first of [
        "GET http://any/things",
        "OPTIONS *",
        "OPTIONS /things",
        "HEAD /things",
        "GET http://any",
      ]
    ) {
      using connection = await connect(path);
      await send(connection, `${first} HTTP/1.1\r\nconnection: close\r\n\r\n`);
      statuses.push(Number((await receive(connection)).split(" ")[1]));
    }
    assertEquals(statuses, [200, 204, 405, 200, 404]);
  });
});

Deno.test("a client that closes its own direction still gets late responses; a stream ends", async () => {
  const go = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  const handle: Handle = async ({ url, signal, body }) => {
    if (url.endsWith("/stream")) {
      return new Response(new ReadableStream({ cancel: () => cancelled.resolve() }));
    }
    if (url.endsWith("/slow")) await go.promise;
    return text(`${new URL(url).pathname} ${signal.aborted} ${await new Response(body).text()}`);
  };
  await served({ handle, limits: { probeMs: 20 } }, async (path) => {
    using connection = await connect(path);
    await send(
      connection,
      "POST /slow HTTP/1.1\r\ncontent-length: 2\r\n\r\nabPOST /next HTTP/1.1\r\ncontent-length: 2\r\n\r\ncd",
    );
    await connection.closeWrite();
    const before = await receive(connection, "102 Processing\r\n\r\nHTTP/1.1 102");
    go.resolve();
    assertMatch(
      before + await receive(connection),
      /^(HTTP\/1\.1 102 Processing\r\n\r\n)+HTTP\/1\.1 200 OK[^]*\/slow false abHTTP[^]*\/next false cd$/,
    );
    using listening = await connect(path);
    await send(listening, "GET /stream HTTP/1.1\r\n\r\n");
    await receive(listening, "chunked");
    await listening.closeWrite();
    await cancelled.promise;
    await receive(listening);
  });
});

Deno.test("a response that fails midway has no last chunk, and one for HTTP/1.0 ends with the connection", () => {
  const handle: Handle = ({ url }) => {
    let count = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        if (count++ === 0) return controller.enqueue(new TextEncoder().encode("first"));
        if (url.endsWith("/bad")) throw new Error("disk on fire");
        controller.close();
      },
    });
    return Promise.resolve(new Response(body));
  };
  return served({ handle }, async (path) => {
    using bad = await connect(path);
    await send(bad, "GET /bad HTTP/1.1\r\n\r\n");
    assertMatch(await receive(bad), /transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n$/);
    using old = await connect(path);
    await send(old, "GET /good HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    const answer = await receive(old);
    assertMatch(answer, /connection: close\r\n\r\nfirst$/);
    assert(!answer.includes("transfer-encoding"), answer);
  });
});

Deno.test("a body of some MiB in pieces of any size arrives unchanged", async () => {
  const sent = new Uint8Array(3 * 1024 * 1024).map((_, index) => index * 31 + (index >> 8));
  const head = new TextEncoder().encode(`POST / HTTP/1.1\r\ncontent-length: ${sent.byteLength}\r\n\r\n`);
  const handle: Handle = async ({ body }) => {
    const got = new Uint8Array(await new Response(body).arrayBuffer());
    return text(`${got.byteLength} ${got.every((byte, index) => byte === sent[index])}`);
  };
  await served({ handle }, async (path) => {
    using connection = await connect(path);
    const sending = (async () => {
      await connection.write(head);
      for (let at = 0, size = 1; at < sent.byteLength; size = size % 70_000 + 977) {
        at += await connection.write(sent.subarray(at, at + size));
      }
    })();
    assertMatch(await receive(connection, "true"), new RegExp(`${sent.byteLength} true$`));
    await sending;
  });
});

for (const [client, program] of Object.entries(clients())) {
  Deno.test(`${client} gets and posts over the socket`, async () => {
    await served({ handle: echo }, async (path) => {
      const { stdout, stderr } = await new Deno.Command(program[0] ?? "", {
        args: program.slice(1).map((arg) => arg.replaceAll("SOCKET", path)),
        stdin: "null",
      }).output();
      const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      assertMatch(said, /GET \/one -\s*POST \/two abc/);
    });
  });
}

Deno.test("at the limit, the connection that is idle the longest is closed; if all have requests, a new one is refused", async () => {
  const go = Promise.withResolvers<void>();
  let asked = 0;
  const handle: Handle = async ({ url }) => {
    asked++;
    if (url.endsWith("/slow")) await go.promise;
    return text("ok");
  };
  await served({ handle, maxConnections: 3 }, async (path) => {
    const idle = [await connect(path), await connect(path), await connect(path)];
    const slow = [];
    for (let index = 0; index < 3; index++) {
      const connection = await connect(path);
      slow.push(connection);
      await send(connection, "GET /slow HTTP/1.1\r\n\r\n");
      await until(() => asked === index + 1);
    }
    for (const connection of idle) assertEquals(await receive(connection), "");
    using refused = await connect(path);
    assertMatch(await receive(refused), /^HTTP\/1\.1 503 [^]*retry-after: 1/);
    go.resolve();
    for (const connection of slow) await receive(connection, "ok");
    using next = await connect(path);
    await send(next, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    assertMatch(await receive(next), /ok$/);
    for (const connection of [...idle, ...slow]) connection.close();
  });
});

Deno.test("a listener that cannot accept for a while goes on later, and logs it once", async () => {
  const waiting = Promise.withResolvers<never>();
  const closed: string[] = [];
  let calls = 0;
  const idle: ByteStream = {
    read: () => waiting.promise,
    write: () => waiting.promise,
    close: () => void closed.push("idle"),
  };
  const listener: Listener = {
    accept: () => {
      calls++;
      if (calls === 1) return Promise.resolve(idle);
      if (calls < 5) return Promise.reject(new Error("Too many open files (os error 24)"));
      return waiting.promise;
    },
    close: () => waiting.reject(new Error("closed")),
  };
  waiting.promise.catch(() => {});
  const log = new Lines();
  const acceptor = new Acceptor(listener, { handle: echo, log });
  await until(() => calls === 5);
  assertEquals({ closed, all: log.all }, {
    closed: ["idle"],
    all: [
      "warn Cannot accept a connection: Too many open files (os error 24)",
    ],
  });
  await acceptor.finish();
});

Deno.test("requests that hang do not block those of other methods", async () => {
  const go = Promise.withResolvers<void>();
  const route = (method: Route["method"], handle: Route["handle"]): Route => ({
    method,
    path: "/things",
    id: method,
    summary: "",
    answers: { 200: { description: "" } },
    handle,
  });
  const ok = () => ({ status: 200, json: {} });
  const routes = [route("POST", () => go.promise.then(ok)), route("GET", ok), route("DELETE", ok)];
  const handler = new Handler({ routes, log: silentLogger, maxRequests: 2 });
  const ask = async (method: string) =>
    (await handler.handle(new Request("http://x/things", { method }))).status;
  const stuck = [ask("POST"), ask("POST")];
  assertEquals([await ask("POST"), await ask("GET"), await ask("DELETE")], [503, 200, 200]);
  go.resolve();
  assertEquals(await Promise.all(stuck), [200, 200]);
  await handler.drained();
});

Deno.test("an uncaught error is logged and counted, and does not end the process", async () => {
  const log = new Lines();
  let count = 0;
  {
    using _guard = guardProcess({ log, onUncaught: () => void count++ });
    void Promise.reject(new Error("disk on fire"));
    setTimeout(() => {
      throw new Error("in a timer");
    });
    await until(() => count === 2);
  }
  assertEquals(log.all.sort(), [
    "error an error was not caught: disk on fire",
    "error an error was not caught: in a timer",
  ]);
});
