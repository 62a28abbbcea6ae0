import type { AttachmentFilter } from "../state/attachment_filter.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { CatalogEntry } from "../catalog/catalog.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";

/** What the routes are served with. */
export interface Services {
  /**
   * Makes a sandbox, or hands out one that is ready-made. Where that of the very UID and attempt is there, it gives that
   * and calls `onSame`.
   */
  readonly run: (request: SandboxRequest, onSame?: () => void) => Promise<Sandbox>;
  readonly sandboxes: Pick<Sandboxes, "list" | "get" | "stop" | "remove" | "repair">;
  readonly networks: (signal: AbortSignal) => Promise<readonly CatalogEntry[]>;
  readonly status: (
    request: {
      readonly network?: string | undefined;
      readonly fresh?: boolean | undefined;
      readonly signal: AbortSignal;
    },
  ) => Promise<readonly NetworkStatus[]>;
  readonly attachments: (filter: AttachmentFilter) => Promise<readonly AttachmentRecord[]>;
  readonly forget: (request: ForgetRequest) => Promise<ForgetReport>;
  readonly gc: (request: GcRequest) => Promise<GcReport>;
  readonly recover: (options: RecoverOptions) => Promise<RecoveryReport>;
  /** What happens from now on, as server-sent events. */
  readonly events: () => ReadableStream<Uint8Array>;
  /** In the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  /** Told of what could not be torn down and stays on record. */
  readonly onLeft: (sandbox: string, failure: Error) => void;
}
