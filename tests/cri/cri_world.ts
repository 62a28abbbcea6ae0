/** The daemon with its CRI socket, and a client of it that is not ours. */
import { type BinaryWorld, isThere, until } from "../root/binary_world.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import type { Component } from "../root/need.ts";
import { GrpcClient } from "./grpc_client.ts";

/** What the client needs. */
export const CRI_CLIENT: readonly Component[] = ["node", "grpc-js", "cri-api"];

/** The daemon, and a client of its CRI. */
export interface CriDaemon extends AsyncDisposable {
  readonly daemon: DaemonProcess;
  readonly client: GrpcClient;
  readonly socket: string;
}

/** Starts the daemon with the CRI and a client. */
export async function startCri(
  world: Pick<BinaryWorld, "dir" | "start">,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<CriDaemon> {
  const socket = `${world.dir}/run/cri.sock`;
  const daemon = await DaemonProcess.start(world, [`--cri=${socket}`, "--builtin=prefer", ...args], env);
  // It serves HTTP a moment before.
  await until("the CRI is served", () => isThere(socket));
  const client = GrpcClient.start(socket);
  return {
    daemon,
    client,
    socket,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

/** A sandbox as a kubelet asks for it; `more` replaces members of the configuration. */
export function podConfig(
  name: string,
  { attempt = 0, uid = `uid-${name}`, namespace = "default", ...more }: {
    readonly attempt?: number;
    readonly uid?: string;
    readonly namespace?: string;
    readonly [member: string]: unknown;
  } = {},
) {
  return {
    metadata: { name, uid, namespace, attempt },
    linux: { security_context: { namespace_options: { network: "POD", pid: "CONTAINER", ipc: "POD" } } },
    ...more,
  };
}

/** The Linux part of a sandbox in the network of the host, which is made without plugins. */
export const HOST_NETWORK = {
  security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } },
} as const;

/** Gives the world a network of a bridge, with addresses of both families. */
export async function worldWithNetwork(world: BinaryWorld): Promise<void> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
}
