import type { JsonPath } from "../cni/json.ts";
import {
  either,
  flag,
  integer,
  listOf,
  mapped,
  type Members,
  type MembersOf,
  objectOf,
  oneOf,
  type Shape,
  text,
  ValidationError,
} from "../cni/shape.ts";
import type { WantedNetwork, WantedNetworks } from "../pod/request.ts";
import type { Setting, SettingTable } from "../pod/setting.ts";
import { TEXT_MAP } from "../pod/setting_shape.ts";
import { SETTINGS } from "../pod/settings.ts";
import { LARGEST_ATTEMPT, type NetnsSource, type SandboxRequest } from "../sandbox/request.ts";

const LARGEST_PID = 2 ** 22;

/** The members of a request that are not settings of networks. */
const SANDBOX_MEMBERS = {
  name: text(),
  namespace: text(),
  uid: text(),
  attempt: integer(0, LARGEST_ATTEMPT),
  uniqueName: flag,
  id: text(),
  infra: flag,
  runtime: text(),
  netns: text({ pattern: "^/" }),
  pid: integer(1, LARGEST_PID),
  hostNetwork: flag,
  labels: TEXT_MAP,
  sysctls: TEXT_MAP,
  replace: flag,
  allowOverlap: flag,
};

type SandboxMembers = Partial<MembersOf<typeof SANDBOX_MEMBERS>>;

function shapesOf(table: SettingTable, isWanted: (setting: Setting) => boolean): Members {
  const wanted = Object.entries(table).filter(([, setting]) => isWanted(setting));
  return Object.fromEntries(wanted.map(([member, { shape }]) => [member, shape]));
}

/** The members of a network that a sandbox is attached to. */
function networkMembers(table: SettingTable): Members {
  return { ifName: text(), ...shapesOf(table, () => true) };
}

function bodyOf(table: SettingTable): Shape<SandboxMembers & WantedNetworks> {
  const network = objectOf({ name: text() }, networkMembers(table));
  const networks = either((json) => typeof json === "string", oneOf(["none"]), listOf(network));
  const ofPod = shapesOf(table, ({ scope }) => scope !== "own");
  // The types of the settings are those that the table was checked against.
  return objectOf({}, { ...SANDBOX_MEMBERS, networks, ...ofPod }) as Shape<SandboxMembers & WantedNetworks>;
}

/** Returns the body of `POST /v1/sandboxes`: the options of `run`, as JSON. */
export function runBody(table: SettingTable = SETTINGS): Shape<SandboxRequest> {
  return mapped(bodyOf(table), (given, path) => {
    const { infra: _infra, runtime: _runtime, netns: _netns, pid: _pid, hostNetwork: _host, ...request } =
      given;
    return { ...request, source: source(given, path) };
  });
}

/** The body of `POST /v1/sandboxes`. */
export const RUN_BODY: Shape<SandboxRequest> = runBody();

/** The body of `POST /v1/sandboxes/{id}/networks`: a network as in that of a sandbox. */
export const CONNECT_BODY = objectOf({ name: text() }, {
  ...networkMembers(SETTINGS),
  allowOverlap: flag,
}) as Shape<WantedNetwork & { readonly allowOverlap: boolean | undefined }>;

function source(given: SandboxMembers, path: JsonPath): NetnsSource {
  const { netns, pid, infra = false, hostNetwork = false, runtime } = given;
  const named = [
    netns !== undefined && "netns",
    pid !== undefined && "pid",
    infra && "infra",
    hostNetwork && "hostNetwork",
  ].filter((name) => name !== false);
  if (named.length > 1) {
    throw new ValidationError([...path, named[1] ?? ""], `cannot be given beside ${named[0]}`);
  }
  if (runtime !== undefined && !infra) throw new ValidationError([...path, "runtime"], "goes with infra");
  if (netns !== undefined && !netns.startsWith("/")) {
    throw new ValidationError([...path, "netns"], "must be an absolute path");
  }
  if (netns !== undefined) return { kind: "path", path: netns };
  if (pid !== undefined) return { kind: "pid", pid };
  if (infra) return { kind: "infra", ...(runtime === undefined ? {} : { runtime }) };
  return hostNetwork ? { kind: "host" } : { kind: "new" };
}

/** The body of `POST /v1/gc`. */
export const GC_BODY = objectOf({}, {
  network: text(),
  valid: listOf(objectOf({ containerId: text(), ifName: text() }, {})),
  all: flag,
  dryRun: flag,
});

/** The body of `POST /v1/attachments/{id}/forget`. */
export const FORGET_BODY = objectOf({ reason: text() }, { ifName: text(), network: text(), dryRun: flag });

/** The body of `POST /v1/sandboxes/{id}/repair`. */
export const REPAIR_BODY = objectOf({}, { dryRun: flag, links: flag });

/** A body that has no members. */
export const EMPTY_BODY: Shape<MembersOf<Record<never, never>>> = objectOf({}, {});
