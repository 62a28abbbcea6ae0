import { FORGET_OUTCOMES } from "../attachment/forget.ts";
import { DEFAULT_REASONS, FILE_STATUSES } from "../catalog/entry.ts";
import { ERROR_KINDS } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { STATUS_REASONS } from "../readiness/status.ts";
import { REPAIR_KINDS } from "../sandbox/repair.ts";
import { SANDBOX_STATES } from "../sandbox/view.ts";
import { ATTACHMENT_STATES } from "../state/attachment_store.ts";

// The objects of the answers as JSON Schema. Each says which members are always there; there may be more.

const TEXT: JsonObject = { type: "string" };
const WHOLE: JsonObject = { type: "integer" };
const FLAG: JsonObject = { type: "boolean" };
const TEXTS: JsonObject = { type: "object", additionalProperties: TEXT };
const TIME: JsonObject = { type: "string", format: "date-time" };
const orNull = (schema: JsonObject): JsonObject => ({ anyOf: [schema, { type: "null" }] });
const listOf = (items: JsonObject): JsonObject => ({ type: "array", items });
const ref = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });

function objectOf(required: JsonObject, optional: JsonObject = {}): JsonObject {
  return { type: "object", required: Object.keys(required), properties: { ...required, ...optional } };
}

const COUNTERS = objectOf({ bytes: WHOLE, packets: WHOLE, errors: WHOLE, drops: WHOLE });
const REPAIR_ITEM = objectOf({
  kind: { enum: [...REPAIR_KINDS] },
  containerId: TEXT,
  why: TEXT,
}, { file: TEXT, network: TEXT, ifName: TEXT, lost: listOf(TEXT) });
const ITEM = objectOf({ kind: TEXT, why: TEXT }, {
  containerId: TEXT,
  network: TEXT,
  ifName: TEXT,
  netns: TEXT,
  plugin: TEXT,
  file: TEXT,
  undecided: FLAG,
  error: ref("ErrorObject"),
});

/** The schemas by name: the components of the document. */
export const SCHEMAS: Readonly<Record<string, JsonObject>> = {
  Sandbox: objectOf({
    id: TEXT,
    name: TEXT,
    namespace: TEXT,
    uid: TEXT,
    attempt: WHOLE,
    state: { enum: [...SANDBOX_STATES] },
    createdAt: TIME,
    netns: TEXT,
    hostNetwork: FLAG,
    pid: orNull(WHOLE),
    ips: listOf(TEXT),
    networks: listOf(
      objectOf({ name: TEXT, ifName: TEXT, default: FLAG, result: { type: "object" } }, {
        ports: listOf(objectOf({ hostIP: TEXT, hostPort: WHOLE, containerPort: WHOLE, protocol: TEXT })),
        title: TEXT,
      }),
    ),
    files: orNull(objectOf({ resolvConf: TEXT, hosts: TEXT })),
    labels: TEXTS,
    annotations: TEXTS,
  }, {
    cgroup: { ...TEXT, description: "that of its infra container, if it is below one that was asked for" },
    cri: objectOf({ handler: TEXT, config: { type: "object" } }),
    nri: objectOf({ engine: TEXT }),
    reason: { type: "string", description: "why it is broken" },
    traffic: {
      ...orNull(listOf(objectOf({ ifName: TEXT, network: orNull(TEXT), rx: COUNTERS, tx: COUNTERS }))),
      description: "with stats=true; null if it cannot be found out",
    },
    underWay: { const: true, description: "it is being made, stopped or removed at this moment" },
  }),
  NetworkFile: objectOf({
    file: TEXT,
    name: orNull(TEXT),
    status: { enum: [...FILE_STATUSES] },
    default: FLAG,
    defaultBy: orNull({ enum: [...DEFAULT_REASONS] }),
    cniVersion: orNull(TEXT),
    plugins: listOf(TEXT),
    reason: orNull(TEXT),
    line: orNull(WHOLE),
    column: orNull(WHOLE),
    since: orNull(TIME),
    badSince: orNull(TIME),
  }),
  Network: objectOf({
    name: TEXT,
    file: TEXT,
    default: FLAG,
    driver: TEXT,
    plugins: listOf(TEXT),
    subnets: listOf(TEXT),
    mtu: orNull(WHOLE),
    created: orNull(TIME),
    config: { type: "object" },
    attachments: listOf(objectOf({
      containerId: TEXT,
      ifName: TEXT,
      pod: orNull(TEXT),
      state: { enum: [...ATTACHMENT_STATES] },
      mac: orNull(TEXT),
      addresses: listOf(TEXT),
    })),
  }, { warnings: listOf(TEXT) }),
  SandboxCheck: objectOf({
    containerId: TEXT,
    name: TEXT,
    namespace: TEXT,
    netns: TEXT,
    ready: FLAG,
    reason: orNull(TEXT),
    networks: listOf(objectOf({
      name: TEXT,
      ifName: TEXT,
      state: { enum: [...ATTACHMENT_STATES] },
      checked: FLAG,
      error: orNull(ref("ErrorObject")),
    })),
  }),
  Attachment: objectOf({
    containerId: TEXT,
    network: TEXT,
    ifName: TEXT,
    netns: TEXT,
    state: { enum: [...ATTACHMENT_STATES] },
    owner: TEXT,
    since: TIME,
    attempts: WHOLE,
    nextTry: orNull(TIME),
    error: orNull(ref("ErrorObject")),
  }),
  InterfaceStatus: objectOf({
    name: TEXT,
    interface: TEXT,
    default: FLAG,
    dns: objectOf({}, {
      nameservers: listOf(TEXT),
      domain: TEXT,
      search: listOf(TEXT),
      options: listOf(TEXT),
    }),
  }, { ips: listOf(TEXT), mac: TEXT, mtu: WHOLE, gateway: listOf(TEXT) }),
  NetworkStatus: objectOf({
    network: orNull(TEXT),
    ready: FLAG,
    reason: orNull({ enum: [...STATUS_REASONS] }),
    msg: orNull(TEXT),
    since: orNull(TIME),
  }, { graceUntil: TIME, file: TEXT, warnings: listOf(TEXT) }),
  Report: objectOf({ removed: listOf(ITEM), kept: listOf(ITEM), failed: listOf(ITEM) }),
  RepairReport: objectOf({ repaired: listOf(REPAIR_ITEM), kept: listOf(REPAIR_ITEM) }),
  ForgetReport: objectOf({
    forgotten: listOf(
      objectOf({
        containerId: TEXT,
        network: TEXT,
        ifName: TEXT,
        how: { enum: [...FORGET_OUTCOMES] },
        freed: listOf(TEXT),
        remaining: listOf(TEXT),
      }, { error: ref("ErrorObject") }),
    ),
  }),
  ErrorObject: objectOf({ code: WHOLE, kind: { enum: [...ERROR_KINDS] }, msg: TEXT }, {
    details: TEXT,
    verb: TEXT,
    network: TEXT,
    plugin: TEXT,
    pluginIndex: WHOLE,
    pluginCount: WHOLE,
    containerId: TEXT,
    ifName: TEXT,
    exitCode: WHOLE,
    signal: TEXT,
    stderr: TEXT,
    elapsedMs: { type: "number" },
    file: TEXT,
    path: { type: "string", description: "the member of the request that is wrong" },
    line: WHOLE,
    column: WHOLE,
    hint: TEXT,
  }),
  Error: objectOf({ error: ref("ErrorObject") }),
};

/** Returns a reference to a schema of {@linkcode SCHEMAS}. */
export function schemaOf(name: string): JsonObject {
  return ref(name);
}

/** Returns the schema of an array of them. */
export function schemaOfMany(name: string): JsonObject {
  return listOf(ref(name));
}
