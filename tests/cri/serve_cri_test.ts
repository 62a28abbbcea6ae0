// The CRI over its socket, with the transport of the Deno that runs the tests, and a client that is not ours.
import { assert, assertEquals } from "@std/assert";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { serveCri } from "../../lib/cri/serve_cri.ts";
import type { Face, FaceContext } from "../../lib/daemon/face.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { SANDBOX } from "../daemon/fake_context.ts";
import { missing } from "../root/need.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";
import { podConfig } from "./cri_world.ts";
import { GrpcClient } from "./grpc_client.ts";

// A Node that was fetched for the tests is only on their machine, see machine.sh.
const hasNode = await new Deno.Command("node", { args: ["--version"], stdin: "null" }).output()
  .then(({ success }) => success, () => false);
const ignore = !hasNode || missing(["grpc-js", "cri-api"]).length > 0;
if (ignore) {
  console.error("skipping the tests of the transport of the CRI: node, grpc-js or cri-api is missing");
}

/** What the fake runtime was asked for, and what it has. */
interface Asked {
  runs: number;
  ended: number;
  readonly sandboxes: Map<string, Sandbox>;
  /** What follows the sandboxes. */
  readonly followers: Set<(id: string) => void>;
}

/** Changes a sandbox, as any program may. */
function become({ sandboxes, followers }: Asked, sandbox: Sandbox): void {
  sandboxes.set(sandbox.id, sandbox);
  followers.forEach((changed) => changed(sandbox.id));
}

/** Serves the CRI of a runtime whose runs never end. */
async function withCri(
  fn: (client: GrpcClient, face: Face, asked: Asked, path: string) => Promise<void>,
): Promise<void> {
  await inTempDir(async (dir) => {
    const path = `${dir}/cri.sock`;
    const asked: Asked = { runs: 0, ended: 0, sandboxes: new Map(), followers: new Set() };
    const sandboxes = {
      list: ({ id }: { id: string }) =>
        Promise.resolve([...asked.sandboxes.values()].filter((sandbox) => sandbox.id.startsWith(id))),
      run: (_: unknown, { signal }: { signal: AbortSignal }) => {
        asked.runs++;
        const over = Promise.withResolvers<never>();
        const end = () => {
          asked.ended++;
          over.reject(signal.reason);
        };
        if (signal.aborted) end();
        else signal.addEventListener("abort", end, { once: true });
        return over.promise;
      },
    };
    const context = {
      runtime: { stateDir: dir, sandboxes },
      log: silentLogger,
      version: "1.2.3",
      maxRequests: 256,
      requestMs: 600_000,
      followSandboxes: (changed: (id: string) => void) => {
        asked.followers.add(changed);
        return Promise.resolve({ [Symbol.dispose]: () => void asked.followers.delete(changed) });
      },
      addMetrics: () => {},
    };
    const face = await serveCri(path)(context as unknown as FaceContext, {});
    try {
      await using client = GrpcClient.start(path);
      await fn(client, face, asked, path);
    } finally {
      await face.close(0);
    }
  });
}

/** How a cancelled call ends: the server may end a connection with too many resets, and its other calls with it. */
const ENDED = ["CANCELLED", "UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"];

async function descriptors(): Promise<number> {
  const { stdout } = await new Deno.Command("ls", { args: [`/proc/${Deno.pid}/fd`] }).output();
  return new TextDecoder().decode(stdout).trimEnd().split("\n").length;
}

Deno.test({
  name: "1,000 calls at 8 over one connection are answered",
  ignore,
  fn: () =>
    withCri(async (client, face) => {
      let left = 1_000;
      const worker = async () => {
        while (left-- > 0) {
          const { runtime_version: version } = await client.ok("Version", { version: "x".repeat(2_000) });
          assertEquals(version, "1.2.3");
        }
      };
      await Promise.all(Array.from({ length: 8 }, worker));
      assertEquals(face.underWay, 0);
    }),
});

Deno.test({
  name: "a call ends when its client cancels it, when its deadline passes, and when its connection is torn",
  ignore,
  fn: () =>
    withCri(async (client, face, asked, path) => {
      const config = podConfig("web");
      const cancelled = client.begin("RunPodSandbox", { config });
      await until(() => asked.runs === 1);
      cancelled.cancel();
      assertEquals((await cancelled.answer).code, "CANCELLED");
      await until(() => asked.ended === 1);
      const late = await client.call("RunPodSandbox", { config }, { timeoutMs: 200 });
      assertEquals(late.code, "DEADLINE_EXCEEDED");
      await until(() => asked.ended === 2);
      const torn = GrpcClient.start(path);
      const running = torn.begin("RunPodSandbox", { config });
      running.answer.catch(() => {});
      await until(() => asked.runs === 3);
      await torn[Symbol.asyncDispose]();
      await until(() => asked.ended === 3);
      await until(() => face.underWay === 0);
    }),
});

Deno.test({
  name: "three storms of cancelled calls leave no call, no descriptor and a server that answers",
  ignore,
  fn: () =>
    withCri(async (client, face, asked) => {
      const config = podConfig("web");
      const storm = async (connection: number) => {
        let left = 600;
        const worker = async () => {
          while (left-- > 0) {
            const cancelAfterMs = 1 + left % 20;
            const { code } = await client.call("RunPodSandbox", { config }, { connection, cancelAfterMs });
            assert(ENDED.includes(code), code);
          }
        };
        await Promise.all(Array.from({ length: 48 }, worker));
        await until(() => face.underWay === 0);
        assertEquals(asked.ended, asked.runs);
      };
      await storm(0);
      await client.ok("Version", {}, { connection: 9 });
      const before = await descriptors();
      await storm(1);
      await storm(2);
      await client.ok("Version", {}, { connection: 9 });
      // Of a connection that its client has left the end is seen a moment later.
      await until(
        async () => await descriptors() <= before + 4,
        `there are the ${before} descriptors of before`,
      );
      assert(asked.runs > 100, `${asked.runs} calls were met`);
    }),
});

Deno.test({
  name: "a stream of events ends with its client, and all of it is freed, while nothing happens too",
  ignore,
  fn: () =>
    withCri(async (client, face, asked, path) => {
      const got: string[] = [];
      const onEvent = (event: { container_id: string; container_event_type: string }) =>
        void got.push(`${event.container_id} ${event.container_event_type}`);
      const cancelled = client.begin("GetContainerEvents", {}, { onEvent });
      await until(() => asked.followers.size === 1);
      become(asked, { ...SANDBOX, id: "a" });
      await until(() => got.length === 2);
      assertEquals(got, ["a CONTAINER_CREATED_EVENT", "a CONTAINER_STARTED_EVENT"]);
      cancelled.cancel();
      assertEquals((await cancelled.answer).code, "CANCELLED");
      await until(() => asked.followers.size === 0 && face.underWay === 0);

      // No message was sent before its client leaves.
      const torn = GrpcClient.start(path);
      torn.begin("GetContainerEvents").answer.catch(() => {});
      await until(() => asked.followers.size === 1);
      await torn[Symbol.asyncDispose]();
      await until(() => asked.followers.size === 0 && face.underWay === 0);

      const before = await descriptors();
      for (let round = 0; round < 5; round++) {
        const all = Array.from({ length: 40 }, () => client.begin("GetContainerEvents"));
        await until(() => face.underWay === all.length);
        for (const one of all) one.cancel();
        await Promise.all(all.map(({ answer }) => answer));
        await until(() => asked.followers.size === 0 && face.underWay === 0);
      }
      // Of a connection that its client has left the end is seen a moment later.
      await until(
        async () => await descriptors() <= before + 4,
        `there are the ${before} descriptors of before`,
      );
    }),
});

Deno.test({
  name: "messages of 8 MiB are read, and those of 40 MiB are refused",
  ignore,
  fn: () =>
    withCri(async (client) => {
      const selector = (size: number) => ({ filter: { label_selector: { app: "x".repeat(size) } } });
      const MIB = 1024 * 1024;
      assertEquals(await client.ok("ListPodSandbox", selector(8 * MIB)), { items: [] });
      assertEquals((await client.call("ListPodSandbox", selector(40 * MIB))).code, "RESOURCE_EXHAUSTED");
      await client.ok("Version");
    }),
});

Deno.test({
  name: "a face that ends answers what runs, and begins nothing more",
  ignore,
  fn: () =>
    withCri(async (client, face, asked) => {
      const running = client.begin("RunPodSandbox", { config: podConfig("web") });
      const events = client.begin("GetContainerEvents");
      await until(() => asked.runs === 1 && asked.followers.size === 1);
      const drained = face.drained();
      const ended = await events.answer;
      assertEquals([ended.code, ended.details], ["UNAVAILABLE", "podwire is shutting down"]);
      const refused = await client.call("Version");
      assertEquals({ code: refused.code, details: refused.details }, {
        code: "UNAVAILABLE",
        details: "podwire is shutting down",
      });
      face.cancel();
      const { code, details } = await running.answer;
      assertEquals({ code, details }, { code: "CANCELLED", details: "podwire is shutting down" });
      await drained;
    }),
});
