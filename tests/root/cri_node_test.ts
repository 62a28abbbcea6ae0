// What the CRI says of the node, and what it refuses.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CRI_CLIENT, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";

binaryTest(
  "what podwire cannot do is refused by the name of its field, before anything is made",
  CRI_CLIENT,
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
      [podConfig("x", options({ ...pod, pid: 9 })), `${context}.namespace_options.pid: 9 is not a mode`],
      [podConfig("x", options({ ...pod, target_id: "c" })), `${context}.namespace_options.target_id: `],
      [
        podConfig("x", options({ ...pod, userns_options: { mode: "POD" } })),
        `${context}.namespace_options.userns`,
      ],
      [
        podConfig("x", {
          linux: {
            ...options({ network: "NODE", pid: "POD", ipc: "POD" }).linux,
            sysctls: { "net.ipv4.ip_forward": "1" },
          },
        }),
        'config.linux.sysctls["net.ipv4.ip_forward"]: a sandbox in the network of the host',
      ],
      [podConfig("x", options(pod, { run_as_group: { value: 1 } })), `${context}.run_as_group: `],
      [podConfig("x", options(pod, { run_as_user: { value: -1 } })), `${context}.run_as_user: -1 is not`],
      [
        podConfig("x", options(pod, { supplemental_groups: [0, 2 ** 32] })),
        `${context}.supplemental_groups[1]: `,
      ],
      [
        podConfig("x", options(pod, { selinux_options: { type: "a b" } })),
        `${context}.selinux_options.type: `,
      ],
      [
        podConfig("x", options(pod, { seccomp: { profile_type: "Localhost", localhost_ref: "x.json" } })),
        `${context}.seccomp.localhost_ref: "x.json" is not an absolute path`,
      ],
      [
        podConfig("x", options(pod, { seccomp: { profile_type: "Localhost", localhost_ref: "/no/such" } })),
        `${context}.seccomp.localhost_ref: the profile /no/such cannot be used: there is no such file`,
      ],
      [
        podConfig("x", options(pod, { seccomp_profile_path: "mine" })),
        `${context}.seccomp_profile_path: there is no profile "mine"`,
      ],
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
      [podConfig("x", { hostname: "a b" }), "config.hostname: "],
      [
        podConfig("x", { dns_config: { searches: ["a\nnameserver 1.2.3.4"] } }),
        "config.dns_config.searches: ",
      ],
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
  "the node is ready when its default network is, with podwire's own reason",
  CRI_CLIENT,
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
    assertEquals(JSON.parse(info.network).networks[0].name, world.network);
    assertEquals(handlers.map(({ name }: { name: string }) => name), [""]);
    assertEquals(await client.ok("RuntimeConfig"), { linux: { cgroup_driver: "CGROUPFS" } });
    await Deno.remove(`${world.confDir}/${world.network}.conflist`);
    await until("the network is gone", async () => !(await condition("NetworkReady")).status);
  },
);

binaryTest(
  "there are no containers and no images, and what would make one says why",
  CRI_CLIENT,
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

binaryTest("messages of 8 MiB are read, and those of 40 MiB are refused", CRI_CLIENT, async (world) => {
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
  CRI_CLIENT,
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
          ipam: { type: "host-local", subnet: "{{podCIDR}}", dataDir: world.dataDir },
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
    assertEquals(JSON.parse((await cri.client.ok("Status", { verbose: true })).info.network).podCIDRs, [
      v4,
      v6,
    ]);
    await world.done(create);
    await until("the network is there", async () => {
      const { status } = await cri.client.ok("Status");
      return status.conditions.every(({ status }: { status: boolean }) => status);
    });
    const { pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config: podConfig("web") });
    const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assert(status.network.ip.startsWith(world.subnet4), status.network.ip);
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
  },
);
