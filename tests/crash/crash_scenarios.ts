import { assert, assertRejects } from "@std/assert";
import { printChecksummed } from "../../lib/state/checksummed.ts";
import type { Random } from "../cni/random.ts";
import { crashStates } from "./crash_states.ts";
import { parseLog, SANDBOX_KEY } from "../../lib/state/record_log.ts";
import { type CrashWorld, published } from "./crash_world.ts";

/** One run, of which every loss of power is built. */
export interface Scenario {
  readonly name: string;
  /** What is on the disk before. */
  readonly prepare?: (world: CrashWorld, random: Random) => Promise<void>;
  readonly act: (world: CrashWorld) => Promise<void>;
  /** Whether there is nothing on the disk before, not even directories. */
  readonly isFirst?: boolean;
  /** Whether no address is of another program: a GC frees those. */
  readonly withoutAddresses?: boolean;
}

/** The name of the boot of all scenarios. */
export const BOOT = "first";

const two = (world: CrashWorld) =>
  world.request("web", {
    networks: [{ name: "a" }, { name: "a", ifName: "net1" }],
    publish: [published(8099)],
  });

/** Those with few operations come first. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "garbage of an attachment whose namespace is gone, beside a pod that is up",
    withoutAddresses: true,
    prepare: async (world) => {
      const podwire = world.podwire(BOOT);
      await podwire.add("a", {
        containerId: world.id("hand"),
        netns: await world.netns("hand"),
        ifName: "eth0",
      });
      await podwire.sandboxes.run(world.request("web"));
    },
    act: async (world) => {
      const { removed, failed } = await world.podwire(BOOT).gc({ valid: [] });
      assert(removed.some(({ containerId }) => containerId === world.id("hand")), JSON.stringify(failed));
    },
  },
  {
    name: "a pod that is stopped while all of its start is on the disk",
    prepare: async (world) => void await world.podwire(BOOT).sandboxes.run(two(world)),
    act: async (world) => void await world.podwire(BOOT).sandboxes.stop("web"),
  },
  {
    name: "a pod that is removed while all of its start is on the disk",
    prepare: async (world) => void await world.podwire(BOOT).sandboxes.run(two(world)),
    act: async (world) => void await world.podwire(BOOT).sandboxes.remove("web", { force: true }),
  },
  {
    name: "an attachment without a sandbox, made and removed",
    act: async (world) => {
      const target = { containerId: world.id("hand"), netns: await world.netns("hand"), ifName: "eth0" };
      const podwire = world.podwire(BOOT);
      await podwire.add("a", target);
      await podwire.del("a", target);
    },
  },
  {
    name: "records of podwire 0.1.0 of another boot, recovered",
    prepare: async (world) => {
      await world.podwire(BOOT).sandboxes.run(two(world));
      await asBefore(world, world.id("web"));
      await world.loseNamespaces();
    },
    act: async (world) => void await world.podwire("second").recover(),
  },
  {
    name: "records of podwire 0.1.0, read and then written by a stop and a removal",
    prepare: async (world) => {
      await world.podwire(BOOT).sandboxes.run(two(world));
      await asBefore(world, world.id("web"));
    },
    act: async (world) => {
      const podwire = world.podwire(BOOT);
      await podwire.sandboxes.stop("web");
      await podwire.sandboxes.remove("web");
    },
  },
  {
    name: "the first pod of a machine, with two attachments and a published port",
    isFirst: true,
    act: async (world) => await world.run(world.podwire(BOOT), two(world)),
  },
  {
    name: "a pod that is run, stopped and removed",
    act: async (world) => {
      const podwire = world.podwire(BOOT);
      await world.run(podwire, two(world));
      world.end("web");
      await podwire.sandboxes.stop("web");
      await podwire.sandboxes.remove("web");
    },
  },
  {
    name: "a pod whose second network has no address left",
    act: async (world) => {
      const request = world.request("web", { networks: [{ name: "a" }, { name: "full", ifName: "net1" }] });
      await assertRejects(() => world.podwire(BOOT).sandboxes.run(request));
    },
  },
  {
    name: "two pods at once, run and removed",
    act: async (world) => {
      const podwire = world.podwire(BOOT);
      const names = ["p1", "p2"];
      await Promise.all(names.map((name) => world.run(podwire, world.request(name))));
      for (const name of names) world.end(name);
      await Promise.all(names.map((name) => podwire.sandboxes.remove(name, { force: true })));
    },
  },
  ...["recover", "before the first ADD"].map((way): Scenario => ({
    name: `a recovery (${way}) that loses its power too, after a run of three pods that did`,
    prepare: leaveThreePods,
    act: async (world) => {
      if (way === "recover") await world.podwire("second").recover();
      else await world.beforeFirstAdd("second");
    },
  })),
];

/** Starts and stops pods, loses the power, and leaves the disk in a state with records of all of them. */
async function leaveThreePods(world: CrashWorld, random: Random): Promise<void> {
  const podwire = world.podwire(BOOT);
  const { history } = await world.record(async () => {
    await podwire.sandboxes.run(two(world));
    const names = ["p1", "p2"];
    await Promise.all(names.map((name) => podwire.sandboxes.run(world.request(name))));
    await podwire.sandboxes.stop("web");
  }, random);
  await world.loseNamespaces();
  const records = ["web", "p1", "p2"].map((name) => `state/records/${world.id(name)}.rec`);
  for (const { tree } of crashStates(history, random)) {
    if (records.every((path) => tree.has(path))) return world.build(tree);
  }
  throw new Error("Cannot find a state with records of all pods");
}

/** Rewrites the records of a container as podwire 0.1.0 has them, and the layout of the state directory with them. */
async function asBefore(world: CrashWorld, id: string): Promise<void> {
  const stateDir = `${world.disk}/state`;
  const file = `${stateDir}/records/${id}.rec`;
  const { lines } = parseLog(await Deno.readFile(file));
  const last = new Map(lines.map(({ key, text }) => [key, text]));
  const folder = `${stateDir}/attachments/${id}`;
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  await Deno.mkdir(`${stateDir}/sandboxes`, { mode: 0o700 });
  for (const [key, text] of last) {
    if (key.startsWith("plan:")) continue;
    const place = key === SANDBOX_KEY ? `${stateDir}/sandboxes/${id}` : `${folder}/${key}`;
    await Deno.writeTextFile(`${place}.json`, `${text}\n`, { mode: 0o600 });
  }
  await Deno.remove(file);
  await Deno.writeTextFile(`${stateDir}/format`, await printChecksummed("podwire.format.v1", { format: 1 }));
}
