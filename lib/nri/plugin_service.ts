import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import { type EnginePod, enginePodOf } from "./engine_pod.ts";
import {
  ConfigureRequestSchema,
  ConfigureResponseSchema,
  ContainerState,
  CreateContainerRequestSchema,
  Event,
  Plugin,
  StateChangeEventSchema,
  SynchronizeRequestSchema,
  SynchronizeResponseSchema,
} from "./generated/api_pb.ts";
import type { PodNetworks } from "./pod_networks.ts";
import { type IncomingCall, STATUS_CODES, TtrpcError } from "./ttrpc.ts";

/** What {@linkcode PluginService} works with. */
export interface PluginServiceContext {
  readonly pods: Pick<PodNetworks, "begin" | "requireAttached" | "end" | "synchronize"> & {
    requestMs: number;
  };
  readonly log: Logger;
  /** Called with the name and the version of the engine. */
  readonly onEngine: (engine: string) => void;
  /** Called when the engine has said which pods it has. */
  readonly onSynchronized: () => void;
}

/** What the engine sends to this plugin. */
const EVENTS = [
  Event.RUN_POD_SANDBOX,
  Event.STOP_POD_SANDBOX,
  Event.REMOVE_POD_SANDBOX,
  Event.CREATE_CONTAINER,
];
const SUBSCRIPTION = EVENTS.reduce((mask, event) => mask | 1 << (event - 1), 0);

const NOTHING = new Uint8Array();

/** Answers the calls of a container engine over one connection. */
export class PluginService {
  readonly #context: PluginServiceContext;
  readonly #pods: EnginePod[] = [];
  readonly #busy = new Set<string>();

  constructor(context: PluginServiceContext) {
    this.#context = context;
  }

  /**
   * Answers a call.
   *
   * @throws {TtrpcError} for a call that is not served; {CniError} if a container may not be created yet
   */
  async handle({ service, method, payload }: IncomingCall): Promise<Uint8Array> {
    if (service !== Plugin.typeName) throw unimplemented(`the service ${service}`);
    this.#context.log.debug("a call of the engine", { method });
    switch (method) {
      case "Configure":
        return this.#configure(payload);
      case "Synchronize":
        return this.#synchronize(payload);
      case "StateChange":
        return await this.#stateChange(payload);
      case "RunPodSandbox":
        return await this.#onEvent(Event.RUN_POD_SANDBOX, podIn(payload));
      case "StopPodSandbox":
        return await this.#onEvent(Event.STOP_POD_SANDBOX, podIn(payload));
      case "RemovePodSandbox":
        return await this.#onEvent(Event.REMOVE_POD_SANDBOX, podIn(payload));
      case "CreateContainer":
        return await this.#createContainer(payload);
      case "Shutdown":
        this.#context.log.info("the engine is shutting down");
        return NOTHING;
      default:
        throw unimplemented(`the call ${method}`);
    }
  }

  #configure(payload: Uint8Array): Uint8Array {
    const { runtimeName, runtimeVersion, requestTimeout } = read(ConfigureRequestSchema, payload);
    const { pods, onEngine } = this.#context;
    pods.requestMs = Number(requestTimeout);
    onEngine(`${runtimeName} ${runtimeVersion}`.trim());
    return toBinary(ConfigureResponseSchema, create(ConfigureResponseSchema, { events: SUBSCRIPTION }));
  }

  /** Takes one part of the list of pods. It is acknowledged before anything is done, because the engine waits for it. */
  #synchronize(payload: Uint8Array): Uint8Array {
    const { pods, containers, more } = read(SynchronizeRequestSchema, payload);
    this.#pods.push(...pods.map(enginePodOf));
    this.#context.log.debug("pods of the engine", { pods: pods.length, containers: containers.length, more });
    for (const { podSandboxId, state } of containers) {
      if (state !== ContainerState.CONTAINER_STOPPED) this.#busy.add(podSandboxId);
    }
    if (!more) {
      const [all, busy] = [this.#pods.splice(0), new Set(this.#busy)];
      this.#busy.clear();
      setTimeout(() => void this.#context.pods.synchronize(all, busy), 0);
      this.#context.onSynchronized();
    }
    return toBinary(SynchronizeResponseSchema, create(SynchronizeResponseSchema, { more }));
  }

  async #stateChange(payload: Uint8Array): Promise<Uint8Array> {
    const { event, pod } = read(StateChangeEventSchema, payload);
    return pod === undefined ? NOTHING : await this.#onEvent(event, enginePodOf(pod));
  }

  async #onEvent(event: Event, pod: EnginePod | undefined): Promise<Uint8Array> {
    const { pods, log } = this.#context;
    if (pod === undefined) return NOTHING;
    log.debug(`${Event[event]}`, {
      pod: `${pod.namespace}/${pod.name}`,
      sandbox: pod.id,
      netns: pod.netns ?? null,
    });
    if (event === Event.RUN_POD_SANDBOX) pods.begin(pod);
    if (event === Event.STOP_POD_SANDBOX || event === Event.REMOVE_POD_SANDBOX) await pods.end(pod);
    return NOTHING;
  }

  async #createContainer(payload: Uint8Array): Promise<Uint8Array> {
    const pod = podIn(payload);
    try {
      if (pod !== undefined) await this.#context.pods.requireAttached(pod);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      // The engine adds that a plugin refused, but not which one.
      throw new TtrpcError(STATUS_CODES.unknown, `podwire: ${error.message}`);
    }
    return NOTHING;
  }
}

/** Reads the pod of a call. It is the same member in all of them; the calls of one pod alone are newer than the file of the messages. */
function podIn(payload: Uint8Array): EnginePod | undefined {
  const { pod } = read(CreateContainerRequestSchema, payload);
  return pod && enginePodOf(pod);
}

function read<S extends DescMessage>(schema: S, payload: Uint8Array): MessageShape<S> {
  try {
    return fromBinary(schema, payload);
  } catch (error) {
    throw new TtrpcError(STATUS_CODES.invalidArgument, `Cannot read ${schema.name}: ${String(error)}`);
  }
}

function unimplemented(what: string): TtrpcError {
  return new TtrpcError(STATUS_CODES.unimplemented, `${what} is not served by podwire`);
}
