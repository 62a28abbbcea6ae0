import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { Tracer } from "../host/telemetry.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import type { BuiltinPolicy } from "../plugin/exec.ts";
import type { Observer } from "../plugin/instrumentation.ts";

/** The directories and settings of an installation. All paths are absolute. */
export interface RuntimeOptions {
  /** Network configuration; a directory that is named here has to exist. @default {"/etc/cni/net.d"} */
  readonly confDir?: string;
  /** Plugins, in the order of the search; `/opt/<type>/bin` comes last by itself. @default {["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]} */
  readonly pluginDirs?: readonly string[];
  /** libcni's cache of results. @default {"/var/lib/cni"} */
  readonly cacheDir?: string;
  /** podwire's own records. @default {"/var/lib/podwire"} */
  readonly stateDir?: string;
  /** Locks. @default {"/run/podwire", or "run" in a state directory that is not the default one} */
  readonly runDir?: string;
  /** Where namespaces are made. @default {"/run/netns"} */
  readonly netnsDir?: string;
  /** The only network that stands in when a request names none. @default {the first usable one} */
  readonly defaultNetwork?: string;
  /**
   * Whether the embedded network stands in where the configuration directory holds no file, and never held one that was
   * in use. @default {true}
   */
  readonly embedded?: boolean;
  /** Uses the embedded network, whatever the configuration directory holds. @default {false} */
  readonly embeddedOnly?: boolean;
  /**
   * Takes plugins, configuration files and directories that others than root, or than the user of this process, could
   * have written: for test set-ups. @default {false}
   */
  readonly allowUnsafeFiles?: boolean;
  /**
   * How many attachments that could not be detached the sandboxes of one pod (namespace and name) may leave before another
   * of it is refused; 0 for any number. Those that are given no name count as one pod for each network. @default {16}
   */
  readonly maxFailed?: number;
  /** When a built-in plugin stands in for an executable. @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy;
  /** Milliseconds a verb; those of ADD and DEL are also for each call of an OCI runtime. @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Partial<Timeouts>;
  /** Milliseconds after which a wait for a lock that another operation holds is an error of kind `timeout`. @default {120_000} */
  readonly lockTimeoutMs?: number;
  /** What plugins get beside the six `CNI_*` variables. @default {{}} */
  readonly environment?: Readonly<Record<string, string>>;
  /** Takes what is not an error, such as what plugins write to standard error. @default {a logger that drops everything} */
  readonly log?: Logger;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand;
  /** Is told of operations, plugin calls and waits for locks. @default {nobody} */
  readonly observer?: Observer;
  /** Records operations and plugin calls as spans, and gives plugins theirs. @default {none} */
  readonly tracer?: Tracer;
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
