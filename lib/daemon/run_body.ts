import type { CniArgs } from "../plugin/invocation.ts";
import { PROTOCOLS } from "../state/host_port.ts";
import { portMapping } from "../pod/port_mapping.ts";
import type { NetworkSettings, PodRequest } from "../pod/request.ts";
import { LARGEST_ATTEMPT, type NetnsSource, type SandboxRequest } from "../sandbox/request.ts";
import { CniError } from "../cni/error.ts";
import { formatPath, type JsonPath } from "../cni/json.ts";
import {
  anything,
  either,
  flag,
  integer,
  listOf,
  mapOf,
  mapped,
  type MembersOf,
  objectOf,
  oneOf,
  type Shape,
  type Shaped,
  text,
  trueOnly,
  ValidationError,
} from "../cni/shape.ts";

const PORT = integer(1, 65_535);
const BITS = integer(1, 1_000_000_000_000);
const LARGEST_PID = 2 ** 22;

/** `18080:80/tcp` as `--publish` takes it, or its parts. */
const publish = either(
  (json) => typeof json === "string",
  mapped(
    text({ description: "[HOSTIP:]HOSTPORT:PORT[/PROTO]", examples: ["18080:80/tcp"] }),
    (value, path) => told(path, () => portMapping(formatPath(path), value)),
  ),
  mapped(
    objectOf(
      { hostPort: PORT, containerPort: PORT },
      { hostIP: text({ minLength: 0 }), protocol: oneOf(PROTOCOLS) },
    ),
    ({ hostIP = "", protocol = "tcp", ...ports }) => ({ hostIP, protocol, ...ports }),
  ),
);

const bandwidth = objectOf({}, {
  ingressRate: BITS,
  ingressBurst: BITS,
  egressRate: BITS,
  egressBurst: BITS,
});

const ipRange = objectOf({ subnet: text() }, { rangeStart: text(), rangeEnd: text(), gateway: text() });

const dns = objectOf({}, { servers: listOf(text()), searches: listOf(text()), options: listOf(text()) });

const TEXTS = mapOf(text({ minLength: 0 }));

/** For `CNI_ARGS`: an object, or a list of `K=V`, in which a key may stand twice. */
const args: Shape<CniArgs> = either(
  (json) => Array.isArray(json),
  listOf(mapped(text({ description: "K=V", pattern: "^[^=]+=" }), (pair, path) => {
    const equals = pair.indexOf("=");
    if (equals < 1) throw new ValidationError(path, "must be KEY=VALUE");
    return [pair.slice(0, equals), pair.slice(equals + 1)] as const;
  })),
  mapped(TEXTS, (pairs) => Object.entries(pairs)),
);

/** What a sandbox, or one network of it, is to have. */
const SETTINGS = {
  ips: listOf(text()),
  mac: text(),
  publish: listOf(publish),
  bandwidth,
  ipRanges: listOf(listOf(ipRange)),
  dns,
  aliases: listOf(text()),
  deviceID: text(),
  cgroupPath: text(),
  annotations: TEXTS,
  args,
  capabilities: mapOf(anything),
} satisfies { readonly [K in keyof NetworkSettings]: Shape<NetworkSettings[K]> };

/** Whether the pod's default route is the network's, or through which gateways. */
const defaultRoute = either(
  (json) => typeof json === "boolean",
  trueOnly,
  listOf(text({ description: "a gateway, one a family" })),
);

const network = objectOf({ name: text() }, { ifName: text(), defaultRoute, ...SETTINGS });

const networks: Shape<NonNullable<PodRequest["networks"]>> = either(
  (json) => typeof json === "string",
  oneOf(["none"]),
  listOf(network),
);

const body = objectOf({}, {
  name: text(),
  namespace: text(),
  uid: text(),
  attempt: integer(0, LARGEST_ATTEMPT),
  uniqueName: flag,
  id: text(),
  networks,
  infra: flag,
  runtime: text(),
  netns: text({ pattern: "^/" }),
  pid: integer(1, LARGEST_PID),
  hostNetwork: flag,
  labels: TEXTS,
  sysctls: TEXTS,
  replace: flag,
  ...SETTINGS,
});

/** What `POST /v1/sandboxes` takes: the options of `run`, as JSON. */
export const RUN_BODY: Shape<SandboxRequest> = mapped(body, (given, path) => {
  const { infra: _infra, runtime: _runtime, netns: _netns, pid: _pid, hostNetwork: _host, ...request } =
    given;
  return { ...request, source: source(given, path) };
});

function source(given: Shaped<typeof body>, path: JsonPath): NetnsSource {
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

/** What `POST /v1/gc` takes. */
export const GC_BODY = objectOf({}, {
  network: text(),
  valid: listOf(objectOf({ containerId: text(), ifName: text() }, {})),
  all: flag,
  dryRun: flag,
});

/** What `POST /v1/attachments/{id}/forget` takes. */
export const FORGET_BODY = objectOf({ reason: text() }, { ifName: text(), network: text(), dryRun: flag });

/** What `POST /v1/sandboxes/{id}/repair` takes. */
export const REPAIR_BODY = objectOf({}, { dryRun: flag });

/** What takes nothing. */
export const EMPTY_BODY: Shape<MembersOf<Record<never, never>>> = objectOf({}, {});

/** What a reader of texts finds wrong, with the place of the text. */
function told<T>(path: JsonPath, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    throw new ValidationError(path, error.msg.slice(`${formatPath(path)}: `.length));
  }
}
