import { assertEquals, assertStringIncludes } from "@std/assert";
import { firewall } from "../../lib/builtin/firewall.ts";
import { bridgeOfResult } from "../../lib/builtin/firewall_needs.ts";
import { repairRules } from "../../lib/builtin/repair_rules.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { servePlugin } from "../../lib/plugin/serve.ts";
import { type Ran, type Reply, ScriptedRun } from "./scripted_run.ts";

type Script = (ran: Ran) => Reply | Error | undefined;

const IPS = ["10.1.0.2/24", "fd00::2/64"];
const MISSING = new Deno.errors.NotFound("no such program");

/** Calls the plugin on a machine where `script` answers; without an answer it has no nftables. */
async function call(verb: Verb, script: Script, more: JsonObject = {}, ips: readonly string[] = IPS) {
  const scripted = new ScriptedRun((ran) => {
    const answer = script(ran);
    if (answer !== undefined) return answer;
    return ran.command.startsWith("nft") || ran.command.startsWith("busctl") ? MISSING : undefined;
  });
  const env: Record<string, string> = {
    ...{ CNI_COMMAND: verb, CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" },
    ...{ CNI_ARGS: "", CNI_PATH: "/nowhere" },
  };
  const config = {
    ...{ cniVersion: "1.1.0", name: "web", type: "firewall", ...more },
    prevResult: {
      cniVersion: "1.1.0",
      interfaces: [{ name: "br0" }, { name: "eth0", sandbox: "/run/netns/x" }],
      ips: ips.map((address) => ({ address, interface: 1 })),
    },
  };
  const { stdout, stderr, code } = await servePlugin(firewall, {
    env: (name) => env[name],
    stdin: () => Promise.resolve(JSON.stringify(config)),
    run: scripted.run,
  });
  return { code, stderr, scripted, document: stdout === "" ? undefined : JSON.parse(stdout) };
}

/** A machine on which firewalld answers `busctl` so, by the name of the method. */
function firewalld(answers: Readonly<Record<string, Reply>> = {}): Script {
  return ({ command }) => {
    if (!command.startsWith("busctl")) return undefined;
    if (command.includes("NameHasOwner")) return { stdout: "b true\n" };
    const found = Object.entries(answers).find(([method]) => command.includes(` ${method} `));
    return found?.[1] ?? { stdout: 's "trusted"\n' };
  };
}

const refused = (words: string): Reply => ({ code: 1, stderr: `Call failed: ${words}\n` });
const NOT_STRICT = { Get: refused("org.freedesktop.DBus.Error.InvalidArgs: Property does not exist") };
const ZONE = "busctl --system call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 " +
  "org.fedoraproject.FirewallD1.zone";
const zoneCalls = (scripted: ScriptedRun) => scripted.commands.filter((command) => command.startsWith(ZONE));
const restores = (scripted: ScriptedRun) =>
  scripted.ran.filter(({ command }) => command.includes("-restore")).map(({ stdin }) => stdin);

Deno.test("the firewall lists the table once and changes it once for each family, and only what the families need", async () => {
  const { code, scripted } = await call("ADD", () => undefined);
  assertEquals(code, 0);
  assertEquals(scripted.commands.filter((command) => /^ip6?tables/.test(command)).sort(), [
    "ip6tables -w -t filter -S",
    "ip6tables-restore -w --noflush",
    "iptables -w -t filter -S",
    "iptables-restore -w --noflush",
  ]);
  const { scripted: one } = await call("ADD", () => undefined, {}, ["10.1.0.2/24"]);
  assertEquals(one.commands.some((command) => command.startsWith("ip6tables")), false);
  const { scripted: none } = await call("ADD", () => undefined, {}, []);
  assertEquals(none.commands, []);
});

Deno.test("an ADD of the firewall that fails in one family removes what it made in the other", async () => {
  let lists = 0;
  const { code, scripted } = await call("ADD", ({ command }) => {
    if (command.startsWith("ip6tables-restore")) return { code: 2, stderr: "broken" };
    if (!command.startsWith("iptables -w")) return undefined;
    // What the first transaction has made.
    return lists++ === 0 ? undefined : {
      stdout: "-N CNI-PUBLISHED\n-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT\n",
    };
  });
  assertEquals(code, 1);
  const last = restores(scripted).at(-1) ?? "";
  assertStringIncludes(last, "-D CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT\n");
  assertStringIncludes(last, "-X CNI-PUBLISHED\n");
});

Deno.test("with firewalld the addresses go into the zone, and iptables is changed only where it drops", async () => {
  const zoned = await call("ADD", firewalld(NOT_STRICT));
  assertEquals(zoned.code, 0);
  assertEquals(zoneCalls(zoned.scripted), [
    `${ZONE} addSource ss trusted 10.1.0.2/32`,
    `${ZONE} addSource ss trusted fd00::2/128`,
  ]);
  assertEquals(restores(zoned.scripted), []);
  const dropping = await call(
    "ADD",
    (ran) =>
      ran.command.startsWith("iptables -w") ? { stdout: "-P FORWARD DROP\n" } : firewalld(NOT_STRICT)(ran),
    { firewalldZone: "pods" },
  );
  assertEquals(zoneCalls(dropping.scripted)[0], `${ZONE} addSource ss pods 10.1.0.2/32`);
  assertEquals(restores(dropping.scripted).length, 1);
  assertStringIncludes(restores(dropping.scripted)[0] ?? "", "-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT");
});

Deno.test("the firewall speaks to firewalld by dbus-send where busctl is missing", async () => {
  const { code, scripted } = await call("CHECK", ({ command }) => {
    if (command.startsWith("busctl")) return MISSING;
    return command.startsWith("dbus-send") ? { stdout: "   boolean true" } : undefined;
  });
  assertEquals(code, 0);
  assertEquals(
    scripted.commands.find((command) => command.startsWith("dbus-send") && command.includes("querySource")),
    "dbus-send --system --print-reply=literal --dest=org.fedoraproject.FirewallD1 " +
      "/org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1.zone.querySource string:trusted " +
      "string:10.1.0.2/32",
  );
});

Deno.test("the CHECK of the firewall looks whether the zone has the addresses", async () => {
  const there = await call("CHECK", firewalld({ querySource: { stdout: "b true\n" } }));
  assertEquals(there.code, 0);
  const gone = await call("CHECK", firewalld({ querySource: { stdout: "b false\n" } }));
  assertStringIncludes(gone.document.msg, 'not in zone "trusted" of firewalld');
});

/** Repairs the rules of containers on a machine where `script` answers. */
async function repaired(script: Script, configs: readonly JsonObject[], dryRun = false) {
  const scripted = new ScriptedRun((ran) => ran.command.startsWith("nft") ? MISSING : script(ran));
  const owners = configs.map((more, index) => ({
    ...{ type: "firewall", containerId: `c${index}`, netns: "/run/netns/x", ifName: "eth0", args: [] },
    config: {
      ...{ cniVersion: "1.1.0", name: "web", type: "firewall", ...more },
      prevResult: {
        cniVersion: "1.1.0",
        interfaces: [{ name: "br0" }, { name: "eth0", sandbox: "/run/netns/x" }],
        ips: [{ address: `10.1.0.${2 + index}/24`, interface: 1 }],
      },
    },
  }));
  const host = { run: scripted.run, signal: new AbortController().signal };
  const found = await repairRules(owners, host, { dryRun });
  return { scripted, found: found.map(({ missing, error }) => ({ missing, error: error?.msg })) };
}

Deno.test("a repair puts an address back into the zone of firewalld, and a dry run only says that it is not there", async () => {
  const script = firewalld({ querySource: { stdout: "b false\n" }, ...NOT_STRICT });
  for (const dryRun of [true, false]) {
    const { scripted, found } = await repaired(script, [{ firewalldZone: "pods" }], dryRun);
    assertEquals(found, [{
      missing: ['the address 10.1.0.2 is not in zone "pods" of firewalld any more'],
      error: undefined,
    }]);
    assertEquals(zoneCalls(scripted), [
      `${ZONE} querySource ss pods 10.1.0.2/32`,
      ...dryRun ? [] : [`${ZONE} addSource ss pods 10.1.0.2/32`],
    ]);
    assertEquals(restores(scripted), []);
  }
});

Deno.test("a repair of a zone while firewalld is down says so, and the rules of others are repaired all the same", async () => {
  const down: Script = ({ command }) => {
    if (!command.startsWith("busctl")) return undefined;
    if (command.includes("NameHasOwner")) return { stdout: "b false\n" };
    return refused("The name org.fedoraproject.FirewallD1 was not provided by any .service files");
  };
  const { scripted, found } = await repaired(down, [{ backend: "firewalld" }, { backend: "iptables" }]);
  assertEquals(found[0]?.missing, []);
  assertStringIncludes(
    found[0]?.error ?? "",
    'Cannot look for 10.1.0.2 in zone "trusted" of firewalld',
  );
  assertEquals(found[1]?.error, undefined);
  assertEquals(found[1]?.missing.length, 1);
  assertEquals(zoneCalls(scripted), [`${ZONE} querySource ss trusted 10.1.0.2/32`]);
  assertEquals(restores(scripted).length, 1);
  assertStringIncludes(restores(scripted)[0] ?? "", "-A CNI-FORWARD -s 10.1.0.3/32 -j ACCEPT\n");
});

Deno.test("an address that is in the zone already is accepted, and an ADD that fails then leaves it there", async () => {
  const script = firewalld({
    addSource: refused("ZONE_ALREADY_SET: '10.1.0.2/32' already bound to 'trusted'"),
  });
  const again = await call("ADD", script);
  assertEquals(again.code, 0);
  const failing = await call("ADD", (ran) => ran.command.startsWith("iptables") ? MISSING : script(ran), {
    ingressPolicy: "isolated",
  });
  assertEquals(failing.code, 1);
  assertEquals(zoneCalls(failing.scripted).some((command) => command.includes("removeSource")), false);
});

Deno.test("an ADD of the firewall that fails takes the addresses out of the zone again", async () => {
  const addresses: string[] = [];
  const { code, document } = await call("ADD", (ran) => {
    const address = /(addSource|removeSource) ss trusted (\S+)/.exec(ran.command);
    if (address !== null) addresses.push(`${address[1]} ${address[2]}`);
    return ran.command.includes("fd00::2") ? refused("INVALID_ZONE: trusted") : firewalld()(ran);
  });
  assertEquals(code, 1);
  assertStringIncludes(document.details, "firewall-cmd --permanent --new-zone=trusted");
  assertEquals(addresses, ["addSource 10.1.0.2/32", "addSource fd00::2/128", "removeSource 10.1.0.2/32"]);
});

Deno.test("U39 a caller that may not use firewalld gets rules of its own, and the permission is named if firewalld was requested", async () => {
  const denied = firewalld({
    addSource: refused("Not Authorized(polkit): org.fedoraproject.FirewallD1.config"),
    querySource: refused("Access denied"),
    removeSource: refused("Access denied"),
  });
  const byItself = await call("ADD", denied);
  assertEquals([byItself.code, restores(byItself.scripted).length], [0, 2]);
  assertStringIncludes(byItself.stderr, "Not Authorized");
  const requested = await call("ADD", denied, { backend: "firewalld" });
  assertEquals(requested.code, 1);
  assertStringIncludes(requested.document.msg, 'Cannot put 10.1.0.2 into zone "trusted" of firewalld');
  assertStringIncludes(requested.document.details, "org.fedoraproject.FirewallD1.config of polkit");
  assertEquals((await call("DEL", denied)).code, 0);
});

Deno.test("ports that firewalld does not let a container publish are refused before anything is done, with its own command", async () => {
  const strict = firewalld({ Get: { stdout: 'v s "yes"\n' } });
  const ports = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } };
  const { code, document, scripted } = await call("ADD", strict, ports);
  assertEquals([code, zoneCalls(scripted), restores(scripted)], [1, [], []]);
  assertStringIncludes(document.msg, "StrictForwardPorts=yes");
  assertStringIncludes(document.details, "firewall-cmd --add-forward-port=");
  assertEquals((await call("ADD", strict)).code, 0);
  assertEquals((await call("ADD", firewalld(NOT_STRICT), ports)).code, 0);
});

Deno.test("the DEL of the firewall takes the addresses out of the zone, wherever they are", async () => {
  const { code, scripted } = await call(
    "DEL",
    firewalld({ removeSource: refused("UNKNOWN_SOURCE: '10.1.0.2/32' is not in any zone") }),
  );
  assertEquals(code, 0);
  assertEquals(zoneCalls(scripted), [
    `${ZONE} removeSource ss trusted 10.1.0.2/32`,
    `${ZONE} removeSource ss trusted fd00::2/128`,
  ]);
  const { scripted: other } = await call("DEL", firewalld(), { backend: "iptables" });
  assertEquals(zoneCalls(other), []);
});

Deno.test("STATUS of the firewall names what is missing", async () => {
  const nothing = () => MISSING;
  const says = async (script: Script, more: JsonObject = {}) =>
    (await call("STATUS", script, more)).document?.msg;
  assertEquals(await says(nothing), "neither iptables nor nftables works here");
  assertEquals(await says(nothing, { backend: "nftables" }), "nftables does not work here");
  assertEquals(await says(nothing, { backend: "firewalld" }), "firewalld does not run here");
  assertEquals(await says(nothing, { backend: "none" }), undefined);
  assertEquals(await says(firewalld()), undefined);
});

Deno.test("packets of pods in a VLAN come through the interface of its gateway, which ingressPolicy watches then", () => {
  const bridgeOf = (...interfaces: { name: string; sandbox?: string }[]) =>
    bridgeOfResult({ cniVersion: "1.0.0", interfaces }, "same-bridge");
  const pod = { name: "br0.7", sandbox: "/run/netns/a" };
  assertEquals(bridgeOf({ name: "br0" }, { name: "veth1" }, pod), "br0");
  assertEquals(bridgeOf({ name: "br0" }, { name: "veth1" }, pod, { name: "br0.100" }), "br0.100");
  assertEquals(bridgeOf({ name: "br0" }, { name: "br0.x" }, { name: "br01.5" }), "br0");
});
