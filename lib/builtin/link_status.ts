import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { LinkConfig } from "./link_config.ts";
import { requireMaster } from "./master_link.ts";

/**
 * Answers STATUS for a plugin whose interfaces are on a master: without it, or with too small a one, every ADD fails. A master
 * inside of a container cannot be seen from here.
 *
 * @throws {CniError} With the code 50, or what the IPAM plugin answers.
 */
export async function checkLinkStatus(request: PluginRequest, config: LinkConfig): Promise<void> {
  if (!config.isInside) {
    await requireMaster(request, config).catch((error: unknown) => {
      if (!(error instanceof CniError)) throw error;
      throw new CniError("not-ready", error.msg, { code: ERROR_CODES.pluginNotAvailable, cause: error });
    });
  }
  if (config.ipamType !== "") await request.delegate(config.ipamType, request.config, "STATUS");
}
