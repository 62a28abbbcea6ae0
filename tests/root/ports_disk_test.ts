// Port claims and hints of failed removals on disks that are full or read-only, real ones.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Retrier } from "../../lib/attachment/retry.ts";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";
import { need } from "./need.ts";
import { diskTest, empty, fill, NO_SPACE, READ_ONLY, readOnly, withDisk, writable } from "./small_disk.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
const LIST = listOf([], { plugins: [{ type: "a", capabilities: { portMappings: true } }] });
const requestOf = (world: NetworkWorld, containerId: string, hostPort = 8080) =>
  world.request({ containerId, capabilityArgs: { portMappings: [{ hostPort, containerPort: 80 }] } });
const add = (world: NetworkWorld, containerId: string, hostPort?: number) =>
  world.attachments().add(LIST, requestOf(world, containerId, hostPort));
const del = (world: NetworkWorld, containerId: string) =>
  world.attachments().del(LIST, requestOf(world, containerId));

const LARGE = { capabilityArgs: { large: "x".repeat(5_000) } };

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

for (
  const [what, spoil, mend, words] of [
    ["full", fill, empty, NO_SPACE],
    ["read-only", readOnly, writable, READ_ONLY],
  ] as const
) {
  diskTest(
    `F67 D29 nothing runs and nothing is taken when a claim cannot be written: ${what}`,
    "stateDir",
    async (world, dir) => {
      await add(world, "c1", 9090);
      await spoil(dir);
      const error = await failing(() => add(world, "c2"));
      assertMatch(error.msg, words);
      assertEquals({ verb: error.context.verb, network: error.context.network }, {
        verb: "ADD",
        network: "web",
      });
      const free = await world.ports.requireFree([requestOf(world, "c2")]);
      assertEquals(free, undefined, "looking needs no space");
      assertEquals(
        (await failing(() => world.ports.requireFree([requestOf(world, "c2", 9090)]))).kind,
        "conflict",
      );
      assertEquals({ log: await world.plugins.log(), namesIn: await namesIn(`${dir}/ports`) }, {
        log: ["a ADD c1 eth0"],
        namesIn: [
          "tcp-9088-9151.json",
        ],
      });
      await mend(dir);
      await add(world, "c2");
    },
  );
}

Deno.test({
  name:
    "F67 if there is space for the record and none for the claim, the record is removed again and no plugin runs",
  ...need("root"),
  fn: async () => {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
    const dir = `${world.stateDir}/ports`;
    await withDisk(dir, async () => {
      await add(world, "c1", 9090);
      await fill(dir);
      const error = await failing(() => add(world, "c2"));
      assertMatch(error.message, NO_SPACE);
      assertEquals(error.context.file, `${dir}/tcp-8064-8127.json`);
      assertEquals(await world.files(), ["c1/eth0@web", "results/web-c1-eth0"]);
      await empty(dir);
      assertEquals(await namesIn(dir), ["tcp-9088-9151.json"]);
      await add(world, "c2");
      assertEquals(await world.plugins.log(), ["a ADD c1 eth0", "a ADD c2 eth0"]);
    });
  },
});

diskTest(
  "DEL goes on where no space is left, and frees the port",
  "stateDir",
  async (world, dir) => {
    await add(world, "c1");
    await add(world, "c2", 9090);
    await fill(dir);
    await del(world, "c1");
    assertEquals(await namesIn(`${dir}/ports`), ["tcp-9088-9151.json"]);
    assertEquals((await world.plugins.log()).at(-1), "a DEL c1 eth0");
    await empty(dir);
    await add(world, "c3");
  },
);

diskTest(
  "F79 a removal that fails on a full disk is on record afterwards as before, and is finished by the next",
  "stateDir",
  async (world, dir) => {
    const b = await world.plugins.install("c", {
      ADD: { stdout: resultWith("10.1.0.2/24") },
      DEL: { code: 1 },
    });
    // The last block of the file has no room for its next record.
    await world.attachments().add(listOf(["c"]), world.request(LARGE));
    await fill(dir);
    await failing(() => world.attachments().del(listOf(["c"]), world.request()));
    assertEquals((await world.store.all()).map(({ state }) => state), ["attached"]);
    assert(world.log.all.some((line) => NO_SPACE.test(line)), world.log.all.join("\n"));
    await empty(dir);
    await failing(() => world.attachments().del(listOf(["c"]), world.request()));
    assertEquals({
      all: (await world.store.all()).map(({ state }) => state),
      containers: await world.failed.containers(),
    }, {
      all: [
        "failed",
      ],
      containers: ["c1"],
    });
    await b.answer("DEL", {});
    await fill(dir);
    const { store, failed, locks, log, running } = world;
    const retrier = new Retrier({
      attachments: world.attachments(),
      store,
      failed,
      locks,
      log,
      running,
    });
    const { removed } = await retrier.retryDue({ now: new Date(Date.now() + 3_600_000) });
    assertEquals({
      removedCount: removed.length,
      files: await world.files(),
      containers: await failed.containers(),
    }, { removedCount: 1, files: [], containers: [] });
  },
);
