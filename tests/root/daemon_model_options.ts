import type { DaemonOptions } from "../../lib/daemon/daemon.ts";
import { runCommand } from "../../lib/host/command.ts";
import { ServiceManager } from "../../lib/host/service_manager.ts";
import type { RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { bootedAs } from "../booted_as.ts";

/** The options in which the daemons of a life differ. */
export interface DaemonSettings {
  /** Without functions. */
  readonly runtime: RuntimeOptions;
  readonly socket: string;
  /** The boot ID that it uses. */
  readonly boot: string;
}

/** How such a daemon is started. */
export function daemonOptions({ runtime, socket, boot }: DaemonSettings): Omit<DaemonOptions, "log"> {
  return {
    runtime: { ...runtime, run: bootedAs(boot) },
    socket,
    version: "0.0.0",
    drainMs: 5_000,
    manager: new ServiceManager({ notifySocket: undefined, pid: Deno.pid, run: runCommand }),
  };
}
