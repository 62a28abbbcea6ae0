import { parseIp } from "../cni/address.ts";
import type { RunCommand } from "../host/command.ts";
import { PROTOCOLS } from "../cni/port_protocol.ts";
import { hostAddress, type HostPort } from "./host_port.ts";

/** A socket of this host on which a program waits for connections or datagrams. */
export interface Listener extends HostPort {
  /** The name of the program, if it can be read. */
  readonly program: string | undefined;
  /** Its process, if it can be read. */
  readonly pid: number | undefined;
}

/** Returns the sockets on which programs of this host listen; empty if they cannot be read. */
export type FindListeners = (signal: AbortSignal | undefined) => Promise<readonly Listener[]>;

const HOLDER = /\("((?:[^"\\]|\\.)*)",pid=(\d+)/g;

/**
 * Returns a function that runs `ss` of iproute2 once. Without that program, or the permission to run it, it returns nothing.
 *
 * Permissions: `--allow-run=ss`.
 */
export function findListenersWith(run: RunCommand): FindListeners {
  return async (signal) => {
    try {
      const args = ["-H", "-l", "-n", "-t", "-u", "--sctp", "-p"];
      const { code, stdout } = await run({
        program: "ss",
        args,
        ownGroup: false,
        signal,
      });
      return code === 0 ? stdout.split("\n").flatMap(listenerIn) : [];
    } catch (error) {
      if (signal?.aborted) throw error;
      return [];
    }
  };
}

/** Reads a line such as `tcp LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* users:(("resolved",pid=7,fd=3))`. */
export function listenerIn(line: string): readonly Listener[] {
  const [protocol = "", , , , local = ""] = line.trim().split(/\s+/);
  const [, host = "", portText] = /^(.*):(\d+)$/.exec(local) ?? [];
  const where = addressOf(host);
  const port = Number(portText);
  if (!PROTOCOLS.some((known) => known === protocol) || where === undefined || !(port >= 1)) return [];
  return [{ ...where, port, protocol, ...ownerIn(line) }];
}

/**
 * Returns the process that probably opened the socket: of those that hold it, the one with the lowest process ID. The others
 * were forked from it: workers, or a program that is about to start. A fork gets a higher ID, unless the kernel starts again
 * with low ones.
 */
function ownerIn(line: string): Pick<Listener, "program" | "pid"> {
  const holders = [...line.matchAll(HOLDER)].map(([, program, pid]) => ({ program, pid: Number(pid) }));
  return holders.toSorted((a, b) => a.pid - b.pid)[0] ?? { program: undefined, pid: undefined };
}

/** `*` is a socket of IPv6 that accepts IPv4 as well. */
function addressOf(host: string): Pick<HostPort, "family" | "address"> | undefined {
  if (host === "*") return hostAddress("");
  const bare = host.replace(/^\[|\]$/g, "").replace(/%.*$/, "");
  return parseIp(bare) === undefined ? undefined : hostAddress(bare);
}
