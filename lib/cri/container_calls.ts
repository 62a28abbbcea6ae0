import type { ServiceImpl } from "@connectrpc/connect";
import type { RuntimeService } from "./generated/api_pb.ts";
import { notFound, unimplemented } from "./grpc_error.ts";

const WHY = "podwire makes the sandboxes of pods and their networks, and runs no containers";

/** The calls for containers. There are none, so lists are empty, and what a client removes is gone. */
export const CONTAINER_CALLS = {
  createContainer: refuse("CreateContainer"),
  startContainer: refuse("StartContainer"),
  stopContainer: () => ({}),
  removeContainer: () => ({}),
  listContainers: () => ({ containers: [] }),
  streamContainers: nothing,
  containerStatus: ({ containerId }) => {
    throw notFound("container", containerId);
  },
  updateContainerResources: refuse("UpdateContainerResources"),
  reopenContainerLog: refuse("ReopenContainerLog"),
  execSync: refuse("ExecSync"),
  exec: refuse("Exec"),
  attach: refuse("Attach"),
  containerStats: ({ containerId }) => {
    throw notFound("container", containerId);
  },
  listContainerStats: () => ({ stats: [] }),
  streamContainerStats: nothing,
  checkpointContainer: refuse("CheckpointContainer"),
} as const satisfies Partial<ServiceImpl<typeof RuntimeService>>;

/** A streamed list of nothing has no message. */
async function* nothing(): AsyncGenerator<never> {}

function refuse(call: string): () => never {
  return () => {
    throw unimplemented(call, WHY);
  };
}
