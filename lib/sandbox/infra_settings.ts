import type { JsonObject } from "../cni/json.ts";

/** What an infra container has beyond what each of them has. */
export interface InfraSettings {
  /** User of its process. @default {65535, or root where that is not mapped} */
  readonly user?: number | undefined;
  /** Group of its process. @default {65535, or that of root where that is not mapped} */
  readonly group?: number | undefined;
  /** Other groups of its process. @default {[]} */
  readonly groups?: readonly number[] | undefined;
  /**
   * The filter of its system calls, in the format of the OCI runtime specification; `"own"` for that of podwire, which must then
   * be possible, and `"none"`.
   * @default {that of podwire where it is possible}
   */
  readonly seccomp?: "own" | "none" | JsonObject | undefined;
  /** Name of a profile of AppArmor that is loaded. @default {none} */
  readonly apparmor?: string | undefined;
  /** Label of its process for SELinux. @default {none} */
  readonly selinux?: string | undefined;
  /**
   * The control group above its own: a path, as the kernel shows it, or the name of a slice, below which systemd makes its scope.
   * @default {the root of the control groups}
   */
  readonly cgroupParent?: string | undefined;
  /** The limits of its control group, `linux.resources` of the OCI runtime specification. @default {none} */
  readonly resources?: JsonObject | undefined;
  /** The lower, the later the kernel kills it when memory runs out. @default {-998, or the lowest possible} */
  readonly oomScoreAdj?: number | undefined;
  /** Whether it stays in the IPC namespace of the host. @default {false} */
  readonly hostIpc?: boolean | undefined;
}
