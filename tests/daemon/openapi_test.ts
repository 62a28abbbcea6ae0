import { assert, assertEquals } from "@std/assert";
import { fakeDaemon } from "./fake_context.ts";

// deno-lint-ignore no-explicit-any
type Schema = any;

/** Returns why a value does not match the schema; knows only the keywords of JSON Schema that the document uses. */
function problems(schema: Schema, value: unknown, schemas: Record<string, Schema>, at = "$"): string[] {
  if (schema.$ref !== undefined) {
    const name = String(schema.$ref).replace("#/components/schemas/", "");
    return schemas[name] === undefined ? [`${at}: no ${name}`] : problems(schemas[name], value, schemas, at);
  }
  if (schema.anyOf !== undefined) {
    const tried = schema.anyOf.map((one: Schema) => problems(one, value, schemas, at));
    return tried.some((found: string[]) => found.length === 0) ? [] : tried.flat();
  }
  if (schema.enum !== undefined) {
    return schema.enum.includes(value) ? [] : [`${at}: ${value} is not one of its values`];
  }
  const isOf: Record<string, boolean> = {
    string: typeof value === "string",
    integer: Number.isInteger(value),
    boolean: typeof value === "boolean",
    null: value === null,
    array: Array.isArray(value),
    object: typeof value === "object" && value !== null && !Array.isArray(value),
  };
  if (schema.type !== undefined && !isOf[schema.type]) return [`${at}: no ${schema.type}`];
  if (schema.type === "array") {
    return (value as unknown[]).flatMap((item, i) => problems(schema.items, item, schemas, `${at}[${i}]`));
  }
  if (schema.type !== "object") return [];
  const members = value as Record<string, unknown>;
  const missing = (schema.required ?? []).filter((name: string) => !(name in members));
  // A member that the document lacks is a gap of the document.
  const properties = schema.properties;
  const unknown = properties === undefined
    ? []
    : Object.keys(members).filter((name) => !(name in properties));
  return [
    ...missing.map((name: string) => `${at}.${name} is missing`),
    ...unknown.map((name) => `${at}.${name} is not in the document`),
    ...Object.entries(properties ?? {}).flatMap(([name, one]) =>
      name in members ? problems(one, members[name], schemas, `${at}.${name}`) : []
    ),
  ];
}

Deno.test("the document has every route, and every response matches the document", async () => {
  const { call, routes, fake } = fakeDaemon();
  const { json: document } = await call("GET", "/openapi.json");
  assertEquals(document.openapi, "3.1.0");
  const inDocument = Object.entries(document.paths as Record<string, object>)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
  assertEquals(inDocument.sort(), routes.map(({ method, path }) => `${method} ${path}`).sort());
  const ids = new Set<string>();
  for (const { method, path } of routes) {
    const operation = document.paths[path][method.toLowerCase()];
    ids.add(operation.operationId);
    const inPath = operation.parameters.filter((parameter: Schema) => parameter.in === "path");
    assertEquals(
      inPath.map(({ name }: Schema) => name),
      Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name),
    );
    if (path === "/v1/events") continue;
    const { required = [] } = operation.requestBody?.content["application/json"].schema ?? {};
    const members = Object.fromEntries(required.map((name: string) => [name, "net"]));
    const body = operation.requestBody === undefined ? undefined : JSON.stringify(members);
    const { status, json, headers } = await call(method, path.replaceAll(/\{\w+\}/g, "web"), body);
    const said = operation.responses[status];
    assert(said !== undefined, `${method} ${path}: ${status} is not in the document`);
    const [type] = Object.keys(said.content ?? {});
    assertEquals(headers.get("content-type") ?? undefined, type, path);
    if (type === "application/json") {
      assertEquals(problems(said.content[type].schema, json, document.components.schemas), [], path);
    }
  }
  assertEquals(ids.size, routes.length);
  assert(fake.calls.length > 0);
});

Deno.test("an error response matches the document", async () => {
  const { call } = fakeDaemon();
  const { json: document } = await call("GET", "/openapi.json");
  const { json, status } = await call("POST", "/v1/sandboxes", '{"name": 1}');
  const said = document.paths["/v1/sandboxes"].post.responses[status];
  assertEquals(problems(said.content["application/json"].schema, json, document.components.schemas), []);
});

Deno.test("the document describes the body that is read", async () => {
  const { call } = fakeDaemon();
  const { json: document } = await call("GET", "/openapi.json");
  const { schema } = document.paths["/v1/sandboxes"].post.requestBody.content["application/json"];
  assertEquals(schema.additionalProperties, false);
  assertEquals(problems(schema, { name: "web", networks: [{ name: "a" }] }, {}), []);
  assertEquals(problems(schema, { name: 1 }, {}), ["$.name: no string"]);
  for (const name of Object.keys(schema.properties)) {
    // The member is known: only its value is wrong.
    const { json } = await call("POST", "/v1/sandboxes", JSON.stringify({ [name]: null }));
    assert(!String(json?.error?.msg).includes("is unknown"), name);
  }
});
