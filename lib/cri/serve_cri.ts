import type { Face, OpenFace } from "../daemon/face.ts";
import { ServedSocket } from "../daemon/served_socket.ts";
import { PodCIDRs } from "../network/pod_cidrs.ts";
import { CriCalls } from "./calls.ts";
import { type CgroupDriver, cgroupDriver } from "./cgroup_driver.ts";
import { listenForGrpc } from "./choose_transport.ts";
import { ImageService, RuntimeService } from "./generated/api_pb.ts";
import { http2Transport } from "./http2_transport.ts";
import { imageService } from "./image_service.ts";
import { CriMetrics } from "./metrics.ts";
import { runtimeService } from "./runtime_service.ts";
import { SandboxEvents } from "./sandbox_events.ts";
import { serveTransport } from "./serve_transport.ts";

/** Options of {@linkcode serveCri}. */
export interface ServeCriOptions {
  /** Who makes control groups. @default {systemd if that is the first process of the machine} */
  readonly driver?: CgroupDriver["name"] | undefined;
}

/**
 * Returns what serves the CRI of Kubernetes, the half for sandboxes, at a Unix socket: `runtime.v1.RuntimeService` and
 * `runtime.v1.ImageService`, for the kubelet and crictl. It works on the same sandboxes as HTTP and the command line.
 *
 * Requires `--allow-read` and `--allow-write` for the socket; from Deno 2.9 on `--allow-net=unix:PATH` too.
 */
export function serveCri(path: string, { driver }: ServeCriOptions = {}): OpenFace {
  return async (face, { signal }): Promise<Face> => {
    const { runtime, log, tracer, version, maxRequests, requestMs, addMetrics } = face;
    const metrics = new CriMetrics();
    addMetrics(() => metrics.write());
    const { stateDir } = runtime;
    const events = new SandboxEvents({
      follow: (changed) => face.followSandboxes(changed),
      list: (id) => runtime.sandboxes.list({ id, ofCri: true, isMade: true }),
    });
    const podCIDRs = new PodCIDRs(stateDir);
    const context = { runtime, podCIDRs, cgroupDriver: await cgroupDriver(driver), events, version, log };
    const calls = new CriCalls({
      routes: (router) => {
        router.service(RuntimeService, runtimeService(context));
        router.service(ImageService, imageService({ stateDir }));
      },
      log,
      maxRequests,
      requestMs,
      tracer,
      onServed: (served) => metrics.onCall(served),
    });
    const grpc = {
      answer: calls.answer.bind(calls),
      log,
      transports: [serveTransport, http2Transport],
    };
    const socket = await ServedSocket.open({
      path,
      option: "--cri",
      log,
      listen: (temporary) => listenForGrpc(temporary, grpc),
      signal,
    });
    log.info("serving the CRI", { socket: path });
    return {
      get underWay() {
        return calls.underWay;
      },
      keep: () => socket.keep(),
      drained: () => {
        const drained = calls.drained();
        // Its streams have no end of their own.
        events.close();
        return drained;
      },
      cancel: () => calls.cancel(),
      close: (limitMs) => socket.close(limitMs),
    };
  };
}
