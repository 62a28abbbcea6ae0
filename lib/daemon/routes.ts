import { SANDBOX_STATES, type SandboxFilter } from "../sandbox/filter.ts";
import {
  attachmentToJson,
  entryToJson,
  reportToJson,
  sandboxToJson,
  statusToJson,
} from "../runtime/json_view.ts";
import { CniError } from "../cni/error.ts";
import { EMPTY_BODY, FORGET_BODY, GC_BODY, REPAIR_BODY, RUN_BODY } from "./run_body.ts";
import { type QueryMember, type Route, type RouteRequest, withBody } from "./route.ts";
import { schemaOf, schemaOfMany } from "./schemas.ts";
import type { Services } from "./services.ts";

const NAMESPACE: QueryMember = {
  name: "namespace",
  description: "where a name is looked for (default: default)",
};
const TRUTH = ["true", "false"];

/** All routes; `document` gives the one that describes them. */
export function routesOf(services: Services, document: () => unknown): readonly Route[] {
  return [
    ...sandboxRoutes(services),
    ...sandboxRoutesById(services),
    repairRoute(services),
    ...networkRoutes(services),
    ...upkeepRoutes(services),
    {
      method: "GET",
      path: "/v1/events",
      id: "watchEvents",
      summary:
        "What happens from now on: sandboxes, attachments, the catalogue, and which networks are ready",
      answers: { 200: { description: "Server-sent events", contentType: "text/event-stream" } },
      isFree: true,
      handle: () => ({ status: 200, stream: services.events() }),
    },
    {
      method: "GET",
      path: "/metrics",
      id: "getMetrics",
      summary: "Metrics in the text format of Prometheus",
      answers: { 200: { description: "Metrics", contentType: "text/plain; version=0.0.4; charset=utf-8" } },
      isFree: true,
      handle: async () => ({ status: 200, text: await services.metrics() }),
    },
    {
      method: "GET",
      path: "/healthz",
      id: "getHealth",
      summary: "Whether the daemon turns",
      answers: { 200: { description: "It does", contentType: "text/plain; charset=utf-8" } },
      isFree: true,
      handle: () => ({ status: 200, text: "ok\n" }),
    },
    {
      method: "GET",
      path: "/openapi.json",
      id: "getDocument",
      summary: "This document",
      answers: { 200: { description: "OpenAPI 3.1", schema: { type: "object" } } },
      isFree: true,
      handle: () => ({ status: 200, json: document() }),
    },
  ];
}

function sandboxRoutes({ run, sandboxes }: Services): readonly Route[] {
  return [
    withBody(RUN_BODY, {
      method: "POST",
      path: "/v1/sandboxes",
      id: "runSandbox",
      summary: "Make a sandbox with all of its networks, or nothing at all; undone if the client leaves",
      answers: {
        200: {
          description: "That of the same UID and attempt, which was there",
          schema: schemaOf("Sandbox"),
        },
        201: { description: "The sandbox, which was made", schema: schemaOf("Sandbox") },
      },
      handle: async ({ body, signal }) => {
        let status = 201;
        const sandbox = await run({ ...body, signal }, () => status = 200);
        return { status, json: sandboxToJson(sandbox) };
      },
    }),
    {
      method: "GET",
      path: "/v1/sandboxes",
      id: "listSandboxes",
      summary: "The sandboxes, oldest first",
      query: [
        { ...NAMESPACE, description: "only those of this namespace" },
        { name: "name", description: "only those of this name" },
        { name: "id", description: "only those whose ID begins so" },
        { name: "state", description: "only those in this state", values: SANDBOX_STATES },
        {
          name: "label",
          description: "only those with these labels, as KEY=VALUE or KEY, comma between them",
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

function sandboxRoutesById({ sandboxes, onLeft }: Services): readonly Route[] {
  const one = { 200: { description: "The sandbox", schema: schemaOf("Sandbox") } };
  return [
    {
      method: "GET",
      path: "/v1/sandboxes/{id}",
      id: "getSandbox",
      summary: "A sandbox, by ID, prefix of one, or name",
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
      summary: "Take the network of a sandbox down and keep its record; a stopped one stays stopped",
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
      summary: "Take the network of a sandbox down and forget it; fine if it is gone",
      query: [NAMESPACE, {
        name: "force",
        description: "also if its network cannot be torn down: that stays among the attachments",
        values: TRUTH,
      }],
      answers: { 204: { description: "It is gone" } },
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

function repairRoute({ sandboxes }: Services): Route {
  return withBody(REPAIR_BODY, {
    method: "POST",
    path: "/v1/sandboxes/{id}/repair",
    id: "repairSandbox",
    summary: "Make the damaged records of a sandbox anew; what a newer version wrote is kept as it is",
    query: [NAMESPACE],
    answers: { 200: { description: "What was done", schema: schemaOf("RepairReport") } },
    handle: async (request) => {
      const { dryRun = false } = request.body;
      const report = await sandboxes.repair({ sandbox: idOf(request), dryRun, ...placeOf(request) });
      return { status: 200, json: reportToJson(report) };
    },
  });
}

function networkRoutes({ networks, attachments, status }: Services): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/v1/networks",
      id: "listNetworks",
      summary: "What became of each file of the configuration directory",
      answers: { 200: { description: "The files", schema: schemaOfMany("NetworkFile") } },
      handle: async ({ signal }) => ({ status: 200, json: (await networks(signal)).map(entryToJson) }),
    },
    {
      method: "GET",
      path: "/v1/attachments",
      id: "listAttachments",
      summary: "What is attached, and what could not be detached",
      query: [
        { name: "container", description: "only those of this container ID" },
        { name: "network", description: "only those to this network" },
        { name: "failed", description: "only what could not be detached", values: TRUTH },
      ],
      answers: { 200: { description: "The attachments", schema: schemaOfMany("Attachment") } },
      handle: async ({ query: { container, network, failed } }) => ({
        status: 200,
        json: (await attachments({
          failed: failed === "true",
          ...(container === undefined ? {} : { containerId: container }),
          ...(network === undefined ? {} : { network }),
        })).map(attachmentToJson),
      }),
    },
    {
      method: "GET",
      path: "/v1/status",
      id: "getStatus",
      summary: "Whether the networks are ready, as their plugins said last; no plugin is waited for",
      query: [
        { name: "network", description: "only this one" },
        { name: "fresh", description: "asks the plugins and waits for them", values: TRUTH },
      ],
      answers: { 200: { description: "The networks", schema: schemaOfMany("NetworkStatus") } },
      handle: async ({ query: { network, fresh }, signal }) => ({
        status: 200,
        json: (await status({
          fresh: fresh === "true",
          signal,
          ...(network === undefined ? {} : { network }),
        })).map(statusToJson),
      }),
    },
  ];
}

function upkeepRoutes({ gc, recover, forget }: Services): readonly Route[] {
  const report = { 200: { description: "What was done", schema: schemaOf("Report") } };
  return [
    withBody(FORGET_BODY, {
      method: "POST",
      path: "/v1/attachments/{id}/forget",
      id: "forgetAttachments",
      summary: "Let go of attachments of a container ID that cannot be detached, after a last DEL",
      answers: { 200: { description: "What was forgotten", schema: schemaOf("ForgetReport") } },
      handle: async (request) => {
        const { body, signal } = request;
        const report = await forget({ ...body, containerId: idOf(request), signal });
        return { status: 200, json: reportToJson(report) };
      },
    }),
    withBody(GC_BODY, {
      method: "POST",
      path: "/v1/gc",
      id: "collectGarbage",
      summary: "Remove the attachments that nobody owns, and let the plugins release what belongs to none",
      answers: report,
      handle: async ({ body, signal }) => ({
        status: 200,
        json: reportToJson(await gc({ ...body, signal })),
      }),
    }),
    withBody(EMPTY_BODY, {
      method: "POST",
      path: "/v1/recover",
      id: "recover",
      summary: "Finish or undo what a crash or a reboot interrupted, and retry failed removals",
      answers: report,
      handle: async ({ signal }) => ({ status: 200, json: reportToJson(await recover({ signal })) }),
    }),
  ];
}

function filterOf({ namespace, name, id, state, label }: RouteRequest<unknown>["query"]): SandboxFilter {
  const wanted = SANDBOX_STATES.find((known) => known === state);
  return {
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
    ...(id === undefined ? {} : { id }),
    ...(wanted === undefined ? {} : { state: wanted }),
    ...(label === undefined ? {} : { labels: labelsOf(label) }),
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
): { readonly namespace?: string; readonly signal: AbortSignal } {
  return { signal, ...(namespace === undefined ? {} : { namespace }) };
}
