import { assertEquals, assertStringIncludes } from "@std/assert";
import type { CreateLink, LinkType } from "../../lib/kernel/operation.ts";
import type { Feature } from "../root/plugins_kernel.ts";
import type { TestedKernel } from "./kernels.ts";
import { linkByIp, MAC, names, OTHER_MAC, type World, worldTest } from "./world.ts";

const macvlan = { type: "macvlan", master: "up0", mode: "bridge" } as const;

const made = (link: LinkType, more: Partial<CreateLink> = {}): CreateLink => ({
  kind: "create-link",
  name: "eth0",
  link,
  ...more,
});

/** Makes `up0`, an interface that others can be on. */
async function addMaster({ host, pod, apply }: World): Promise<void> {
  const peer = { name: "far0", mac: OTHER_MAC, netns: pod };
  await apply(host, { kind: "create-veth", name: "up0", mac: MAC, peer });
}

interface Kind {
  readonly feature: Feature;
  readonly link: LinkType;
  /** What `ip` shows of it. */
  readonly shown: { readonly mode?: string; readonly vlanId?: number };
}

const KINDS: readonly Kind[] = [
  ...(["bridge", "private", "vepa", "passthru"] as const).map((mode) =>
    ({ feature: "macvlan", link: { ...macvlan, mode }, shown: { mode } }) as const
  ),
  ...(["l2", "l3", "l3s"] as const).map((mode) =>
    ({ feature: "ipvlan", link: { type: "ipvlan", master: "up0", mode }, shown: { mode } }) as const
  ),
  ...[1, 4094].map((vlanId) =>
    ({ feature: "vlan", link: { type: "vlan", master: "up0", id: vlanId }, shown: { vlanId } }) as const
  ),
];

/** The tests of the operation that makes an interface on another one. */
export function createLinkSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>, ...features: readonly Feature[]) =>
    worldTest(tested, sentence, fn, features);

  for (const { feature, link, shown } of KINDS) {
    const words = `${link.type} ${shown.mode ?? shown.vlanId}`;
    test(
      `what is made as ${words} is on its master, in the same namespace or another one, and down`,
      async (world) => {
        const { host, pod } = world;
        await addMaster(world);
        const master = await linkByIp(host, "up0");
        await world.apply(host, made(link, { netns: pod, mtu: 1400 }));
        const facts = ({ kind, mtu, isUp, parent, peerIndex, mode, vlanId }: typeof master) => ({
          ...{ kind, mtu, isUp, parent, peerIndex, mode, vlanId },
        });
        const common = { kind: link.type, isUp: false, mode: "", vlanId: undefined, ...shown };
        assertEquals(facts(await linkByIp(pod, "eth0")), {
          ...common,
          mtu: 1400,
          parent: "",
          peerIndex: master.index,
        });
        await world.apply(pod, { kind: "remove-link", name: "eth0" });
        await world.apply(host, made(link, { name: "own0" }));
        const own = facts(await linkByIp(host, "own0"));
        assertEquals(own, { ...common, mtu: 1500, parent: "up0", peerIndex: undefined });
        assertEquals(await names(pod), ["far0", "lo"]);
      },
      feature,
    );
  }

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
