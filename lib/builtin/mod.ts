/**
 * The plugins inside podwire, by type: enough for a pod on a machine without plugin binaries. They read the configuration of
 * the plugins with the same names in the CNI plugins project, and share their state on disk and in the kernel.
 *
 * @module
 */
import type { BuiltinTable } from "../plugin/serve.ts";
import { bridge } from "./bridge.ts";
import { hostLocal } from "./host_local.ts";
import { loopback } from "./loopback.ts";

/** The built-in plugins. */
export const builtins: BuiltinTable = { bridge, "host-local": hostLocal, loopback };
