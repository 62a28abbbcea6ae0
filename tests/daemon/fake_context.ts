/** A runtime and other parts for the routes that only answer. */
import { CniError } from "../../lib/cni/error.ts";
import { parseConfigList } from "../../lib/cni/config.ts";
import { EventHub } from "../../lib/daemon/event_hub.ts";
import { Handler, type HandlerOptions, type ServedRequest } from "../../lib/daemon/handler.ts";
import { openApiOf } from "../../lib/daemon/openapi.ts";
import type { RouteContext } from "../../lib/daemon/route_context.ts";
import { routesOf } from "../../lib/daemon/routes.ts";
import type { LogFields } from "../../lib/host/log.ts";
import { viewNetwork } from "../../lib/network/view_network.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";

export const SANDBOX: Sandbox = {
  id: "0123456789abcdef",
  name: "web",
  namespace: "default",
  attempt: 0,
  uid: "u",
  state: "ready",
  createdAt: "2026-01-01T00:00:00.000Z",
  netns: "/run/netns/podwire-0123456789abcdef",
  hostNetwork: false,
  pid: null,
  ips: ["10.0.0.2"],
  networks: [{ name: "net", ifName: "eth0", default: false, result: { cniVersion: "1.1.0" } }],
  files: {
    resolvConf: "/var/lib/podwire/inside/sandboxes/0123456789abcdef/resolv.conf",
    hosts: "/var/lib/podwire/inside/sandboxes/0123456789abcdef/hosts",
  },
  labels: { app: "web" },
  annotations: {},
};

const COUNTERS = { bytes: 1_500, packets: 3, errors: 0, drops: 1 };
export const TRAFFIC = [{ ifName: "eth0", network: "net", rx: COUNTERS, tx: COUNTERS }];

const RECORD: AttachmentRecord = {
  containerId: SANDBOX.id,
  network: "net",
  ifName: "eth0",
  netns: SANDBOX.netns,
  netnsId: undefined,
  state: "failed",
  owner: `sandbox:${SANDBOX.id}`,
  since: SANDBOX.createdAt,
  bootId: "b",
  sequence: 1,
  attempts: 1,
  nextTry: SANDBOX.createdAt,
  error: { code: 0, kind: "plugin", msg: "no" },
  config: "{}",
  cniArgs: [],
  capabilityArgs: {},
  result: undefined,
};

const LIST = parseConfigList('{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}');

/** A context of the routes that notes each call, as its name and arguments. */
export class FakeContext {
  readonly calls: [name: string, ...args: unknown[]][] = [];
  readonly hub = new EventHub();
  readonly warnings: string[] = [];
  readonly context: RouteContext;

  constructor(overrides: Partial<RouteContext> = {}) {
    const noted = <T>(name: string, value: T) => (...args: unknown[]) => {
      // Callbacks do not say what the call is for.
      const noted = args.filter((arg) => typeof arg !== "function");
      this.calls.push([name, ...noted.map((arg) => essential(arg))]);
      return Promise.resolve(value);
    };
    const item = { kind: "attachment" as const, containerId: "c", network: "net", ifName: "eth0", why: "w" };
    this.context = {
      runtime: {
        sandboxes: {
          list: noted("list", [SANDBOX]),
          get: noted("get", SANDBOX),
          traffic: noted("traffic", [TRAFFIC]),
          stop: noted("stop", [new CniError("plugin", "it stays")]),
          remove: noted("remove", []),
          repair: noted("repair", {
            repaired: [{
              kind: "sandbox" as const,
              containerId: "c",
              file: "/f",
              why: "w",
              lost: ["l"],
            }],
            kept: [],
          }),
          connect: noted("connect", SANDBOX),
          disconnect: noted("disconnect", [new CniError("plugin", "it stays")]),
          check: noted("check", {
            ...{ containerId: SANDBOX.id, name: "web", namespace: "default", netns: SANDBOX.netns },
            ...{ ready: false, reason: "no" },
            networks: [{
              ...{ name: "net", ifName: "eth0", state: "attached" as const, result: undefined },
              ...{ link: undefined, checked: true, error: new CniError("plugin", "no") },
            }],
          }),
        },
        createNetwork: noted("createNetwork", { file: "/f", list: LIST, warnings: ["wide"] }),
        setNetwork: noted("setNetwork", undefined),
        removeNetwork: noted("removeNetwork", undefined),
        inspectNetwork: noted("inspectNetwork", viewNetwork({ file: "/f", default: false }, LIST, [RECORD])),
        networks: noted("networks", [
          { file: "a", name: "net", status: "used" as const, default: true, plugins: ["bridge"] },
          {
            file: "b",
            status: "rejected" as const,
            default: false,
            plugins: [],
            reason: "bad",
            line: 1,
            column: 2,
          },
        ] as never),
        status: noted(
          "status",
          [{ network: "net", ready: true, reason: undefined, msg: undefined }] as never,
        ),
        attachments: noted("attachments", [RECORD]),
        forget: noted("forget", {
          forgotten: [{
            ...{ containerId: "c", network: "net", ifName: "eth0", how: "let go" as const },
            ...{ freed: ["f"], remaining: ["r"], error: new CniError("plugin", "no") },
          }],
        }),
        gc: noted("gc", {
          removed: [item],
          kept: [],
          failed: [{ ...item, error: new CniError("plugin", "no") }],
        }),
        recover: noted("recover", { removed: [], kept: [item], failed: [] }),
      },
      run: noted("run", SANDBOX),
      events: this.hub,
      metrics: () => Promise.resolve("# none\n"),
      problem: () => undefined,
      log: { warn: (msg, fields) => void this.warnings.push(`${fields?.sandbox} ${msg}`) },
      ...overrides,
    };
  }
}

/** Returns an argument without its signal, its callbacks and its undefined members. */
function essential(arg: unknown): unknown {
  if (arg instanceof AbortSignal) return "signal";
  if (typeof arg !== "object" || arg === null || Array.isArray(arg)) return arg;
  const members = Object.entries(arg).filter(([key, value]) =>
    key !== "signal" && value !== undefined && typeof value !== "function"
  );
  return Object.fromEntries(members);
}

/** Makes a handler over such a context, with what it logs and reports. */
export function fakeDaemon(overrides: Partial<RouteContext> = {}, options: Partial<HandlerOptions> = {}) {
  const fake = new FakeContext(overrides);
  const lines: [string, LogFields | undefined][] = [];
  const served: ServedRequest[] = [];
  const note = (msg: string, fields?: LogFields) => void lines.push([msg, fields]);
  const routes = routesOf(fake.context, (): unknown => openApiOf(routes, "0.0.0"));
  const handler = new Handler({
    routes,
    log: { debug: note, info: note, warn: note, error: note },
    onServed: (request) => void served.push(request),
    ...options,
  });
  const call = async (method: string, target: string, body?: BodyInit, init: RequestInit = {}) => {
    const response = await handler.handle(
      new Request(`http://podwire${target}`, { method, ...(body === undefined ? {} : { body }), ...init }),
    );
    const text = await response.text();
    const isJson = response.headers.get("content-type") === "application/json";
    return {
      status: response.status,
      headers: response.headers,
      text,
      // deno-lint-ignore no-explicit-any
      json: (isJson && text !== "" ? JSON.parse(text) : undefined) as any,
    };
  };
  return { fake, handler, routes, lines, served, call };
}
