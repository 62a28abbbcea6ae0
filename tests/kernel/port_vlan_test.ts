// The VLANs of the ports of a bridge, by each implementation, on the real kernel.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { PortVlanError } from "../../lib/kernel/kernel.ts";
import type { PortVlans } from "../../lib/kernel/port_vlan.ts";
import type { LinkKind } from "../root/need_links.ts";
import { KERNELS, type TestedKernel } from "./kernels.ts";
import { inside, linkByIp, MAC, OTHER_MAC, type World, worldTest } from "./world.ts";

const KINDS: readonly LinkKind[] = ["bridge-vlan"];

const native = (id: number): PortVlans => ({ first: id, last: id, isNative: true, isUntagged: true });
const tagged = (first: number, last = first): PortVlans => ({
  first,
  last,
  isNative: false,
  isUntagged: false,
});

/** Makes the bridge `br0` and its port `veth0`, whose other end is in the pod. */
async function addPort({ host, pod, apply }: World): Promise<void> {
  const peer = { name: "eth0", mac: OTHER_MAC, netns: pod };
  await apply(
    host,
    { kind: "create-bridge", name: "br0", mac: MAC, filtersVlans: true },
    { kind: "create-veth", name: "veth0", mac: MAC, bridge: "br0", peer },
  );
}

/** What `bridge` shows of a port. */
async function shown({ host }: World, port: string): Promise<unknown> {
  const list = JSON.parse(await inside(host, "bridge", "-j", "-compressvlans", "vlan", "show"));
  const found: Record<string, unknown>[] = list.find((one: { ifname: string }) => one.ifname === port)?.vlans;
  // For the end of a range it prints an empty list of flags.
  return found?.map(({ flags = [], ...vlan }) => ({ ...vlan, flags }));
}

function vlanSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) =>
    worldTest(tested, sentence, fn, KINDS);

  test("a bridge keeps VLANs apart if that is asked for, and is shown so", async (world) => {
    await addPort(world);
    await world.apply(world.host, { kind: "create-bridge", name: "br1", mac: OTHER_MAC });
    for (const [name, filtersVlans] of [["br0", true], ["br1", false], ["veth0", false]] as const) {
      const [link] = await world.kernel.apply([{ kind: "show-link", name }], { netns: world.host });
      assertEquals({ name, filtersVlans: link.filtersVlans }, { name, filtersVlans });
    }
  });

  test("a port gets VLANs beside those that it has, or instead of them", async (world) => {
    const { kernel, host: netns } = world;
    await addPort(world);
    await kernel.setPortVlans({ device: "veth0", add: [native(100)] }, { netns });
    const plain = ["Egress Untagged"];
    assertEquals(await shown(world, "veth0"), [
      { vlan: 1, flags: plain },
      { vlan: 100, flags: ["PVID", ...plain] },
    ]);
    const add = [native(7), tagged(20, 4000), tagged(4094)];
    await kernel.setPortVlans({ device: "veth0", add, replaces: true }, { netns });
    assertEquals(await shown(world, "veth0"), [
      { vlan: 7, flags: ["PVID", ...plain] },
      { vlan: 20, vlanEnd: 4000, flags: [] },
      { vlan: 4094, flags: [] },
    ]);
    const vlans = await kernel.portVlans({ netns });
    assertEquals(vlans.get("veth0"), add);
    assertEquals(vlans.get("br0"), [native(1)]);
    assertEquals(vlans.get("lo"), undefined);
    await kernel.setPortVlans({ device: "veth0", add: [], replaces: true }, { netns });
    assertEquals((await kernel.portVlans({ netns })).get("veth0"), undefined);
  });

  test("a port that is missing, and an interface that is not on a bridge, are named", async (world) => {
    const { kernel, host: netns } = world;
    await addPort(world);
    for (const [device, problem] of [["none", "missing"], ["lo", "other"]] as const) {
      const error = await assertRejects(
        () => kernel.setPortVlans({ device, add: [native(5)] }, { netns }),
        PortVlanError,
      );
      assertEquals({ device, problem: error.problem }, { device, problem });
      assertStringIncludes(error.message, `Cannot change the VLANs of the bridge port "${device}": `);
    }
  });

  test("both ends of a pair may be in one namespace", async (world) => {
    const { host } = world;
    await addPort(world);
    const peer = { name: "gw0", mac: OTHER_MAC };
    await world.apply(host, { kind: "create-veth", name: "veth1", mac: MAC, bridge: "br0", peer });
    const { parent, master, isUp } = await linkByIp(host, "gw0");
    assertEquals({ parent, master, isUp }, { parent: "veth1", master: "", isUp: false });
  });
}

for (const tested of KERNELS) vlanSuite(tested);
