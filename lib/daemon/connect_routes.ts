import { podStatusToJson, sandboxToJson } from "../runtime/json_view.ts";
import { type Route, withBody } from "./route.ts";
import { idOf, NAMESPACE, placeOf, type RouteContext } from "./route_context.ts";
import { CONNECT_BODY, EMPTY_BODY } from "./run_body.ts";
import { schemaOf } from "./schemas.ts";

/** Returns the routes that connect a sandbox to networks, and check it. */
export function connectRoutes({ runtime: { sandboxes }, log }: RouteContext): readonly Route[] {
  const one = { 200: { description: "The sandbox", schema: schemaOf("Sandbox") } };
  return [
    withBody(CONNECT_BODY, {
      method: "POST",
      path: "/v1/sandboxes/{id}/networks",
      id: "connectSandbox",
      summary: "Connect a ready sandbox to one more network, or change nothing",
      query: [NAMESPACE],
      answers: one,
      handle: async (request) => {
        const { allowOverlap, ...network } = request.body;
        const options = { ...placeOf(request), allowOverlap };
        return {
          status: 200,
          json: sandboxToJson(await sandboxes.connect(idOf(request), network, options)),
        };
      },
    }),
    {
      method: "DELETE",
      path: "/v1/sandboxes/{id}/networks/{network}",
      id: "disconnectSandbox",
      summary: "Disconnect a sandbox from a network; succeeds if it is not connected",
      query: [NAMESPACE, { name: "ifName", description: "only this interface" }],
      answers: one,
      handle: async (request) => {
        const { id } = await sandboxes.get(idOf(request), placeOf(request));
        const { query: { ifName }, signal } = request;
        const options = { ifName, missingOk: true, signal };
        const failures = await sandboxes.disconnect(id, idOf(request, "network"), options);
        for (const { message } of failures) log.warn(`left on record: ${message}`, { sandbox: id });
        return { status: 200, json: sandboxToJson(await sandboxes.get(id)) };
      },
    },
    withBody(EMPTY_BODY, {
      method: "POST",
      path: "/v1/sandboxes/{id}/check",
      id: "checkSandbox",
      summary: "Let the plugins check all networks of a sandbox",
      query: [NAMESPACE],
      answers: { 200: { description: "What is wrong, if anything is", schema: schemaOf("SandboxCheck") } },
      handle: async (request) => ({
        status: 200,
        json: podStatusToJson(await sandboxes.check(idOf(request), placeOf(request))),
      }),
    }),
  ];
}
