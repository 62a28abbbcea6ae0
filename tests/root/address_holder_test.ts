// An error about a taken address names its holder, whichever IPAM plugin refuses the address.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";
import { SandboxWorld } from "./sandbox_world.ts";

const off = (dir: string): RuntimeOptions => ({ builtinPolicy: "off", pluginDirs: [dir] });
const SOURCES: readonly [string, readonly Component[], RuntimeOptions][] = [
  ["built-in", [], { pluginDirs: [], builtinPolicy: "prefer" }],
  ["1.1.1", ["cni-1.1.1"], off(CNI_1_1_1)],
  ["1.9.1", ["cni-1.9.1"], off(CNI_1_9_1)],
];

for (const [source, needs, options] of SOURCES) {
  Deno.test({
    name:
      `U17 the error about a wanted address that another sandbox has names the holder, plugins: ${source}`,
    ...need("root", "ip", ...needs),
    fn: async () => {
      await using world = await SandboxWorld.make();
      const bridge = `pwh${crypto.randomUUID().slice(0, 8)}`;
      const ipam = { type: "host-local", dataDir: `${world.dir}/addresses`, subnet: "10.78.0.0/24" };
      const plugins = [{ type: "bridge", bridge, capabilities: { ips: true }, ipam }];
      const list = JSON.stringify({ cniVersion: "1.0.0", name: "web", plugins });
      await Deno.writeTextFile(`${world.confDir}/web.conflist`, list);
      const { sandboxes } = world.podwire(options);
      try {
        const ips = ["10.78.0.9"];
        const { id } = await sandboxes.run({ name: "first", namespace: "shop", ips });
        const error = await assertRejects(() => sandboxes.run({ name: "second", ips }), CniError);
        assertStringIncludes(
          error.message,
          `10.78.0.9 is that of sandbox "shop/first" (container "${id}", eth0, attached)`,
        );
        // An error for another reason, or for a request without an address, names no holder.
        const outside = await assertRejects(
          () => sandboxes.run({ name: "third", ips: ["10.99.0.9"] }),
          CniError,
        );
        assert(!outside.message.includes("is that of"), outside.message);
        await sandboxes.remove("first", { namespace: "shop" });
        assertEquals((await sandboxes.run({ name: "second", ips })).ips, ips);
        await sandboxes.remove("second");
      } finally {
        await world.sh('ip link delete "$1" 2>/dev/null || :', bridge);
      }
    },
  });
}

for (const [source, needs, options] of SOURCES) {
  Deno.test({
    name:
      `the error about a full range, and a dry run of gc, name the addresses of containers without a record, plugins: ${source}`,
    ...need("root", "ip", ...needs),
    fn: async () => {
      await using world = await SandboxWorld.make();
      const bridge = `pwh${crypto.randomUUID().slice(0, 8)}`;
      const dir = `${world.dir}/addresses/web`;
      const ipam = { type: "host-local", dataDir: `${world.dir}/addresses`, subnet: "10.78.0.0/29" };
      const list = JSON.stringify({
        cniVersion: "1.0.0",
        name: "web",
        plugins: [{ type: "bridge", bridge, ipam }],
      });
      await Deno.writeTextFile(`${world.confDir}/web.conflist`, list);
      const podwire = world.podwire(options);
      try {
        await podwire.sandboxes.run({ name: "first" });
        const clean = await podwire.gc({ dryRun: true });
        assertEquals(clean.kept.filter(({ kind }) => kind === "addresses"), []);
        // Those of another runtime, one of which is of a plugin that wrote no interface.
        const others = {
          "10.78.0.3": "other-a\r\neth0",
          "10.78.0.4": "other-a\r\neth1",
          "10.78.0.5": "other-b",
        };
        for (const [address, text] of Object.entries({ ...others, "10.78.0.6": "other-c\r\neth0" })) {
          await Deno.writeTextFile(`${dir}/${address}`, text);
        }
        const error = await assertRejects(() => podwire.sandboxes.run({ name: "second" }), CniError);
        assertStringIncludes(error.message, "no IP addresses available in range set: 10.78.0.1-10.78.0.6");
        const said = `4 addresses in ${dir} of 3 containers without a record: ` +
          '"other-a" (10.78.0.3, 10.78.0.4), "other-b" (10.78.0.5), "other-c" (10.78.0.6)' +
          "; another runtime may have them";
        assertStringIncludes(error.context.details ?? "", said);
        const { kept, removed } = await podwire.gc({ dryRun: true });
        const reported = kept.filter(({ kind }) => kind === "addresses");
        assertEquals(reported.map(({ network }) => network), ["web"]);
        assertEquals(reported[0]?.why, said);
        assertEquals(removed, []);
        for (const address of Object.keys(others)) await Deno.stat(`${dir}/${address}`);
        await podwire.sandboxes.remove("first");
      } finally {
        await world.sh('ip link delete "$1" 2>/dev/null || :', bridge);
      }
    },
  });
}
