import type { JsonObject } from "../cni/json.ts";
import type { AnswerSpec, Route } from "./route.ts";
import { schemaOf, SCHEMAS } from "./schemas.ts";

/** The responses that every route may have beside its own. */
const FAILURES: Readonly<Record<number, string>> = {
  400: "The request is not valid; `path` names the member",
  404: "The sandbox, network or attachment does not exist",
  408: "The body did not arrive in time",
  409: "A name, an address or a host port is already in use",
  413: "The body is larger than 1 MiB",
  500: "A plugin, the host or podwire failed",
  503: "A network is not ready, too many requests are running, or the daemon is shutting down",
  504: "The operation timed out",
};

/** Returns the OpenAPI 3.1 document of these routes. */
export function openApiOf(routes: readonly Route[], version: string): JsonObject {
  const paths: Record<string, Record<string, JsonObject>> = {};
  for (const route of routes) {
    const path = paths[route.path] ??= {};
    path[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "podwire", version, summary: "Network for pod sandboxes, through CNI" },
    servers: [{ url: "http://localhost", description: "The Unix socket /run/podwire/podwire.sock" }],
    paths,
    components: { schemas: SCHEMAS },
  };
}

function operationOf({ id, summary, path, query = [], body, answers, isFree }: Route): JsonObject {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const inQuery = query.map(({ name, description, values }) => ({
    name,
    in: "query",
    description,
    schema: values === undefined ? { type: "string" } : { enum: [...values] },
  }));
  const own = Object.entries(answers).map(([status, answer]) => [status, answerOf(answer)]);
  const failures = isFree ? [] : Object.entries(FAILURES).map(([status, description]) => [
    status,
    answerOf({ description, schema: schemaOf("Error") }),
  ]);
  return {
    operationId: id,
    summary,
    parameters: [...inPath, ...inQuery],
    ...(body === undefined
      ? {}
      : { requestBody: { required: false, content: { "application/json": { schema: body.schema } } } }),
    responses: Object.fromEntries([...own, ...failures]),
  };
}

function answerOf({ description, schema, contentType }: AnswerSpec): JsonObject {
  if (schema === undefined && contentType === undefined) return { description };
  const type = contentType ?? "application/json";
  return { description, content: { [type]: { schema: schema ?? { type: "string" } } } };
}
