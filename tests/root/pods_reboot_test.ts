// A restart of the machine: another boot ID, namespaces and links gone, the disk still there. Only the boot
// ID is an option of the process; all else is real.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { PodRequest } from "../../lib/pod/request.ts";
import type { PodsOptions } from "../../lib/runtime/pods.ts";
import type { RecordedCall, RecordingPlugin } from "../recording_plugin.ts";
import { CNI_1_9_1, type Component, need } from "./need.ts";
import { PodsWorld } from "./pods_world.ts";

/** As many as a network has addresses. */
const PODS = ["p1", "p2", "p3"];

/** Two networks of three addresses each: the file of one is removed while the machine is down. */
class RebootWorld implements AsyncDisposable {
  readonly #tag = crypto.randomUUID().slice(0, 8);

  private constructor(readonly world: PodsWorld, readonly plugin: RecordingPlugin) {}

  static async make(): Promise<RebootWorld> {
    const world = await PodsWorld.make();
    const answer = { script: PASS_ON };
    const made = new RebootWorld(world, await world.sandbox.plugins.install("last", { ADD: answer }));
    for (const name of ["stays", "goes"]) {
      const list = { cniVersion: "1.0.0", name, plugins: [made.#bridge(name), { type: "last" }] };
      await Deno.writeTextFile(made.file(name), JSON.stringify(list));
    }
    return made;
  }

  #bridge(name: string): JsonObject {
    const octet = name === "stays" ? 1 : 2;
    return {
      type: "bridge",
      bridge: this.#link(name),
      // It keeps its MAC address then, whatever ports come.
      isGateway: true,
      ipam: {
        type: "host-local",
        dataDir: this.#dataDir,
        subnet: `10.241.${octet}.0/29`,
        rangeStart: `10.241.${octet}.2`,
        rangeEnd: `10.241.${octet}.4`,
      },
    };
  }

  #link(name: string): string {
    return `${name.slice(0, 1)}pw-${this.#tag}`;
  }

  get #dataDir(): string {
    return `${this.world.sandbox.dir}/addresses`;
  }

  file(name: string): string {
    return `${this.world.sandbox.confDir}/${name}.conflist`;
  }

  /** The addresses that are taken on a network. */
  async taken(name: string): Promise<string[]> {
    const names = await Array.fromAsync(Deno.readDir(`${this.#dataDir}/${name}`), ({ name }) => name);
    return names.filter((name) => name.startsWith("10.")).sort();
  }

  /** Removes everything that does not outlive the machine. */
  async reboot(pods: readonly PodRequest[]): Promise<void> {
    for (const pod of pods) await this.world.gone(pod);
    await this.#removeLinks();
    await Deno.remove(this.world.sandbox.runDir, { recursive: true });
  }

  async #removeLinks(): Promise<void> {
    for (const name of ["stays", "goes"]) {
      await this.world.sandbox.sh('ip link delete dev "$1" 2>/dev/null || :', this.#link(name));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#removeLinks();
    await this.world[Symbol.asyncDispose]();
  }
}

/** The result of the plugins before. */
const PASS_ON =
  'config=$(cat "$call/stdin"); prev=${config#*\'"prevResult":\'}; printf %s "${prev%?}"; exit 0';

const isOf = (verb: string) => (call: RecordedCall) => call.verb === verb;

async function freesAddresses(reboot: RebootWorld, options: PodsOptions): Promise<void> {
  const { world, plugin } = reboot;
  const { sandbox } = world;
  const before = await world.process({ ...options, boot: "before" });
  const old: PodRequest[] = [];
  for (const [index, name] of PODS.entries()) {
    const networks = [{ name: "stays" }, ...(index < 2 ? [{ name: "goes", ifName: "net1" }] : [])];
    const pod = await world.pod(name, { networks });
    await before.value("setUp", pod);
    old.push(pod);
  }
  const more = await world.pod("more", { networks: [{ name: "stays" }] });
  const { error } = await before.call("setUp", more);
  assertStringIncludes(JSON.stringify(error), "10.241.1.", "no address is left");
  assertEquals([(await reboot.taken("stays")).length, (await reboot.taken("goes")).length], [3, 2]);
  await before.kill();
  await reboot.reboot(old);
  await Deno.remove(reboot.file("goes"));
  const callsBefore = (await plugin.calls()).length;

  const after = await Promise.all([1, 2].map(() => world.process({ ...options, boot: "after" })));
  const fresh = await Promise.all(
    ["n1", "n2"].map((name) => world.pod(name, { networks: [{ name: "stays" }] })),
  );
  const results = await Promise.all(fresh.map((pod, index) => after[index]!.value("setUp", pod)));
  assertEquals(results.flatMap(({ ips }) => ips).map((ip) => ip.startsWith("10.241.1.")), [true, true]);
  await after[0]!.value("setUp", more);
  assertEquals((await reboot.taken("stays")).length, 3);
  assertEquals(await reboot.taken("goes"), []);

  const calls = (await plugin.calls()).slice(callsBefore).filter(({ verb }) =>
    verb === "ADD" || verb === "DEL"
  );
  const dels = calls.filter(isOf("DEL"));
  assertEquals(calls.slice(0, dels.length).every(isOf("DEL")), true, "an ADD came before the last DEL");
  const target = ({ env }: RecordedCall) => sandbox.plain(`${env.CNI_CONTAINERID} ${env.CNI_IFNAME}`);
  assertEquals(dels.map(target).sort(), ["p1 eth0", "p1 net1", "p2 eth0", "p2 net1", "p3 eth0"]);
  for (const { env, config } of dels) {
    assertEquals(env.CNI_NETNS ?? "", "");
    assert(config.prevResult?.ips?.length === 1, JSON.stringify(config));
  }
  for (const { containerId } of old) {
    assertEquals((await after[1]!.call("podStatus", containerId)).error?.kind, "not-found");
  }
  for (const { containerId } of [...fresh, more]) {
    const { ready, reason } = await after[1]!.value("podStatus", containerId);
    assertEquals({ ready, reason }, { ready: true, reason: undefined });
    assertEquals(await after[1]!.value("tearDown", containerId), []);
  }
  assertEquals((await sandbox.left()).filter((line) => !line.startsWith("netns/")), []);
  assertEquals(await reboot.taken("stays"), []);
}

function rebootTest(name: string, options: () => PodsOptions, ...components: Component[]): void {
  Deno.test({
    name:
      `F78 F84 U16 after a reboot all addresses are free before the first ADD, whichever of two comes first, ${name}`,
    ...need("root", "ip", ...components),
    fn: async () => {
      await using reboot = await RebootWorld.make();
      const { pluginDirs = [] } = reboot.world.options;
      const more = options();
      await freesAddresses(reboot, { ...more, pluginDirs: [...pluginDirs, ...more.pluginDirs ?? []] });
    },
  });
}

rebootTest("with built-in plugins", () => ({}));
rebootTest(
  "with the reference plugins",
  () => ({ pluginDirs: [CNI_1_9_1], builtinPolicy: "off" }),
  "cni-1.9.1",
);
