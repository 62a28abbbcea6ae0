import type { JsonObject } from "../cni/json.ts";
import { networkStatusOf, networkStatusToJson } from "../pod/network_status.ts";
import { reportToJson, sandboxToJson, sandboxWithTrafficToJson } from "../runtime/json_view.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { SandboxFilter } from "../sandbox/filter.ts";
import { type Sandbox, SANDBOX_STATES } from "../sandbox/view.ts";
import { connectRoutes } from "./connect_routes.ts";
import { EXPOSITION_TYPE } from "./exposition.ts";
import { networkRoutes } from "./network_routes.ts";
import { type Route, type RouteRequest, withBody } from "./route.ts";
import { BOOLEANS, idOf, NAMESPACE, placeOf, type RouteContext } from "./route_context.ts";
import { EMPTY_BODY, FORGET_BODY, GC_BODY, REPAIR_BODY, RUN_BODY } from "./run_body.ts";
import { schemaOf, schemaOfMany } from "./schemas.ts";

/** Returns all routes. `document` returns the document that describes them. */
export function routesOf(context: RouteContext, document: () => unknown): readonly Route[] {
  return [
    ...sandboxRoutes(context),
    ...sandboxRoutesById(context),
    ...connectRoutes(context),
    networkStatusRoute(context),
    repairRoute(context),
    ...networkRoutes(context),
    ...maintenanceRoutes(context),
    {
      method: "GET",
      path: "/v1/events",
      id: "watchEvents",
      summary:
        "Stream events from now on: changes of sandboxes, attachments, networks, their readiness, and leases of DHCP",
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
      summary: "Check that the daemon answers and, as a plugin of an engine, is connected to it",
      answers: {
        200: { description: "The daemon answers", contentType: "text/plain; charset=utf-8" },
        503: { description: "Why it cannot do its work", contentType: "text/plain; charset=utf-8" },
      },
      isFree: true,
      handle: () => {
        const problem = context.problem();
        return problem === undefined ? { status: 200, text: "ok\n" } : { status: 503, text: `${problem}\n` };
      },
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
        STATS,
      ],
      answers: { 200: { description: "The sandboxes", schema: schemaOfMany("Sandbox") } },
      handle: async ({ query, signal }) => {
        const found = await sandboxes.list(filterOf(query), { signal });
        if (query.stats !== "true") return { status: 200, json: found.map(sandboxToJson) };
        return { status: 200, json: await withTraffic(found, sandboxes, signal) };
      },
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
      query: [NAMESPACE, STATS],
      answers: one,
      handle: async (request) => {
        const sandbox = await sandboxes.get(idOf(request), placeOf(request));
        if (request.query.stats !== "true") return { status: 200, json: sandboxToJson(sandbox) };
        const [json = {}] = await withTraffic([sandbox], sandboxes, request.signal);
        return { status: 200, json };
      },
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

const STATS = {
  name: "stats",
  description: "whether to add what the interfaces have carried, as `traffic`",
  values: BOOLEANS,
};

async function withTraffic(
  found: readonly Sandbox[],
  sandboxes: Pick<Sandboxes, "traffic">,
  signal: AbortSignal,
): Promise<readonly JsonObject[]> {
  const traffic = await sandboxes.traffic(found, { signal });
  return found.map((sandbox, at) => sandboxWithTrafficToJson(sandbox, traffic[at] ?? null));
}

function networkStatusRoute({ runtime: { sandboxes } }: RouteContext): Route {
  return {
    method: "GET",
    path: "/v1/sandboxes/{id}/network-status",
    id: "getNetworkStatus",
    summary: "Get the interfaces of a sandbox as Kubernetes' annotation network-status describes them",
    query: [NAMESPACE],
    answers: {
      200: { description: "One object for each interface", schema: schemaOfMany("InterfaceStatus") },
    },
    handle: async (request) => {
      const { namespace, networks } = await sandboxes.get(idOf(request), placeOf(request));
      return { status: 200, json: networkStatusToJson(networkStatusOf(namespace, networks)) };
    },
  };
}

function repairRoute({ runtime: { sandboxes } }: RouteContext): Route {
  return withBody(REPAIR_BODY, {
    method: "POST",
    path: "/v1/sandboxes/{id}/repair",
    id: "repairSandbox",
    summary: "Put back the lost rules of a sandbox, and rebuild its damaged records",
    query: [NAMESPACE],
    answers: { 200: { description: "What was done", schema: schemaOf("RepairReport") } },
    handle: async (request) => {
      const { dryRun = false, links = false } = request.body;
      const { namespace, signal } = placeOf(request);
      const report = await sandboxes.repair({ sandbox: idOf(request), dryRun, links, namespace }, { signal });
      return { status: 200, json: reportToJson(report) };
    },
  });
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
