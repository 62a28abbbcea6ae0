import { assertEquals, assertStringIncludes } from "@std/assert";
import type { LinkKind } from "../root/need_links.ts";
import type { TestedKernel } from "./kernels.ts";
import { addMaster, compareLinks, made } from "./made_link.ts";
import { linkByIp, MAC, names, OTHER_MAC, type World, worldTest } from "./world.ts";

const macvlan = { type: "macvlan", master: "up0", mode: "bridge" } as const;

/** The tests of the operation that makes an interface on another one. */
export function createLinkSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>, ...kinds: readonly LinkKind[]) =>
    worldTest(tested, sentence, fn, kinds);

  test(
    "a macvlan is made in each mode, on its master, in the same namespace or another one, and down",
    (world) =>
      compareLinks(
        world,
        (["bridge", "private", "vepa", "passthru"] as const).map((mode) =>
          [{ ...macvlan, mode }, { mode }] as const
        ),
      ),
    "macvlan",
  );

  test("a macvlan has the address and the queue that are asked for", async (world) => {
    const { host, pod, kernel } = world;
    await addMaster(world);
    await world.apply(host, made({ ...macvlan, broadcastQueue: 77 }, { netns: pod, mac: OTHER_MAC }));
    assertEquals((await linkByIp(pod, "eth0")).mac, OTHER_MAC);
    const [link] = await kernel.apply([{ kind: "show-link", name: "eth0" }], { netns: pod });
    assertEquals({ mac: link.mac, mode: link.mode }, { mac: OTHER_MAC, mode: "bridge" });
  }, "macvlan");

  test("an interface on a master that is missing, or of a name that is taken, is not made", async (world) => {
    const { host, pod, dir } = world;
    const missing = await world.fails(host, [made(macvlan)], { index: 0, problem: "missing" });
    assertStringIncludes(missing.message, 'Cannot create the macvlan "eth0" on "up0": ');
    await addMaster(world);
    await world.apply(host, made(macvlan, { netns: pod }));
    const taken = await world.fails(host, [made(macvlan, { netns: pod })], { index: 0, problem: "exists" });
    assertStringIncludes(taken.message, `Cannot create the macvlan "eth0" on "up0" in "${pod}": `);
    await world.fails(host, [made(macvlan, { name: "x0", netns: `${dir}/absent` })], {
      index: 0,
      problem: "missing",
    });
    await world.fails(host, [made(macvlan, { name: "x0", mtu: 9000 })], { index: 0, problem: "other" });
    assertEquals([await names(host), await names(pod)], [["lo", "up0"], ["eth0", "far0", "lo"]]);
  }, "macvlan");

  test("an interface gets another name, unless that is taken, and is known under it at once", async (world) => {
    const { host } = world;
    await addMaster(world);
    await world.apply(
      host,
      { kind: "create-bridge", name: "br0", mac: MAC },
      { kind: "set-link", name: "br0", newName: "br1" },
      { kind: "set-link", name: "br1", alias: "renamed" },
    );
    assertEquals((await linkByIp(host, "br1")).alias, "renamed");
    await world.fails(host, [{ kind: "set-link", name: "br1", newName: "up0" }], {
      index: 0,
      problem: "exists",
    });
    assertEquals(await names(host), ["br1", "lo", "up0"]);
  });
}
