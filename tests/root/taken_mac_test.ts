// Two pods with one requested MAC address, on the real kernel.
import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { need } from "./need.ts";
import { RouteWorld } from "./route_world.ts";

const MAC = "02:00:00:00:aa:01";

Deno.test({
  name: "two pods cannot have one requested MAC address in a network, also at once, and can in two networks",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    const { podwire: { sandboxes } } = world;
    await world.networks({ a: ["10.80.0.0/24"], b: ["10.81.0.0/24"] }, { capabilities: { mac: true } });
    const base = world.world.base("pod");
    const run = (letter: string, number: number, mac: string) =>
      sandboxes.run({
        id: `${base}-${number}`,
        name: `web-${number}`,
        namespace: "shop",
        source: { kind: "path", path: world.world.path("pod") },
        networks: [{ name: world.name(letter), ifName: `eth${number}`, mac }],
      });
    try {
      const first = await run("a", 1, MAC);
      const error = await assertRejects(() => run("a", 2, "0200.0000.AA01"), CniError);
      assertEquals({ kind: error.kind, message: error.message }, {
        kind: "conflict",
        message:
          `Cannot ADD network "${
            world.name("a")
          }": the MAC address 0200.0000.AA01 is that of the interface eth1 ` +
          `of container "${base}-1" of shop/web-1 already`,
      });
      // Nothing is left of it, and the other network has no such interface.
      assertEquals((await sandboxes.list()).map(({ id }) => id), [first.id]);
      assertEquals((await run("b", 3, MAC)).ips, ["10.81.0.2"]);
      await sandboxes.remove(first.id);
      assertEquals((await run("a", 4, MAC)).ips.length, 1);
      await sandboxes.remove(`${base}-4`);
      // Of some at once none may find the address free because the others have not begun.
      const outcomes = await Promise.allSettled([5, 6, 7].map((number) => run("a", number, MAC)));
      assertEquals(outcomes.filter(({ status }) => status === "fulfilled").length <= 1, true);
    } finally {
      for (const { id } of await sandboxes.list()) await sandboxes.remove(id);
    }
  },
});
