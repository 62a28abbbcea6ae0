import type { PluginRequest } from "../plugin/serve.ts";
import { readLentDevice } from "./host_device_record.ts";
import { checkAddresses, checkLink, checkRoutes, expected, showNetns, wrong } from "./link_check.ts";
import { hostOf } from "./pair_attachment.ts";

/**
 * Checks that the device of an earlier ADD is in the container, with the addresses and routes of the result, and that it still
 * says which name it has on the host. A device that a program uses without the kernel cannot be seen: its result has no MAC
 * address.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkHostDevice(request: PluginRequest): Promise<void> {
  const { result, container } = await expected(request);
  if ((container.mac ?? "") === "") return;
  const { netns, ifName } = request;
  const { link, routes } = await showNetns(hostOf(request), netns, ifName);
  checkLink(container, link, link.kind);
  const name = (await readLentDevice(request))?.name ?? link.alias;
  if (link.alias === "" || link.alias !== name) {
    throw wrong(`the alias of interface "${ifName}" is not its name on the host any more`);
  }
  // Other plugins of the chain may have added addresses to other interfaces.
  const ips = (result.ips ?? []).filter(({ interface: index }) =>
    index === undefined || result.interfaces?.[index] === container
  );
  checkAddresses({ ...result, ips }, link, ifName);
  checkRoutes(result.routes ?? [], routes);
}
