// The work of `rules_both_ways_test.ts`, in a network namespace of its own.
import { assertEquals } from "@std/assert";
import { addMasquerade, collectMasquerade, removeMasquerade } from "../../lib/builtin/masquerade.ts";
import { type Cidr, parseCidr } from "../../lib/cni/address.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand, runningAs } from "../../lib/host/command.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { sh } from "./builtin_world.ts";
import { CASES } from "./firewall_cases.ts";
import { callOf } from "./firewall_world.ts";

/** What it ran, of the programs that are for rules of iptables. */
const ran: string[] = [];
/** Rules in this process. */
const own: RunCommand = runningAs(runCommand, (request) => {
  if (/^ip6?tables/.test(request.program) && !request.args?.includes("--version")) ran.push(request.program);
  return runCommand(request);
});
/** As without the permission to call the C library. */
const programs: RunCommand = (request) => runCommand(request);
const WAYS = [[own, programs], [programs, own]] as const;

async function rules(): Promise<readonly string[]> {
  const text = await sh(
    "for each in iptables ip6tables; do echo $each; $each -w -S; $each -w -t nat -S; done",
  );
  return text.trimEnd().split("\n");
}

async function fresh(before?: string): Promise<void> {
  await sh("nft flush ruleset");
  if (before !== undefined) await sh(before);
}

/** Each case, made by one way, checked by both, and removed by the other. */
async function firewall(): Promise<void> {
  for (const [name, { before, attachments }] of Object.entries(CASES)) {
    const seen: unknown[] = [];
    for (const [add, remove] of WAYS) {
      await fresh(before);
      const made: unknown[] = [];
      for (const attachment of attachments) {
        assertDone(await callBuiltin("firewall", callOf("ADD", attachment), add));
        made.push(await rules());
      }
      for (const run of [own, programs]) {
        for (const attachment of attachments) {
          assertDone(await callBuiltin("firewall", callOf("CHECK", attachment), run));
        }
      }
      for (const attachment of attachments) {
        assertDone(await callBuiltin("firewall", callOf("DEL", attachment), remove));
        made.push(await rules());
      }
      seen.push(made);
    }
    assertEquals(seen[1], seen[0], name);
  }
}

const cidrs = (...texts: readonly string[]): readonly Cidr[] => texts.map((text) => parseCidr(text)!);

const MASQUERADED: readonly (readonly [containerId: string, ifName: string, addresses: readonly Cidr[]])[] = [
  ["one", "eth0", cidrs("10.1.0.2/24")],
  ["both", "eth0", cidrs("10.1.0.3/24", "fd00:1::3/64")],
  ["six", "eth0", cidrs("fd00:1::4/57")],
  ["many", "eth0", cidrs("10.1.0.5/24", "10.2.0.5/15", "fd00:1::5/64")],
  // A second interface of a container has the same chain.
  ["one", "eth1", cidrs("10.1.0.6/24", "192.168.7.6/28")],
  // Again, with another address.
  ["six", "eth0", cidrs("fd00:1::7/57")],
];

async function masquerade(): Promise<void> {
  const seen: unknown[] = [];
  for (const [add, remove] of WAYS) {
    await fresh();
    const { signal } = new AbortController();
    const made: unknown[] = [];
    for (const [containerId, ifName, addresses] of MASQUERADED) {
      const attachment = { network: "net", containerId, ifName };
      await addMasquerade({ run: add, signal }, attachment, addresses, { backend: "iptables" });
      made.push(await rules());
    }
    const valid = [{ network: "net", containerId: "one", ifName: "eth0" }, {
      ...{ network: "net", containerId: "many", ifName: "eth0" },
    }];
    await collectMasquerade(
      { run: remove, signal },
      "net",
      valid,
      (ip) => Promise.resolve(ip.value === 0x0a010006n),
    );
    made.push(await rules());
    for (const [containerId, ifName] of MASQUERADED) {
      await removeMasquerade({ run: remove, signal }, { network: "net", containerId, ifName }, () => false);
      made.push(await rules());
    }
    assertEquals((await rules()).filter((line) => line.startsWith("-A ") || line.startsWith("-N ")), []);
    seen.push(made);
  }
  assertEquals(seen[1], seen[0]);
}

const PORTS: readonly JsonObject[] = [
  { hostPort: 18080, containerPort: 80, protocol: "tcp" },
  { hostPort: 18053, containerPort: 53, protocol: "udp", hostIP: "192.0.2.1" },
  { hostPort: 18132, containerPort: 132, protocol: "sctp" },
  { hostPort: 18053, containerPort: 54, protocol: "udp", hostIP: "2001:db8::1" },
];

/** The plugins with rules, for several containers: in this process all at once. */
async function together(): Promise<void> {
  const seen: unknown[] = [];
  for (const [add, remove] of WAYS) {
    await fresh();
    const calls = [2, 3, 4, 5].map((last) => {
      const containerId = `c${last}`;
      const prevResult = {
        ...{ cniVersion: "1.0.0", dns: {} },
        interfaces: [{ name: "br0" }, { name: `veth${last}` }, { name: "eth0", sandbox: "/run/netns/x" }],
        ips: [{ address: `10.1.0.${last}/24`, interface: 2 }, {
          address: `fd00:1::${last}/64`,
          interface: 2,
        }],
      };
      const portMappings = PORTS.map((port) => ({ ...port, hostPort: Number(port.hostPort) + 200 * last }));
      const config = { cniVersion: "1.0.0", name: "net", prevResult, runtimeConfig: { portMappings } };
      return { containerId, netns: "/run/netns/x", config };
    });
    for (const [verb, run] of [["ADD", add], ["CHECK", own], ["CHECK", programs], ["DEL", remove]] as const) {
      const starts = calls.flatMap((call) =>
        ["portmap", "firewall"].map((type) => async () => {
          const config = { ...call.config, type, backend: "iptables" };
          assertDone(await callBuiltin(type, { ...call, verb, config }, run));
        })
      );
      // What all containers share, programs that run at the same time may make twice.
      if (run === own) await Promise.all(starts.map((start) => start()));
      else for (const start of starts) await start();
      if (verb !== "CHECK") seen.push((await rules()).toSorted());
    }
  }
  assertEquals(seen.slice(2), seen.slice(0, 2));
}

await firewall();
await masquerade();
await together();
// The way in this process is one.
assertEquals(ran, []);
