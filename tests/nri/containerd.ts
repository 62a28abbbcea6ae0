/** The real containerd with directories of its own, and images that are made here. */
import { delay } from "../../lib/async/wait.ts";
import { runCommand } from "../../lib/host/command.ts";
import { GrpcClient } from "../cri/grpc_client.ts";
import { programOutput } from "../program_output.ts";
import { type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "../root/binary_world.ts";
import { BUSYBOX, CNI_1_9_1, type Component, CONTAINERD, RUNC } from "../root/need.ts";
import { unmountBelow } from "../root/unmount.ts";

/** What it needs. */
export const ENGINE: readonly Component[] = [
  "containerd",
  "runc",
  "busybox",
  "cni-1.9.1",
  "node",
  "grpc-js",
  "cri-api",
];

/** The image of pods and of containers. */
export const IMAGE = "podwire.test/busybox:1";

/** Milliseconds that a plugin has for a request: containerd's own default. */
export const REQUEST_MS = 2_000;

/** containerd, and a client of its CRI. */
export class Containerd implements AsyncDisposable {
  readonly dir: string;
  #child: Deno.ChildProcess | undefined;
  #client: GrpcClient | undefined;
  #log = "";

  private constructor(readonly world: BinaryWorld) {
    this.dir = `${world.dir}/engine`;
  }

  /** Starts it with an image. */
  static async open(world: BinaryWorld): Promise<Containerd> {
    const engine = new Containerd(world);
    await Deno.mkdir(`${engine.dir}/net.d`, { recursive: true });
    await Deno.writeTextFile(`${engine.dir}/config.toml`, engine.#config());
    await Deno.writeTextFile(`${engine.dir}/net.d/pods.conflist`, JSON.stringify(engine.#network()));
    await engine.startProcess();
    await importImage(engine);
    return engine;
  }

  get nriSocket(): string {
    return `${this.dir}/nri.sock`;
  }

  get socket(): string {
    return `${this.dir}/c.sock`;
  }

  /** A client of its CRI. */
  get client(): GrpcClient {
    return this.#client ??= GrpcClient.start(this.socket);
  }

  /** What it has logged. */
  get log(): string {
    return this.#log;
  }

  /** Starts the process, and waits until its CRI answers. */
  async startProcess(): Promise<void> {
    const path = `${CONTAINERD}:${RUNC.replace(/\/[^/]*$/, "")}:${SYSTEM_PATH}`;
    const child = new Deno.Command(`${CONTAINERD}/containerd`, {
      args: ["--config", `${this.dir}/config.toml`],
      env: { PATH: path },
      clearEnv: true,
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#child = child;
    void (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) this.#log += text;
    })();
    await until(`containerd answers: ${this.#log.slice(-2_000)}`, async () => {
      const { code } = await this.client.call("Status", {}, { timeoutMs: 5_000 });
      if (code !== "OK") await delay(50);
      return code === "OK" && await isThere(this.nriSocket);
    });
  }

  /** Ends the process, whose containers stay. */
  async stop(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    this.#child?.kill(signal);
    await this.#child?.status;
    this.#child = undefined;
    await this.#client?.[Symbol.asyncDispose]();
    this.#client = undefined;
  }

  /** The configuration of a pod. */
  pod(name: string, annotations: Readonly<Record<string, string>> = {}, attempt = 0) {
    return {
      metadata: { name, uid: `uid-${name}`, namespace: "shop", attempt },
      annotations,
      log_directory: `${this.dir}/log`,
      linux: { cgroup_parent: "" },
    };
  }

  /** Makes a pod, and returns its ID. */
  async run(config: ReturnType<Containerd["pod"]>): Promise<string> {
    return (await this.client.ok("RunPodSandbox", { config })).pod_sandbox_id;
  }

  /** Asks for a container of a pod. */
  async create(pod: string, config: ReturnType<Containerd["pod"]>) {
    const container = {
      metadata: { name: "main", attempt: config.metadata.attempt },
      image: { image: IMAGE },
      command: ["/bin/busybox", "sleep", "1000000"],
      linux: {},
    };
    const request = { pod_sandbox_id: pod, config: container, sandbox_config: config };
    return await this.client.call("CreateContainer", request);
  }

  /** Makes a container of a pod as a kubelet does, which asks again while the pod is being attached. */
  async start(pod: string, config: ReturnType<Containerd["pod"]>): Promise<void> {
    await until(`a container of the pod ${pod}`, async () => {
      const { code, details } = await this.create(pod, config);
      if (code !== "OK" && !details.includes("is still attaching")) throw new Error(`${code}: ${details}`);
      return code === "OK";
    });
  }

  /** Stops and removes a pod. */
  async remove(pod: string): Promise<void> {
    await this.client.ok("StopPodSandbox", { pod_sandbox_id: pod });
    await this.client.ok("RemovePodSandbox", { pod_sandbox_id: pod });
  }

  /** The names of the interfaces of a pod, in order. */
  async links(pod: string): Promise<string[]> {
    const { info } = await this.client.ok("PodSandboxStatus", { pod_sandbox_id: pod, verbose: true });
    const { runtimeSpec } = JSON.parse(info.info);
    const { path } = runtimeSpec.linux.namespaces.find(({ type }: { type: string }) => type === "network");
    const shown = await sh(`nsenter --net=${path} ip -o link`);
    return [...shown.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name = ""]) => name).filter((name) =>
      name !== "lo"
    )
      .toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child !== undefined) {
      const { items = [] } = await this.client.ok("ListPodSandbox").catch(() => ({}));
      for (const { id } of items) await this.remove(id).catch(() => {});
    }
    await this.stop();
    // Shims are daemons, and named after the socket of their engine.
    await runCommand({ program: "sh", args: ["-c", killBelow(this.dir)] });
    await unmountBelow(this.dir);
  }

  /** A network of the engine's own, beside those of podwire. */
  #network() {
    const subnet = this.world.subnet4.replace(/^10\.\d+/, "10.201");
    const ipam = { type: "host-local", dataDir: `${this.dir}/addresses`, subnet: `${subnet}.0/24` };
    return { cniVersion: "1.0.0", name: "pods", plugins: [{ type: "ptp", ipam }] };
  }

  #config(): string {
    const runtime = `plugins."io.containerd.cri.v1.runtime"`;
    return `version = 3
root = "${this.dir}/root"
state = "${this.dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.btrfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "${this.socket}"
[ttrpc]
address = "${this.socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "${this.dir}/opt"
[plugins."io.containerd.nri.v1.nri"]
disable = false
socket_path = "${this.nriSocket}"
plugin_path = "${this.dir}/nri-plugins"
plugin_config_path = "${this.dir}/nri-conf"
plugin_request_timeout = "${REQUEST_MS}ms"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "${IMAGE}"
[${runtime}]
disable_apparmor = true
restrict_oom_score_adj = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
[${runtime}.cni]
bin_dir = "${CNI_1_9_1}"
conf_dir = "${this.dir}/net.d"
[${runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
snapshotter = "native"
[${runtime}.containerd.runtimes.runc.options]
BinaryName = "${RUNC}"
`;
  }
}

/** A script that ends the processes whose command line has a folder in it. */
function killBelow(dir: string): string {
  return `for own in $(grep -lsF -e '${dir}' /proc/[0-9]*/cmdline); do own=\${own#/proc/}; kill -9 "\${own%%/*}" 2>/dev/null; done; :`;
}

/** Makes an image of busybox, and imports it. */
async function importImage({ dir, socket }: Containerd): Promise<void> {
  const work = `${dir}/image`;
  await Deno.mkdir(`${work}/layer/bin`, { recursive: true });
  await Deno.copyFile(BUSYBOX, `${work}/layer/bin/busybox`);
  await Deno.chmod(`${work}/layer/bin/busybox`, 0o755);
  for (const name of ["etc", "proc", "sys", "dev", "tmp"]) await Deno.mkdir(`${work}/layer/${name}`);
  await programOutput("tar", ["-C", `${work}/layer`, "-cf", `${work}/layer.tar`, "."]);
  const layer = await Deno.readFile(`${work}/layer.tar`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", layer)).toHex();
  const architecture = Deno.build.arch === "x86_64" ? "amd64" : "arm64";
  const image = {
    architecture,
    os: "linux",
    config: { Entrypoint: ["/bin/busybox", "sleep", "1000000"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  await Deno.writeTextFile(`${work}/config.json`, JSON.stringify(image));
  const manifest = [{ Config: "config.json", RepoTags: [IMAGE], Layers: ["layer.tar"] }];
  await Deno.writeTextFile(`${work}/manifest.json`, JSON.stringify(manifest));
  const files = ["manifest.json", "config.json", "layer.tar"];
  await programOutput("tar", ["-C", work, "-cf", `${work}/image.tar`, ...files]);
  const args = [
    "--address",
    socket,
    "--namespace",
    "k8s.io",
    "images",
    "import",
    "--local",
    "--snapshotter",
    "native",
  ];
  await programOutput(`${CONTAINERD}/ctr`, [...args, `${work}/image.tar`]);
}
