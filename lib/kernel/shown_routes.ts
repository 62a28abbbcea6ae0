import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import type { FindRoute, NextHop, RouteInfo, ShowRoutes } from "./operation.ts";
import { type AnsweredHop, readRoute, routeDevice } from "./route_answer.ts";
import { getRoute, listRoutes } from "./route_request.ts";
import { LinkNames, listed } from "./shown_links.ts";

/** Shows routes, see {@linkcode ShowRoutes}. @throws {NetlinkError} */
export async function showRoutes(
  socket: NetlinkSocket,
  { family, defaults = false }: ShowRoutes,
): Promise<readonly RouteInfo[]> {
  const names = new LinkNames(socket, []);
  const result: RouteInfo[] = [];
  for (const { family: own, hops, ...route } of await listed(socket, listRoutes(family), readRoute)) {
    // Where the kernel does not have the family, it answers for all that it has.
    if (own !== family || defaults && route.dst?.prefix !== 0) continue;
    result.push({ ...route, hops: await namedHops(hops, names) });
  }
  return result;
}

/** Finds the interface of a route, see {@linkcode FindRoute}. @throws {NetlinkError} */
export async function findRoute(socket: NetlinkSocket, { to }: FindRoute): Promise<string> {
  let index: number | undefined;
  await socket.get(getRoute(to), (message, reader) => {
    index = routeDevice(message, reader);
  });
  if (index === undefined) throw new NetlinkError("ENETUNREACH", "the kernel names no interface");
  return await new LinkNames(socket, []).of(index);
}

async function namedHops(hops: readonly AnsweredHop[], names: LinkNames): Promise<readonly NextHop[]> {
  const shown: NextHop[] = [];
  for (const { index, ...hop } of hops) shown.push({ device: await names.of(index), ...hop });
  return shown;
}
