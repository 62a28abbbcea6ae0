// Sandboxes over the CRI of the compiled program, with @grpc/grpc-js on Node as its client.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CRI_CLIENT, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, isThere, sh } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";

binaryTest(
  "a kubelet's sandbox lives over the CRI, and is the same on the command line",
  CRI_CLIENT,
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
    const { stats } = await client.ok("PodSandboxStats", { pod_sandbox_id: id });
    assertEquals({ attributes: stats.attributes, cpu: stats.linux.cpu }, {
      attributes: { id, metadata: status.metadata, labels: { app: "web" }, annotations: { "a.b/c": "d\ne" } },
      cpu: null,
    });
    assertEquals(stats.linux.network.default_interface.name, "eth0");
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
      ...["PodSandboxStatus OK", "PodSandboxStats OK"],
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
  CRI_CLIENT,
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

binaryTest("the key of a sandbox is its name, namespace, UID and attempt", CRI_CLIENT, async (world) => {
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

binaryTest("all filters of a list combine", CRI_CLIENT, async (world) => {
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

binaryTest(
  "host ports lead to the sandbox though no plugin of the network maps them, and a host port of 0 asks for none",
  [...CRI_CLIENT, "nft", "iptables"],
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
    // Other tests beside this one publish ports too.
    const rulesOf = async () =>
      (await sh("nft list ruleset; iptables-save; ip6tables-save")).split("\n").filter((line) =>
        line.includes(id)
      ).join("\n");
    const rules = await rulesOf();
    assert(/18081/.test(rules) && /18082/.test(rules), rules);
    const taken = await client.call("RunPodSandbox", {
      config: podConfig("other", { port_mappings: [{ host_port: 18_081, container_port: 80 }] }),
    });
    assertEquals(taken.code, "ALREADY_EXISTS");
    assertStringIncludes(taken.details, "18081");
    await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    assertEquals(await rulesOf(), "");
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest("the names of a sandbox are looked up as the kubelet says", CRI_CLIENT, async (world) => {
  await worldWithNetwork(world);
  await using cri = await startCri(world);
  const { client } = cri;
  const searches = Array.from({ length: 32 }, (_, index) => `${"s".repeat(50)}.${index}.example`);
  const dns_config = { servers: ["10.96.0.10", "fd00::a"], searches, options: ["ndots:5"] };
  const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", {
    config: podConfig("web", { dns_config }),
  });
  world.watch(id);
  const { files } = await world.json(["inspect", id]);
  const shown = await Deno.readTextFile(files.resolvConf);
  assertEquals(shown.split("\n").filter((line) => line !== "" && !line.startsWith("#")), [
    `search ${searches.join(" ")}`,
    "nameserver 10.96.0.10",
    "nameserver fd00::a",
    "options ndots:5",
  ]);
  const { info } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id, verbose: true });
  assertEquals(JSON.parse(info.config).dnsConfig.searches.length, 32);
  assertEquals(await Deno.readTextFile(JSON.parse(info.sandbox).files.resolvConf), shown);
  await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
  assertEquals(await leftIn(world), []);
});
