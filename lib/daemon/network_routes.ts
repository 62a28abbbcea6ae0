import { attachmentToJson, entryToJson, networkToJson, statusToJson } from "../runtime/json_view.ts";
import { NETWORK_BODY, NETWORK_CHANGE } from "./network_body.ts";
import { type Route, withBody } from "./route.ts";
import { BOOLEANS, idOf, type RouteContext } from "./route_context.ts";
import { schemaOf, schemaOfMany } from "./schemas.ts";

/** Returns the routes of networks, of attachments and of the readiness. */
export function networkRoutes(context: RouteContext): readonly Route[] {
  return [...configurationRoutes(context), changeRoute(context), ...stateRoutes(context)];
}

function configurationRoutes({ runtime, log }: RouteContext): readonly Route[] {
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
    withBody(NETWORK_BODY, {
      method: "POST",
      path: "/v1/networks",
      id: "createNetwork",
      summary: "Create a network: a file of the configuration directory",
      answers: { 201: { description: "The network", schema: schemaOf("Network") } },
      handle: async ({ body, signal }) => {
        const { warnings } = await runtime.createNetwork(body, { signal });
        for (const warning of warnings) log.warn(warning, { network: body.name });
        const network = await runtime.inspectNetwork(body.name, { signal });
        return { status: 201, json: { ...networkToJson(network), warnings } };
      },
    }),
    {
      method: "GET",
      path: "/v1/networks/{name}",
      id: "getNetwork",
      summary: "Get a network with the containers that are attached to it",
      answers: { 200: { description: "The network", schema: schemaOf("Network") } },
      handle: async (request) => ({
        status: 200,
        json: networkToJson(await runtime.inspectNetwork(idOf(request, "name"), request)),
      }),
    },
    {
      method: "DELETE",
      path: "/v1/networks/{name}",
      id: "removeNetwork",
      summary: "Remove a network that was created so, unless a container is attached to it",
      answers: { 204: { description: "The network does not exist any more" } },
      handle: async (request) => {
        await runtime.removeNetwork(idOf(request, "name"), request);
        return { status: 204 };
      },
    },
  ];
}

function changeRoute({ runtime }: RouteContext): Route {
  return withBody(NETWORK_CHANGE, {
    method: "POST",
    path: "/v1/networks/{name}",
    id: "setNetwork",
    summary: "Change the MTU of the embedded network, for containers that are attached from now on",
    answers: { 200: { description: "The network", schema: schemaOf("Network") } },
    handle: async (request) => {
      const name = idOf(request, "name");
      const { body, signal } = request;
      await runtime.setNetwork(name, body, { signal });
      return { status: 200, json: networkToJson(await runtime.inspectNetwork(name, { signal })) };
    },
  });
}

function stateRoutes({ runtime }: RouteContext): readonly Route[] {
  return [
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
