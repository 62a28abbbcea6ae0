// Records that can no longer be read, on real namespaces with the built-in plugins: their addresses are
// freed.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { RecoveryItem, RecoveryReport } from "../../lib/sandbox/recovery_report.ts";
import { podsTest, type PodsWorld } from "./pods_world.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";
import { putRecord, recordFile, recordText, type Subject } from "../stores.ts";

/** The file of a container, and the key of one of its records. */
type Place = readonly [file: string, subject: Subject];

/** The network `web`: a bridge of its own, removed at the end of the block, with addresses in this world. */
class Web implements AsyncDisposable {
  readonly #link = `dpw-${crypto.randomUUID().slice(0, 8)}`;

  private constructor(readonly world: SandboxWorld) {}

  static async make(world: SandboxWorld): Promise<Web> {
    const web = new Web(world);
    const ipam = { type: "host-local", dataDir: `${world.dir}/addresses`, subnet: "10.242.1.0/29" };
    const bridge = { type: "bridge", bridge: web.#link, ipam };
    const list = { cniVersion: "1.0.0", name: "web", plugins: [bridge] };
    await Deno.writeTextFile(`${world.confDir}/web.conflist`, JSON.stringify(list));
    return web;
  }

  /** The addresses that are taken. */
  async taken(): Promise<string[]> {
    const names = await Array.fromAsync(Deno.readDir(`${this.world.dir}/addresses/web`), ({ name }) => name);
    return names.filter((name) => name.startsWith("10.")).sort();
  }

  /** The file and the key of the record of an attachment. */
  record(id: string): Place {
    return [recordFile(this.world.stateDir, id), { ifName: "eth0", network: "web" }];
  }

  /** What is in the folders of the records, read or not. */
  async files(): Promise<string[]> {
    const dirs = ["records", "names"].map((name) => `${this.world.stateDir}/${name}`);
    const found = await this.world.sh('find "$@" -type f 2>/dev/null || :', ...dirs);
    return found.split("\n").filter((line) => line !== "").map((line) => this.world.plain(line));
  }

  async assertNothingLeft(): Promise<void> {
    assertEquals({ taken: await this.taken(), files: await this.files(), left: await this.world.left() }, {
      taken: [],
      files: [],
      left: [],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world.sh('ip link delete dev "$1" 2>/dev/null || :', this.#link);
  }
}

/** Much of a truncated record can still be read. */
async function cut([file, subject]: Place): Promise<void> {
  await putRecord(file, subject, (await recordText(file, subject) ?? "").slice(0, -10));
}

async function garble([file, subject]: Place): Promise<void> {
  await putRecord(file, subject, "\0\0\0");
}

const attachments = (items: readonly RecoveryItem[]) => items.filter(({ kind }) => kind === "attachment");
const shown = ({ removed, kept, failed }: RecoveryReport) =>
  [removed, kept, failed].map((items) => items.length);

sandboxTest(
  "F75 F78 an attachment whose record cannot be read is listed while its sandbox is up, and detached afterwards",
  async (world) => {
    await using web = await Web.make(world);
    const podwire = world.podwire();
    for (const damage of [cut, garble]) {
      const id = world.id("c1");
      await podwire.sandboxes.run({ name: "web", id });
      await damage(web.record(id));
      const file = recordFile(world.stateDir, id);
      const text = await Deno.readTextFile(file);
      const report = await podwire.recover();
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
      const [kept] = attachments(report.kept);
      assertEquals({
        containerId: kept?.containerId,
        network: kept?.network,
        ifName: kept?.ifName,
        file: kept?.file,
      }, { containerId: id, network: "web", ifName: "eth0", file });
      assertMatch(kept!.why, /cannot be read; `podwire stop` or `podwire rm` of its sandbox detaches it/);
      for (const filter of [{}, { failed: true }, { containerId: id, network: "web" }]) {
        const [record, ...more] = await podwire.attachments(filter);
        assertEquals({ state: record?.state, file: record?.error?.file, more }, {
          state: "failed",
          file,
          more: [],
        });
      }
      assertEquals(await Deno.readTextFile(file), text);
      assertEquals(await podwire.attachments({ network: "other" }), []);
      const swept = await podwire.gc();
      assertEquals({ removed: swept.removed, failed: swept.failed }, { removed: [], failed: [] });
      assert(swept.kept.every(({ why }) => !why.includes("another runtime")));
      assertEquals(swept.kept.filter((item) => item.file === file).length, 1);

      assertEquals((await web.taken()).length, 1);
      await podwire.sandboxes.remove("web");
      assertEquals(shown(await podwire.recover()), [0, 0, 0]);
      await web.assertNothingLeft();
      assertEquals(await podwire.attachments(), []);
    }
  },
);

sandboxTest(
  "an attachment is reported each time if nothing says how it was made, until it is detached by hand",
  async (world) => {
    await using web = await Web.make(world);
    const podwire = world.podwire();
    const id = world.id("c1");
    await podwire.sandboxes.run({ name: "web", id });
    await garble(web.record(id));
    await Deno.remove(`${world.dir}/cache/results/web-${id}-eth0`);
    const refused = await assertRejects(() => podwire.sandboxes.remove("web"), CniError);
    assertMatch(refused.message, /libcni's cache does not say how it was made/);
    await podwire.sandboxes.remove("web", { force: true });
    for (let time = 0; time < 2; time++) {
      const { removed, kept, failed: [failed, ...more] } = await podwire.recover();
      assertEquals({ removed, kept, more, file: failed?.file }, {
        removed: [],
        kept: [],
        more: [],
        file: recordFile(world.stateDir, id),
      });
      assertMatch(world.plain(failed!.why), /`podwire del web NETNS --id c1 --ifname eth0`$/);
      assertEquals((await podwire.gc()).failed.length, 1);
    }
    assertEquals((await web.taken()).length, 1);
    const target = { containerId: id, netns: "", ifName: "eth0", args: [], capabilityArgs: {}, owner: "cli" };
    await podwire.del("web", target);
    assertEquals(shown(await podwire.recover()), [0, 0, 0]);
    await web.assertNothingLeft();
  },
);

sandboxTest(
  "a sandbox of which no record can be read counts as up while its namespace exists, and is torn down whole after that",
  async (world) => {
    await using web = await Web.make(world);
    const podwire = world.podwire();
    const id = world.id("c1");
    await podwire.sandboxes.run({ name: "web", id });
    await Deno.writeTextFile(recordFile(world.stateDir, id), "\0\0\0");
    for (const report of [await podwire.recover(), await podwire.gc()]) {
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
      const [sandbox] = report.kept.filter(({ kind }) => kind === "sandbox");
      assertMatch(
        sandbox?.why ?? "",
        /cannot be read \(.*\), and its namespace exists, so it counts as up/,
      );
    }
    const [listed] = await podwire.sandboxes.list();
    assertEquals({ id: listed?.id, name: listed?.name, state: listed?.state }, {
      id,
      name: "web",
      state: "broken",
    });
    assertEquals((await web.taken()).length, 1);
    await world.sh('umount "$1" && rm "$1"', `${world.netnsDir}/podwire-${id}`);
    const { removed, kept, failed } = await podwire.recover();
    assertEquals({ removed: removed.map(({ kind }) => kind), kept, failed }, {
      removed: ["attachment"],
      kept: [],
      failed: [],
    });
    await web.assertNothingLeft();
    await podwire.sandboxes.run({ name: "web" });
    assertEquals((await web.taken()).length, 1);
    await podwire.sandboxes.remove("web");
  },
);

sandboxTest(
  "F78 a sweep detaches what has no readable record too, and a removal that fails stays on record",
  async (world) => {
    const a = await world.network("a", { DEL: { stdout: '{"code": 108, "msg": "will not"}', code: 1 } });
    const podwire = world.podwire();
    const id = world.id("c1");
    await podwire.sandboxes.run({ name: "web", id });
    await garble([recordFile(world.stateDir, id), { ifName: "eth0", network: "a" }]);
    await podwire.sandboxes.remove("web", { force: true });
    const { removed, kept, failed } = await podwire.gc();
    assertEquals({ removed, kept, failed: failed.map(({ error }) => error?.msg) }, {
      removed: [],
      kept: [],
      failed: ["will not"],
    });
    const [record] = await podwire.attachments({ failed: true });
    assertEquals({ state: record?.state, attempts: record?.attempts, owner: record?.owner }, {
      state: "failed",
      attempts: 2,
      owner: `sandbox:${id}`,
    });
    await a.answer("DEL", {});
    assertEquals((await podwire.gc()).removed.length, 1);
    const last = (await a.calls()).filter(({ verb }) => verb !== "GC" && verb !== "VERSION").at(-1);
    assertEquals(last?.config.prevResult.ips[0].address, "10.1.0.2/24");
    assertEquals(await world.left(), []);
  },
);

/** The links in the namespace of a pod. */
async function links(world: PodsWorld, netns: string): Promise<string[]> {
  const lines = await world.sandbox.sh('nsenter --net="$1" ip -o link show', netns);
  return lines.trimEnd().split("\n").map((line) => line.split(": ")[1]?.split("@")[0] ?? "");
}

podsTest(
  "a pod that is torn down is detached from networks whose records cannot be read",
  async (world) => {
    await using web = await Web.make(world.sandbox);
    await using pods = await world.open();
    for (const damage of [cut, garble]) {
      const pod = await world.pod(damage.name);
      await pods.setUp(pod);
      await damage(web.record(pod.containerId));
      assertEquals(await pods.tearDown(pod.containerId), []);
      assertEquals({
        taken: await web.taken(),
        files: await web.files(),
        links: await links(world, pod.netns),
      }, { taken: [], files: [], links: ["lo"] });
    }
  },
);

podsTest(
  "F78 if a pod's own record is lost, its attachment is removed once its record still names the pod, or its namespace is gone",
  async (world) => {
    await using web = await Web.make(world.sandbox);
    await using pods = await world.open();
    for (const damage of [cut, garble]) {
      const pod = await world.pod(damage.name);
      await pods.setUp(pod);
      await damage(web.record(pod.containerId));
      await putRecord(recordFile(world.sandbox.stateDir, pod.containerId), "sandbox", undefined);
      assertEquals((await pods.attachments()).map(({ containerId, state }) => [containerId, state]), [
        [pod.containerId, "failed"],
      ]);
      assertEquals(await pods.tearDown(pod.containerId), []);
      assertEquals((await web.taken()).length, 1);
      if (damage === garble) {
        const [kept] = (await pods.recover()).kept;
        assertMatch(kept!.why, /it is unknown whether it is in use: `podwire del web .* detaches it/);
        assertEquals((await links(world, pod.netns)).sort(), ["eth0", "lo"]);
        await world.gone(pod);
      }
      assertEquals(shown(await pods.recover()), [1, 0, 0]);
      if (damage === cut) assertEquals(await links(world, pod.netns), ["lo"]);
      assertEquals({ taken: await web.taken(), files: await web.files() }, { taken: [], files: [] });
    }
  },
);
