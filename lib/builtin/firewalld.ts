import { bitsOf, formatIp, type Ip } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { HostError, runOk, runsHere } from "../host/command.ts";
import { statOf } from "../host/file.ts";
import type { Host } from "./host.ts";

/** Where the system bus listens. Without it no program is started: most machines with containers have no firewalld. */
const SOCKET = "/run/dbus/system_bus_socket";

const NAME = "org.fedoraproject.FirewallD1";
const OBJECT = "/org/fedoraproject/FirewallD1";

/** A call over the system bus. */
interface BusCall {
  readonly destination: string;
  readonly object: string;
  readonly interface: string;
  readonly method: string;
  readonly texts: readonly string[];
}

/** The programs that can call; each machine with a system bus has one of them. */
const CALLERS: readonly {
  readonly program: string;
  readonly args: (call: BusCall) => readonly string[];
}[] = [
  {
    program: "busctl",
    args: ({ destination, object, interface: ofObject, method, texts }) => [
      ...["--system", "call", destination, object, ofObject, method],
      ...[texts.map(() => "s").join(""), ...texts],
    ],
  },
  {
    program: "dbus-send",
    args: ({ destination, object, interface: ofObject, method, texts }) => [
      ...["--system", "--print-reply=literal", `--dest=${destination}`, object, `${ofObject}.${method}`],
      ...texts.map((text) => `string:${text}`),
    ],
  },
];

/** What helps against an error of firewalld. */
const HINTS: Readonly<Record<string, (zone: string) => string>> = {
  INVALID_ZONE: (zone) => `make it: firewall-cmd --permanent --new-zone=${zone}; firewall-cmd --reload`,
  ZONE_CONFLICT: () => "firewall-cmd --get-zone-of-source=ADDRESS names that zone",
};

/** Returns whether firewalld is on the system bus. It does not start it. */
export async function firewalldRuns(host: Host): Promise<boolean> {
  if (runsHere(host.run) && await statOf(SOCKET) === undefined) return false;
  try {
    const bus = "org.freedesktop.DBus";
    const answer = await callBus(host, {
      ...{ destination: bus, object: "/org/freedesktop/DBus", interface: bus, method: "NameHasOwner" },
      texts: [NAME],
    });
    return answer.includes("true");
  } catch (error) {
    // Whatever speaks against asking: firewalld is then not the one to ask.
    if (error instanceof HostError) return false;
    throw error;
  }
}

/**
 * Puts an address into a zone, until firewalld is loaded again; returns false if it is in it already.
 *
 * @throws {CniError} If that is not possible; kind `permission` if the caller may not change the configuration of firewalld.
 */
export async function addSource(host: Host, zone: string, ip: Ip): Promise<boolean> {
  try {
    await callZone(host, "addSource", zone, ip);
    return true;
  } catch (error) {
    if (wordsOf(error).includes("ZONE_ALREADY_SET")) return false;
    throw explained(error, `put ${formatIp(ip)} into zone "${zone}" of firewalld`, zone);
  }
}

/** Takes an address out of a zone; does nothing if it is not in it. */
export async function removeSource(host: Host, zone: string, ip: Ip): Promise<void> {
  try {
    await callZone(host, "removeSource", zone, ip);
  } catch (error) {
    if (/UNKNOWN_SOURCE|ZONE_CONFLICT|INVALID_ZONE|NOT_ENABLED/.test(wordsOf(error))) return;
    throw explained(error, `take ${formatIp(ip)} out of zone "${zone}" of firewalld`, zone);
  }
}

/** Returns whether an address is in a zone. */
export async function hasSource(host: Host, zone: string, ip: Ip): Promise<boolean> {
  try {
    return (await callZone(host, "querySource", zone, ip)).includes("true");
  } catch (error) {
    throw explained(error, `look for ${formatIp(ip)} in zone "${zone}" of firewalld`, zone);
  }
}

/**
 * Refuses to publish ports if firewalld lets through only those that it forwards itself (`StrictForwardPorts=yes`): they would
 * be published in vain.
 *
 * @throws {CniError} With firewalld's own command as the hint.
 */
export async function refuseStrictForwarding(host: Host): Promise<void> {
  const properties = "org.freedesktop.DBus.Properties";
  const config = `${NAME}.config`;
  let answer: string;
  try {
    answer = await callBus(host, {
      ...{ destination: NAME, object: `${OBJECT}/config`, interface: properties, method: "Get" },
      texts: [config, "StrictForwardPorts"],
    });
  } catch (error) {
    // Releases of firewalld before 2.3 do not have it.
    if (error instanceof HostError) return;
    throw error;
  }
  if (!/\byes\b/.test(answer)) return;
  throw new CniError("not-ready", "Cannot publish ports: firewalld has StrictForwardPorts=yes", {
    code: ERROR_CODES.internal,
    details: "firewalld lets through only ports that it forwards itself: use firewall-cmd " +
      "--add-forward-port=port=HOSTPORT:proto=tcp:toport=PORT:toaddr=ADDRESS, or set StrictForwardPorts=no",
  });
}

async function callZone(host: Host, method: string, zone: string, ip: Ip): Promise<string> {
  const texts = [zone, `${formatIp(ip)}/${bitsOf(ip)}`];
  return await callBus(host, {
    ...{ destination: NAME, object: OBJECT, interface: `${NAME}.zone`, method, texts },
  });
}

async function callBus({ run, signal }: Host, call: BusCall): Promise<string> {
  for (const [index, { program, args }] of CALLERS.entries()) {
    try {
      return (await runOk(run, { program, args: args(call), signal, ownGroup: false })).stdout;
    } catch (error) {
      const isMissing = error instanceof HostError && error.reason === "program-missing";
      if (!isMissing || index === CALLERS.length - 1) throw error;
    }
  }
  return "";
}

/** What firewalld or the bus says of a failure. */
function wordsOf(error: unknown): string {
  return error instanceof HostError ? error.stderr : "";
}

function explained(error: unknown, what: string, zone: string): unknown {
  if (!(error instanceof HostError)) return error;
  const words = wordsOf(error).trim().replace(/^(?:Call failed|Error [\w.]+): /, "") || error.message;
  if (/denied|not ?authori[sz]ed|auth ?failed|interactive authentication/i.test(words)) {
    return new CniError("permission", `Cannot ${what}: ${words}`, {
      code: ERROR_CODES.internal,
      details: `the caller needs the permission ${NAME}.config of polkit, as root has it`,
      cause: error,
    });
  }
  const hint = Object.entries(HINTS).find(([word]) => words.includes(word))?.[1](zone);
  return new CniError("io", `Cannot ${what}: ${words}`, {
    code: ERROR_CODES.internal,
    ...(hint === undefined ? {} : { details: hint }),
    cause: error,
  });
}
