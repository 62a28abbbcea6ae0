import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { sandboxRequest } from "../../lib/cli/sandbox_request.ts";
import { CniError } from "../../lib/cni/error.ts";
import { printJson } from "../../lib/cni/json.ts";
import { inputOf, podwire } from "./fake_io.ts";

const request = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  sandboxRequest(inputOf("run", args, { env }));

function refusal(...args: string[]): string {
  const error = assertThrows(() => request(args), CniError);
  assertEquals(error.kind, "usage");
  return error.msg;
}

Deno.test("run without options asks for a new namespace on the default network", () => {
  assertEquals(request([]), { source: { kind: "new" }, replace: false });
});

Deno.test("run passes name, namespace, uid, id, mac and replace on", () => {
  const { name, namespace, uid, id, mac, replace } = request(
    ["web", "--namespace=prod", "--uid", "u-1", "--id=abc", "--mac", "02:00:00:00:00:01", "--replace"],
  );
  assertEquals({ name, namespace, uid, id, mac, replace }, {
    name: "web",
    namespace: "prod",
    uid: "u-1",
    id: "abc",
    mac: "02:00:00:00:00:01",
    replace: true,
  });
});

Deno.test("run takes the namespace from one place only", () => {
  assertEquals(request(["--netns", "/run/netns/x"]).source, { kind: "path", path: "/run/netns/x" });
  assertEquals(request(["--netns", "x/../y"]).source, { kind: "path", path: `${Deno.cwd()}/y` });
  assertEquals(request(["--pid", "42"]).source, { kind: "pid", pid: 42 });
  assertEquals(request(["--infra"]).source, { kind: "infra" });
  assertEquals(request(["--infra", "--runtime=crun"]).source, { kind: "infra", runtime: "crun" });
  assertEquals(refusal("--netns=/x", "--pid=2"), "--netns and --pid exclude each other");
  assertEquals(refusal("--pid=2", "--infra"), "--pid and --infra exclude each other");
  assertEquals(request(["--host-network"]).source, { kind: "host" });
  assertEquals(refusal("--host-network", "--infra"), "--infra and --host-network exclude each other");
  assertEquals(refusal("--runtime=crun"), "--runtime goes with --infra");
  for (const pid of ["0", "-1", "1.5", "x", "4194305", "1e3"]) {
    assertEquals(refusal(`--pid=${pid}`), `--pid: "${pid}" is not a number from 1 to 4194304`);
  }
});

Deno.test("run adds --arg to the arguments of its own environment", () => {
  assertEquals(request(["--arg", "A=1", "--arg", "B=x:y", "--arg", "A="]).args, [["A", "1"], ["B", "x:y"], [
    "A",
    "",
  ]]);
  assertEquals(request(["--arg", "A=1"], { CNI_ARGS: "X=1;Y=2" }).args, [["X", "1"], ["Y", "2"], ["A", "1"]]);
  for (const text of ["A", "=1"]) assertEquals(refusal("--arg", text), `--arg: "${text}" is not KEY=VALUE`);
});

Deno.test("run reads capabilities as JSON and keeps numbers as they are written", () => {
  const { capabilities = {} } = request([
    "--cap",
    'a={"n":12345678901234567890}',
    "--cap",
    "b=[1.0]",
    "--cap=c=null",
  ]);
  assertEquals(printJson(capabilities), '{"a":{"n":12345678901234567890},"b":[1.0],"c":null}');
  assertEquals(refusal("--cap", "a"), '--cap: "a" is not KEY=VALUE');
  assertMatch(refusal("--cap", "a={"), /^--cap: the value of "a" is not valid JSON: unexpected end/);
});

Deno.test("run takes annotations, whose values may hold anything", () => {
  assertEquals(request(["--annotation", "a.b/c=d=e;f", "--annotation=x="]).annotations, {
    "a.b/c": "d=e;f",
    x: "",
  });
  assertEquals(refusal("--annotation", "a"), '--annotation: "a" is not KEY=VALUE');
});

Deno.test("run takes labels and sysctls; the last value of a key counts", () => {
  const { labels, sysctls } = request([
    "--label=app=web",
    "-l",
    "x=a=b",
    "--label=app=db",
    "--label=y=",
    "--sysctl=net.a.b=1 2",
  ]);
  assertEquals([labels, sysctls], [{ app: "db", x: "a=b", y: "" }, { "net.a.b": "1 2" }]);
  assertEquals(refusal("--label=app"), '--label: "app" is not KEY=VALUE');
  assertEquals(refusal("--sysctl==1"), '--sysctl: "=1" is not KEY=VALUE');
});

Deno.test("run takes several addresses", () => {
  assertEquals(request(["--ip", "10.0.0.9", "--ip=fd00::9"]).ips, ["10.0.0.9", "fd00::9"]);
  assertEquals(request(["--ip", "10.0.0.9/24"]).ips, ["10.0.0.9/24"]);
  for (const ip of ["x", "10.0.0.9/33", "10.0.0.9/", "fd00::9/129"]) {
    assertEquals(refusal("--ip", ip), `--ip: "${ip}" is not a valid IP address, with or without /PREFIX`);
  }
});

Deno.test("F2 run has a flag for each setting of the first network", () => {
  const { source: _, replace: __, ...settings } = request([
    "--publish=8080:80",
    "-p",
    "[::1]:53:5353/udp",
    "--bandwidth=ingress=10M",
    "--ip-range=10.1.0.0/24@10.1.0.10-10.1.0.20@gw=10.1.0.1",
    "--ip-range",
    "fd00::/64",
    "--dns=10.1.0.1",
    "--dns",
    "fd00::1",
    "--dns-search=a.example",
    "--dns-option=ndots:2",
    "--alias=db",
    "--alias=primary",
    "--device=0000:04:00.5",
    "--cgroup-path=/x.slice",
  ]);
  assertEquals(settings, {
    publish: [
      { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" },
      { hostIP: "::1", hostPort: 53, containerPort: 5353, protocol: "udp" },
    ],
    bandwidth: { ingressRate: 10_000_000 },
    ipRanges: [
      [{ subnet: "10.1.0.0/24", rangeStart: "10.1.0.10", rangeEnd: "10.1.0.20", gateway: "10.1.0.1" }],
      [{ subnet: "fd00::/64" }],
    ],
    dns: { servers: ["10.1.0.1", "fd00::1"], searches: ["a.example"], options: ["ndots:2"] },
    aliases: ["db", "primary"],
    deviceID: "0000:04:00.5",
    cgroupPath: "/x.slice",
  });
  assertEquals(request(["--dns-search=x"]).dns, { searches: ["x"] });
});

Deno.test("the error for a wrong value names flag and value", () => {
  assertEquals(refusal("--dns=x"), '--dns: "x" is not a valid IP address');
  assertMatch(refusal("--ip-range=a@b"), /^--ip-range: "a@b" is not SUBNET/);
  assertMatch(refusal("--bandwidth=10M"), /^--bandwidth: "10M" is not ingress=RATE/);
  assertMatch(refusal("--publish=80"), /^--publish: "80" is not \[HOSTIP:\]/);
});

Deno.test("the error for what is wrong with a network names network and value, and the exit code is 2", async () => {
  const confDir = await Deno.makeTempDir({ prefix: "pwt-run-" });
  try {
    const list = { cniVersion: "1.1.0", name: "web", plugins: [{ type: "x", capabilities: { dns: true } }] };
    await Deno.writeTextFile(`${confDir}/web.conflist`, JSON.stringify(list));
    const dirs = ["conf", "state", "cache", "netns"].map((name) => `--${name}-dir=${confDir}`);
    const stderrOf = async (...args: string[]) => {
      const { code, stdout, stderr } = await podwire([...dirs, "run", ...args]);
      assertEquals({ code, stdout }, { code: 2, stdout: "" });
      return stderr;
    };
    const cases: readonly [string[], string][] = [
      [["--mac=02:00"], '--mac: unable to parse MAC address "02:00"'],
      [["--network=web:eth0,mac=x"], 'network "web": mac: unable to parse MAC address "x"'],
      [["--network=web,search=a b"], 'network "web": dns.searches: "a b" is not a valid domain'],
      [["--ip-range=10.1.0.1/24"], '--ip-range: "10.1.0.1/24" has host bits'],
      [["--alias=db"], 'no plugin of network "web" (x) takes the capability "aliases"'],
      [["--network=web:a/b"], 'network "web": ifName: "a/b"'],
      [["--network=none", "--ip=10.1.0.5"], "ips asks something of a network, and the pod has no network"],
      [["--arg=A=1;B"], "its value contains"],
    ];
    for (const [args, words] of cases) assertStringIncludes(await stderrOf(...args), words);
    // The only files say that nothing of an earlier boot is left, that all sandboxes are listed, and what was in the catalog.
    const left = await Array.fromAsync(Deno.readDir(confDir), ({ name }) => name);
    assertEquals(left.sort(), ["boot-id", "by-name", "catalogs", "run", "web.conflist"]);
  } finally {
    await Deno.remove(confDir, { recursive: true });
  }
});
