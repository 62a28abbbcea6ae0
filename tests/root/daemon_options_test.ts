// What a node forbids holds in its daemon, too: the embedded network, files that others can write, names
// without a limit.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { binaryTest, sh, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

const GOOD = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) echo '{"cniVersion": "1.0.0"}' ;;
esac
`;

const run = (daemon: DaemonProcess, body: Readonly<Record<string, unknown>>) =>
  daemon.call("POST", "/v1/sandboxes", body);

binaryTest(
  "with --no-embedded no network takes the place of an empty directory, in the daemon and its pool",
  [],
  async (world) => {
    const options = ["--builtin=prefer", "--no-embedded", "--pool=podwire=1"];
    await using daemon = await DaemonProcess.start(world, options);
    const refused = await run(daemon, { name: "web", id: world.id("web") });
    assertEquals({ status: refused.status, kind: refused.json.error.kind }, {
      status: 503,
      kind: "not-ready",
    }, refused.text);
    assertStringIncludes(refused.json.error.msg, world.confDir);
    const [only, ...others] = (await daemon.call("GET", "/v1/status")).json;
    assertEquals({ ready: only.ready, reason: only.reason, others }, {
      ready: false,
      reason: "no-config",
      others: [],
    });
    const named = await run(daemon, { name: "web", networks: [{ name: "podwire" }] });
    assertEquals(
      { status: named.status, kind: named.json.error.kind },
      { status: 404, kind: "not-found" },
      named.text,
    );
    // A sandbox that needs no network is created all the same.
    const bare = await run(daemon, { name: "bare", id: world.id("bare"), networks: "none" });
    assertEquals(bare.status, 201, bare.text);
    assertEquals((await daemon.call("DELETE", "/v1/sandboxes/bare")).status, 204);
    assertEquals(await world.json(["ps"]), [], "the pool has made nothing");

    // A file ends that, without a request to the daemon.
    await world.plugin("good", GOOD);
    await world.list([{ type: "good" }]);
    await until(
      "the network is ready",
      async () => (await daemon.call("GET", "/v1/status")).json[0]?.ready === true,
    );
    assertEquals((await run(daemon, { name: "web", id: world.id("web") })).status, 201);
    assertEquals((await daemon.call("DELETE", "/v1/sandboxes/web")).status, 204);
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);

/** What makes a file or a folder unsafe, and the message of the refusal. */
const UNSAFE: readonly (readonly [what: string, script: string, words: RegExp, status: number])[] = [
  [
    "a plugin",
    "chmod 0777 bin/good",
    /the plugin is not started: it can be written by others/,
    500,
  ],
  ["a plugin directory", "chown 54321 bin", /it is owned by user 54321/, 500],
  ["a configuration file", "chmod 0666 net.d/*.conflist", /it can be written by others/, 503],
  ["a configuration directory", "chmod 0777 net.d", /the configuration directory is not used/, 503],
];

for (const [what, script, words, status] of UNSAFE) {
  binaryTest(
    `the daemon refuses ${what} that others can write, and so does its pool, unless that is allowed`,
    [],
    async (world) => {
      await world.plugin("good", GOOD);
      await world.list([{ type: "good" }]);
      await sh(`cd ${world.dir}; ${script}`);
      const id = world.id("web");
      const pool = `--pool=${world.network}=1`;
      {
        await using daemon = await DaemonProcess.start(world, [pool]);
        const refused = await run(daemon, { name: "web", id });
        assertEquals(refused.status, status, refused.text);
        assertMatch(refused.text, words);
        assertStringIncludes(refused.text, "--allow-unsafe-files");
        assertEquals(await world.json(["ps", "--allow-unsafe-files"]), []);
        await daemon.end();
      }
      await using daemon = await DaemonProcess.start(world, [pool, "--allow-unsafe-files"]);
      const made = await run(daemon, { name: "web", id });
      assertEquals(made.status, 201, made.text);
      await until(
        "the pool has one",
        async () =>
          (await world.json(["ps", "--namespace=podwire-pool"])).some(({ state }: { state: string }) =>
            state === "ready"
          ),
      );
      assertEquals((await daemon.call("DELETE", "/v1/sandboxes/web")).status, 204);
      await daemon.end();
      assertEquals(await leftIn(world), []);
    },
  );
}

const LONG = [64, 254, 300, 4_000] as const;

binaryTest(
  "the daemon refuses names of any length or does not find them, and none causes an internal error",
  [],
  async (world) => {
    await world.plugin("good", GOOD);
    await world.list([{ type: "good" }]);
    await using daemon = await DaemonProcess.start(world);
    for (const length of LONG) {
      const long = "a".repeat(length);
      const looks: readonly (readonly [string, string, unknown?])[] = [
        ["GET", `/v1/sandboxes/${long}`],
        ["GET", `/v1/sandboxes/web?namespace=${long}`],
        ["POST", `/v1/sandboxes/${long}/stop`],
        ["POST", `/v1/sandboxes/${long}/repair`, {}],
        ["POST", `/v1/attachments/${long}/forget`, { reason: "a test" }],
      ];
      for (const [method, target, body] of looks) {
        const { status, text } = await daemon.call(method, target, body);
        assertEquals([400, 404].includes(status), true, `${method} ${target}: ${status} ${text}`);
      }
      for (const target of [`/v1/sandboxes/${long}`, `/v1/sandboxes/web?namespace=${long}`]) {
        const { status, text } = await daemon.call("DELETE", target);
        assertEquals([204, 400].includes(status), true, `DELETE ${target}: ${status} ${text}`);
      }
      for (const query of ["container", "network"]) {
        const { status, text, json } = await daemon.call("GET", `/v1/attachments?${query}=${long}`);
        assertEquals(
          status === 400 || (status === 200 && json.length === 0),
          true,
          `${query} ${status} ${text}`,
        );
      }
      const bodies:
        readonly (readonly [status: readonly number[], body: Readonly<Record<string, unknown>>])[] = [
          [length > 253 ? [400] : [201], { name: long, networks: "none" }],
          [length > 253 ? [400] : [201], { name: `n${length}`, namespace: long, networks: "none" }],
          [length > 253 ? [400] : [201], { name: `u${length}`, uid: long, networks: "none" }],
          [[400, 201], { name: `i${length}`, id: long, networks: "none" }],
          [[404, 400], { name: "web", networks: [{ name: long }] }],
          [[400], { name: "web", networks: [{ name: world.network, ifName: long }] }],
        ];
      for (const [statuses, body] of bodies) {
        const { status, text, json } = await run(daemon, body);
        assertEquals(
          statuses.includes(status),
          true,
          `${JSON.stringify(body).slice(0, 60)}: ${status} ${text}`,
        );
        if (status === 201) {
          assertEquals(
            (await daemon.call("DELETE", `/v1/sandboxes/${json.id}`)).status,
            204,
          );
        }
      }
    }
    const lines = await daemon.end();
    assertEquals(lines.filter(({ level }) => level === "error"), []);
    assertEquals(await leftIn(world), []);
  },
);
