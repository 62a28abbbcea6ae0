// Attachments whose record is lost while libcni's cache still has them: those of this installation are
// detached, with the real plugins on the real kernel; those of another runtime are not.
import { assertEquals, assertMatch } from "@std/assert";
import { netnsId } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, heldAddresses, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";
import { putRecord, recordFile } from "../stores.ts";
import { parseLineKey, parseLog } from "../../lib/state/record_log.ts";

/** What a Go runtime has left in libcni's cache, and host-local with it. */
class Foreign {
  static readonly #KEY = { containerId: "theirs", network: "one", ifName: "eth0" };

  constructor(readonly world: World) {}

  get #file(): string {
    return `${this.world.dir}/ipam/one/${this.world.subnet4}.14`;
  }

  async make(netns: string): Promise<void> {
    const config = await Deno.readTextFile(`${this.world.dir}/conf/one.conflist`);
    const entry = { ...Foreign.#KEY, netns, config, cniArgs: [], capabilityArgs: {}, result: undefined };
    await new ResultCache(`${this.world.dir}/cache`).write(entry);
    await Deno.mkdir(`${this.world.dir}/ipam/one`, { recursive: true });
    await Deno.writeTextFile(this.#file, "theirs\r\neth0");
  }

  async assertThere(): Promise<void> {
    assertEquals(await Deno.readTextFile(this.#file), "theirs\r\neth0");
    const entry = await new ResultCache(`${this.world.dir}/cache`).read(Foreign.#KEY);
    assertEquals(entry?.containerId, "theirs");
  }
}

async function ports({ bridge }: World): Promise<number> {
  return Number(await sh(`ip -o link show master ${bridge} 2>/dev/null | wc -l`));
}

async function entries({ dir }: World): Promise<readonly string[]> {
  return (await sh(`ls ${dir}/cache/results`)).split("\n").filter((name) => name !== "");
}

async function loseRecords({ dir }: World, id: string): Promise<void> {
  const file = recordFile(`${dir}/state`, id);
  for (const { key } of parseLog(await Deno.readFile(file)).lines) {
    const subject = parseLineKey(key);
    if (subject !== undefined) await putRecord(file, subject, undefined);
  }
}

type Way = (podwire: Podwire, id: string, world: World) => Promise<unknown>;

const WAYS: Readonly<Record<string, Way>> = {
  "rm of its sandbox": (podwire, id) => podwire.sandboxes.remove(id),
  "stop of its sandbox": (podwire, id) => podwire.sandboxes.stop(id),
  "recover when its sandbox is lost too": async (podwire, id, world) => {
    await loseSandbox(podwire, id, world);
    const { removed, failed } = await podwire.recover();
    assertEquals(failed, []);
    const [attachment] = removed.filter(({ kind }) => kind === "attachment");
    assertEquals({ containerId: attachment?.containerId, why: attachment?.why }, {
      containerId: id,
      why: "its record was lost, and nothing uses it",
    });
  },
  "gc when its sandbox is lost too": async (podwire, id, world) => {
    await loseSandbox(podwire, id, world);
    const planned = await podwire.gc({ dryRun: true });
    const { removed, failed } = await podwire.gc();
    assertEquals(failed, []);
    const attachments = (items: typeof removed) => items.filter(({ kind }) => kind === "attachment");
    assertEquals(attachments(planned.removed).map(({ containerId }) => containerId), [id, id]);
    assertEquals(attachments(removed), attachments(planned.removed));
  },
};

async function loseSandbox(podwire: Podwire, id: string, world: World): Promise<void> {
  const { netns } = await podwire.sandboxes.get(id);
  await sh(`umount ${netns}; rm -f ${netns}`);
  await Deno.remove(recordFile(`${world.dir}/state`, id));
}

for (const flavour of FLAVOURS) {
  for (const [way, act] of Object.entries(WAYS)) {
    Deno.test({
      name:
        `an attachment whose record is lost is detached by ${way}, and another runtime's stays: ${flavour.name}`,
      ...need("root", "ip", ...flavour.needs),
      fn: inWorld(async (world) => {
        await bridgeNetwork(world, "one", { more: { isGateway: true } });
        const foreign = new Foreign(world);
        await foreign.make(await world.netns("theirs"));
        const podwire = runtimeOf(world, flavour, { netnsDir: `${world.dir}/netns` });
        const networks = [{ name: "one", ifName: "eth0" }, { name: "one", ifName: "net1" }];
        const { id } = await podwire.sandboxes.run({ name: `pod-${world.tag}`, networks });
        try {
          assertEquals({
            heldAddressesCount: (await heldAddresses(world, "one")).length,
            ports: await ports(world),
          }, { heldAddressesCount: 3, ports: 2 });
          await loseRecords(world, id);
          await act(podwire, id, world);
          assertEquals({
            heldAddressesCount: (await heldAddresses(world, "one")).length,
            ports: await ports(world),
          }, { heldAddressesCount: 1, ports: 0 });
          assertEquals(await entries(world), ["one-theirs-eth0"]);
          await podwire.sandboxes.remove(id, { force: true });
          await podwire.recover();
          await podwire.gc();
          assertEquals({ attachments: await podwire.attachments(), entries: await entries(world) }, {
            attachments: [],
            entries: ["one-theirs-eth0"],
          });
          await foreign.assertThere();
        } finally {
          await podwire.sandboxes.remove(id, { force: true });
          await sh(
            `umount -l ${world.dir}/netns/* 2>/dev/null; umount -l ${world.dir}/netns 2>/dev/null || :`,
          );
        }
      }),
    });
  }
}

const [BUILTIN] = FLAVOURS;

function builtinTest(name: string, fn: (world: World, podwire: Podwire) => Promise<void>): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "one", {
        chained: [{ type: "portmap", capabilities: { portMappings: true } }],
      });
      await bridgeNetwork(world, "two", { number: 1 });
      await Deno.writeTextFile(`${world.dir}/portmap`, PORTMAP, { mode: 0o755 });
      const options = { pluginDirs: [world.dir], netnsDir: `${world.dir}/netns` };
      const podwire = runtimeOf(world, BUILTIN!, options);
      try {
        await fn(world, podwire);
      } finally {
        await podwire.gc({ all: true });
        await sh(`umount -l ${world.dir}/netns/* 2>/dev/null; umount -l ${world.dir}/netns 2>/dev/null || :`);
      }
    }),
  });
}

/** A plugin that records its input. */
const PORTMAP = `#!/bin/sh
input=$(cat)
case $CNI_COMMAND in
  VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
  ADD) echo '{"cniVersion":"1.0.0"}' ;;
esac
`;

builtinTest(
  "an attachment whose record is lost keeps its host port and its interface while its sandbox is up",
  async (world, podwire) => {
    const publish = [{ hostIP: "", hostPort: 18_081, containerPort: 80, protocol: "tcp" as const }];
    const networks = [{ name: "one", ifName: "eth0" }];
    const { id, netns } = await podwire.sandboxes.run({ networks, publish });
    const before = await netnsId(netns);
    await loseRecords(world, id);
    for (const report of [await podwire.recover(), await podwire.gc(), await podwire.recover()]) {
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
      const lost = report.kept.filter(({ kind, network }) => kind === "attachment" && network === "one");
      assertEquals(lost.map(({ containerId, ifName }) => [containerId, ifName]), [[id, "eth0"]]);
      assertMatch(lost[0]?.why ?? "", /is lost; `podwire stop` or `podwire rm` of its sandbox detaches it/);
    }
    const refused = await podwire.sandboxes.run({ networks, publish }).catch((error) => error);
    assertEquals(refused.kind, "conflict");
    assertMatch(refused.message, /host port 18081\/tcp is taken .* whose record is lost/);
    assertEquals(await netnsId(netns), before);
    await podwire.sandboxes.remove(id);
    const { id: next } = await podwire.sandboxes.run({ networks, publish });
    await podwire.sandboxes.remove(next);
    assertEquals(await heldAddresses(world, "one"), []);
  },
);

builtinTest(
  "an attachment that was made by hand and whose record is lost is removed when its namespace is gone, or when all such are removed",
  async (world, podwire) => {
    const netns = await world.netns("hand");
    const add = async (containerId: string, ifName: string) => {
      const target = { containerId, netns, ifName, owner: "cli", args: [], capabilityArgs: {} };
      await podwire.add("one", target);
      await loseRecords(world, containerId);
    };
    await add(`a-${world.tag}`, "eth0");
    for (const report of [await podwire.recover(), await podwire.gc()]) {
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
      assertMatch(report.kept[0]?.why ?? "", /is lost, and it is unknown whether it is in use/);
    }
    assertEquals((await podwire.gc({ all: true })).removed.length, 1);
    assertEquals({ heldAddresses: await heldAddresses(world, "one"), ports: await ports(world) }, {
      heldAddresses: [],
      ports: 0,
    });
    await add(`b-${world.tag}`, "eth0");
    await sh(`umount ${netns}`);
    assertEquals((await podwire.recover()).removed.length, 1);
    assertEquals({ heldAddresses: await heldAddresses(world, "one"), entries: await entries(world) }, {
      heldAddresses: [],
      entries: [],
    });
  },
);

builtinTest(
  "what another runtime attached under the ID of a sandbox stays with it, also in the sandbox's namespace",
  async (world, podwire) => {
    const { id, netns } = await podwire.sandboxes.run({ networks: [{ name: "one", ifName: "eth0" }] });
    const cache = new ResultCache(`${world.dir}/cache`);
    const key = { containerId: id, network: "two", ifName: "eth1" };
    const config = await Deno.readTextFile(`${world.dir}/conf/two.conflist`);
    await cache.write({ ...key, netns, config, cniArgs: [], capabilityArgs: {}, result: undefined });
    // Detached by another runtime, which attaches it again with arguments of its own.
    const own = (await cache.read({ ...key, network: "one", ifName: "eth0" }))!;
    await cache.write({ ...own, cniArgs: [["IgnoreUnknown", "1"], ["THEIRS", "1"]] });
    await loseRecords(world, id);
    await podwire.recover();
    await podwire.gc();
    assertEquals(await entries(world), [`one-${id}-eth0`, `two-${id}-eth1`]);
    assertEquals((await heldAddresses(world, "one")).length, 1);
    await podwire.sandboxes.remove(id);
    await podwire.recover();
    assertEquals(await entries(world), [`one-${id}-eth0`, `two-${id}-eth1`]);
    await cache.write(own);
    await sh(`rm -f ${world.dir}/cache/results/*`);
  },
);
