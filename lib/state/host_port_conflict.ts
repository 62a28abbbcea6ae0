import { CniError } from "../cni/error.ts";
import type { AttachmentRecord } from "./attachment_record.ts";
import type { DamagedAttachment } from "./damaged_attachment.ts";
import { formatHostPort, type HostPort, overlap } from "./host_port.ts";
import type { Claim } from "./host_port_claim.ts";
import type { Listener } from "./listeners.ts";

/**
 * Refuses a port that is requested twice.
 *
 * @throws {CniError} kind `conflict`
 */
export function requireDistinct(ports: readonly HostPort[]): void {
  const byNumber = new Map<string, HostPort[]>();
  for (const port of ports) {
    const number = `${port.port}/${port.protocol}`;
    const earlier = byNumber.get(number) ?? [];
    byNumber.set(number, [...earlier, port]);
    const twin = earlier.find((one) => overlap(one, port));
    if (twin === undefined) continue;
    const [one, other] = [formatHostPort(twin), formatHostPort(port)];
    const words = one === other
      ? `the host port ${one} is asked for twice`
      : `the host ports ${one} and ${other} are one, asked for twice`;
    throw new CniError("conflict", words);
  }
}

/** Returns the error for a port of another attachment. */
export function takenByAttachment(
  wanted: HostPort,
  claim: Claim,
  owner: AttachmentRecord | DamagedAttachment,
): CniError {
  const { containerId, network, ifName } = owner;
  const state = "file" in owner ? "its record cannot be read" : owner.state;
  const hint = state === "failed"
    ? "that attachment could not be detached; `podwire recover` tries again"
    : `\`podwire attachments ${containerId}\` shows the owner`;
  const msg = `the host port ${formatHostPort(wanted)} is taken by container "${containerId}" on network ` +
    `"${network}" (${ifName}, ${state})`;
  const other = formatHostPort({ ...claim, port: wanted.port });
  const details = other === formatHostPort(wanted) ? undefined : `it has ${other}`;
  return new CniError("conflict", msg, { details, hint });
}

/** Returns the error for a port of an attachment whose record is lost. */
export function takenByLost(wanted: HostPort, { key: { containerId, network, ifName } }: Claim): CniError {
  const msg = `the host port ${formatHostPort(wanted)} is taken by container "${containerId}" on network ` +
    `"${network}" (${ifName}), whose record is lost`;
  return new CniError("conflict", msg, { hint: "`podwire recover` detaches it once it is not in use" });
}

/** Returns the error for a port on which a program of the host listens. */
export function takenByListener(wanted: HostPort, { program, pid, ...port }: Listener): CniError {
  const owner = program === undefined ? "a program of the host" : `"${program}" (process ${pid})`;
  const msg = `the host port ${formatHostPort(wanted)} is taken: ${owner} listens on ${formatHostPort(port)}`;
  return new CniError("conflict", msg, { hint: "publish another port, or stop that program" });
}
