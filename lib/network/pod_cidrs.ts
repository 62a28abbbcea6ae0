import { catalogsDir } from "../catalog/memory.ts";
import { formatCidr, parseCidr } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { anyText, listOf, openObjectOf } from "../cni/shape.ts";
import { ensureDir, readTextIfThere, writeFileSynced } from "../host/file.ts";
import { decodeChecksummed, printChecksummed } from "../state/checksummed.ts";

const KIND = "podwire.pod-cidrs.v1";
const SHAPE = openObjectOf({ podCIDRs: listOf(anyText) }, {});

/**
 * Reads the list of networks of a node's pods as a kubelet gives it, one or one of each family, separated by a comma.
 *
 * @throws {CniError} kind `usage`, naming the one that is not in CIDR notation
 */
export function parsePodCIDRs(text: string): readonly string[] {
  const cidrs = text.split(",").map((each) => each.trim()).filter((each) => each !== "");
  const parsed = cidrs.map((each) => {
    const cidr = parseCidr(each);
    if (cidr === undefined) throw new CniError("usage", `"${each}" is not a network in CIDR notation`);
    return cidr;
  });
  if (parsed.length > 2 || new Set(parsed.map(({ ip }) => ip.family)).size < parsed.length) {
    throw new CniError("usage", `"${text}" has more than one network of a family`);
  }
  return parsed.map((cidr) => formatCidr(cidr));
}

/**
 * Keeps the networks of the node's pods that a kubelet has given, `<state-dir>/catalogs/pod-cidrs.json`: `network create` uses
 * them in a template.
 *
 * Requires `--allow-read` and `--allow-write` for the state directory.
 */
export class PodCIDRs {
  readonly #dir: string;

  constructor(stateDir: string) {
    this.#dir = catalogsDir(stateDir);
  }

  /**
   * Returns them; empty if a kubelet never gave any.
   *
   * @throws {CniError} if the file cannot be used
   */
  async read(): Promise<readonly string[]> {
    const text = await readTextIfThere(this.#file);
    return text === undefined ? [] : (await decodeChecksummed(KIND, text, SHAPE)).podCIDRs;
  }

  /** Replaces them. */
  async write(podCIDRs: readonly string[]): Promise<void> {
    await ensureDir(this.#dir, 0o700);
    await writeFileSynced(this.#file, await printChecksummed(KIND, { podCIDRs }));
  }

  get #file(): string {
    return `${this.#dir}/pod-cidrs.json`;
  }
}
