import { isObject, parseJson, printJson } from "../cni/json.ts";
import { anyNumber, anyText, flag, objectOf } from "../cni/shape.ts";
import { ensureDir, listDir, readTextIfThere, removeIfThere, writeFileSynced } from "../host/file.ts";

/** A device that a container has. */
export interface LentDevice {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly netns: string;
  /** Its name on the host. */
  readonly name: string;
  /** In the namespace of the container. */
  readonly index: number;
  readonly mac: string;
  /** Its alias on the host. */
  readonly alias: string;
  /** Whether it was up there. */
  readonly isUp: boolean;
}

/** They are void after a reboot, as the names of interfaces are. */
const DIR = "/run/cni/host-device";

const SHAPE = objectOf({
  network: anyText,
  containerId: anyText,
  ifName: anyText,
  netns: anyText,
  name: anyText,
  index: anyNumber,
  mac: anyText,
  alias: anyText,
  isUp: flag,
}, {});

/** Writes what a DEL needs to give the device back. */
export async function writeLentDevice(device: LentDevice): Promise<void> {
  await ensureDir(DIR, 0o700);
  await writeFileSynced(fileOf(device), printJson({ ...device }), { durable: false });
}

/** Returns what is known of the device of an attachment; undefined if there is nothing, or it cannot be read. */
export async function readLentDevice(
  attachment: Pick<LentDevice, "containerId" | "ifName">,
): Promise<LentDevice | undefined> {
  return lentDeviceIn(await readTextIfThere(fileOf(attachment)));
}

/** Returns the devices that containers have, as far as that can be read. */
export async function lentDevices(): Promise<readonly LentDevice[]> {
  const found: LentDevice[] = [];
  for (const name of await listDir(DIR)) {
    const device = lentDeviceIn(await readTextIfThere(`${DIR}/${name}`));
    if (device !== undefined) found.push(device);
  }
  return found;
}

/** Forgets the device of an attachment. */
export async function removeLentDevice(
  attachment: Pick<LentDevice, "containerId" | "ifName">,
): Promise<void> {
  await removeIfThere(fileOf(attachment));
}

function lentDeviceIn(text: string | undefined): LentDevice | undefined {
  if (text === undefined) return undefined;
  try {
    const json = parseJson(text);
    return isObject(json) ? SHAPE.read(json, []) : undefined;
  } catch {
    return undefined;
  }
}

function fileOf({ containerId, ifName }: Pick<LentDevice, "containerId" | "ifName">): string {
  return `${DIR}/${containerId}_${ifName}.json`;
}
