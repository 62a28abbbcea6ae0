/**
 * The plugins inside podwire, by type: enough for a pod on a machine without plugin binaries. They read the configuration of
 * the plugins with the same names in the CNI plugins project, and share their state on disk and in the kernel.
 *
 * @module
 */
import { loadKernels } from "../kernel/choose_kernel.ts";
import { type BuiltinTable, loadBuiltin } from "../plugin/serve.ts";

/**
 * The built-in plugins. Each is loaded when it is first needed: most commands need none.
 *
 * Permissions: root, and `--allow-run` for iproute2, util-linux, iptables and nft, for those of them that make interfaces, routes or
 * rules; `--allow-ffi`, if it is granted unscoped, takes the place of the first two and is faster. With it, and `--allow-read` for the
 * directories of programs, a known release of iptables is only asked for its version. `--allow-read` and
 * `--allow-write` for the directories of `host-local` and `tuning`. `static` needs none.
 */
export const builtins: BuiltinTable = {
  bandwidth: async () => (await import("./bandwidth.ts")).bandwidth,
  bridge: async () => (await import("./bridge.ts")).bridge,
  dummy: async () => (await import("./dummy.ts")).dummy,
  firewall: async () => (await import("./firewall.ts")).firewall,
  "host-device": async () => (await import("./host_device.ts")).hostDevice,
  "host-local": async () => (await import("./host_local.ts")).hostLocal,
  ipvlan: async () => (await import("./ipvlan.ts")).ipvlan,
  loopback: async () => (await import("./loopback.ts")).loopback,
  macvlan: async () => (await import("./macvlan.ts")).macvlan,
  portmap: async () => (await import("./portmap.ts")).portmap,
  ptp: async () => (await import("./ptp.ts")).ptp,
  sbr: async () => (await import("./sbr.ts")).sbr,
  static: async () => (await import("./static.ts")).staticAddresses,
  tuning: async () => (await import("./tuning.ts")).tuning,
  vlan: async () => (await import("./vlan.ts")).vlan,
  vrf: async () => (await import("./vrf.ts")).vrf,
};

/**
 * Loads everything of this room, and what speaks to the kernel. A process that stays calls this at its start: so no pod waits for the loading, and a later
 * lack of descriptors cannot prevent it.
 */
export async function loadBuiltins(): Promise<void> {
  await loadKernels();
  await Promise.all([import("./leftovers.ts"), import("./held_addresses.ts")]);
  for (const type of Object.keys(builtins)) await loadBuiltin(builtins, type);
}
