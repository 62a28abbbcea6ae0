// The daemon with the compiled program, real namespaces and the built-in plugins.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Datagrams } from "../host/datagrams.ts";
import { binaryTest, type BinaryWorld, isThere, sh, until } from "./binary_world.ts";
import { DaemonProcess, leftIn, writeAll } from "./daemon_world.ts";

const BUILTIN = "--builtin=prefer";

async function worldWithNetwork(world: BinaryWorld): Promise<void> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
}

/** A plugin that hangs in its ADD and otherwise ends at once. */
const HANGING = '#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && exec sleep 600\n' +
  `[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\nexit 0\n`;

binaryTest(
  "a sandbox lives over the socket, and on the command line at the same time",
  ["ip"],
  async (world) => {
    await worldWithNetwork(world);
    await using daemon = await DaemonProcess.start(world, [BUILTIN]);
    const id = world.id("one");
    const made = await daemon.call("POST", "/v1/sandboxes", { name: "web", id, labels: { app: "web" } });
    assertEquals(made.status, 201, made.text);
    assertEquals(await world.json(["inspect", "web"]), made.json);
    assertEquals((await daemon.call("GET", "/v1/sandboxes/web")).json, made.json);
    assertEquals((await daemon.call("GET", "/v1/sandboxes?label=app=web")).json, [made.json]);
    assertEquals((await daemon.call("GET", "/v1/sandboxes?label=app=db")).json, []);
    assertStringIncludes(await world.done(["exec", "web", "--", "ip", "addr"]), made.json.ips[0]);
    const taken = await daemon.call("POST", "/v1/sandboxes", { name: "web" });
    assertEquals({ status: taken.status, kind: taken.json.error.kind }, { status: 409, kind: "conflict" });

    const other = await world.json(["run", "cli", "--id", world.id("two"), BUILTIN]);
    assertEquals((await daemon.call("GET", `/v1/sandboxes/${other.id}`)).json, other);
    assertEquals((await daemon.call("GET", "/v1/attachments")).json, await world.json(["attachments"]));

    for (let times = 0; times < 2; times++) {
      const stopped = await daemon.call("POST", "/v1/sandboxes/web/stop");
      assertEquals({ status: stopped.status, state: stopped.json.state }, { status: 200, state: "stopped" });
    }
    for (const name of ["web", "web", "cli"]) {
      assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${name}`)).status, 204);
    }
    assertEquals((await daemon.call("GET", "/v1/sandboxes/web")).status, 404);
    const lines = await daemon.end();
    assertEquals(lines.filter(({ level }) => level !== "info"), []);
    assertEquals({ isThere: await isThere(daemon.socket), leftIn: await leftIn(world) }, {
      isThere: false,
      leftIn: [],
    });
  },
);

binaryTest(
  "a client that leaves half-way leaves nothing, and one that waits gets the timeout",
  [],
  async (world) => {
    await world.plugin("hanging", HANGING);
    await world.list([{ type: "hanging" }]);
    await using daemon = await DaemonProcess.start(world, ["--request-timeout=10s"]);
    const id = world.id("one");
    const body = JSON.stringify({ name: "web", id });
    const connection = await daemon.connect();
    await writeAll(
      connection,
      `POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const hasBegun = async () =>
      (await sh(`grep -lsz CNI_CONTAINERID=${id} /proc/[0-9]*/environ || :`)) !== "";
    await until("the plugin runs", hasBegun);
    connection.close();
    await until("all is undone", async () => (await leftIn(world)).length === 0);

    const late = await daemon.call("POST", "/v1/sandboxes", { name: "web", id });
    assertEquals({ status: late.status, kind: late.json.error.kind }, { status: 504, kind: "timeout" });
    const lines = await daemon.end();
    const statuses = lines.filter(({ route }) => route === "/v1/sandboxes").map(({ status }) => status);
    assertEquals(statuses, [499, 504]);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest("an invalid or too large request does no harm", [], async (world) => {
  await world.conf("00-bad.conflist", "{");
  await using daemon = await DaemonProcess.start(world, ["--drain-timeout=10m"]);
  assertMatch(await daemon.raw("GARBAGE\r\n\r\n"), /^HTTP\/1\.1 400 /);
  const large = `POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n${
    "x".repeat(10_000_000)
  }`;
  assertMatch(await daemon.raw(large), /^HTTP\/1\.1 413 /);
  assertEquals((await daemon.call("POST", "/v1/sandboxes", { nam: "web" })).json.error.path, "nam");
  assertMatch(
    await daemon.raw("GET /healthz HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n"),
    /^HTTP\/1\.1 200 /,
  );
  const unready = await daemon.call("POST", "/v1/sandboxes", { name: "web" });
  assertEquals(
    { status: unready.status, kind: unready.json.error.kind },
    { status: 503, kind: "not-ready" },
    unready.text,
  );

  const idle = await Promise.all(Array.from({ length: 200 }, () => daemon.connect()));
  assertEquals((await daemon.call("GET", "/healthz")).text, "ok\n");
  const started = performance.now();
  await daemon.end();
  assert(performance.now() - started < 120_000, "idle connections do not keep it from ending");
  for (const connection of idle) connection.close();
  assertEquals(await leftIn(world), []);
});

binaryTest(
  "of two daemons that start at once one serves; a socket that was removed is made anew",
  [],
  async (world) => {
    const started = await Promise.allSettled([1, 2].map(() => DaemonProcess.start(world)));
    // The refused one ended; the other one served the request that it waited for.
    await using daemons = new AsyncDisposableStack();
    for (const one of started) if (one.status === "fulfilled") daemons.use(one.value);
    const alive = () => started.filter((one) => one.status === "fulfilled" && !one.value.isEnded).length;
    await until("one is left", () => Promise.resolve(alive() === 1));
    const { code, stderr } = await world.podwire(["serve", `--socket=${world.dir}/run/p.sock`]);
    assertEquals({ code, includes: stderr.includes("another process listens there") }, {
      code: 1,
      includes: true,
    }, stderr);
    await Deno.remove(`${world.dir}/run`, { recursive: true });
    await until("it is there again", () => isThere(`${world.dir}/run/p.sock`));
  },
);

binaryTest(
  "the service manager is notified of ready, reload, watchdog and stop",
  ["perl", "systemd-notify"],
  async (world) => {
    await using socket = await Datagrams.open(`${world.dir}/notify`);
    const env = { NOTIFY_SOCKET: `${world.dir}/notify`, WATCHDOG_USEC: "1000000" };
    await using daemon = await DaemonProcess.start(world, [BUILTIN], env);
    await socket.until("READY=1");
    await socket.until("WATCHDOG=1");
    daemon.child.kill("SIGHUP");
    await socket.until("RELOADING=1");
    await socket.until("READY=1");
    const ended = daemon.end();
    await socket.until("STOPPING=1");
    assertEquals((await ended).at(-1)?.msg, "ended");
  },
);

binaryTest("events report what the daemon and the command line do", [], async (world) => {
  await worldWithNetwork(world);
  await using daemon = await DaemonProcess.start(world, [BUILTIN]);
  using connection = await daemon.connect();
  await writeAll(connection, "GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
  let heard = "";
  const listening = (async () => {
    for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) heard += chunk;
  })().catch(() => {});
  await until("the stream is open", () => Promise.resolve(heard.includes(": podwire")));
  const hears = (what: string, pattern: RegExp) => until(what, () => Promise.resolve(pattern.test(heard)));
  await world.done(["run", "cli", "--id", world.id("one"), BUILTIN]);
  await hears("the sandbox", /"type":"sandbox".*"state":"ready"/);
  await hears("the attachment", /"type":"attachment".*"state":"attached"/);
  assertEquals((await daemon.call("DELETE", "/v1/sandboxes/cli")).status, 204);
  await hears("that it went", /"sandbox":null/);
  await hears("that the attachment went", /"attachment":null/);
  assert(!heard.includes('"state":"broken"'), "there is no event about a sandbox that does not exist yet");
  await world.conf("zz.conflist", "{");
  await hears("the catalogue", /"type":"catalogue".*zz\.conflist/);
  await daemon.end();
  await listening;
});

binaryTest(
  "curl works as the help says, without a content type",
  ["curl"],
  async (world) => {
    await using daemon = await DaemonProcess.start(world, [BUILTIN]);
    const curl = (words: string) => sh(`curl -sS --max-time 30 --unix-socket ${daemon.socket} ${words}`);
    const id = world.id("one");
    const url = "http://podwire/v1/sandboxes";
    const made = JSON.parse(await curl(`${url} -d '{"name": "web", "id": "${id}", "networks": "none"}'`));
    assertEquals({ id: made.id, state: made.state }, { id, state: "ready" });
    assertEquals(JSON.parse(await curl(url)), [made]);
    assertEquals(await curl(`-o /dev/null -w '%{http_code}' -X DELETE ${url}/web`), "204");
    assertMatch(
      await curl("http://podwire/metrics"),
      /^podwire_operation_duration_seconds_count\{operation="run"\} 1$/m,
    );
    assertEquals(JSON.parse(await curl("http://podwire/openapi.json")).openapi, "3.1.0");
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "the same UID and attempt that is asked for again is the same sandbox, with 200 and not 201",
  [],
  async (world) => {
    await worldWithNetwork(world);
    await using daemon = await DaemonProcess.start(world, [BUILTIN]);
    const run = (body: Readonly<Record<string, unknown>>) =>
      daemon.call("POST", "/v1/sandboxes", { name: "web", uid: "u", networks: "none", ...body });
    const first = await run({ attempt: 1 });
    assertEquals(first.status, 201, first.text);
    for (const body of [{ attempt: 1 }, { attempt: 1, id: first.json.id }]) {
      const again = await run(body);
      assertEquals({ status: again.status, json: again.json }, { status: 200, json: first.json }, again.text);
    }
    const next = await run({ attempt: 2 });
    assertEquals([next.status, next.json.id === first.json.id], [201, false]);
    const other = await run({ attempt: 1, uid: "other" });
    assertEquals({
      status: other.status,
      size: new Set([first, next, other].map(({ json }) => json.id)).size,
    }, { status: 201, size: 3 });
    // A sandbox that exists and is down is not an answer to a request for one that is up.
    assertEquals((await daemon.call("POST", `/v1/sandboxes/${first.json.id}/stop`)).status, 200);
    const taken = await run({ attempt: 1 });
    assertEquals({ status: taken.status, kind: taken.json.error.kind }, { status: 409, kind: "conflict" });
    const { paths } = (await daemon.call("GET", "/openapi.json")).json;
    const answers = Object.keys(paths["/v1/sandboxes"].post.responses);
    assertEquals(["200", "201"].every((status) => answers.includes(status)), true);
    for (const { json } of [first, next, other]) {
      assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${json.id}`)).status, 204);
    }
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);
