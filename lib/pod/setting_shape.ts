import type { JsonPath } from "../cni/json.ts";
import {
  either,
  integer,
  listOf,
  mapOf,
  mapped,
  objectOf,
  oneOf,
  text,
  trueOnly,
  ValidationError,
} from "../cni/shape.ts";
import { LAST_PORT, PROTOCOLS } from "../cni/port_protocol.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import type { RefuseText } from "./setting.ts";
import { MOST_BITS } from "./setting_rules.ts";
import { anyPortMappings, pair } from "./setting_text.ts";

// The shapes of settings in a request to the daemon.

const PORT = integer(1, LAST_PORT);
/** A port of the host, or the word with which podwire chooses one. */
const HOST_PORT = either((json) => typeof json === "string", oneOf(["auto"]), PORT);
const BITS = integer(1, MOST_BITS);

function refuseAt(path: JsonPath): RefuseText {
  return (problem) => new ValidationError(path, problem);
}

/** A list of texts. */
export const TEXTS = listOf(text());

/** Texts by name. */
export const TEXT_MAP = mapOf(text({ minLength: 0 }));

/** Ports, each as `--publish` takes it or as an object. */
export const PORT_MAPPINGS = mapped(
  listOf(mapped(
    either(
      (json) => typeof json === "string",
      text({ description: "[HOSTIP:][HOSTPORT]:PORT[/PROTO]", examples: ["18080:80/tcp", ":80"] }),
      objectOf(
        { hostPort: HOST_PORT, containerPort: PORT },
        { hostIP: text({ minLength: 0 }), protocol: oneOf(PROTOCOLS) },
      ),
    ),
    (port, path) => anyPortMappings(port, refuseAt(path)),
  )),
  (ports) => ports.flat(),
);

/** Limits in bits per second. */
export const BANDWIDTH = objectOf({}, {
  ingressRate: BITS,
  ingressBurst: BITS,
  egressRate: BITS,
  egressBurst: BITS,
});

/** Lists of ranges, one address out of each list. */
export const IP_RANGES = listOf(
  listOf(objectOf({ subnet: text() }, { rangeStart: text(), rangeEnd: text(), gateway: text() })),
);

/** How the pod looks up names. */
export const DNS = objectOf({}, { servers: TEXTS, searches: TEXTS, options: TEXTS });

/** Pairs of `CNI_ARGS`: an object, or a list of `K=V`, in which a key may be repeated. */
export const ARGS = either<CniArgs, CniArgs>(
  (json) => Array.isArray(json),
  listOf(
    mapped(text({ description: "K=V", pattern: "^[^=]+=" }), (item, path) => pair(item, refuseAt(path))),
  ),
  mapped(TEXT_MAP, (pairs) => Object.entries(pairs)),
);

/** Whether the default route of the pod is that of the network, or its gateways. */
export const DEFAULT_ROUTE = either(
  (json) => typeof json === "boolean",
  trueOnly,
  listOf(text({ description: "a gateway, one for each family" })),
);
