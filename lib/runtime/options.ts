import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { Tracer } from "../host/telemetry.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import type { BuiltinPolicy } from "../plugin/locate.ts";
import type { Observer } from "../plugin/instrumentation.ts";

/** The directories and settings of an installation. All paths are absolute. */
export interface RuntimeOptions {
  /** Network configuration; a directory that is named here has to exist. @default {"/etc/cni/net.d"} */
  readonly confDir?: string | undefined;
  /** Plugins, in the order of the search; `/opt/<type>/bin` comes last by itself. @default {["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]} */
  readonly pluginDirs?: readonly string[] | undefined;
  /** libcni's cache of results. @default {"/var/lib/cni"} */
  readonly cacheDir?: string | undefined;
  /** podwire's own records. @default {"/var/lib/podwire"} */
  readonly stateDir?: string | undefined;
  /** Locks. @default {"/run/podwire", or "run" in a state directory that is not the default one} */
  readonly runDir?: string | undefined;
  /** Where namespaces are made. @default {"/run/netns"} */
  readonly netnsDir?: string | undefined;
  /** The only network that stands in when a request names none. @default {the first usable one} */
  readonly defaultNetwork?: string | undefined;
  /**
   * Whether the embedded network stands in where the configuration directory holds no file, and never held one that was
   * in use. @default {true}
   */
  readonly embedded?: boolean | undefined;
  /** Uses the embedded network, whatever the configuration directory holds. @default {false} */
  readonly embeddedOnly?: boolean | undefined;
  /**
   * Takes plugins, configuration files and directories that others than root, or than the user of this process, could
   * have written: for test set-ups. @default {false}
   */
  readonly allowUnsafeFiles?: boolean | undefined;
  /**
   * How many attachments that could not be detached the sandboxes of one pod (namespace and name) may leave before another
   * of it is refused; 0 for any number. Those that are given no name count as one pod for each network. @default {16}
   */
  readonly maxFailed?: number | undefined;
  /** When a built-in plugin stands in for an executable. @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy | undefined;
  /** Milliseconds a verb; those of ADD and DEL are also for each call of an OCI runtime. @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Partial<Timeouts> | undefined;
  /** Milliseconds after which a wait for a lock that another operation holds is an error of kind `timeout`. @default {120_000} */
  readonly lockTimeoutMs?: number | undefined;
  /** What plugins get beside the six `CNI_*` variables. @default {{}} */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Takes what is not an error, such as what plugins write to standard error. @default {a logger that drops everything} */
  readonly log?: Logger | undefined;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Is told of operations, plugin calls and waits for locks. @default {nobody} */
  readonly observer?: Observer | undefined;
  /** Records operations and plugin calls as spans, and gives plugins theirs. @default {none} */
  readonly tracer?: Tracer | undefined;
}

/** `options` with the defaults of what they leave out or give as undefined. */
export function withDefaults<D extends object, O extends object>(
  defaults: D,
  options: O,
): Omit<O, keyof D> & { readonly [K in keyof D]: K extends keyof O ? D[K] | NonNullable<O[K]> : D[K] } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as ReturnType<typeof withDefaults<D, O>>;
}

/** Where things are unless the options say otherwise. */
export const DEFAULTS = {
  confDir: "/etc/cni/net.d",
  pluginDirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"],
  cacheDir: "/var/lib/cni",
  stateDir: "/var/lib/podwire",
  runDir: "/run/podwire",
  netnsDir: "/run/netns",
  maxFailed: 16,
} as const;
