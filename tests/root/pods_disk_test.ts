// Pods on disks that are full, out of inodes, or read-only, real ones: what cannot be recorded is not begun,
// and what exists is removed all the same.
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { PodRequest } from "../../lib/pod/request.ts";
import { need } from "./need.ts";
import { PodsWorld } from "./pods_world.ts";
import { DEL_REFUSAL, until } from "./sandbox_world.ts";
import { empty, fill, filling, NO_SPACE, READ_ONLY, readOnly, withDisk, writable } from "./small_disk.ts";

/** What can be wrong with a disk: how to cause it, how to end it, how it is reported. */
const SPOILT = {
  full: [fill, empty, NO_SPACE],
  "out of inodes": [crowd, uncrowd, NO_SPACE],
  "read-only": [readOnly, writable, READ_ONLY],
} as const;
type Spoilt = keyof typeof SPOILT;

const ADDED = '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}';
const PLUG = 'nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" type veth peer name "p-$CNI_IFNAME"';
const UNPLUG = 'nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME" 2>/dev/null || :';

/** Takes the last inodes of a disk. */
async function crowd(dir: string): Promise<void> {
  await Deno.mkdir(`${dir}/crowd`);
  try {
    for (let n = 0;; n++) await Deno.writeTextFile(`${dir}/crowd/${n}`, "");
  } catch (error) {
    assertMatch(String(error), NO_SPACE);
  }
}

function uncrowd(dir: string): Promise<void> {
  return Deno.remove(`${dir}/crowd`, { recursive: true });
}

const failing = (act: () => Promise<unknown>): Promise<CniError> => assertRejects(act, CniError);

/** The interfaces that the plugins made for a pod. */
async function links({ sandbox }: PodsWorld, { netns }: PodRequest): Promise<string[]> {
  const shown = await sandbox.sh('nsenter --net="$1" ip -br link', netns);
  return shown.split("\n").flatMap((line) => /^(eth\d+)/.exec(line)?.[1] ?? []).sort();
}

/** The calls that change something. */
async function changes({ sandbox }: PodsWorld): Promise<string[]> {
  return (await sandbox.calls()).filter((line) => / (ADD|DEL) /.test(line));
}

/**
 * Runs a test of pods with one of their folders on a small disk of its own, on networks that show in the
 * kernel.
 */
function spoiltTest(
  name: string,
  folder: "state" | "cache" | "run",
  fn: (world: PodsWorld, dir: string) => Promise<void>,
): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: async () => {
      await using world = await PodsWorld.make();
      for (const network of ["a", "b"]) {
        await world.sandbox.network(network, {
          ADD: { stdout: ADDED, script: PLUG },
          DEL: { script: UNPLUG },
        });
      }
      const dir = `${world.sandbox.dir}/${folder}`;
      await withDisk(dir, () => fn(world, dir));
    },
  });
}

/** So that no further line fits into the pages that a file has already. Empty lines count for nothing. */
async function fillLastPage(file: string): Promise<void> {
  const { size } = await Deno.stat(file);
  await Deno.writeTextFile(file, "\n".repeat((PAGE - size % PAGE) % PAGE), { append: true });
}

const PAGE = 4096;
const BOTH = { networks: [{ name: "a" }, { name: "b" }] };

for (const how of ["full", "out of inodes"] as const satisfies Spoilt[]) {
  const [spoil, mend, words] = SPOILT[how];
  spoiltTest(
    `D29 F73 F79 with the state on a disk that is ${how} no pod is begun, and existing ones are removed`,
    "state",
    async (world, dir) => {
      await using pods = await world.open();
      const [before, web] = [await world.pod("before", BOTH), await world.pod("web", BOTH)];
      await pods.setUp(before);
      await spoil(dir);
      const error = await failing(() => pods.setUp(web));
      assertMatch(error.message, words);
      assertStringIncludes(error.message, `${dir}/`);
      assertEquals({ kind: error.kind, links: await links(world, web) }, { kind: "io", links: [] });
      assertEquals(await changes(world), ["a ADD before eth0", "b ADD before eth1"]);

      assertEquals(await pods.tearDown(before.containerId), []);
      assertEquals((await changes(world)).slice(2), ["b DEL before eth1", "a DEL before eth0"]);
      assertEquals(await links(world, before), []);
      assertEquals(await world.sandbox.left(), ["netns/before", "netns/web"]);
      await mend(dir);
      assertEquals((await pods.setUp(web)).networks.length, 2);
      assertEquals(await pods.tearDown(web.containerId), []);
      assertEquals(await world.sandbox.left(), ["netns/before", "netns/web"]);
    },
  );
}

spoiltTest(
  "D29 F73 F79 with the state on a disk that is read-only no pod is begun, and existing ones are detached and stay on record",
  "state",
  async (world, dir) => {
    await using pods = await world.open();
    const [before, web] = [await world.pod("before", BOTH), await world.pod("web", BOTH)];
    await pods.setUp(before);
    await readOnly(dir);
    const error = await failing(() => pods.setUp(web));
    assertMatch(error.message, READ_ONLY);
    assertStringIncludes(error.message, `${dir}/`);
    assertEquals(await changes(world), ["a ADD before eth0", "b ADD before eth1"]);
    // Reading needs no space.
    assertEquals({
      ready: (await pods.podStatus(before.containerId)).ready,
      networksCount: (await pods.networks()).length,
    }, { ready: true, networksCount: 2 });
    assertEquals((await pods.status({ fresh: true })).map(({ ready }) => ready), [true, true]);

    // Nor does a process that finds it so.
    {
      await using others = await world.open();
      assertEquals({
        networksCount: (await others.networks()).length,
        attachmentsCount: (await others.attachments()).length,
      }, { networksCount: 2, attachmentsCount: 2 });
      assertEquals((await others.status({ fresh: true })).map(({ ready }) => ready), [true, true]);
      assertMatch((await failing(() => others.setUp(web))).message, READ_ONLY);
    }
    assertEquals((await changes(world)).length, 2);

    // The caller must learn that it is not over.
    const failure = await failing(() => pods.tearDown(before.containerId));
    assertMatch(failure.message, READ_ONLY);
    assertStringIncludes(failure.message, `${dir}/`);
    assertEquals((await changes(world)).slice(2), ["b DEL before eth1", "a DEL before eth0"]);
    assertEquals(await links(world, before), []);
    assertEquals((await pods.attachments()).map(({ network }) => network).sort(), ["a", "b"]);
    await writable(dir);
    assertEquals(await pods.tearDown(before.containerId), []);
    assertEquals(await world.sandbox.left(), ["netns/before", "netns/web"]);
    await pods.setUp(web);
    assertEquals(await pods.tearDown(web.containerId), []);
  },
);

spoiltTest(
  "F72 F73 a pod whose second network takes the last space of the state is undone, last network first",
  "state",
  async (world, dir) => {
    // Where little room is enough, the last block of the file may still have it.
    const stdout = JSON.stringify({ ...JSON.parse(ADDED), dns: { search: ["x".repeat(5_000)] } });
    const plugin = await world.sandbox.network("full", {
      ADD: { stdout, script: `${PLUG}; ${filling(dir)}` },
    });
    await plugin.answer("DEL", { script: UNPLUG });
    await using pods = await world.open();
    const web = await world.pod("web", { networks: [{ name: "a" }, { name: "full" }] });
    const error = await failing(() => pods.setUp(web));
    assertMatch(error.message, NO_SPACE);
    assertStringIncludes(error.message, `${dir}/`);
    assertEquals(error.context.network, "full");
    assertEquals((await changes(world)).slice(2), ["full DEL web eth1", "a DEL web eth0"]);
    assertEquals({ links: await links(world, web), left: await world.sandbox.left() }, {
      links: [],
      left: ["netns/web"],
    });
    await empty(dir);
    await plugin.answer("ADD", { script: PLUG });
    assertEquals((await pods.setUp(web)).networks.length, 2);
    assertEquals(await pods.tearDown(web.containerId), []);
  },
);

for (const [how, [spoil, mend]] of Object.entries(SPOILT)) {
  spoiltTest(
    `F79 F97 a network that cannot be detached while the state is on a disk that is ${how} stays with its pod, and is removed by the next call`,
    "state",
    async (world, dir) => {
      const plugin = await world.sandbox.network("stuck", { DEL: DEL_REFUSAL });
      await using pods = await world.open();
      const web = await world.pod("web", { networks: [{ name: "a" }, { name: "stuck" }] });
      await pods.setUp(web);
      await fillLastPage(`${dir}/records/${web.containerId}.rec`);
      await spoil(dir);
      // Where the failure can be recorded, it is returned, and else thrown.
      const failures = await pods.tearDown(web.containerId).catch((error) => [error]);
      const [error, ...more] = failures;
      assertEquals({ code: error?.code, network: error?.context.network, more }, {
        code: 108,
        network: "stuck",
        more: [],
      });
      const left = (await pods.attachments()).map(({ network, state }) => `${network} ${state}`);
      if (error?.context.hint?.includes("again")) assertEquals(how === "out of inodes", false);
      else assertEquals({ how, left }, { how: "out of inodes", left: ["stuck failed"] });
      assertEquals(await links(world, web), []);
      await mend(dir);
      await plugin.answer("DEL", {});
      assertEquals(await pods.tearDown(web.containerId), []);
      assertEquals(await world.sandbox.left(), ["netns/web"]);
    },
  );

  spoiltTest(
    `D10 F73 F79 with the cache on a disk that is ${how} a pod is undone, and existing ones are detached in the end`,
    "cache",
    async (world, dir) => {
      await using pods = await world.open();
      const [before, web] = [await world.pod("before", BOTH), await world.pod("web", BOTH)];
      await pods.setUp(before);
      await spoil(dir);
      const error = await failing(() => pods.setUp(web));
      assertMatch(error.message, SPOILT[how as Spoilt][2]);
      assertStringIncludes(error.message, `${dir}/`);
      assertEquals((await changes(world)).slice(2), ["a ADD web eth0", "a DEL web eth0"]);
      assertEquals(await links(world, web), []);

      const failures = await pods.tearDown(before.containerId);
      // The entries are for other runtimes: if they cannot be removed, the attachment stays on record, too.
      const staysAttached = how === "read-only";
      assertEquals(failures.map(({ message }) => READ_ONLY.test(message)), staysAttached ? [true, true] : []);
      assertEquals(await links(world, before), []);
      assertEquals(
        (await pods.attachments()).map(({ state }) => state),
        staysAttached ? ["failed", "failed"] : [],
      );
      await mend(dir);
      await until(async () => (await pods.attachments()).length === 0);
      await pods.setUp(web);
      assertEquals(await pods.tearDown(web.containerId), []);
      assertEquals(await world.sandbox.left(), ["netns/before", "netns/web"]);
    },
  );
}

for (const how of ["out of inodes", "read-only"] as const satisfies Spoilt[]) {
  const [spoil, mend, words] = SPOILT[how];
  spoiltTest(
    `F47 with the locks on a disk that is ${how} nothing is begun, set-up or tear-down, until they are available`,
    "run",
    async (world, dir) => {
      await using pods = await world.open();
      const [before, web] = [await world.pod("before", BOTH), await world.pod("web", BOTH)];
      await pods.setUp(before);
      await spoil(dir);
      for (const act of [() => pods.setUp(web), () => pods.tearDown(before.containerId)]) {
        const error = await failing(act);
        assertMatch(error.message, words);
        assertStringIncludes(error.message, `${dir}/`);
      }
      assertEquals((await changes(world)).length, 2);
      assertEquals([await links(world, before), await links(world, web)], [["eth0", "eth1"], []]);
      await mend(dir);
      assertEquals(await pods.tearDown(before.containerId), []);
      await pods.setUp(web);
      assertEquals(await pods.tearDown(web.containerId), []);
      assertEquals(await world.sandbox.left(), ["netns/before", "netns/web"]);
    },
  );
}

spoiltTest("F47 F73 F79 locks need no space: on a full disk pods come and go", "run", async (world, dir) => {
  await using pods = await world.open();
  await fill(dir);
  const web = await world.pod("web", BOTH);
  await pods.setUp(web);
  assertEquals(await pods.tearDown(web.containerId), []);
  assertEquals({ links: await links(world, web), left: await world.sandbox.left() }, {
    links: [],
    left: ["netns/web"],
  });
});
