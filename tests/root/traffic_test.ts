// What the interfaces of sandboxes have carried, by both kernels.
import { assert, assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import type { RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

/** A runner of its own makes podwire use programs. */
const BY_PROGRAMS: RuntimeOptions = { run: (request) => runCommand(request) };

for (const [kernel, options] of [["netlink", {}], ["ip", BY_PROGRAMS]] as const) {
  Deno.test({
    name: `the traffic of a sandbox is counted on each of its interfaces, unless it is gone: ${kernel}`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "front");
      await bridgeNetwork(world, "back", { number: 1, more: { bridge: `${world.bridge}b` } });
      const { sandboxes } = runtimeOf(world, FLAVOURS[0]!, options);
      const web = await sandboxes.run({ name: "web", networks: [{ name: "front" }, { name: "back" }] });
      const db = await sandboxes.run({ name: "db", networks: [{ name: "front" }] });
      const host = await sandboxes.run({ name: "host", source: { kind: "host" } });
      const [before] = await sandboxes.traffic([web]);
      assertEquals(before?.map(({ ifName, network }) => [ifName, network]), [["eth0", "front"], [
        "eth1",
        "back",
      ]]);
      await sh(`bash -c 'for i in 1 2 3 4 5; do printf %01000d 0 >/dev/udp/${db.ips[0]}/9; done'`, web.netns);
      const [after, ofDb, ofHost] = await sandboxes.traffic([web, db, host]);
      const sent = after![0]!.tx.bytes - before![0]!.tx.bytes;
      assert(sent >= 5_000, `${sent} bytes were sent`);
      assert(ofDb![0]!.rx.bytes >= 5_000, JSON.stringify(ofDb));
      assert(ofDb![0]!.rx.packets >= 5, JSON.stringify(ofDb));
      assertEquals(ofHost, null);
      await sh(`umount -l ${db.netns}`);
      assertEquals((await sandboxes.traffic([db, web])).map((each) => each === null), [true, false]);
      for (const { id } of [web, db, host]) await sandboxes.remove(id, { force: true });
    }),
  });
}
