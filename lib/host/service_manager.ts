import { DEFAULT_PATH, type RunCommand, runOk } from "./command.ts";

/** How to notify a service manager such as systemd. Source: sd_notify(3), sd_watchdog_enabled(3). */
export interface ServiceManagerOptions {
  /** `NOTIFY_SOCKET`: a path, or `@` and the name of an abstract socket. */
  readonly notifySocket: string | undefined;
  /** `WATCHDOG_USEC`: a process that does not report for so many microseconds counts as hung. */
  readonly watchdogUsec?: string | undefined;
  /** `WATCHDOG_PID`: the process that has to report. */
  readonly watchdogPid?: string | undefined;
  /** The ID of this process. */
  readonly pid: number;
  readonly run: RunCommand;
  /** The `PATH` that is searched for `systemd-notify`. @default {DEFAULT_PATH} */
  readonly path?: string | undefined;
}

const NOTIFY_TIMEOUT_MS = 10_000;

/**
 * The service manager that started this process, if one did.
 *
 * The program `systemd-notify`, which comes with systemd, notifies it: Deno sends datagrams over Unix sockets only with an
 * unstable flag. Requires `--allow-run=systemd-notify`.
 */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  /** Longest time between two reports in milliseconds; undefined if the service manager expects none. */
  get watchdogMs(): number | undefined {
    const { notifySocket, watchdogUsec, watchdogPid, pid } = this.#options;
    const ms = Number(watchdogUsec || NaN) / 1_000;
    const isMeant = !watchdogPid || Number(watchdogPid) === pid;
    return notifySocket && isMeant && ms > 0 && Number.isFinite(ms) ? ms : undefined;
  }

  /**
   * Sends assignments of the form `NAME=value`; does nothing if there is no service manager.
   *
   * @throws {HostError} If they cannot be sent.
   */
  async notify(...assignments: readonly string[]): Promise<void> {
    const { notifySocket, run, path = DEFAULT_PATH } = this.#options;
    if (!notifySocket) return;
    await runOk(run, {
      program: "systemd-notify",
      args: assignments,
      env: { PATH: path, NOTIFY_SOCKET: notifySocket },
      signal: AbortSignal.timeout(NOTIFY_TIMEOUT_MS),
      // It reports in the name of its parent, which must be this process.
      ownGroup: false,
    });
  }
}
