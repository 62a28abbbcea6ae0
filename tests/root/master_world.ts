// A part of the kernel's network for a test of a plugin whose interfaces are on another one.
import type { JsonObject } from "../../lib/cni/json.ts";
import { inWorld, sh, World } from "./builtin_world.ts";

/** MAC addresses that are not random. */
export const MAC = "02:aa:bb:cc:dd:01";
export const OTHER_MAC = "02:aa:bb:cc:dd:02";

/** A world with an interface on which others can be, the master, whose other end is in a namespace of its own. */
export class MasterWorld extends World {
  readonly master: string;
  /** The path of the namespace of the other end, `far0`. */
  lan = "";

  constructor(dir: string) {
    super(dir);
    this.master = `pwu${this.tag}`;
  }

  /** The path of a namespace for a container. */
  async pod(name: string): Promise<string> {
    const path = await this.netns(name);
    // The originals wait for the search for duplicates, which takes seconds.
    await sh("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad", path);
    return path;
  }
}

/** Runs a test in a world with a master. */
export function inMasterWorld(fn: (world: MasterWorld) => Promise<void>): () => Promise<void> {
  return inWorld(async (plain) => {
    const world = new MasterWorld(plain.dir);
    try {
      world.lan = await world.netns("lan");
      await sh(
        `ip link add ${world.master} type veth peer name far0 netns ${world.lan}; ip link set ${world.master} up`,
      );
      await sh("ip link set far0 up", world.lan);
      await fn(world);
    } finally {
      await sh(`ip link delete dev ${world.master} 2>/dev/null || :`);
      await world.clean();
    }
  });
}

/** Addresses of both families in the world's subnets. */
export const V4 = ({ subnet4 }: World, host = 7) => ({
  address: `${subnet4}.${host}/24`,
  gateway: `${subnet4}.1`,
});
export const V6 = ({ subnet6 }: World, host = 7) => ({
  address: `${subnet6}::${host}/64`,
  gateway: `${subnet6}::1`,
});

export const DEFAULTS: JsonObject[] = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];

/** The configuration of an IPAM plugin that gives these addresses. */
export function staticIpam(addresses: JsonObject[], routes: JsonObject[] = []): JsonObject {
  return { ipam: { type: "static", addresses, ...(routes.length > 0 ? { routes } : {}) } };
}
