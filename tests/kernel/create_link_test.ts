// Interfaces that not every kernel makes, by each implementation, on the real kernel.
import { assertEquals } from "@std/assert";
import type { LinkKind } from "../root/need_links.ts";
import { KERNELS, type TestedKernel } from "./kernels.ts";
import { addMaster, compareLinks, made } from "./made_link.ts";
import { linkByIp, MAC, type World, worldTest } from "./world.ts";

function otherLinksSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>, ...kinds: readonly LinkKind[]) =>
    worldTest(tested, sentence, fn, kinds);

  test(
    "an ipvlan is made in each mode, on its master, in the same namespace or another one, and down",
    (world) =>
      compareLinks(
        world,
        (["l2", "l3", "l3s"] as const).map((mode) =>
          [{ type: "ipvlan", master: "up0", mode }, { mode }] as const
        ),
      ),
    "ipvlan",
  );

  test(
    "a VLAN is made with its number, on its master, in the same namespace or another one, and down",
    (world) =>
      compareLinks(
        world,
        [0, 300, 4094].map((vlanId) => [{ type: "vlan", master: "up0", id: vlanId }, { vlanId }] as const),
      ),
    "vlan",
  );

  test("a second VLAN of the same number on a master is reported as taken", async (world) => {
    const { host, pod } = world;
    await addMaster(world);
    const vlan = { type: "vlan", master: "up0", id: 7 } as const;
    await world.apply(host, made(vlan, { netns: pod }));
    await world.fails(host, [made(vlan, { name: "other0" })], { index: 0, problem: "exists" });
  }, "vlan");

  test("a dummy needs no master", async (world) => {
    await world.apply(world.pod, made({ type: "dummy" }, { mac: MAC, mtu: 1300 }));
    const { kind, mac, mtu, parent, isUp } = await linkByIp(world.pod, "eth0");
    assertEquals({ kind, mac, mtu, parent, isUp }, {
      ...{ kind: "dummy", mac: MAC, mtu: 1300 },
      parent: "",
      isUp: false,
    });
  }, "dummy");
}

for (const tested of KERNELS) otherLinksSuite(tested);
