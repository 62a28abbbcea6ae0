// An interface on another one, as a test makes it.
import { assertEquals } from "@std/assert";
import type { CreateLink, LinkType } from "../../lib/kernel/operation.ts";
import { linkByIp, MAC, names, OTHER_MAC, type World } from "./world.ts";

/** The operation that makes `eth0`. */
export function made(link: LinkType, more: Partial<CreateLink> = {}): CreateLink {
  return { kind: "create-link", name: "eth0", link, ...more };
}

/** Makes `up0`, an interface that others can be on. */
export async function addMaster({ host, pod, apply }: World): Promise<void> {
  const peer = { name: "far0", mac: OTHER_MAC, netns: pod };
  await apply(host, { kind: "create-veth", name: "up0", mac: MAC, peer });
}

/** A link, and what `ip` shows of it. */
export type ShownLink = readonly [
  link: LinkType,
  shown: { readonly mode?: string; readonly vlanId?: number },
];

/** Makes each link on `up0` in another namespace and in the same one, and looks at it by `ip`. */
export async function compareLinks(world: World, links: readonly ShownLink[]): Promise<void> {
  const { host, pod } = world;
  await addMaster(world);
  const master = await linkByIp(host, "up0");
  const facts = ({ kind, mtu, isUp, parent, peerIndex, mode, vlanId }: typeof master) => ({
    ...{ kind, mtu, isUp, parent, peerIndex, mode, vlanId },
  });
  for (const [link, shown] of links) {
    const common = { kind: link.type, isUp: false, mode: "", vlanId: undefined, ...shown };
    await world.apply(host, made(link, { netns: pod, mtu: 1400 }));
    const there = { ...common, mtu: 1400, parent: "", peerIndex: master.index };
    assertEquals(facts(await linkByIp(pod, "eth0")), there);
    await world.apply(pod, { kind: "remove-link", name: "eth0" });
    await world.apply(host, made(link, { name: "own0" }));
    const here = { ...common, mtu: 1500, parent: "up0", peerIndex: undefined };
    assertEquals(facts(await linkByIp(host, "own0")), here);
    await world.apply(host, { kind: "remove-link", name: "own0" });
  }
  assertEquals(await names(pod), ["far0", "lo"]);
}
