// What authors of containers may ask for by annotations, as the administrator's options allow it.
import { assertEquals, assertMatch } from "@std/assert";
import { podwire } from "./fake_io.ts";

/** Calls the hook with these annotations. */
async function callHook(
  annotations: Readonly<Record<string, string>>,
  ...options: string[]
): Promise<{ code: number; stderr: string }> {
  // A process that cannot exist: what is allowed fails after the rules were checked.
  const state = {
    ociVersion: "1.0.2",
    id: "c1",
    status: "creating",
    pid: 4_194_304,
    bundle: "/b",
    annotations,
  };
  const args = ["oci-hook", "createRuntime", "--state-dir=/nonexistent/x", ...options];
  const { code, stderr } = await podwire(args, { stdin: JSON.stringify(state), uid: 1000 });
  return { code, stderr };
}

const isAllowed = /oci-hook needs root/;

Deno.test("an annotation may name networks, and nothing else unless an option allows it", async () => {
  for (const networks of ["", "none", "web", "web:eth1,back"]) {
    assertMatch((await callHook({ "podwire.networks": networks })).stderr, isAllowed, networks);
  }
  for (
    const [word, annotation, item] of [
      ["ip", "10.1.0.5", "ip=10.1.0.5"],
      ["mac", "02:00:00:00:00:01", "mac=02:00:00:00:00:01"],
      ["bandwidth", "ingress=1M", "ingress=1M"],
      ["dns", "10.0.0.1", "dns=10.0.0.1"],
      ["args", "A=1", "arg=A=1"],
      ["name", "other", undefined],
      ["namespace", "kube-system", undefined],
      ["uid", "u1", undefined],
      ["ip-range", undefined, "range=10.1.0.0/24"],
      ["alias", undefined, "alias=a"],
      ["annotation", undefined, "annotation=a=b"],
      ["cap", undefined, "cap=x={}"],
      ["device", undefined, "device=0000:00:1f.0"],
      ["cgroup", undefined, "cgroup=/x"],
    ] as const
  ) {
    const ways = [
      ...(annotation === undefined ? [] : [{ "podwire.networks": "web", [`podwire.${word}`]: annotation }]),
      // The same can be requested behind the name of a network.
      ...(item === undefined
        ? []
        : [{ "podwire.networks": `web,${item}` }, { "podwire.networks": `web\nback,${item}` }]),
    ];
    for (const annotations of ways) {
      const { code, stderr } = await callHook(annotations);
      assertEquals(code, 4, stderr);
      assertMatch(stderr, new RegExp(`its hook does not allow annotations to ask for "${word}"`));
      assertMatch(
        stderr,
        new RegExp(`: --allow-annotation ${word} among the options of the hook allows it`),
      );
      assertMatch((await callHook(annotations, `--allow-annotation=${word}`)).stderr, isAllowed);
      assertMatch(
        (await callHook(annotations, `--allow-annotation=uid,podwire.${word},ip`)).stderr,
        isAllowed,
      );
    }
  }
});

Deno.test("host ports must be in the allowed ranges, however they are requested", async () => {
  const ports = (text: string) => ({ "podwire.networks": "web", "podwire.ports": text });
  const none = await callHook(ports("22:22"), "--allow-annotation=cap");
  assertEquals(none.code, 4);
  assertMatch(
    none.stderr,
    /its hook allows no host ports, and an annotation asks for 22: --allow-host-ports 22/,
  );
  for (const allowed of ["20000-29998", "20000-24000,24002-29999"]) {
    assertMatch(
      (await callHook(ports(":80"), `--allow-host-ports=${allowed}`)).stderr,
      /an annotation asks for 20000-29999: --allow-host-ports 20000-29999/,
    );
  }
  for (const allowed of ["20000-29999", "25001-40000,1-25000"]) {
    assertMatch((await callHook(ports(":80"), `--allow-host-ports=${allowed}`)).stderr, isAllowed);
  }
  const ranges = ["--allow-host-ports=8000-8002,443", "--allow-host-ports=9000"];
  for (const port of [8000, 8002, 443, 9000]) {
    assertMatch((await callHook(ports(`${port}:80`), ...ranges)).stderr, isAllowed);
    assertMatch(
      (await callHook({ "podwire.networks": `web,publish=${port}:80/udp` }, ...ranges)).stderr,
      isAllowed,
    );
  }
  for (const port of [22, 7999, 8003, 444]) {
    for (
      const annotations of [
        ports(`8000:80,127.0.0.1:${port}:80`),
        { "podwire.networks": `web,publish=8001:80,publish=${port}:80` },
      ]
    ) {
      const { code, stderr } = await callHook(annotations, ...ranges);
      assertEquals(code, 4);
      assertMatch(
        stderr,
        new RegExp(`allows the host ports 8000-8002, 443, 9000 only, and .* asks for ${port}:`),
      );
    }
  }
  // Plugins would also take them from the capability, with keys in any case.
  const byCapability = await callHook(
    { "podwire.networks": 'web,cap=portMappings=[{"HostPort":22,"containerPort":22}]' },
    "--allow-annotation=cap",
    ...ranges,
  );
  assertEquals(byCapability.code, 2);
  assertMatch(byCapability.stderr, /its ports are given as a capability; hint: podwire.ports/);
});

Deno.test("pairs of CNI_ARGS cannot ask for what is not allowed", async () => {
  for (
    const [key, word] of [
      ["K8S_POD_NAME", "name"],
      ["K8S_POD_NAMESPACE", "namespace"],
      ["K8S_POD_UID", "uid"],
      ["k8s_pod_infra_container_id", "uid"],
      ["IP", "ip"],
      ["MAC", "mac"],
    ]
  ) {
    const annotations = { "podwire.networks": "web", "podwire.args": `A=1\n${key}=x` };
    const { code, stderr } = await callHook(annotations, "--allow-annotation=args");
    assertEquals(code, 4);
    assertMatch(stderr, new RegExp(`ask for "${word}"`));
    assertMatch((await callHook(annotations, `--allow-annotation=args,${word}`)).stderr, isAllowed);
  }
});

Deno.test("the networks can be limited too; the default network is always allowed", async () => {
  const only = "--allow-network=web,back";
  for (const networks of ["web", "back:eth1,web", "", "default", "none"]) {
    assertMatch((await callHook({ "podwire.networks": networks }, only)).stderr, isAllowed, networks);
  }
  const { code, stderr } = await callHook({ "podwire.networks": "web,host" }, only);
  assertEquals(code, 4);
  assertMatch(stderr, /its hook does not allow the network "host": --allow-network host/);
});

Deno.test("an option that allows something unknown is an error, also when the files are made", async () => {
  for (
    const [option, words] of [
      ["--allow-annotation=ipp", /"ipp" is not one of ip, ip-range, mac/],
      ["--allow-annotation=ports", /hint: --allow-host-ports allows podwire.ports/],
      ["--allow-host-ports=0", /"0" is not PORT\[-PORT\]/],
      ["--allow-host-ports=9-8", /"9-8" is not PORT/],
      ["--allow-host-ports=80-65536", /"80-65536" is not PORT/],
      ["--allow-host-ports=http", /"http" is not PORT/],
    ] as const
  ) {
    const { code, stderr } = await callHook({}, option);
    assertEquals(code, 2);
    assertMatch(stderr, words);
    assertEquals((await podwire(["oci-hook", "config", option])).code, 2);
  }
  const options = ["--allow-annotation=ip", "--allow-host-ports=8000-8999", "--allow-network=web"];
  const { stdout } = await podwire(["oci-hook", "config", ...options]);
  const files = JSON.parse(stdout);
  assertEquals(files["podwire-createRuntime.json"].hook.args, [
    "podwire",
    "oci-hook",
    "createRuntime",
    "--allow-annotation=ip",
    "--allow-host-ports=8000-8999",
    "--allow-network=web",
  ]);
  assertEquals(files["podwire-poststop.json"].hook.args, ["podwire", "oci-hook", "poststop"]);
});
