import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import {
  attachmentToJson,
  entryToJson,
  reportToJson,
  sandboxToJson,
  statusToJson,
} from "../runtime/json_view.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { SandboxFilter } from "../sandbox/filter.ts";
import type { RunOptions, SandboxRequest } from "../sandbox/request.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import { type Sandbox, SANDBOX_STATES } from "../sandbox/view.ts";
import type { DaemonEvents } from "./daemon_events.ts";
import { EXPOSITION_TYPE } from "./exposition.ts";
import { type QueryMember, type Route, type RouteRequest, withBody } from "./route.ts";
import { EMPTY_BODY, FORGET_BODY, GC_BODY, REPAIR_BODY, RUN_BODY } from "./run_body.ts";
import { schemaOf, schemaOfMany } from "./schemas.ts";

/** What the routes work with. */
export interface RouteContext {
  readonly runtime:
    & Pick<LiveRuntime, "networks" | "status" | "attachments" | "forget" | "gc" | "recover">
    & { readonly sandboxes: Pick<Sandboxes, "list" | "get" | "stop" | "remove" | "repair"> };
  /**
   * Makes a sandbox or hands out a warm one. If there is one with the same UID and attempt, returns that and calls
   * `onSame`.
   */
  readonly run: (request: SandboxRequest, options: RunOptions) => Promise<Sandbox>;
  readonly events: Pick<DaemonEvents, "subscribe">;
  /** Returns the metrics in the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  readonly log: Pick<Logger, "warn">;
}

const NAMESPACE: QueryMember = {
  name: "namespace",
  description: "the namespace of the name (default: default)",
};
const BOOLEANS = ["true", "false"];

/** Returns all routes. `document` returns the document that describes them. */
export function routesOf(context: RouteContext, document: () => unknown): readonly Route[] {
  return [
    ...sandboxRoutes(context),
    ...sandboxRoutesById(context),
    repairRoute(context),
    ...networkRoutes(context),
    ...maintenanceRoutes(context),
    {
      method: "GET",
      path: "/v1/events",
      id: "watchEvents",
      summary: "Stream events from now on: changes of sandboxes, attachments, networks and their readiness",
      answers: { 200: { description: "Server-sent events", contentType: "text/event-stream" } },
      isFree: true,
      handle: () => ({ status: 200, stream: context.events.subscribe() }),
    },
    {
      method: "GET",
      path: "/metrics",
      id: "getMetrics",
      summary: "Get metrics in the text format of Prometheus",
      answers: { 200: { description: "Metrics", contentType: EXPOSITION_TYPE } },
      isFree: true,
      handle: async () => ({ status: 200, text: await context.metrics() }),
    },
    {
      method: "GET",
      path: "/healthz",
      id: "getHealth",
      summary: "Check that the daemon answers",
      answers: { 200: { description: "The daemon answers", contentType: "text/plain; charset=utf-8" } },
      isFree: true,
      handle: () => ({ status: 200, text: "ok\n" }),
    },
    {
      method: "GET",
      path: "/openapi.json",
      id: "getDocument",
      summary: "Get this document",
      answers: { 200: { description: "OpenAPI 3.1", schema: { type: "object" } } },
      isFree: true,
      handle: () => ({ status: 200, json: document() }),
    },
  ];
}

function sandboxRoutes({ run, runtime: { sandboxes } }: RouteContext): readonly Route[] {
  return [
    withBody(RUN_BODY, {
      method: "POST",
      path: "/v1/sandboxes",
      id: "runSandbox",
      summary: "Make a sandbox with all its networks, or nothing; undone if the client disconnects",
      answers: {
        200: {
          description: "The existing sandbox with the same UID and attempt",
          schema: schemaOf("Sandbox"),
        },
        201: { description: "The new sandbox", schema: schemaOf("Sandbox") },
      },
      handle: async ({ body, signal }) => {
        let status = 201;
        const sandbox = await run(body, { signal, onSame: () => status = 200 });
        return { status, json: sandboxToJson(sandbox) };
      },
    }),
    {
      method: "GET",
      path: "/v1/sandboxes",
      id: "listSandboxes",
      summary: "List the sandboxes, oldest first",
      query: [
        { ...NAMESPACE, description: "only those in this namespace" },
        { name: "name", description: "only those with this name" },
        { name: "id", description: "only those whose ID begins with this text" },
        { name: "state", description: "only those in this state", values: SANDBOX_STATES },
        {
          name: "label",
          description: "only those with these labels, as KEY=VALUE or KEY, separated by commas",
        },
      ],
      answers: { 200: { description: "The sandboxes", schema: schemaOfMany("Sandbox") } },
      handle: async ({ query, signal }) => ({
        status: 200,
        json: (await sandboxes.list(filterOf(query), { signal })).map(sandboxToJson),
      }),
    },
  ];
}

function sandboxRoutesById({ runtime: { sandboxes }, log }: RouteContext): readonly Route[] {
  const onLeft = (sandbox: string, { message }: Error) => log.warn(`left on record: ${message}`, { sandbox });
  const one = { 200: { description: "The sandbox", schema: schemaOf("Sandbox") } };
  return [
    {
      method: "GET",
      path: "/v1/sandboxes/{id}",
      id: "getSandbox",
      summary: "Get a sandbox by ID, prefix of an ID, or name",
      query: [NAMESPACE],
      answers: one,
      handle: async (request) => ({
        status: 200,
        json: sandboxToJson(await sandboxes.get(idOf(request), placeOf(request))),
      }),
    },
    withBody(EMPTY_BODY, {
      method: "POST",
      path: "/v1/sandboxes/{id}/stop",
      id: "stopSandbox",
      summary: "Tear down the network of a sandbox and keep its record; a stopped sandbox stays stopped",
      query: [NAMESPACE],
      answers: one,
      handle: async (request) => {
        // Another sandbox may get the name meanwhile.
        const { signal } = request;
        const { id } = await sandboxes.get(idOf(request), placeOf(request));
        const failures = await sandboxes.stop(id, { signal, missingOk: true });
        for (const failure of failures) onLeft(id, failure);
        return { status: 200, json: sandboxToJson(await sandboxes.get(id)) };
      },
    }),
    {
      method: "DELETE",
      path: "/v1/sandboxes/{id}",
      id: "removeSandbox",
      summary:
        "Tear down the network of a sandbox and delete its record; succeeds if there is no such sandbox",
      query: [NAMESPACE, {
        name: "force",
        description: "also if its network cannot be torn down; what is left stays in the list of attachments",
        values: BOOLEANS,
      }],
      answers: { 204: { description: "The sandbox does not exist any more" } },
      handle: async (request) => {
        const id = idOf(request);
        const force = request.query.force === "true";
        const failures = await sandboxes.remove(id, { ...placeOf(request), force, missingOk: true });
        for (const failure of failures) onLeft(id, failure);
        return { status: 204 };
      },
    },
  ];
}

function repairRoute({ runtime: { sandboxes } }: RouteContext): Route {
  return withBody(REPAIR_BODY, {
    method: "POST",
    path: "/v1/sandboxes/{id}/repair",
    id: "repairSandbox",
    summary: "Rebuild the damaged records of a sandbox; records that a newer version wrote stay as they are",
    query: [NAMESPACE],
    answers: { 200: { description: "What was done", schema: schemaOf("RepairReport") } },
    handle: async (request) => {
      const { dryRun = false } = request.body;
      const { namespace, signal } = placeOf(request);
      const report = await sandboxes.repair({ sandbox: idOf(request), dryRun, namespace }, { signal });
      return { status: 200, json: reportToJson(report) };
    },
  });
}

function networkRoutes({ runtime }: RouteContext): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/networks",
      id: "listNetworks",
      summary: "List the files of the configuration directory and how each is used",
      answers: { 200: { description: "The files", schema: schemaOfMany("NetworkFile") } },
      handle: async ({ signal }) => ({
        status: 200,
        json: (await runtime.networks({ signal })).map(entryToJson),
      }),
    },
    {
      method: "GET",
      path: "/v1/attachments",
      id: "listAttachments",
      summary: "List the attachments, also those that could not be detached",
      query: [
        { name: "container", description: "only those with this container ID" },
        { name: "network", description: "only those to this network" },
        { name: "failed", description: "only those that could not be detached", values: BOOLEANS },
      ],
      answers: { 200: { description: "The attachments", schema: schemaOfMany("Attachment") } },
      handle: async ({ query: { container, network, failed } }) => ({
        status: 200,
        json: (await runtime.attachments({ failed: failed === "true", containerId: container, network })).map(
          attachmentToJson,
        ),
      }),
    },
    {
      method: "GET",
      path: "/v1/status",
      id: "getStatus",
      summary: "List whether the networks are ready, by the last answers of their plugins",
      query: [
        { name: "network", description: "only this network" },
        { name: "fresh", description: "ask the plugins now and wait for their answers", values: BOOLEANS },
      ],
      answers: { 200: { description: "The networks", schema: schemaOfMany("NetworkStatus") } },
      handle: async ({ query: { network, fresh }, signal }) => ({
        status: 200,
        json: (await runtime.status({ fresh: fresh === "true", network }, { signal })).map(statusToJson),
      }),
    },
  ];
}

function maintenanceRoutes({ runtime }: RouteContext): readonly Route[] {
  const report = { 200: { description: "What was done", schema: schemaOf("Report") } };
  return [
    withBody(FORGET_BODY, {
      method: "POST",
      path: "/v1/attachments/{id}/forget",
      id: "forgetAttachments",
      summary:
        "Delete the records of attachments of a container ID that cannot be detached, after a last DEL",
      answers: {
        200: { description: "The attachments whose records were deleted", schema: schemaOf("ForgetReport") },
      },
      handle: async (request) => {
        const { body, signal } = request;
        const report = await runtime.forget({ ...body, containerId: idOf(request) }, { signal });
        return { status: 200, json: reportToJson(report) };
      },
    }),
    withBody(GC_BODY, {
      method: "POST",
      path: "/v1/gc",
      id: "collectGarbage",
      summary:
        "Remove attachments without an owner, and let the plugins release resources without an attachment",
      answers: report,
      handle: async ({ body, signal }) => ({
        status: 200,
        json: reportToJson(await runtime.gc(body, { signal })),
      }),
    }),
    withBody(EMPTY_BODY, {
      method: "POST",
      path: "/v1/recover",
      id: "recover",
      summary: "Finish or undo what a crash or a reboot interrupted, and retry failed removals",
      answers: report,
      handle: async ({ signal }) => ({ status: 200, json: reportToJson(await runtime.recover({ signal })) }),
    }),
  ];
}

function filterOf({ namespace, name, id, state, label }: RouteRequest<unknown>["query"]): SandboxFilter {
  return {
    namespace,
    name,
    id,
    state: SANDBOX_STATES.find((known) => known === state),
    labels: label === undefined ? undefined : labelsOf(label),
  };
}

function labelsOf(text: string): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(
    text.split(",").map((pair) => {
      const at = pair.indexOf("=");
      return at < 0 ? [pair, undefined] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

function idOf({ params: { id } }: RouteRequest<unknown>): string {
  if (id === undefined) throw new CniError("internal", "the route has no ID");
  return id;
}

function placeOf(
  { query: { namespace }, signal }: RouteRequest<unknown>,
): { readonly namespace: string | undefined; readonly signal: AbortSignal } {
  return { signal, namespace };
}
