import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { Tracer } from "../host/telemetry.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import type { Observer } from "../plugin/instrumentation.ts";
import type { BuiltinPolicy } from "../plugin/locate.ts";

/** The directories and settings of an installation. All paths are absolute. */
export interface RuntimeOptions {
  /** Directory of the network configuration. A directory that is given here must exist. @default {"/etc/cni/net.d"} */
  readonly confDir?: string | undefined;
  /** Directories of plugins, in search order. `/opt/<type>/bin` is searched last, without being listed. @default {["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]} */
  readonly pluginDirs?: readonly string[] | undefined;
  /** Directory of libcni's cache of results. @default {"/var/lib/cni"} */
  readonly cacheDir?: string | undefined;
  /** Directory of podwire's own records. @default {"/var/lib/podwire"} */
  readonly stateDir?: string | undefined;
  /** Directory of locks. @default {"/run/podwire", or "run" in a state directory that is not the default one} */
  readonly runDir?: string | undefined;
  /** Directory in which namespaces are made. @default {"/run/netns"} */
  readonly netnsDir?: string | undefined;
  /** Name of the network of a request that names none; no other network takes its place. @default {the first usable one} */
  readonly defaultNetwork?: string | undefined;
  /**
   * Whether the embedded network is used if the configuration directory holds no file, and never held one that was in
   * use. @default {true}
   */
  readonly embedded?: boolean | undefined;
  /** Whether only the embedded network is used, and the configuration directory is ignored. @default {false} */
  readonly embeddedOnly?: boolean | undefined;
  /**
   * Whether the embedded network leads out of its bridge. Without a way out, nothing of the machine changes but links: no rule,
   * no forwarding, no address of the host. @default {true}
   */
  readonly embeddedWayOut?: boolean | undefined;
  /**
   * Whether plugins, configuration files and directories are accepted that users other than root and the user of this
   * process can write: for tests. @default {false}
   */
  readonly allowUnsafeFiles?: boolean | undefined;
  /**
   * Number of attachments that could not be detached after which another sandbox of the same pod (namespace and name) is
   * refused; 0 for no limit. Sandboxes without a name count as one pod for each network. @default {16}
   */
  readonly maxFailed?: number | undefined;
  /** When a built-in plugin is used in place of an executable. @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy | undefined;
  /** Milliseconds for each verb. Those of ADD and DEL also apply to each call of an OCI runtime. @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Partial<Timeouts> | undefined;
  /** Milliseconds after which waiting for a lock of another operation fails with kind `timeout`. @default {120_000} */
  readonly lockTimeoutMs?: number | undefined;
  /** Environment variables of plugins, beside the six `CNI_*` variables. @default {{}} */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Logs what is not an error, such as the standard error of plugins. @default {a logger that drops everything} */
  readonly log?: Logger | undefined;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Gets an event for each operation, plugin call and wait for a lock. @default {none} */
  readonly observer?: Observer | undefined;
  /** Records operations and plugin calls as spans, and passes the span of a call to the plugin. @default {none} */
  readonly tracer?: Tracer | undefined;
}

/** Returns the options, with defaults for members that are missing or undefined. */
export function withDefaults<D extends object, O extends object>(
  defaults: D,
  options: O,
): Omit<O, keyof D> & { readonly [K in keyof D]: K extends keyof O ? D[K] | NonNullable<O[K]> : D[K] } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as ReturnType<typeof withDefaults<D, O>>;
}

/** Directories and limits that apply unless the options say otherwise. */
export const DEFAULTS = {
  confDir: "/etc/cni/net.d",
  pluginDirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"],
  cacheDir: "/var/lib/cni",
  stateDir: "/var/lib/podwire",
  runDir: "/run/podwire",
  netnsDir: "/run/netns",
  maxFailed: 16,
} as const;
