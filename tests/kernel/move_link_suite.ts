import { assertEquals, assertStringIncludes } from "@std/assert";
import { needLinks } from "../root/need_links.ts";
import type { TestedKernel } from "./kernels.ts";
import { cidr, inside, linkByIp, MAC, names, OTHER_MAC, type World, worldTest } from "./world.ts";

/** Makes `up0` on the host, and its other end in the pod. */
async function addPair({ host, pod, apply }: World): Promise<void> {
  const peer = { name: "far0", mac: OTHER_MAC, netns: pod };
  await apply(host, { kind: "create-veth", name: "up0", mac: MAC, peer });
}

/** The tests of moving interfaces to other namespaces, and of their masters. */
export function moveLinkSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("an interface moves to another namespace, where it has another name and an alias, and back", async (world) => {
    const { host, pod } = world;
    await addPair(world);
    await world.apply(
      host,
      { kind: "add-address", device: "up0", address: cidr("10.1.0.1/24") },
      { kind: "set-link", name: "up0", netns: pod, newName: "eth0", alias: "up0 of the host" },
      { kind: "create-bridge", name: "up0", mac: MAC },
      { kind: "set-link", name: "up0", up: true },
    );
    assertEquals([await names(host), await names(pod)], [["lo", "up0"], ["eth0", "far0", "lo"]]);
    const { mac, alias, isUp, addresses } = await linkByIp(pod, "eth0");
    assertEquals({ mac, alias, isUp, addresses }, {
      mac: MAC,
      alias: "up0 of the host",
      isUp: false,
      addresses: [],
    });
    assertEquals((await linkByIp(host, "up0")).kind, "bridge");
    await world.apply(pod, { kind: "set-link", name: "eth0", netns: host, newName: "up1", alias: "" });
    const back = await linkByIp(host, "up1");
    assertEquals([back.mac, back.alias, await names(pod)], [MAC, "", ["far0", "lo"]]);
  });

  test("an interface that has the name of another one there arrives under its new name", async (world) => {
    const { host, pod } = world;
    await addPair(world);
    await world.apply(pod, { kind: "create-bridge", name: "up0", mac: OTHER_MAC });
    await world.apply(host, { kind: "set-link", name: "up0", netns: pod, newName: "eth0" });
    assertEquals([await names(host), await names(pod)], [["lo"], ["eth0", "far0", "lo", "up0"]]);
  });

  test("an interface does not move to a namespace that is missing, and an operation on it then is refused", async (world) => {
    const { host, pod, dir } = world;
    await addPair(world);
    const gone = await world.fails(host, [{ kind: "set-link", name: "up0", netns: `${dir}/absent` }], {
      index: 0,
      problem: "missing",
    });
    assertStringIncludes(gone.message, `Cannot move the interface "up0" to "${dir}/absent": `);
    await world.fails(host, [
      { kind: "set-link", name: "up0", netns: pod },
      { kind: "set-link", name: "up0", up: true },
    ], { index: 1, problem: "missing" });
  });

  test("an interface becomes a port of a bridge, and none", async (world) => {
    const { host } = world;
    await addPair(world);
    await world.apply(
      host,
      { kind: "create-bridge", name: "br0", mac: MAC },
      { kind: "set-link", name: "up0", master: "br0" },
    );
    assertEquals((await linkByIp(host, "up0")).master, "br0");
    await world.apply(host, { kind: "set-link", name: "up0", master: "" });
    assertEquals((await linkByIp(host, "up0")).master, "");
    await world.fails(host, [{ kind: "set-link", name: "up0", master: "br9" }], {
      index: 0,
      problem: "missing",
    });
  });

  vrfTest(tested);
}

/** The test of what only some kernels make. */
function vrfTest(tested: TestedKernel): void {
  const { ignore } = needLinks(["vrf"]);
  worldTest(
    { ...tested, isHere: tested.isHere && !ignore },
    "a VRF has a table, and ports",
    async (world) => {
      const { host, kernel } = world;
      await addPair(world);
      await world.apply(
        host,
        { kind: "create-link", name: "blue", link: { type: "vrf", table: 100_000 } },
        { kind: "set-link", name: "blue", up: true },
        { kind: "set-link", name: "up0", master: "blue" },
      );
      const [vrf, port] = await kernel.apply(
        [{ kind: "show-link", name: "blue" }, { kind: "show-link", name: "up0" }],
        { netns: host },
      );
      const facts = { kind: vrf.kind, table: vrf.vrfTable, isUp: vrf.isUp, master: port.master };
      assertEquals(facts, { kind: "vrf", table: 100_000, isUp: true, master: "blue" });
      assertStringIncludes(await inside(host, "ip", "-d", "link", "show", "dev", "blue"), "vrf table 100000");
    },
  );
}
