// The CRI of the compiled program, with @grpc/grpc-js on Node as its client, real namespaces and the built-in plugins.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname } from "@std/path";
import { podConfig, startCri } from "../cri/cri_world.ts";
import { GrpcClient } from "../cri/grpc_client.ts";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";
import { CATATONIT, type Component, RUNC } from "./need.ts";

const CLIENT: readonly Component[] = ["node", "grpc-js", "cri-api"];

async function worldWithNetwork(world: BinaryWorld): Promise<void> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
}

binaryTest(
  "a kubelet's sandbox lives over the CRI, and is the same on the command line",
  CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    await using cri = await startCri(world);
    const { client, daemon } = cri;
    assertEquals(((await Deno.stat(cri.socket)).mode ?? 0) & 0o777, 0o600);
    const { runtime_name, runtime_api_version, version } = await client.ok("Version", { version: "0.1.0" });
    assertEquals({ runtime_name, runtime_api_version, version }, {
      runtime_name: "podwire",
      runtime_api_version: "v1",
      version: "0.1.0",
    });
    const config = podConfig("web", { labels: { app: "web" }, annotations: { "a.b/c": "d\ne" }, attempt: 3 });
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
    world.watch(id);
    const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    const shown = await world.json(["inspect", id]);
    assertEquals({ name: shown.name, uid: shown.uid, attempt: shown.attempt, handler: shown.cri.handler }, {
      name: "web",
      uid: "uid-web",
      attempt: 3,
      handler: "",
    });
    assertEquals(BigInt(status.created_at), BigInt(Date.parse(shown.createdAt)) * 1_000_000n);
    const [ip, second] = shown.ips;
    assert(ip !== undefined && second !== undefined, "the network has both families");
    assertEquals({ ...status, created_at: 0, linux: status.linux.namespaces.options }, {
      id,
      metadata: { name: "web", uid: "uid-web", namespace: "default", attempt: 3 },
      state: "SANDBOX_READY",
      created_at: 0,
      network: { ip, additional_ips: [{ ip: second }] },
      linux: { network: "POD", pid: "CONTAINER", ipc: "POD", target_id: "", userns_options: null },
      labels: { app: "web" },
      annotations: { "a.b/c": "d\ne" },
      runtime_handler: "",
    });
    assertStringIncludes(await world.done(["exec", id, "--", "ip", "addr"]), ip);
    assertStringIncludes(await world.done(["ps"]), "web");

    const owned = await world.refused(1, ["rm", id]);
    assertStringIncludes(owned.msg, "belongs to a kubelet");
    for (let times = 0; times < 2; times++) {
      await client.ok("StopPodSandbox", { pod_sandbox_id: id });
      const stopped = (await client.ok("PodSandboxStatus", { pod_sandbox_id: id })).status;
      assertEquals(stopped.state, "SANDBOX_NOTREADY");
    }
    for (let times = 0; times < 2; times++) await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    const gone = await client.call("PodSandboxStatus", { pod_sandbox_id: id });
    assertEquals({ code: gone.code, details: gone.details }, {
      code: "NOT_FOUND",
      details: `there is no sandbox "${id}"`,
    });
    const { text: metrics } = await daemon.call("GET", "/metrics");
    assertStringIncludes(metrics, 'podwire_cri_calls_total{method="PodSandboxStatus",code="NOT_FOUND"} 1\n');
    assertStringIncludes(metrics, 'podwire_cri_calls_total{method="StopPodSandbox",code="OK"} 2\n');
    assertStringIncludes(metrics, 'podwire_cri_call_duration_seconds_count{method="RunPodSandbox"} 1\n');
    const lines = await daemon.end();
    const calls = lines.filter(({ msg }) => msg === "call").map(({ method, code }) => `${method} ${code}`);
    assertEquals(calls, [
      "Version OK",
      "RunPodSandbox OK",
      "PodSandboxStatus OK",
      ...["StopPodSandbox OK", "PodSandboxStatus OK", "StopPodSandbox OK", "PodSandboxStatus OK"],
      ...["RemovePodSandbox OK", "RemovePodSandbox OK"],
      "PodSandboxStatus NOT_FOUND",
    ]);
    assertEquals(lines.filter(({ level }) => level !== "info"), []);
    assertEquals({ isThere: await isThere(cri.socket), leftIn: await leftIn(world) }, {
      isThere: false,
      leftIn: [],
    });
  },
);

binaryTest(
  "a client of the CRI sees no sandbox of the command line, and removes none",
  CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    const { id } = await world.json(["run", "mine", "--id", world.id("mine"), "--builtin=prefer"]);
    await using cri = await startCri(world);
    const { client } = cri;
    assertEquals(await client.ok("ListPodSandbox"), { items: [] });
    assertEquals((await client.call("PodSandboxStatus", { pod_sandbox_id: id })).code, "NOT_FOUND");
    await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals((await world.json(["inspect", "mine"])).state, "ready");
    const { pod_sandbox_id: own } = await client.ok("RunPodSandbox", { config: podConfig("mine2") });
    world.watch(own);
    const kept = await world.refused(1, ["run", "mine2", "--replace", "--builtin=prefer"]);
    assertStringIncludes(kept.msg, "belongs to a kubelet");
    assertEquals(
      (await client.ok("PodSandboxStatus", { pod_sandbox_id: own })).status.state,
      "SANDBOX_READY",
    );
    await world.done(["rm", "-f", own]);
    await world.done(["rm", "mine"]);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest("the key of a sandbox is its name, namespace, UID and attempt", CLIENT, async (world) => {
  await worldWithNetwork(world);
  await using cri = await startCri(world);
  const { client } = cri;
  const run = async (config: unknown) => {
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
    return world.watch(id as string);
  };
  const same = await Promise.all(Array.from({ length: 4 }, () => run(podConfig("web"))));
  assertEquals(new Set(same).size, 1, "asked for four times at once");
  const [first = ""] = same;
  assertEquals(await run(podConfig("web")), first);
  const others = [
    await run(podConfig("web", { uid: "other" })),
    await run(podConfig("web", { namespace: "prod" })),
  ];
  await client.ok("StopPodSandbox", { pod_sandbox_id: first });
  const taken = await client.call("RunPodSandbox", { config: podConfig("web") });
  assertEquals(taken.code, "ALREADY_EXISTS", "the stopped one keeps its key");
  const second = await run(podConfig("web", { attempt: 1 }));
  assertEquals(new Set([first, second, ...others]).size, 4);
  const { items } = await client.ok("ListPodSandbox");
  // deno-lint-ignore no-explicit-any
  const attempts = items.map(({ id, state, metadata }: any) => [id, state, metadata.attempt]);
  assertEquals(attempts, [
    [first, "SANDBOX_NOTREADY", 0],
    [others[0], "SANDBOX_READY", 0],
    [others[1], "SANDBOX_READY", 0],
    [second, "SANDBOX_READY", 1],
  ]);
  for (const id of [first, second, ...others]) await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
  assertEquals(await client.ok("ListPodSandbox"), { items: [] });
  assertEquals(await leftIn(world), []);
});

binaryTest("all filters of a list combine", CLIENT, async (world) => {
  await using cri = await startCri(world, ["--default-network=podwire"]);
  const { client } = cri;
  const make = async (name: string, labels: Record<string, string>) => {
    const linux = { security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } } };
    const config = podConfig(name, { labels, linux });
    return (await client.ok("RunPodSandbox", { config })).pod_sandbox_id as string;
  };
  const [a, b, c] = [
    await make("a", { app: "web", tier: "1" }),
    await make("b", { app: "web" }),
    await make("c", { app: "db" }),
  ];
  await client.ok("StopPodSandbox", { pod_sandbox_id: b });
  const list = async (filter?: unknown) =>
    (await client.ok("ListPodSandbox", { filter })).items.map(({ id }: { id: string }) => id);
  const ready = { state: { state: "SANDBOX_READY" } };
  const notReady = { state: { state: "SANDBOX_NOTREADY" } };
  const web = { label_selector: { app: "web" } };
  assertEquals(
    {
      none: await list(),
      ready: await list(ready),
      notReady: await list(notReady),
      web: await list(web),
      both: await list({ ...ready, ...web }),
      two: await list({ label_selector: { app: "web", tier: "1" } }),
      id: await list({ id: a }),
      prefix: await list({ id: c.slice(0, 13) }),
      idAndState: await list({ id: a, ...notReady }),
      unknown: await list({ id: "no-such-id" }),
      unknownLabel: await list({ label_selector: { app: "" } }),
    },
    {
      none: [a, b, c],
      ready: [a, c],
      notReady: [b],
      web: [a, b],
      both: [a],
      two: [a],
      id: [a],
      prefix: [c],
      idAndState: [],
      unknown: [],
      unknownLabel: [],
    },
  );
  for (const id of [a, b, c]) await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
});

/** A plugin that hangs in its ADD until it is ended, and otherwise ends at once. */
const HANGING = '#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && exec sleep 600\n' +
  `[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\nexit 0\n`;

binaryTest(
  "cancelled, late or torn, a run leaves nothing, and its key can be used again",
  CLIENT,
  async (world) => {
    await world.plugin("hanging", HANGING);
    await world.list([{ type: "hanging" }]);
    await using cri = await startCri(world);
    const { client, daemon } = cri;
    const config = podConfig("web");
    const isAdding = async () => (await sh("grep -lsz ^CNI_COMMAND=ADD /proc/[0-9]*/environ || :")) !== "";
    const isUndone = async () => !await isAdding() && (await leftIn(world)).length === 0;

    const cancelled = client.begin("RunPodSandbox", { config });
    await until("the plugin runs", isAdding);
    assertEquals(await client.ok("ListPodSandbox"), { items: [] }, "it is hidden while it is being made");
    cancelled.cancel();
    assertEquals((await cancelled.answer).code, "CANCELLED");
    await until("all is undone after the cancel", isUndone);

    const late = await client.call("RunPodSandbox", { config }, { timeoutMs: 1_500 });
    assertEquals(late.code, "DEADLINE_EXCEEDED");
    await until("all is undone after the deadline", isUndone);

    const torn = client.begin("RunPodSandbox", { config }, { connection: 1 });
    await until("the plugin runs again", isAdding);
    client.close(1);
    assert((await torn.answer).code !== "OK");
    await until("all is undone after the connection is torn", isUndone);

    await worldWithNetwork(world);
    await daemon.child.kill("SIGHUP");
    await until("the network is read again", async () => {
      const { info } = await client.ok("Status", { verbose: true });
      return JSON.parse(info.networks)[0].plugins[0] === "bridge";
    });
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
    await client.ok("RemovePodSandbox", { pod_sandbox_id: world.watch(id) });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "the status of a sandbox is the same after the daemon was killed and started again",
  CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    const statuses = async (
      cri: { client: { ok(method: string, request?: unknown): Promise<unknown> } },
      ids: string[],
    ) => {
      const all = await Promise.all(
        ids.map((id) => cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id })),
      );
      return JSON.stringify(all.map((answer) => (answer as { status: unknown }).status));
    };
    const ids: string[] = [];
    let before = "";
    {
      await using cri = await startCri(world);
      const host = { security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } } };
      const port = { port_mappings: [{ host_port: 18_080, container_port: 80, protocol: "TCP" }] };
      for (
        const config of [
          podConfig("own", { annotations: { a: "b" }, log_directory: "/var/log/pods/x", ...port }),
          podConfig("host", { linux: host }),
        ]
      ) ids.push(world.watch((await cri.client.ok("RunPodSandbox", { config })).pod_sandbox_id));
      before = await statuses(cri, ids);
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
    }
    await using cri = await startCri(world);
    assertEquals(await statuses(cri, ids), before);
    const { info } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: ids[0], verbose: true });
    assertEquals(JSON.parse(info.config).logDirectory, "/var/log/pods/x");
    for (const id of ids) await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "host ports lead to the sandbox though no plugin of the network maps them, and a host port of 0 asks for none",
  [...CLIENT, "nft"],
  async (world) => {
    await worldWithNetwork(world);
    await using cri = await startCri(world);
    const { client } = cri;
    const config = podConfig("web", {
      port_mappings: [
        { host_port: 18_081, container_port: 80, protocol: "TCP" },
        { host_port: 0, container_port: 81, protocol: "UDP" },
        { host_port: 18_082, container_port: 53, protocol: "UDP", host_ip: "127.0.0.1" },
      ],
    });
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
    world.watch(id);
    const rules = await sh("nft list ruleset; iptables-save; ip6tables-save");
    assert(/18081/.test(rules) && /18082/.test(rules), rules);
    const taken = await client.call("RunPodSandbox", {
      config: podConfig("other", { port_mappings: [{ host_port: 18_081, container_port: 80 }] }),
    });
    assertEquals(taken.code, "ALREADY_EXISTS");
    assertStringIncludes(taken.details, "18081");
    await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    assert(!/18081|18082/.test(await sh("nft list ruleset; iptables-save; ip6tables-save")));
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "what podwire cannot do is refused by the name of its field, before anything is made",
  CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    await using cri = await startCri(world);
    const { client } = cri;
    const options = (namespace_options: unknown, more = {}) => ({
      linux: { security_context: { namespace_options, ...more } },
    });
    const pod = { network: "POD", pid: "POD", ipc: "POD" };
    const context = "config.linux.security_context";
    const cases: readonly (readonly [config: unknown, details: string])[] = [
      [undefined, "config: it is missing"],
      [{}, "config.metadata: it is missing"],
      [podConfig(""), "config.metadata.name: it is empty"],
      [podConfig("x", { namespace: "" }), "config.metadata.namespace: it is empty"],
      [podConfig("x", { uid: "" }), "config.metadata.uid: it is empty"],
      [podConfig("x", { windows: {} }), "config.windows: "],
      [
        podConfig("x", options({ ...pod, network: "CONTAINER" })),
        `${context}.namespace_options.network: CONTAINER`,
      ],
      [podConfig("x", options({ ...pod, ipc: "TARGET" })), `${context}.namespace_options.ipc: TARGET`],
      [podConfig("x", options({ ...pod, pid: "TARGET" })), `${context}.namespace_options.pid: TARGET`],
      [podConfig("x", options({ ...pod, target_id: "c" })), `${context}.namespace_options.target_id: `],
      [
        podConfig("x", options({ ...pod, userns_options: { mode: "POD" } })),
        `${context}.namespace_options.userns`,
      ],
      [
        podConfig("x", options({ network: "NODE", pid: "POD" })),
        `${context}.namespace_options.pid: POD needs`,
      ],
      [
        podConfig("x", options({ ...pod, ipc: "NODE" })),
        `${context}.namespace_options.ipc: the infra container`,
      ],
      [podConfig("x", options(pod, { privileged: true })), `${context}.privileged: `],
      [podConfig("x", options(pod, { run_as_user: { value: 1 } })), `${context}.run_as_user: `],
      [podConfig("x", options(pod, { supplemental_groups: [1] })), `${context}.supplemental_groups: `],
      [podConfig("x", options(pod, { selinux_options: { type: "t" } })), `${context}.selinux_options: `],
      [podConfig("x", options(pod, { seccomp: { profile_type: "Localhost" } })), `${context}.seccomp: `],
      [
        podConfig("x", { linux: { sysctls: { "kernel.shmmax": "1" } } }),
        'config.linux.sysctls["kernel.shmmax"]: ',
      ],
      [podConfig("x", { linux: { sysctls: { "net.ipv4.x": "" } } }), "config.linux.sysctls: "],
      [
        podConfig("x", { port_mappings: [{ host_port: 1, container_port: 70_000 }] }),
        "config.port_mappings: ",
      ],
      [podConfig("x", { labels: { "a b": "c" } }), "config.labels: "],
    ];
    for (const [config, details] of cases) {
      const answer = await client.call("RunPodSandbox", { config });
      assertEquals({ code: answer.code, details: answer.details.slice(0, details.length) }, {
        code: "INVALID_ARGUMENT",
        details,
      });
    }
    const handler = await client.call("RunPodSandbox", { config: podConfig("x"), runtime_handler: "kata" });
    assertEquals({ code: handler.code, details: handler.details }, {
      code: "INVALID_ARGUMENT",
      details: 'runtime_handler: there is no handler "kata"; podwire has only the default one',
    });
    assertEquals(await client.ok("ListPodSandbox"), { items: [] });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a sandbox whose containers share process IDs has an infra container, which goes with it",
  [...CLIENT, "runc", "catatonit"],
  async (world) => {
    await worldWithNetwork(world);
    const path = `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}`;
    const socket = `${world.dir}/run/cri.sock`;
    await using daemon = await DaemonProcess.start(world, [`--cri=${socket}`, "--builtin=prefer"], {
      PATH: path,
    });
    await using client = GrpcClient.start(socket);
    const linux = { security_context: { namespace_options: { network: "POD", pid: "POD", ipc: "POD" } } };
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config: podConfig("web", { linux }) });
    world.watch(id);
    const { pid, ips } = await world.json(["inspect", id]);
    assert(typeof pid === "number" && pid > 1);
    const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assertEquals({ ip: status.network.ip, pid: status.linux.namespaces.options.pid }, {
      ip: ips[0],
      pid: "POD",
    });
    Deno.kill(pid, "SIGKILL");
    await until("it is seen that the infra container is gone", async () => {
      const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
      return status.state === "SANDBOX_NOTREADY";
    });
    await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals((await daemon.end()).filter(({ level }) => level === "error"), []);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "the node is ready when its default network is, with podwire's own reason",
  CLIENT,
  async (world) => {
    await using cri = await startCri(world, ["--no-embedded"]);
    const { client } = cri;
    const condition = async (type: string) => {
      const { status } = await client.ok("Status");
      return status.conditions.find((own: { type: string }) => own.type === type);
    };
    assertEquals(await condition("RuntimeReady"), {
      type: "RuntimeReady",
      status: true,
      reason: "",
      message: "",
    });
    const none = await condition("NetworkReady");
    assertEquals({ status: none.status, reason: none.reason }, { status: false, reason: "no-config" });
    await world.list([{ type: "no-such-plugin" }]);
    await until(
      "the plugin is missed",
      async () => (await condition("NetworkReady")).reason === "plugin-missing",
    );
    await worldWithNetwork(world);
    await until("the network is ready", async () => (await condition("NetworkReady")).status);
    assertEquals((await client.ok("Status")).info, {});
    const { info, runtime_handlers: handlers } = await client.ok("Status", { verbose: true });
    assertEquals(JSON.parse(info.networks)[0].name, world.network);
    assertEquals(handlers.map(({ name }: { name: string }) => name), [""]);
    assertEquals(await client.ok("RuntimeConfig"), { linux: { cgroup_driver: "CGROUPFS" } });
    await Deno.remove(`${world.confDir}/${world.network}.conflist`);
    await until("the network is gone", async () => !(await condition("NetworkReady")).status);
  },
);

binaryTest(
  "there are no containers and no images, and what would make one says why",
  CLIENT,
  async (world) => {
    await using cri = await startCri(world, ["--default-network=podwire"]);
    const { client } = cri;
    const image = { service: "ImageService" } as const;
    assertEquals(await client.ok("ListContainers"), { containers: [] });
    assertEquals(await client.ok("ListContainerStats"), { stats: [] });
    await client.ok("StopContainer", { container_id: "x" });
    await client.ok("RemoveContainer", { container_id: "x" });
    assertEquals((await client.call("ContainerStatus", { container_id: "x" })).code, "NOT_FOUND");
    assertEquals(await client.ok("ListImages", {}, image), { images: [] });
    assertEquals((await client.ok("ImageStatus", { image: { image: "x" } }, image)).image, null);
    await client.ok("RemoveImage", { image: { image: "x" } }, image);
    const { image_filesystems: [fs] } = await client.ok("ImageFsInfo", {}, image);
    assertEquals(fs.fs_id.mountpoint, world.stateDir);
    for (const method of ["CreateContainer", "StartContainer", "ExecSync", "Exec", "Attach", "PortForward"]) {
      const { code, details } = await client.call(method);
      assertEquals(code, "UNIMPLEMENTED");
      assertStringIncludes(details, `Cannot ${method}: `);
    }
    const pulled = await client.call("PullImage", {}, image);
    assertEquals(pulled.code, "UNIMPLEMENTED");
    assertStringIncludes(pulled.details, "Cannot PullImage: ");
  },
);

binaryTest("messages of 8 MiB are read, and those of 40 MiB are refused", CLIENT, async (world) => {
  await using cri = await startCri(world, ["--default-network=podwire"]);
  const { client } = cri;
  const MIB = 1024 * 1024;
  const selector = { filter: { label_selector: { app: "x".repeat(8 * MIB) } } };
  assertEquals(await client.ok("ListPodSandbox", selector), { items: [] });
  const run = (padding: number) => client.call("RunPodSandbox", { config: podConfig("p") }, { padding });
  const { code, details } = await run(8 * MIB);
  assertEquals({ code, details }, {
    code: "INVALID_ARGUMENT",
    details: `config.annotations: with the labels they have ${
      8 * MIB + 7
    } characters, and at most ${MIB} are kept`,
  });
  assertEquals((await run(40 * MIB)).code, "RESOURCE_EXHAUSTED");
  await client.ok("Version");
  const network = { security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } } };
  const config = podConfig("large", { linux: network });
  const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config }, { padding: MIB - 7 });
  const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
  assertEquals(status.annotations.padding.length, MIB - 7);
  await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
});

binaryTest(
  "the pod CIDRs of a kubelet are kept, and fill the template of a network",
  CLIENT,
  async (world) => {
    const update = (pod_cidr: string) => ({ runtime_config: { network_config: { pod_cidr } } });
    const [v4, v6] = [`${world.subnet4}.0/24`, `${world.subnet6}::/64`];
    const template = `${world.dir}/template`;
    await Deno.writeTextFile(
      template,
      JSON.stringify({
        cniVersion: "1.0.0",
        name: "pods",
        plugins: [{
          type: "bridge",
          bridge: world.bridge,
          ipam: { type: "host-local", subnet: "{{podCIDR}}" },
        }],
      }),
    );
    const create = ["network", "create", "pods", `--template=${template}`, "--builtin=prefer"];
    {
      await using cri = await startCri(world, ["--no-embedded"]);
      await world.refused(2, create);
      for (const wrong of ["x", `${v4},10.0.0.0/8`, `${v4},${v6},${v6}`]) {
        const { code, details } = await cri.client.call("UpdateRuntimeConfig", update(wrong));
        assertEquals(code, "INVALID_ARGUMENT", wrong);
        assertStringIncludes(details, "runtime_config.network_config.pod_cidr: ");
      }
      await cri.client.ok("UpdateRuntimeConfig", update(`${v4},${v6}`));
      await cri.client.ok("UpdateRuntimeConfig", update(""));
    }
    await using cri = await startCri(world, ["--no-embedded"]);
    assertEquals(JSON.parse((await cri.client.ok("Status", { verbose: true })).info.podCIDRs), [v4, v6]);
    await world.done(create);
    await until("the network is there", async () => {
      const { status } = await cri.client.ok("Status");
      return status.conditions.every(({ status }: { status: boolean }) => status);
    });
    const { pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config: podConfig("web") });
    const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assert(status.network.ip.startsWith(world.subnet4), status.network.ip);
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    await sh(`rm -r /var/lib/cni/networks/pods`);
  },
);
