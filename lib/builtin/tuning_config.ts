import { normalize } from "@std/path/posix";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { anyText, integer, mapOf, openObjectOf, orNull, type Shape } from "../cni/shape.ts";
import type { SetLink } from "../kernel/operation.ts";
import { FLAG, MAC_ADDRESS, macOfArgs, readConfig, section, TEXT } from "./config_shape.ts";

/** What the tuning plugin changes of an interface; what is undefined stays as it is. */
export type Tuning = Pick<SetLink, "mac" | "promiscuous" | "mtu" | "allMulticast" | "txQueueLength">;

/** A kernel parameter that is to be set. */
export interface TunedSysctl {
  /** As in the configuration, such as `net.ipv4.conf.IFNAME.arp_filter`. */
  readonly key: string;
  /** The path below `/proc/sys`. */
  readonly path: string;
  readonly value: string;
}

/** Configuration of the tuning plugin. */
export interface TuningConfig {
  readonly dataDir: string;
  readonly sysctls: readonly TunedSysctl[];
  readonly tuning: Tuning;
}

const DEFAULT_DATA_DIR = "/run/cni/tuning";

const SYSCTLS: Shape<Readonly<Record<string, string>> | undefined> = orNull(mapOf(anyText));

const SIZE = orNull(integer(0, 2 ** 31 - 1));

const TUNING = { sysctl: SYSCTLS, mac: MAC_ADDRESS, promisc: FLAG, mtu: SIZE, allmulti: FLAG, txQLen: SIZE };

/** What the plugin reads. */
export const TUNING_SHAPE = openObjectOf({}, {
  ...TUNING,
  dataDir: TEXT,
  runtimeConfig: section({ mac: MAC_ADDRESS }),
  args: section({ cni: section(TUNING) }),
});

const TEARDOWN = openObjectOf({}, { dataDir: TEXT });

/**
 * Reads and validates the configuration. `args.cni` wins over all; a MAC address of `runtimeConfig` wins over that of
 * `CNI_ARGS` (`MAC`), and that over the one of the configuration.
 *
 * @throws {CniError} With the code 7, or 4 for an invalid `CNI_ARGS`.
 */
export function readTuningConfig(
  config: JsonObject,
  cniArgs: ReadonlyMap<string, string>,
  ifName: string,
): TuningConfig {
  const { runtimeConfig, args, ...own } = readConfig(TUNING_SHAPE, config);
  const wanted = args?.cni ?? {};
  const promisc = wanted.promisc ?? own.promisc ?? false;
  return {
    dataDir: own.dataDir || DEFAULT_DATA_DIR,
    sysctls: sysctlsOf({ ...own.sysctl, ...wanted.sysctl }, ifName),
    tuning: {
      mac: wanted.mac ?? runtimeConfig?.mac ?? macOfArgs(cniArgs) ?? own.mac,
      // As for the MTU, what is not set and what is off are the same in a configuration.
      promiscuous: promisc || undefined,
      mtu: (wanted.mtu ?? own.mtu) || undefined,
      allMulticast: wanted.allmulti ?? own.allmulti,
      txQueueLength: wanted.txQLen ?? own.txQLen,
    },
  };
}

/** Reads where the values are that a DEL restores. */
export function readTuningDataDir(config: JsonObject): string {
  return readConfig(TEARDOWN, config).dataDir || DEFAULT_DATA_DIR;
}

/** Whether anything of the interface changes. */
export function changesLink(tuning: Tuning): boolean {
  return Object.values(tuning).some((value) => value !== undefined);
}

function sysctlsOf(values: Readonly<Record<string, string>>, ifName: string): readonly TunedSysctl[] {
  const sysctls = Object.entries(values).map(([key, value]): TunedSysctl => {
    // The name of an interface may have dots.
    const path = normalize(key.replaceAll(".", "/").replace("IFNAME", ifName)).replace(/^\/+/, "");
    if (path.startsWith("net/") && !path.endsWith("/")) return { key, path, value };
    throw invalid(
      `sysctl: ${JSON.stringify(key)} does not belong to the network: its name has to begin with "net."`,
    );
  });
  const seen = new Map<string, string>();
  for (const { key, path } of sysctls) {
    const other = seen.get(path);
    if (other !== undefined) {
      throw invalid(`sysctl: ${JSON.stringify(other)} and ${JSON.stringify(key)} are the same`);
    }
    seen.set(path, key);
  }
  return sysctls;
}

function invalid(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
