// What annotations ask for, and what the hook does before it changes anything.
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { sandboxOfContainer } from "../../lib/cli/oci_annotations.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { OciState } from "../../lib/sandbox/oci_state.ts";
import { podwire } from "./fake_io.ts";

function stateOf(annotations: Record<string, string>, overrides: Partial<OciState> = {}): OciState {
  return { id: "c1", status: "creating", pid: 4711, bundle: "/b/c1", annotations, ...overrides };
}

const BASE = {
  id: "c1",
  name: "c1",
  labels: { "podwire.oci-bundle": "/b/c1" },
  source: { kind: "pid", pid: 4711 },
} as const;

/** Returns the networks of `podwire.networks` with this text. */
function networksOf(text: string) {
  return sandboxOfContainer(stateOf({ "podwire.networks": text }))?.networks;
}

/** Returns the state as an OCI runtime writes it. */
function stdinOf(annotations: Record<string, string>, overrides: Record<string, unknown> = {}): string {
  return JSON.stringify({ ociVersion: "1.0.2", ...stateOf(annotations), ...overrides });
}

Deno.test("a container without annotations for podwire gets no sandbox", () => {
  assertEquals(sandboxOfContainer(stateOf({})), undefined);
  assertEquals(
    sandboxOfContainer(stateOf({ "io.kubernetes.pod": "x", "podwirex.networks": "web" })),
    undefined,
  );
});

Deno.test("networks are written between commas or one a line, each as in the flag", () => {
  for (const text of ["", " \n ", "default", " default\n"]) {
    assertEquals(sandboxOfContainer(stateOf({ "podwire.networks": text })), BASE, JSON.stringify(text));
  }
  assertEquals(networksOf("none"), "none");
  const both = [{ name: "web" }, { name: "back", ifName: "net1" }];
  for (const text of ["web,back:net1", "web\nback:net1\n", " web , back:net1 ", "\n\nweb\r\nback:net1"]) {
    assertEquals(networksOf(text), both, JSON.stringify(text));
  }
  assertEquals(
    networksOf('web:eth0,ip=10.1.0.5,ip=fd00::5,cap=x={"a":[1,2]},back,mac=02:00:00:00:00:01'),
    [
      { name: "web", ifName: "eth0", ips: ["10.1.0.5", "fd00::5"], capabilities: { x: { a: [1, 2] } } },
      { name: "back", mac: "02:00:00:00:00:01" },
    ].map((network) => JSON.parse(JSON.stringify(network))),
  );
  assertEquals(networksOf("web,alias=a\\,b\nback"), [{ name: "web", aliases: ["a,b"] }, { name: "back" }]);
  assertEquals(networksOf("default:eth0"), [{ name: "default", ifName: "eth0" }]);
});

Deno.test("each annotation means what its flag means", () => {
  const request = sandboxOfContainer(stateOf({
    "podwire.networks": "web",
    "podwire.ports": "8080:80,127.0.0.1:5353:53/udp",
    "podwire.ip": "10.1.0.5\nfd00::5",
    "podwire.mac": "02:00:00:00:00:01",
    "podwire.bandwidth": "ingress=10M,egress=1k",
    "podwire.args": "A=1,2=3\nB=x=y",
    "podwire.dns": "10.0.0.1",
    "podwire.name": "web",
    "podwire.namespace": "shop",
    "podwire.uid": "u-1",
  }));
  const mapping = { containerPort: 80, hostIP: "", hostPort: 8080, protocol: "tcp" };
  assertEquals(request as unknown, {
    ...BASE,
    networks: [{ name: "web" }],
    publish: [mapping, { containerPort: 53, hostIP: "127.0.0.1", hostPort: 5353, protocol: "udp" }],
    ips: ["10.1.0.5", "fd00::5"],
    mac: "02:00:00:00:00:01",
    bandwidth: { ingressRate: 10_000_000, egressRate: 1_000 },
    args: [["A", "1,2=3"], ["B", "x=y"]],
    dns: { servers: ["10.0.0.1"] },
    name: "web",
    namespace: "shop",
    uid: "u-1",
    uniqueName: true,
  });
});

Deno.test("an annotation that is wrong, unknown, or without a network is an error that names it", () => {
  for (
    const [annotations, words] of [
      [
        { "podwire.networks": "web", "podwire.network": "x", "podwire.prots": "y" },
        "podwire.network, podwire.prots",
      ],
      [{ "podwire.network": "web" }, "unknown annotation podwire.network"],
      [{ "podwire.ports": "80:80" }, "podwire.ports asks something of networks"],
      [{ "podwire.networks": "web,ip=x" }, 'podwire.networks ip: "x" is not a valid IP address'],
      [{ "podwire.networks": "web,none" }, '"none" means no network'],
      [{ "podwire.networks": "web:" }, '"web:" is not NET[:IFNAME]'],
      [{ "podwire.networks": "", "podwire.ports": "80" }, 'podwire.ports: "80" is not'],
      [{ "podwire.networks": "", "podwire.ip": "300.0.0.1" }, 'podwire.ip: "300.0.0.1"'],
      [{ "podwire.networks": "", "podwire.bandwidth": "fast" }, "podwire.bandwidth"],
      [{ "podwire.networks": "", "podwire.args": "A" }, "podwire.args"],
    ] as const
  ) {
    const error = assertThrows(() => sandboxOfContainer(stateOf({ ...annotations })), CniError);
    assertEquals(error.kind, "usage");
    assert(error.msg.includes(words), `${error.msg}, not ${words}`);
  }
  assertThrows(
    () => sandboxOfContainer(stateOf({ "podwire.networks": "" }, { pid: undefined })),
    CniError,
    '"pid"',
  );
});

Deno.test("a container without annotations is left alone, for any user, at both ends of its life", async () => {
  for (const stage of ["createRuntime", "poststop"]) {
    const status = stage === "poststop" ? "stopped" : "creating";
    const { code, stdout, stderr } = await podwire(["oci-hook", stage, "--state-dir=/nonexistent/x"], {
      uid: 1000,
      stdin: stdinOf({ other: "x" }, { status }),
    });
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  }
});

Deno.test("an error is one line, with an exit code", async () => {
  const networks = { "podwire.networks": "" };
  for (
    const [stage, stdin, uid, code, words] of [
      ["createRuntime", "", 0, 2, /no container state on standard input; hint: .*OCI runtime/],
      ["poststop", "{", 0, 2, /cannot be used/],
      ["createRuntime", " ".repeat(1024 * 1024 + 1), 0, 2, /more than 1048576 bytes/],
      [
        "createRuntime",
        stdinOf({ "podwire.x": "" }),
        0,
        2,
        /unknown annotation podwire.x; hint: there are podwire.networks/,
      ],
      ["createRuntime", stdinOf(networks), 1000, 4, /oci-hook needs root/],
      ["createRuntime", stdinOf(networks, { status: "running" }), 0, 2, /"c1": it is already running/],
      [
        "createRuntime",
        stdinOf(networks, { pid: Deno.pid }),
        0,
        2,
        /host's own network namespace .*; hint: /,
      ],
    ] as const
  ) {
    const result = await podwire(["oci-hook", stage], { stdin, uid });
    assertEquals({ code: result.code, stdout: result.stdout }, { code, stdout: "" }, result.stderr);
    assertMatch(result.stderr, words);
    assertMatch(result.stderr, /^podwire: [^\n]+\n$/);
  }
});

Deno.test("an unknown stage is wrong usage", async () => {
  for (const args of [["prestart"], ["config", "prestart"], ["createRuntime", "x"]]) {
    const { code, stderr } = await podwire(["oci-hook", ...args], { stdin: stdinOf({}) });
    assertEquals(code, 2);
    assertMatch(
      stderr,
      /oci-hook has no stage "prestart"; there are createRuntime and poststop|unexpected argument "x"/,
    );
  }
});

Deno.test("the files for hooks.d call the program with the stage and the options that config was given", async () => {
  const options = ["--state-dir=state", "--plugin-dir=/p1", "--plugin-dir=/p2", "--timeout=ADD=5s", "--json"];
  const hookOf = (stage: string) => ({
    version: "1.0.0",
    hook: {
      path: "/usr/bin/podwire",
      args: [
        "podwire",
        "oci-hook",
        stage,
        "--plugin-dir=/p1",
        "--plugin-dir=/p2",
        `--state-dir=${Deno.cwd()}/state`,
        "--timeout=ADD=5s",
      ],
    },
    when: { annotations: { "^podwire\\.networks$": ".*" } },
    stages: [stage],
  });
  const all = await podwire(["oci-hook", "config", ...options], { uid: 1000 });
  assertEquals({ code: all.code, stderr: all.stderr }, { code: 0, stderr: "" });
  assertEquals(JSON.parse(all.stdout), {
    "podwire-createRuntime.json": hookOf("createRuntime"),
    "podwire-poststop.json": hookOf("poststop"),
  });
  const one = await podwire(["oci-hook", "config", "poststop", ...options], { uid: 1000 });
  assertEquals(JSON.parse(one.stdout), hookOf("poststop"));
  const dir = await Deno.makeTempDir({ prefix: "podwire-hooks-" });
  try {
    const written = await podwire(["oci-hook", "config", "--dir", `${dir}/hooks.d`, ...options], {
      uid: 1000,
    });
    const paths = [`${dir}/hooks.d/podwire-createRuntime.json`, `${dir}/hooks.d/podwire-poststop.json`];
    assertEquals([written.code, written.stdout], [0, paths.map((path) => `${path}\n`).join("")]);
    assertEquals(JSON.parse(await Deno.readTextFile(paths[1] ?? "")), hookOf("poststop"));
    assertEquals((await Deno.stat(paths[0] ?? "")).mode! & 0o777, 0o644);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a program that is run by Deno can be a hook only if it is named", async () => {
  const byDeno = { program: "/usr/bin/deno", uid: 1000 };
  const { code, stderr } = await podwire(["oci-hook", "config"], byDeno);
  assertEquals(code, 2);
  assertMatch(stderr, /--program/);
  const named = await podwire(["oci-hook", "config", "createRuntime", "--program=/opt/podwire"], byDeno);
  assertEquals(JSON.parse(named.stdout).hook.path, "/opt/podwire");
});
