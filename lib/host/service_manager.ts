import { DEFAULT_PATH, type RunCommand, runOk } from "./command.ts";

/** How a service manager, such as systemd, wants to be told. Source: sd_notify(3), sd_watchdog_enabled(3). */
export interface ServiceManagerOptions {
  /** `NOTIFY_SOCKET`: a path, or the name of an abstract socket behind an `@`. */
  readonly notifySocket: string | undefined;
  /** `WATCHDOG_USEC`: microseconds after which a process that did not report counts as hung. */
  readonly watchdogUsec?: string | undefined;
  /** `WATCHDOG_PID`: the process that has to report. */
  readonly watchdogPid?: string | undefined;
  /** Our own process. */
  readonly pid: number;
  readonly run: RunCommand;
  /** Where `systemd-notify` is looked for. @default {DEFAULT_PATH} */
  readonly path?: string | undefined;
}

const PATIENCE_MS = 10_000;

/**
 * The service manager that started this process, if one did.
 *
 * It is told by the program `systemd-notify`, which is wherever systemd is: Deno sends datagrams over Unix sockets only
 * with an unstable flag. Requires `--allow-run=systemd-notify`.
 */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  /** Milliseconds between two reports that it waits for at most; undefined if it waits for none. */
  get watchdogMs(): number | undefined {
    const { notifySocket, watchdogUsec, watchdogPid, pid } = this.#options;
    const ms = Number(watchdogUsec || NaN) / 1_000;
    const isMeant = !watchdogPid || Number(watchdogPid) === pid;
    return notifySocket && isMeant && ms > 0 && Number.isFinite(ms) ? ms : undefined;
  }

  /**
   * Tells it that, each as `NAME=value`; does nothing where there is none.
   *
   * @throws {HostError} if it cannot be told
   */
  async tell(...assignments: readonly string[]): Promise<void> {
    const { notifySocket, run, path = DEFAULT_PATH } = this.#options;
    if (!notifySocket) return;
    await runOk(run, {
      program: "systemd-notify",
      args: assignments,
      env: { PATH: path, NOTIFY_SOCKET: notifySocket },
      signal: AbortSignal.timeout(PATIENCE_MS),
      // It speaks in the name of its parent, which must be this process.
      ownGroup: false,
    });
  }
}
