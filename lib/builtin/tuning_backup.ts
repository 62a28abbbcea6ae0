import { isObject, parseJson, printJson } from "../cni/json.ts";
import { anyNumber, flag, lenient, openObjectOf } from "../cni/shape.ts";
import { ensureDir, readTextIfThere, removeIfThere, writeFileSynced } from "../host/file.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { MAC_ADDRESS } from "./config_shape.ts";
import type { Tuning } from "./tuning_config.ts";

/** Whose interface it is. */
export interface TunedInterface {
  readonly containerId: string;
  readonly ifName: string;
}

/** The form is that of the tuning plugin of the CNI plugins project, so that each of the two restores what the other changed. */
const SHAPE = openObjectOf({}, {
  mac: lenient(MAC_ADDRESS),
  promisc: lenient(flag),
  mtu: lenient(anyNumber),
  allmulti: lenient(flag),
  txQLen: lenient(anyNumber),
});

/** Returns the values of an interface that a tuning changes. */
export function valuesBefore(
  link: LinkInfo,
  { mac, promiscuous, mtu, allMulticast, txQueueLength }: Tuning,
): Tuning {
  return {
    ...(mac === undefined ? {} : { mac: link.mac }),
    ...(promiscuous === undefined ? {} : { promiscuous: link.isPromiscuous }),
    ...(mtu === undefined ? {} : { mtu: link.mtu }),
    ...(allMulticast === undefined ? {} : { allMulticast: link.isAllMulticast }),
    ...(txQueueLength === undefined ? {} : { txQueueLength: link.txQueueLength }),
  };
}

/** Writes the values that the DEL restores, as `<dir>/<container ID>_<interface>.json`. They are void after a reboot. */
export async function writeBackup(dir: string, owner: TunedInterface, before: Tuning): Promise<void> {
  const { mac, promiscuous: promisc, mtu, allMulticast: allmulti, txQueueLength: txQLen } = before;
  const given = Object.entries({ mac, promisc, mtu, allmulti, txQLen }).filter(([, value]) =>
    value !== undefined
  );
  await ensureDir(dir, 0o700);
  await writeFileSynced(fileOf(dir, owner), printJson(Object.fromEntries(given) as Record<string, string>), {
    durable: false,
  });
}

/** Returns the values to restore; undefined if there are none, or the file cannot be used. */
export async function readBackup(dir: string, owner: TunedInterface): Promise<Tuning | undefined> {
  const text = await readTextIfThere(fileOf(dir, owner));
  if (text === undefined) return undefined;
  try {
    const json = parseJson(text);
    if (!isObject(json)) return undefined;
    const { mac, promisc, mtu, allmulti, txQLen } = SHAPE.read(json, []);
    return { mac, promiscuous: promisc, mtu, allMulticast: allmulti, txQueueLength: txQLen };
  } catch {
    return undefined;
  }
}

/** Removes the file. */
export async function removeBackup(dir: string, owner: TunedInterface): Promise<void> {
  await removeIfThere(fileOf(dir, owner));
}

function fileOf(dir: string, { containerId, ifName }: TunedInterface): string {
  return `${dir.replace(/\/+$/, "")}/${containerId}_${ifName}.json`;
}
