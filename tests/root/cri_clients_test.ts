// The clients of Kubernetes themselves, where variables of the environment say where they are; see ../cri/clients.ts.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";
import { type Client, needClients, requireClient } from "../cri/clients.ts";
import { worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, type BinaryWorld, isThere, SYSTEM_PATH, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

/** A test with a daemon that serves the CRI, and nothing left of it at its end. */
function clientTest(
  name: string,
  client: Client,
  fn: (world: BinaryWorld, endpoint: string) => Promise<void>,
): void {
  binaryTest(name, [], async (world) => {
    await worldWithNetwork(world);
    const socket = `${world.dir}/run/cri.sock`;
    await using daemon = await DaemonProcess.start(world, [`--cri=${socket}`, "--builtin=prefer"]);
    await until("the CRI is served", () => isThere(socket));
    await fn(world, `unix://${socket}`);
    const lines = await daemon.end();
    assertEquals(lines.filter(({ level }) => level === "error"), []);
    assertEquals(await leftIn(world), []);
  }, needClients(client));
}

/** Runs crictl to its end, which must be a success. */
async function crictl(world: BinaryWorld, endpoint: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand({
    program: requireClient("crictl"),
    // Without a file of its own it would read that of the machine.
    args: [`--config=${world.dir}/crictl.yaml`, `--runtime-endpoint=${endpoint}`, ...args],
    env: { PATH: SYSTEM_PATH, HOME: world.dir },
  });
  assertEquals({ args, code, stderr }, { args, code: 0, stderr: "" });
  return stdout;
}

clientTest("the sandbox commands of crictl work by script", "crictl", async (world, endpoint) => {
  await Deno.writeTextFile(`${world.dir}/crictl.yaml`, "");
  const run = (...args: readonly string[]) => crictl(world, endpoint, ...args);
  const json = async (...args: readonly string[]) => JSON.parse(await run(...args));
  assertMatch(await run("version"), /RuntimeName: +podwire\n.*\nRuntimeApiVersion: +v1\n/);
  const { status, network } = await json("info");
  assertEquals(network.networks[0].name, world.network);
  assertEquals(
    status.conditions.map(({ type, status }: { type: string; status: boolean }) => [type, status]),
    [["RuntimeReady", true], ["NetworkReady", true]],
  );
  assertMatch(await run("runtime-config"), /cgroup driver: +CGROUPFS/i);
  await run("config", "--list");
  await run("update-runtime-config", `${world.subnet4}.0/24`);

  const config = {
    metadata: { name: "web", namespace: "default", uid: "uid-web", attempt: 1 },
    labels: { app: "web" },
    annotations: { note: "a test" },
    hostname: "web",
    log_directory: `${world.dir}/logs`,
    port_mappings: [{ protocol: 0, container_port: 80, host_port: 18_085 }],
    linux: {
      // Without one crictl warns.
      cgroup_parent: "/pods",
      security_context: { namespace_options: { network: 0, pid: 1, ipc: 0 } },
    },
  };
  await Deno.writeTextFile(`${world.dir}/pod.json`, JSON.stringify(config));
  const id = world.watch((await run("runp", `${world.dir}/pod.json`)).trim());
  assertMatch(id, /^[0-9a-f]{32}$/);
  for (
    const filter of [
      ["--id", id.slice(0, 13)],
      ["--name", "^web$"],
      ["--namespace", "default"],
      ["--state", "Ready"],
      ["--label", "app=web"],
      ["--latest"],
      ["--last", "1"],
    ]
  ) assertEquals((await run("pods", "--quiet", ...filter)).trim(), id, filter.join(" "));
  assertEquals(await run("pods", "--quiet", "--state", "NotReady"), "");
  assertMatch(await run("pods"), /web +default +1 +\(default\)\n/);
  const shown = await json("inspectp", id);
  const { ips } = await world.json(["inspect", id]);
  assertEquals({ state: shown.status.state, ip: shown.status.network.ip }, {
    state: "SANDBOX_READY",
    ip: ips[0],
  });
  assertEquals(shown.config.logDirectory, `${world.dir}/logs`);
  const { stats: [stats] } = await json("statsp", "--output=json", "--id", id);
  assertEquals(stats.linux.network.defaultInterface.name, "eth0");
  assertEquals((await run("ps", "--all", "--quiet")).trim(), "");
  assertEquals((await run("images", "--quiet")).trim(), "");
  await json("imagefsinfo");

  assertEquals(await run("stopp", id), `Stopped sandbox ${id}\n`);
  assertEquals((await run("pods", "--quiet", "--state", "NotReady")).trim(), id);
  assertEquals(await run("rmp", id), `Removed sandbox ${id}\n`);
  const again = world.watch((await run("runp", `${world.dir}/pod.json`)).trim());
  assert(again !== id);
  assertEquals(await run("rmp", "--force", again), `Stopped sandbox ${again}\nRemoved sandbox ${again}\n`);
  world.watch((await run("runp", `${world.dir}/pod.json`)).trim());
  await run("rmp", "--all", "--force");
  assertEquals((await run("pods", "--quiet")).trim(), "");
});

/** The specs of critest that need sandboxes and neither containers nor images. */
const IN_REACH = [
  "Runtime info",
  "runtime should support basic operations on PodSandbox",
  "Idempotence",
].join("|");
const SPECS = 12;
/** This one stops a container that it has started. */
const OUT_OF_REACH = "StopContainer should not return an error if already stopped";

async function critest(
  world: BinaryWorld,
  endpoint: string,
  args: readonly string[],
): Promise<{ readonly code: number; readonly text: string }> {
  const program = requireClient("critest");
  const { code, stdout, stderr } = await runCommand({
    program,
    args: [`-runtime-endpoint=${endpoint}`, `-image-endpoint=${endpoint}`, "-ginkgo.no-color", ...args],
    // Several at once need the program `ginkgo`, which is looked for beside critest.
    env: { PATH: `${dirname(program)}:${SYSTEM_PATH}`, HOME: world.dir },
    cwd: world.dir,
  });
  return { code, text: stdout + stderr };
}

clientTest(
  `the ${SPECS} specs of critest that are in reach pass, in a random order and several at once`,
  "critest",
  async (world, endpoint) => {
    const hasGinkgo = await isThere(`${dirname(requireClient("critest"))}/ginkgo`);
    for (const parallel of hasGinkgo ? [1, 8] : [1]) {
      const { code, text } = await critest(world, endpoint, [
        `-ginkgo.focus=${IN_REACH}`,
        `-ginkgo.skip=${OUT_OF_REACH}`,
        "-ginkgo.randomize-all",
        ...(parallel === 1 ? [] : [`-parallel=${parallel}`]),
      ]);
      assertEquals(code, 0, text);
      assertMatch(text, new RegExp(`Ran ${SPECS} of \\d+ Specs`));
      assertMatch(text, new RegExp(`${SPECS} Passed \\| 0 Failed`));
    }
  },
);

clientTest("the benchmark of critest for sandboxes runs", "critest", async (world, endpoint) => {
  const { code, text } = await critest(world, endpoint, [
    "-benchmark",
    // The other benchmarks start containers, or do nothing unless the file says how often.
    "-ginkgo.skip=start a container",
    `-benchmarking-params-file=${await benchmarkFile(world)}`,
    `-benchmarking-output-dir=${world.dir}`,
  ]);
  assertEquals(code, 0, text);
  const results = [...Deno.readDirSync(world.dir)].filter(({ name }) => name.startsWith("pod_benchmark"));
  assertEquals(results.length, 1, text);
  const { datapoints } = JSON.parse(await Deno.readTextFile(`${world.dir}/${results[0]?.name}`));
  assertEquals(datapoints.length, PODS);
});

const PODS = 20;

async function benchmarkFile(world: BinaryWorld): Promise<string> {
  const path = `${world.dir}/benchmark.yaml`;
  await Deno.writeTextFile(path, `podsNumber: ${PODS}\npodsNumberParallel: 4\n`);
  return path;
}
