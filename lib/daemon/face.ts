import type { CallOptions } from "../async/call_options.ts";
import type { Logger } from "../host/log.ts";
import type { Tracer } from "../host/telemetry.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { DaemonEvents } from "./daemon_events.ts";

/** What another face of the daemon works with. */
export interface FaceContext {
  readonly runtime: LiveRuntime;
  readonly log: Logger;
  readonly tracer?: Tracer | undefined;
  readonly version: string;
  /** How many requests of one kind may run at once. */
  readonly maxRequests: number;
  /** Milliseconds for one request. */
  readonly requestMs: number;
  /** As `DaemonEvents.followSandboxes`. */
  readonly followSandboxes: DaemonEvents["followSandboxes"];
  /** Adds to the metrics what this writes each time, in their text format. */
  readonly addMetrics: (write: () => string) => void;
  /** Adds a reason why the daemon cannot do its work, which `GET /healthz` gives; undefined while there is none. */
  readonly addHealth: (problem: () => string | undefined) => void;
}

/** Another way to reach the runtime of the daemon than HTTP, on a socket of its own. */
export interface Face {
  /** Number of running requests. */
  readonly underWay: number;
  /** Makes the socket again if it was removed. */
  keep(): Promise<void>;
  /** Begins no more requests, and resolves when the last one has ended. */
  drained(): Promise<void>;
  /** Cancels all requests. */
  cancel(): void;
  /** Accepts no more connections, and closes those with running requests after `limitMs` milliseconds. */
  close(limitMs: number): Promise<void>;
}

/** Begins to serve. */
export type OpenFace = (context: FaceContext, options: CallOptions) => Promise<Face>;
