// Every call of the CRI and every status that podwire answers with, over the socket of the compiled program.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CRI_CLIENT, HOST_NETWORK, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { GrpcAnswer, GrpcCallOptions } from "../cri/grpc_client.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, type BinaryWorld, SYSTEM_PATH, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";
import { CRI_PROTO, PODWIRE_BINARY } from "./need.ts";

const SANDBOX = { pod_sandbox_id: "unknown" };
const CONTAINER = { container_id: "unknown" };
const IMAGE = { image: { image: "unknown" } };
/** Calls whose answer depends on more than one request: each has tests of its own. */
const ELSEWHERE = ["RuntimeService/GetContainerEvents", "RuntimeService/PortForward"];

/** The status of each call on a node without a sandbox, a container and an image. */
const CALLS: Readonly<Record<string, readonly [code: string, request?: unknown]>> = {
  "RuntimeService/Version": ["OK"],
  "RuntimeService/Status": ["OK"],
  "RuntimeService/RuntimeConfig": ["OK"],
  "RuntimeService/UpdateRuntimeConfig": ["OK"],
  "RuntimeService/RunPodSandbox": ["INVALID_ARGUMENT"],
  "RuntimeService/StopPodSandbox": ["OK", SANDBOX],
  "RuntimeService/RemovePodSandbox": ["OK", SANDBOX],
  "RuntimeService/PodSandboxStatus": ["NOT_FOUND", SANDBOX],
  "RuntimeService/ListPodSandbox": ["OK"],
  "RuntimeService/StreamPodSandboxes": ["OK"],
  "RuntimeService/PodSandboxStats": ["NOT_FOUND", SANDBOX],
  "RuntimeService/ListPodSandboxStats": ["OK"],
  "RuntimeService/StreamPodSandboxStats": ["OK"],
  "RuntimeService/UpdatePodSandboxResources": ["UNIMPLEMENTED", SANDBOX],
  "RuntimeService/ListMetricDescriptors": ["OK"],
  "RuntimeService/ListPodSandboxMetrics": ["OK"],
  "RuntimeService/StreamPodSandboxMetrics": ["OK"],
  "RuntimeService/CreateContainer": ["UNIMPLEMENTED", SANDBOX],
  "RuntimeService/StartContainer": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/StopContainer": ["OK", CONTAINER],
  "RuntimeService/RemoveContainer": ["OK", CONTAINER],
  "RuntimeService/ListContainers": ["OK"],
  "RuntimeService/StreamContainers": ["OK"],
  "RuntimeService/ContainerStatus": ["NOT_FOUND", CONTAINER],
  "RuntimeService/ContainerStats": ["NOT_FOUND", CONTAINER],
  "RuntimeService/ListContainerStats": ["OK"],
  "RuntimeService/StreamContainerStats": ["OK"],
  "RuntimeService/UpdateContainerResources": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/ReopenContainerLog": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/CheckpointContainer": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/ExecSync": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/Exec": ["UNIMPLEMENTED", CONTAINER],
  "RuntimeService/Attach": ["UNIMPLEMENTED", CONTAINER],
  "ImageService/ListImages": ["OK"],
  "ImageService/StreamImages": ["OK"],
  "ImageService/ImageStatus": ["OK", IMAGE],
  "ImageService/PullImage": ["UNIMPLEMENTED", IMAGE],
  "ImageService/RemoveImage": ["OK", IMAGE],
  "ImageService/ImageFsInfo": ["OK"],
};

binaryTest("every call of Kubernetes' api.proto is answered, with words where it is refused", [
  ...CRI_CLIENT,
], async (world) => {
  const proto = await Deno.readTextFile(CRI_PROTO);
  const all = proto.split(/^service /m).slice(1).flatMap((service) => {
    const [name = ""] = service.split(" ");
    return [...service.matchAll(/^ +rpc (\w+)\(/gm)].map(([, call = ""]) => `${name}/${call}`);
  });
  assertEquals(Object.keys(CALLS).concat(ELSEWHERE).toSorted(), all.toSorted());
  await using cri = await startCri(world, ["--default-network=podwire"]);
  const answers = await Promise.all(
    Object.entries(CALLS).map(async ([path, [, request = {}]]) => {
      const [service, method = ""] = path.split("/");
      const answer = await cri.client.call(method, request, {
        service: service === "ImageService" ? service : "RuntimeService",
      });
      return [path, answer] as const;
    }),
  );
  const codes = answers.map(([path, { code }]) => [path, code]);
  assertEquals(codes, Object.entries(CALLS).map(([path, [code]]) => [path, code]));
  const wordless = answers.filter(([, { code, details }]) => (code === "OK") !== (details === ""));
  assertEquals(wordless, []);
  assertEquals(await leftIn(world), []);
});

/** A plugin that succeeds, but for what a file beside it says: it waits or fails. */
const MOODY = (dir: string) =>
  `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD)
  [ -e ${dir}/waits ] && exec sleep 600
  [ -e ${dir}/fails ] && { echo '{"cniVersion":"1.0.0","code":100,"msg":"no luck"}'; exit 1; }
  echo '{"cniVersion":"1.0.0"}' ;;
esac
`;

/** A daemon whose kernel refuses what it needs root for. */
function withoutCapabilities(world: BinaryWorld): Pick<BinaryWorld, "dir" | "start"> {
  return {
    dir: world.dir,
    start: (args) =>
      new Deno.Command("setpriv", {
        args: ["--bounding-set=-net_admin,-sys_admin", PODWIRE_BINARY, ...world.dirs, ...args],
        env: { PATH: SYSTEM_PATH },
        clearEnv: true,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
  };
}

binaryTest("each status code of a sandbox that is not made has its cause", CRI_CLIENT, async (world) => {
  await world.plugin("moody", MOODY(world.dir));
  const seen = new Set<string>();
  const expect = ({ code, details }: GrpcAnswer, wanted: string, words: string) => {
    assertEquals(code, wanted, details);
    assertStringIncludes(details, words);
    seen.add(code);
  };
  {
    await using cri = await startCri(world, ["--no-embedded", "--request-timeout=2s"]);
    const { client, daemon } = cri;
    const run = (config: unknown, options: GrpcCallOptions = {}) =>
      client.call("RunPodSandbox", { config }, options);
    const reload = async (type: string, more: JsonObject = {}) => {
      await world.list([{ type, ...more }]);
      daemon.child.kill("SIGHUP");
      await until("the network is read", async () => {
        const { info } = await client.ok("Status", { verbose: true });
        return JSON.parse(info.network).networks[0]?.plugins?.[0] === type;
      });
    };
    expect(await run(podConfig("none")), "UNAVAILABLE", world.confDir);
    await reload("moody");
    await Deno.writeTextFile(`${world.dir}/fails`, "");
    expect(await run(podConfig("fails")), "UNKNOWN", "no luck");
    await Deno.rename(`${world.dir}/fails`, `${world.dir}/waits`);
    // The limit of the daemon, whatever the client gives.
    expect(await run(podConfig("waits")), "DEADLINE_EXCEEDED", "longer than 2000 ms");
    const left = client.begin("RunPodSandbox", { config: podConfig("left") });
    await until("the plugin waits", async () => (await world.processes()).join().includes("sleep 600"));
    left.cancel();
    expect(await left.answer, "CANCELLED", "");
    await until("the daemon has seen it", async () => {
      const { text } = await daemon.call("GET", "/metrics");
      const labels = { method: "RunPodSandbox", code: "CANCELLED" };
      return valueOf(parseExposition(text), "podwire_cri_calls_total", labels) === 1;
    });
    await Deno.remove(`${world.dir}/waits`);
    expect(await run(podConfig("")), "INVALID_ARGUMENT", "config.metadata.name: ");
    expect(await client.call("PodSandboxStatus", SANDBOX), "NOT_FOUND", "unknown");
    expect(await client.call("CreateContainer"), "UNIMPLEMENTED", "runs no containers");
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config: podConfig("twice") });
    await client.ok("StopPodSandbox", { pod_sandbox_id: world.watch(id) });
    expect(await run(podConfig("twice")), "ALREADY_EXISTS", "twice");
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    await reload("bridge", { bridge: "br%d" });
    expect(await run(podConfig("config")), "FAILED_PRECONDITION", '"br%d"');
    const subnet = `${world.subnet4}.0/30`;
    await reload("ptp", { ipam: { type: "host-local", dataDir: world.dataDir, ranges: [[{ subnet }]] } });
    const { pod_sandbox_id: only } = await client.ok("RunPodSandbox", { config: podConfig("only") });
    world.watch(only);
    expect(await run(podConfig("full")), "RESOURCE_EXHAUSTED", "no IP addresses available");
    await client.ok("RemovePodSandbox", { pod_sandbox_id: only });
    await client.ok("Version");
    seen.add("OK");
    assertEquals(await leftIn(world), []);
  }
  await worldWithNetwork(world);
  {
    await using cri = await startCri(withoutCapabilities(world));
    const { code, details } = await cri.client.call("RunPodSandbox", { config: podConfig("root") });
    expect({ code, details, response: undefined }, "PERMISSION_DENIED", "Operation not permitted");
    assertEquals(await cri.client.ok("ListPodSandbox"), { items: [] });
  }
  assertEquals(await leftIn(world), []);
  // With INTERNAL, for bytes that are not a message, these are all that podwire answers with.
  assertEquals(seen.size, 12, [...seen].join(" "));
});

binaryTest("bytes that are not a message of the CRI are refused, and the next call is answered", [
  ...CRI_CLIENT,
], async (world) => {
  await using cri = await startCri(world, ["--default-network=podwire"]);
  // A field of a length that goes beyond the end.
  const { code, details } = await cri.client.call("RunPodSandbox", {}, { bytes: [10, 200, 1, 1] });
  // The status that gRPC has for it.
  assertEquals(code, "INTERNAL");
  assertStringIncludes(details, "parse binary: ");
  await cri.client.ok("Version");
  const lines = await cri.daemon.end();
  const errors = lines.filter(({ level }) => level === "error");
  assertEquals(errors.map(({ msg, method }) => [msg, method]), [[details, "RunPodSandbox"]]);
});

binaryTest("1,000 calls at 8 over one connection are answered by the real runtime", [
  ...CRI_CLIENT,
], async (world) => {
  await using cri = await startCri(world, ["--default-network=podwire"]);
  const { client, daemon } = cri;
  const config = podConfig("web", { linux: HOST_NETWORK });
  const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
  const calls: readonly (readonly [string, unknown?])[] = [
    ["ListPodSandbox"],
    ["PodSandboxStatus", { pod_sandbox_id: id, verbose: true }],
    ["Status"],
    ["Version", { version: "x".repeat(2_000) }],
    ["RunPodSandbox", { config }],
  ];
  let next = 0;
  const worker = async () => {
    while (next < 1_000) {
      const [method, request] = calls[next++ % calls.length] ?? ["Version"];
      const { pod_sandbox_id: same = id } = await client.ok(method, request);
      assertEquals(same, id);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
  const { text } = await daemon.call("GET", "/metrics");
  const families = parseExposition(text);
  const counted = ["ListPodSandbox", "PodSandboxStatus", "Status", "Version"].map((method) =>
    valueOf(families, "podwire_cri_calls_total", { method, code: "OK" })
  );
  assertEquals(counted, [200, 200, 200, 200]);
  const lines = await daemon.end();
  assert(lines.every(({ level }) => level === "info"), JSON.stringify(lines.at(-1)));
  assertEquals(await leftIn(world), []);
});
