/** A container engine that is a process of the test: it listens, and calls the plugins that register. */
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { byteStream } from "../../lib/host/unix_stream.ts";
import {
  ConfigureRequestSchema,
  ConfigureResponseSchema,
  Plugin,
  type PodSandbox,
  PodSandboxSchema,
  RegisterPluginRequestSchema,
  SynchronizeRequestSchema,
  SynchronizeResponseSchema,
} from "../../lib/nri/generated/api_pb.ts";
import { type IncomingCall, STATUS_CODES, TtrpcError, TtrpcPeer } from "../../lib/nri/ttrpc.ts";

/** A connection of a plugin. */
export interface ConnectedPlugin {
  readonly peer: TtrpcPeer;
  readonly registered: { readonly name: string; readonly index: string };
}

/** The engine. */
export class FakeEngine implements AsyncDisposable {
  readonly plugins: ConnectedPlugin[] = [];
  readonly #listener: Deno.UnixListener;
  readonly #ended: Promise<void>;
  /** Called when a plugin has registered. */
  onPlugin: (plugin: ConnectedPlugin) => unknown = () => {};

  /** Begins to listen. */
  constructor(readonly socket: string) {
    this.#listener = Deno.listen({ transport: "unix", path: socket });
    this.#ended = this.#accept();
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) {
      const made = Promise.withResolvers<TtrpcPeer>();
      const options = {
        stream: byteStream(connection),
        serves: 2,
        calls: 1,
        handle: async ({ method, payload }: IncomingCall) => {
          if (method !== "RegisterPlugin") throw new Error(`an engine has no call ${method}`);
          const { pluginName: name, pluginIdx: index } = fromBinary(RegisterPluginRequestSchema, payload);
          const plugin = { peer: await made.promise, registered: { name, index } };
          this.plugins.push(plugin);
          // After the answer, as engines do.
          setTimeout(() => void this.#greet(plugin), 0);
          return new Uint8Array();
        },
      };
      made.resolve(new TtrpcPeer(options));
    }
  }

  async #greet(plugin: ConnectedPlugin): Promise<void> {
    try {
      await this.onPlugin(plugin);
    } catch (error) {
      // The test may end the connection meanwhile.
      if (!(error instanceof TtrpcError) || error.code !== STATUS_CODES.unavailable) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const { peer } of this.plugins) peer[Symbol.dispose]();
    await this.#ended;
  }
}

/** Calls a plugin, and returns the bytes of its answer. */
export async function callPlugin<S extends DescMessage>(
  { peer }: ConnectedPlugin,
  method: string,
  schema: S,
  message: MessageInitShape<S>,
): Promise<Uint8Array> {
  const payload = toBinary(schema, create(schema, message));
  return await peer.call({ service: Plugin.typeName, method, payload });
}

/** Configures a plugin; returns the events that it wants. */
export async function configure(plugin: ConnectedPlugin, requestMs: number): Promise<number> {
  const answer = await callPlugin(plugin, "Configure", ConfigureRequestSchema, {
    runtimeName: "fake",
    runtimeVersion: "1",
    requestTimeout: BigInt(requestMs),
  });
  return fromBinary(ConfigureResponseSchema, answer).events;
}

/** Sends a part of the list of pods; returns what the plugin says of more. */
export async function synchronize(
  plugin: ConnectedPlugin,
  pods: readonly PodSandbox[],
  more = false,
): Promise<{ readonly more: boolean; readonly updates: number }> {
  const request = { pods: [...pods], more };
  const answer = await callPlugin(plugin, "Synchronize", SynchronizeRequestSchema, request);
  const { more: echoed, update } = fromBinary(SynchronizeResponseSchema, answer);
  return { more: echoed, updates: update.length };
}

/** A pod of the engine. */
export function enginePod(id: string, annotations: Readonly<Record<string, string>> = {}): PodSandbox {
  const linux = { namespaces: [{ type: "network", path: `/run/netns/${id}` }] };
  return create(PodSandboxSchema, { id, name: id, namespace: "shop", uid: `uid-${id}`, annotations, linux });
}
