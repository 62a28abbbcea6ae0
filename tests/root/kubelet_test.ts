// A kubelet without an API server, where PODWIRE_TEST_KUBELET says where one is: its pods are sandboxes of podwire.
import { assert, assertEquals } from "@std/assert";
import { needClients, requireClient } from "../cri/clients.ts";
import { worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

const PATIENCE_MS = 180_000;

/** A sandbox as `podwire inspect` shows it. */
interface Shown {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly attempt: number;
  readonly ips: readonly string[];
  readonly hostNetwork?: boolean;
}

/** A kubelet of one test: its pods are files in a folder. */
class Kubelet implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(readonly world: BinaryWorld, child: Deno.ChildProcess) {
    this.#child = child;
  }

  static async start(world: BinaryWorld): Promise<Kubelet> {
    const dir = `${world.dir}/kubelet`;
    await Deno.mkdir(`${dir}/pods`, { recursive: true });
    // The members of KubeletConfiguration that a node without an API server needs, and no port on any address.
    const config = {
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      staticPodPath: `${dir}/pods`,
      containerRuntimeEndpoint: `unix://${world.dir}/run/cri.sock`,
      imageServiceEndpoint: `unix://${world.dir}/run/cri.sock`,
      podLogsDir: `${dir}/logs`,
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: "AlwaysAllow" },
      enableServer: false,
      readOnlyPort: 0,
      healthzPort: 0,
      registerNode: false,
      cgroupDriver: "cgroupfs",
      cgroupsPerQOS: false,
      enforceNodeAllocatable: [],
      failSwapOn: false,
      failCgroupV1: false,
      localStorageCapacityIsolation: false,
      makeIPTablesUtilChains: false,
      protectKernelDefaults: false,
      evictionHard: {},
      fileCheckFrequency: "1s",
      syncFrequency: "2s",
    };
    await Deno.writeTextFile(`${dir}/config.json`, JSON.stringify(config));
    const log = await Deno.open(`${dir}/log`, { create: true, append: true });
    const child = new Deno.Command(requireClient("kubelet"), {
      args: [
        `--config=${dir}/config.json`,
        `--root-dir=${dir}/root`,
        `--cert-dir=${dir}/pki`,
        "--hostname-override=podwire-test",
        "--node-ip=127.0.0.1",
      ],
      env: { PATH: SYSTEM_PATH, HOME: dir },
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    void child.stderr.pipeTo(log.writable).catch(() => {});
    return new Kubelet(world, child);
  }

  /** Gives it a pod, whose container never starts because there are no images. */
  async pod(name: string, spec: Readonly<Record<string, unknown>> = {}, ports: readonly unknown[] = []) {
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default" },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: "main", image: "example.invalid/none:1", ports }],
        ...spec,
      },
    };
    await Deno.writeTextFile(`${this.world.dir}/kubelet/pods/${name}.json`, JSON.stringify(pod));
  }

  async removePod(name: string): Promise<void> {
    await Deno.remove(`${this.world.dir}/kubelet/pods/${name}.json`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** The pods of the kubelet, which adds the name of the node to the names of static ones. */
async function shown(world: BinaryWorld, name: string): Promise<readonly Shown[]> {
  const all = await world.json(["ps"]) as readonly Shown[];
  return all.filter((sandbox) => sandbox.name === `${name}-podwire-test`);
}

/** Waits until the newest sandbox of a pod is ready and is so, and returns it. */
async function ready(
  world: BinaryWorld,
  name: string,
  isSo: (sandbox: Shown) => boolean = () => true,
): Promise<Shown> {
  const find = async () =>
    (await shown(world, name)).find((sandbox) => sandbox.state === "ready" && isSo(sandbox));
  await until(`${name} is ready`, async () => await find() !== undefined, PATIENCE_MS).catch(
    async (error) => {
      const log = await Deno.readTextFile(`${world.dir}/kubelet/log`);
      throw new Error(`${error.message}\n${log.slice(-4_000)}`);
    },
  );
  const found = await find();
  if (found === undefined) throw new Error(`${name} has gone again`);
  world.watch(found.id);
  return found;
}

function startDaemon(world: BinaryWorld): Promise<DaemonProcess> {
  return DaemonProcess.start(world, [
    `--cri=${world.dir}/run/cri.sock`,
    "--builtin=prefer",
    "--no-embedded",
  ]);
}

async function allGone(world: BinaryWorld): Promise<void> {
  await until("the pods are gone", async () => (await world.json(["ps"])).length === 0, PATIENCE_MS);
}

binaryTest(
  "a kubelet runs static pods, one in the network of the host and one with a host port, and survives restarts of both",
  ["nft", "iptables"],
  async (world) => {
    let daemon = await startDaemon(world);
    try {
      await until("the CRI is served", () => isThere(`${world.dir}/run/cri.sock`));
      let kubelet = await Kubelet.start(world);
      try {
        await kubelet.pod("host", { hostNetwork: true });
        await kubelet.pod("web", {}, [{ containerPort: 80, hostPort: 18_091 }]);
        const host = await ready(world, "host");
        assertEquals({ ips: host.ips, hostNetwork: host.hostNetwork }, { ips: [], hostNetwork: true });
        assertEquals((await shown(world, "web")).filter(({ state }) => state === "ready"), []);
        // The configuration of the network comes late: until then the pod waits.
        await worldWithNetwork(world);
        const web = await ready(world, "web");
        assert(web.ips[0]?.startsWith(world.subnet4), web.ips.join());
        const rules = await sh("(nft list ruleset; iptables-save) 2>/dev/null");
        assert(rules.split("\n").some((line) => line.includes(web.id) && line.includes("18091")), rules);

        // Behind the back of the kubelet: it asks for the next attempt.
        await world.done(["rm", "--force", web.id]);
        const next = await ready(world, "web", ({ id }) => id !== web.id);
        assert(next.ips[0]?.startsWith(world.subnet4));

        // A restart of the daemon, and one of the kubelet, keep the sandboxes.
        assertEquals((await daemon.end()).filter(({ level }) => level === "error"), []);
        daemon = await startDaemon(world);
        await kubelet[Symbol.asyncDispose]();
        kubelet = await Kubelet.start(world);
        await kubelet.pod("second");
        await ready(world, "second");
        assertEquals((await ready(world, "web")).id, next.id);
        assertEquals((await ready(world, "host")).id, host.id);

        for (const name of ["web", "host", "second"]) await kubelet.removePod(name);
        await allGone(world);
      } finally {
        await kubelet[Symbol.asyncDispose]();
      }
      await daemon.end();
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
    assertEquals(await leftIn(world), []);
  },
  needClients("kubelet"),
);
