// Attachments that a plugin refuses to detach and that must be forgotten, with real plugins on the real
// kernel.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire, RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { writeExecutable } from "../executable.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";
import { SandboxWorld } from "./sandbox_world.ts";

/** Where the plugins come from: built in, or a release of the CNI plugins project. */
const SOURCES: readonly {
  name: string;
  needs: readonly Component[];
  options: RuntimeOptions;
  dir: string;
}[] = [
  { name: "built-in", needs: [], options: { pluginDirs: [], builtinPolicy: "prefer" }, dir: "" },
  { name: "1.1.1", needs: ["cni-1.1.1"], options: { builtinPolicy: "off" }, dir: CNI_1_1_1 },
  { name: "1.9.1", needs: ["cni-1.9.1"], options: { builtinPolicy: "off" }, dir: CNI_1_9_1 },
];

type Source = typeof SOURCES[number];

/** One network of real plugins in a world of its own. */
class RealWorld {
  readonly bridge = `pwf${crypto.randomUUID().slice(0, 8)}`;
  readonly netns: string;
  readonly dataDir: string;
  /** Where a test puts plugins that come before the real ones. */
  readonly frontDir: string;

  constructor(readonly world: SandboxWorld, readonly source: Source) {
    this.netns = `${world.netnsDir}/mine`;
    this.dataDir = `${world.dir}/addresses`;
    this.frontDir = world.plugins.dir;
  }

  podwire(more: RuntimeOptions = {}): Podwire {
    const { options, dir } = this.source;
    const dirs = dir === "" ? {} : { pluginDirs: [this.frontDir, dir] };
    return this.world.podwire({ ...options, ...dirs, ...more });
  }

  async list(plugins: readonly JsonObject[]): Promise<void> {
    const text = JSON.stringify({ cniVersion: "1.0.0", name: "web", plugins });
    await Deno.writeTextFile(`${this.world.confDir}/web.conflist`, text);
  }

  plugin(more: JsonObject = {}, ipam: JsonObject = {}): JsonObject {
    const addresses = { type: "host-local", dataDir: this.dataDir, subnet: "10.77.0.0/24", ...ipam };
    return { type: "bridge", bridge: this.bridge, ipam: addresses, ...more };
  }

  get target(): AttachRequest {
    const { netns } = this;
    return {
      containerId: this.world.id("c1"),
      netns,
      ifName: "eth0",
      args: [],
      capabilityArgs: {},
      owner: "cli",
    };
  }

  /** The interfaces in the namespace and the ports of the bridge. */
  async links(): Promise<readonly string[]> {
    const inside = await this.world.sh('[ ! -e "$1" ] || nsenter --net="$1" ip -o link', this.netns);
    const ports = await this.world.sh('ip -o link show master "$1" 2>/dev/null || :', this.bridge);
    const names = `${inside}${ports}`.matchAll(/^\d+: ([^:@]+)/gm);
    return [...names].map(([, name = ""]) => name.startsWith("veth") ? "veth" : name);
  }

  async addresses(): Promise<readonly string[]> {
    const names = await this.world.sh('ls "$1/web" 2>/dev/null || :', this.dataDir);
    return names.split("\n").filter((name) => /^[0-9.]+$/.test(name));
  }
}

/** Plugins that are files: other files can come before them, and their veth pairs carry no mark. */
const RELEASES = SOURCES.filter(({ dir }) => dir !== "");

function eachSource(name: string, fn: (real: RealWorld) => Promise<void>, sources = SOURCES): void {
  for (const source of sources) {
    Deno.test({
      name: `${name}, plugins: ${source.name}`,
      ...need("root", "ip", ...source.needs),
      fn: async () => {
        await using world = await SandboxWorld.make();
        const real = new RealWorld(world, source);
        await createNetns(real.netns);
        try {
          await fn(real);
        } finally {
          await world.sh('ip link delete "$1" 2>/dev/null || :', real.bridge);
        }
      },
    });
  }
}

const failing = (act: () => Promise<unknown>): Promise<CniError> => assertRejects(act, CniError);

eachSource("what the first plugin refuses leaves no record, however often it is tried", async (real) => {
  const { world } = real;
  const configs: readonly JsonObject[] = [
    real.plugin({}, { subnet: "10.0.0.0/33" }),
    real.plugin({ bridge: "br/9" }),
    real.plugin({ bridge: "a-name-that-is-too-long" }),
    real.plugin({ bridge: 7 }),
    real.plugin({ vlan: 99_999 }),
    real.plugin({}, { subnet: "10.77.0.0/24", rangeStart: "10.78.0.1" }),
  ];
  for (const config of configs) {
    await real.list([config]);
    const podwire = real.podwire();
    for (const name of ["one", "two"]) {
      await failing(() => podwire.add("web", real.target));
      await failing(() => podwire.sandboxes.run({ name }));
    }
    const what = JSON.stringify(config);
    assertEquals((await podwire.attachments()).map(({ error }) => error), [], what);
    assertEquals(await world.left(), ["netns/mine"], what);
    assertEquals({ links: await real.links(), addresses: await real.addresses() }, {
      links: ["lo"],
      addresses: [],
    }, what);
  }
});

/**
 * From now on the recorded configuration is refused: a wrapper does what an upgrade of the plugin would do.
 */
function upgrade(real: RealWorld, word: string): void {
  const path = `${real.source.dir}/bridge`;
  const refusal = '{"cniVersion":"1.0.0","code":7,"msg":"this release does not take that"}';
  const script = `#!/bin/sh\ninput=$(cat)\ncase $input in\n*${word}*) echo '${refusal}'; exit 1 ;;\nesac\n` +
    `printf %s "$input" | ${path}\n`;
  writeExecutable(`${real.frontDir}/bridge`, script, "755");
}

eachSource("what an upgraded plugin does not take is detached with the mended file", async (real) => {
  const { world } = real;
  await real.list([real.plugin({ "old-word": true })]);
  const podwire = real.podwire();
  await podwire.add("web", real.target);
  assertEquals({ links: await real.links(), addresses: await real.addresses() }, {
    links: ["lo", "eth0", "veth"],
    addresses: ["10.77.0.2"],
  });
  upgrade(real, "old-word");
  const refused = await failing(() => podwire.del("web", real.target));
  assertEquals({ code: refused.code, msg: refused.msg }, { code: 7, msg: "this release does not take that" });
  // The repaired file has another place for addresses: the old one is freed as well.
  await real.list([real.plugin({}, { dataDir: `${world.dir}/new-addresses` })]);
  await podwire.del("web", real.target);
  assertEquals({ links: await real.links(), addresses: await real.addresses() }, {
    links: ["lo"],
    addresses: [],
  });
  assertEquals(await world.left(), ["netns/mine"]);
  assert(
    world.log.all.some((line) => line.includes("the configuration that the network has now")),
    world.log.all.join("\n"),
  );
}, RELEASES);

eachSource("what cannot be detached is forgotten, with what carries its mark", async (real) => {
  const { world } = real;
  await real.list([real.plugin({ ipMasq: true })]);
  const podwire = real.podwire();
  await podwire.add("web", real.target);
  const { containerId } = real.target;
  const reason = "the plugin was uninstalled";
  const attached = await failing(() => podwire.forget({ containerId, reason }));
  assertEquals(attached.kind, "conflict");
  // No plugin of that name can be found any more.
  const bare = real.podwire({ pluginDirs: [`${world.dir}/none`], builtinPolicy: "off" });
  await failing(() => bare.del("web", real.target));
  await failing(() =>
    bare.recover().then(({ failed }) => Promise.reject(new CniError("io", failed[0]!.why)))
  );
  if (real.source.dir !== "") await removeNetns(real.netns);
  const plan = await bare.forget({ containerId, reason, dryRun: true });
  assertEquals(plan.forgotten.map(({ how, error }) => [how, error]), [["let go", undefined]]);
  assertEquals({ attachmentsCount: (await bare.attachments()).length, addresses: await real.addresses() }, {
    attachmentsCount: 1,
    addresses: ["10.77.0.2"],
  });
  const { forgotten: [forgotten] } = await bare.forget({
    containerId,
    ifName: "eth0",
    network: "web",
    reason,
  });
  assertEquals({ how: forgotten?.how, kind: forgotten?.error?.kind }, {
    how: "let go",
    kind: "plugin-missing",
  });
  assert(
    forgotten?.freed.includes(`the address 10.77.0.2 in ${real.dataDir}/web`),
    forgotten?.freed.join("\n"),
  );
  assertStringIncludes(forgotten!.remaining.join("\n"), 'whatever plugin "bridge" made for it');
  assertEquals(await real.addresses(), []);
  assert(!(await real.links()).includes("eth0"));
  assertEquals((await world.left()).filter((line) => line !== "netns/mine"), []);
  assert(world.log.all.some((line) => line.includes(reason)), world.log.all.join("\n"));
  assertEquals((await failing(() => bare.forget({ containerId, reason }))).kind, "not-found");
});

eachSource("an address stays reserved while the interface that has it cannot be removed", async (real) => {
  const { world } = real;
  await real.list([real.plugin()]);
  await real.podwire().add("web", real.target);
  const bare = real.podwire({ pluginDirs: [`${world.dir}/none`] });
  await failing(() => bare.del("web", real.target));
  const { forgotten: [forgotten] } = await bare.forget({
    containerId: real.target.containerId,
    reason: "gone",
  });
  const remaining = forgotten!.remaining.join("\n");
  assertStringIncludes(remaining, `the interface eth0 in ${real.netns}`);
  assertStringIncludes(remaining, `the address 10.77.0.2 in ${real.dataDir}/web`);
  assertEquals({ addresses: await real.addresses(), attachmentsCount: (await bare.attachments()).length }, {
    addresses: ["10.77.0.2"],
    attachmentsCount: 0,
  });
}, RELEASES);
