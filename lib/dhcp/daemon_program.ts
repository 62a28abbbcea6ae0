import { delay } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { hasListener, removeDeadSocket } from "../host/unix_listener.ts";
import { keepsLeases } from "../plugin/dhcp.ts";
import { pluginStartError } from "../plugin/start_error.ts";

/** What a running daemon is noted as, so that the next podwire finds the one of a podwire that was killed. */
const TASK = "dhcp daemon";

/** How the daemon of the plugin `dhcp` is started. */
export interface DhcpDaemonOptions {
  /** The executable. */
  readonly path: string;
  /** Where it shall listen. */
  readonly socket: string;
  /** Milliseconds in which a lease must be there: what asks for it waits no longer. */
  readonly leaseMs: number;
  /** The search path of programs. */
  readonly searchPath: string;
  readonly run: RunCommand;
  readonly running: RunningPrograms;
  readonly log: Logger;
}

/** A daemon that listens. */
export interface DhcpDaemon extends AsyncDisposable {
  readonly pid: number;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
}

const STARTED_MS = 10_000;
const POLL_MS = 20;
/** Before the caller's time is over, so that it gets the daemon's own word. */
const MARGIN_MS = 5_000;

/**
 * Starts the daemon, and waits until it listens. A socket that a dead process has left is removed first: with it, the daemon
 * does not start. Disposing of it ends the daemon.
 *
 * Permissions: `--allow-run` of the executable; `--allow-read` and `--allow-write` of the directory of the socket; from Deno
 * 2.9 on `--allow-net=unix:PATH` too.
 *
 * @throws {CniError} If it ends at once, or does not listen in time; with the last line that it printed.
 */
export async function startDhcpDaemon(
  { path, socket, leaseMs, searchPath, run, running, log }: DhcpDaemonOptions,
  signal: AbortSignal,
): Promise<DhcpDaemon> {
  if (await removeDeadSocket(socket)) {
    log.info("removed the socket of a DHCP daemon that has ended", { socket });
  }
  const stop = new AbortController();
  const started = Promise.withResolvers<number>();
  let last = "";
  const onStderrLine = (line: string) => {
    // It begins with the time, which the log has too.
    last = line.replace(/^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d /, "");
    log.info(`dhcp: ${last}`, { socket });
  };
  const env = { PATH: searchPath };
  const limit = `${Math.max(leaseMs - MARGIN_MS, leaseMs / 2)}ms`;
  // The releases that can be kept from trying for longer than the caller waits.
  const limits = await keepsLeases(path, { run, env, signal }) ? ["-resendtimeout", limit] : [];
  const args = ["daemon", "-socketpath", socket, ...limits];
  const noting = running.noting(run, { subject: socket, task: TASK });
  const request = { program: path, args, env, keepOutput: false, signal: stop.signal, onStderrLine };
  const ended = noting({ ...request, onStart: started.resolve }).then(() => {}, started.reject);
  const pid = await started.promise.catch((error) => {
    throw pluginStartError(path, error);
  });
  const daemon = {
    pid,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
      // That of the release 1.1.1 leaves it.
      await removeDeadSocket(socket).catch(() => false);
    },
  };
  try {
    await listening(socket, ended, () => last, signal);
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return daemon;
}

/** Ends the daemons of a podwire that was killed: what they print leads to nothing any more, and ends them sooner or later. */
export async function endAbandonedDaemons(running: RunningPrograms, signal: AbortSignal): Promise<void> {
  await running.endAbandoned(({ task }) => task === TASK, signal);
}

async function listening(
  socket: string,
  ended: Promise<void>,
  last: () => string,
  signal: AbortSignal,
): Promise<void> {
  const failed = (why: string) =>
    new CniError("io", `Cannot start the DHCP daemon for ${socket}: ${last() || why}`);
  let isRunning = true;
  void ended.then(() => isRunning = false, () => isRunning = false);
  for (const end = performance.now() + STARTED_MS; performance.now() < end;) {
    if (await hasListener(socket)) return;
    if (!isRunning) throw failed("it ended at once");
    await delay(POLL_MS, signal);
  }
  throw failed(`it does not listen after ${STARTED_MS / 1_000} s`);
}
