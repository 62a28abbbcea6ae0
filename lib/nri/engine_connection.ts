import { create, toBinary } from "@bufbuild/protobuf";
import { backoffMs } from "../async/backoff.ts";
import { delay, settled } from "../async/wait.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { listDir } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { connectToUnix } from "../host/unix_listener.ts";
import { byteStream } from "../host/unix_stream.ts";
import { RegisterPluginRequestSchema, Runtime } from "./generated/api_pb.ts";
import { PluginService, type PluginServiceContext } from "./plugin_service.ts";
import { TtrpcPeer } from "./ttrpc.ts";

/** How the engine is reached. */
export interface EngineConnectionOptions {
  /** The socket of NRI, as an absolute path. */
  readonly socket: string;
  /** Two digits: plugins are called in their order. */
  readonly index: string;
  readonly name: string;
  readonly pods: PluginServiceContext["pods"];
  readonly log: Logger;
  /** Called when the engine has said which pods it has, and when the connection has ended. */
  readonly onConnected: (isConnected: boolean) => void;
  /** Called with the name and the version of the engine. */
  readonly onEngine: (engine: string) => void;
  /** The directory in which the engine makes the network namespaces of pods. */
  readonly netnsDir: string;
  /** Milliseconds after which silence is suspicious. @default {60_000} */
  readonly silenceMs?: number | undefined;
  /** Milliseconds for the engine to send its pods. @default {15_000} */
  readonly registrationMs?: number | undefined;
}

/** The logical connections of NRI. */
const PLUGIN_CONNECTION = 1;
const RUNTIME_CONNECTION = 2;
/** The engine sends its pods right after the registration. */
const REGISTRATION_MS = 15_000;
const LONGEST_PAUSE_MS = 10_000;
const SILENCE_MS = 60_000;

/** Keeps podwire registered as a plugin of the engine at a socket, until it is disposed of. */
export class EngineConnection implements AsyncDisposable {
  readonly #options: EngineConnectionOptions;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  /** Why there is no connection now. */
  problem: string | undefined = "it has not registered yet";
  #isAbsent = false;

  /** Begins to connect. */
  constructor(options: EngineConnectionOptions) {
    this.#options = options;
    this.#ended = this.#keep();
  }

  /** Closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #keep(): Promise<void> {
    const { log, socket } = this.#options;
    const { signal } = this.#stop;
    for (let attempts = 1; !signal.aborted; attempts++) {
      try {
        const wasConnected = await this.#connectOnce();
        if (wasConnected) attempts = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.problem = messageOf(error);
        log.warn(`Cannot stay a plugin of the engine: ${this.problem}`, { socket });
      }
      const pause = Math.min(backoffMs(Math.max(1, attempts)), LONGEST_PAUSE_MS);
      await delay(pause, signal).catch(() => {});
    }
  }

  /** Connects, and returns when the connection has ended: whether podwire was registered until then. */
  async #connectOnce(): Promise<boolean> {
    const { socket, log, onConnected, pods, onEngine, registrationMs = REGISTRATION_MS } = this.#options;
    const connection = await connectToUnix(socket);
    if (connection === undefined) {
      this.#reportAbsent();
      return false;
    }
    this.#isAbsent = false;
    const synchronized = Promise.withResolvers<true>();
    const onSynchronized = () => synchronized.resolve(true);
    const service = new PluginService({ pods, log, onEngine, onSynchronized });
    let heardAt = 0;
    using peer = new TtrpcPeer({
      stream: byteStream(connection),
      serves: PLUGIN_CONNECTION,
      calls: RUNTIME_CONNECTION,
      handle: (call) => {
        heardAt++;
        return service.handle(call);
      },
    });
    const { signal } = this.#stop;
    const close = () => peer[Symbol.dispose]();
    signal.addEventListener("abort", close, { once: true });
    try {
      await this.#register(peer);
      const registered = Promise.race([synchronized.promise, peer.ended]);
      const isRegistered = await settled(registered, registrationMs);
      if (isRegistered !== true) {
        throw isRegistered ?? new Error(`the engine sent no list of pods within ${registrationMs} ms`);
      }
      this.problem = undefined;
      onConnected(true);
      log.info("registered as a plugin of the engine", { socket });
      await this.#untilEnded(peer, () => heardAt);
      return true;
    } finally {
      signal.removeEventListener("abort", close);
      this.problem ??= "the connection has ended";
      onConnected(false);
    }
  }

  async #register(peer: TtrpcPeer): Promise<void> {
    const { name: pluginName, index: pluginIdx } = this.#options;
    const request = create(RegisterPluginRequestSchema, { pluginName, pluginIdx });
    const payload = toBinary(RegisterPluginRequestSchema, request);
    const { typeName: service } = Runtime;
    await peer.call({ service, method: "RegisterPlugin", payload }, AbortSignal.timeout(REGISTRATION_MS));
  }

  /**
   * Waits for the end of the connection. If namespaces of pods come and go while the engine says nothing, it has forgotten this
   * plugin: then the connection is made again.
   */
  async #untilEnded(peer: TtrpcPeer, heard: () => number): Promise<void> {
    const { netnsDir, silenceMs = SILENCE_MS, log, socket } = this.#options;
    let before = await namesIn(netnsDir);
    let isSuspicious = false;
    for (;;) {
      const calls = heard();
      const reason = await settled(peer.ended, silenceMs);
      if (reason !== undefined) {
        if (!this.#stop.signal.aborted) {
          log.warn(`the engine ended the connection: ${reason.message}`, { socket });
        }
        return;
      }
      const isSilent = calls === heard();
      if (isSilent && isSuspicious) {
        log.warn("pods came or went, and the engine said nothing of it; registering again", { socket });
        return;
      }
      const now = await namesIn(netnsDir);
      // The engine makes a namespace before it says so: only silence after that is suspicious.
      isSuspicious = isSilent && now !== before;
      before = now;
    }
  }

  #reportAbsent(): void {
    const { log, socket } = this.#options;
    this.problem = `no container engine offers NRI at ${socket}`;
    // Once, not at each attempt.
    if (!this.#isAbsent) log.error(absentText(socket), { socket });
    this.#isAbsent = true;
  }
}

function absentText(socket: string): string {
  return `Cannot register as a plugin: no container engine listens at ${socket}. In containerd before 2.0 NRI is off: set ` +
    `disable = false under [plugins."io.containerd.nri.v1.nri"]; in CRI-O set enable_nri = true under [crio.nri]; ` +
    "socket_path or nri_listen there may name another path, for --socket. To prove it, restart the engine and run " +
    `\`test -S ${socket}\`. Trying again until it does`;
}

/** Returns the names in a directory as one text. */
async function namesIn(dir: string): Promise<string> {
  return (await listDir(dir)).toSorted().join("\n");
}
