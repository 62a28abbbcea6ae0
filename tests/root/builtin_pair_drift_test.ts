// What a machine can lose of an attachment of the built-in bridge and ptp, for both kinds of rules: CHECK names each loss.
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, type Call, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { Machine } from "./firewall_world.ts";
import { need } from "./need.ts";

const NEEDED = need("root", "ip", "iptables", "nft");
const POD = { id: "a", v4: "10.1.0.2", v6: "fd00:1::2" };

const IPAM = {
  type: "static",
  addresses: [
    { address: `${POD.v4}/24`, gateway: "10.1.0.1" },
    { address: `${POD.v6}/64`, gateway: "fd00:1::1" },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
};

const TYPES: Readonly<Record<string, JsonObject>> = {
  bridge: { type: "bridge", bridge: "br0", isGateway: true },
  ptp: { type: "ptp" },
};

/** A pod that a plugin has attached on a machine of its own. */
interface Attached {
  readonly machine: Machine;
  readonly netns: string;
  /** The end of the pair on the machine. */
  readonly port: string;
  check(): Promise<{ readonly code: number; readonly says: string }>;
  remove(): Promise<void>;
}

async function attach(world: World, type: string, more: JsonObject): Promise<Attached> {
  const id = crypto.randomUUID().slice(0, 4);
  const machine = await Machine.make(world, `m${id}`);
  const netns = await world.netns(`p${id}`);
  const config: JsonObject = {
    cniVersion: "1.0.0",
    name: "net",
    ...TYPES[type],
    ipMasq: true,
    ipam: IPAM,
    ...more,
  };
  const call = (verb: Call["verb"], prevResult?: JsonObject) => ({
    ...{ verb, containerId: POD.id, netns },
    config: { ...config, ...(prevResult === undefined ? {} : { prevResult }) },
  });
  const added = await callBuiltin(type, call("ADD"), machine.run);
  assertDone(added);
  const { interfaces } = added.document;
  return {
    machine,
    netns,
    port:
      interfaces.find(({ name, sandbox }: { name: string; sandbox?: string }) => !sandbox && name !== "br0")
        .name,
    async check() {
      const { code, document } = await callBuiltin(type, call("CHECK", added.document), machine.run);
      return { code, says: document?.msg ?? "" };
    },
    async remove() {
      assertDone(await callBuiltin(type, call("DEL", added.document), machine.run));
    },
  };
}

/** What is lost, for the port, and what the CHECK says of it. */
type Loss = readonly [script: (port: string) => string, says: RegExp];

const COMMON: Readonly<Record<string, Loss>> = {
  "all rules of nftables": [() => "nft flush ruleset", /masquerade/],
  "forwarding of IPv4": [() => "sysctl -w net.ipv4.ip_forward=0", /net\/ipv4\/ip_forward" is 0, not 1/],
  "forwarding of IPv6": [
    () => "sysctl -w net.ipv6.conf.all.forwarding=0",
    /net\/ipv6\/conf\/all\/forwarding" is 0, not 1/,
  ],
  "the MTU": [(port) => `ip link set ${port} mtu 1280`, /has the MTU 1280, not 1400/],
  "the interface": [(port) => `ip link del ${port}`, /interface "eth0" is not in/],
  "the interface being up": [(port) => `ip link set ${port} down`, /is down/],
};

const OF_TYPE: Readonly<Record<string, Readonly<Record<string, Loss>>>> = {
  bridge: {
    "the bridge": [() => "ip link del br0", /interface "br0" is not there any more/],
    "the port of the bridge": [(port) => `ip link set ${port} nomaster`, /connects "eth0" with bridge "br0"/],
    "the port being without hairpin mode": [
      (port) => `ip link set ${port} type bridge_slave hairpin on`,
      /bridge port "veth.*" is in hairpin mode/,
    ],
    "the port being not isolated": [
      (port) => `ip link set ${port} type bridge_slave isolated on`,
      /bridge port "veth.*" is isolated/,
    ],
    "the address of the bridge": [
      () => "ip addr del 10.1.0.1/24 dev br0",
      /bridge "br0" does not have the address 10\.1\.0\.1\/24/,
    ],
    "the IPv6 address of the bridge": [
      () => "ip addr del fd00:1::1/64 dev br0",
      /bridge "br0" does not have the address fd00:1::1\/64/,
    ],
  },
  ptp: {
    "the route to the pod": [() => "ip route del 10.1.0.2", /the route to 10\.1\.0\.2\/32 is not there/],
    "the gateway": [
      (port) => `ip addr del 10.1.0.1/32 dev ${port}`,
      /does not have the address 10\.1\.0\.1\/32/,
    ],
  },
};

const OF_BACKEND: Readonly<Record<string, Readonly<Record<string, Loss>>>> = {
  iptables: {
    "all rules of iptables": [() => "iptables -w -t nat -F", /does not masquerade|masquerade the container/],
    "all rules of ip6tables": [() => "ip6tables -w -t nat -F", /IPv6 does not masquerade/],
    "the jump of IPv4": [
      () => "iptables -w -t nat -F POSTROUTING",
      /POSTROUTING of IPv4 does not jump to CNI-.* for 10/,
    ],
    "the exempt network": [
      () => "iptables -w -t nat -D $(iptables -w -t nat -S | sed -n 's/^-N \\(CNI-.*\\)$/\\1/p') 1",
      /does not exempt the network 10\.1\.0\.0\/24/,
    ],
  },
  nftables: {
    "the table": [() => "nft delete table inet cni_plugins_masquerade", /no rules of nftables masquerade/],
    "the rules of the chain": [
      () => "nft flush chain inet cni_plugins_masquerade masq_checks",
      /no rules of nftables masquerade/,
    ],
    "the way to the rules": [
      () => "nft flush chain inet cni_plugins_masquerade postrouting",
      /nothing in the chain postrouting .* leads to masq_checks/,
    ],
    "the rule of IPv6": [
      () =>
        "nft delete rule inet cni_plugins_masquerade masq_checks handle " +
        "$(nft -a list chain inet cni_plugins_masquerade masq_checks | sed -n 's/.*ip6 saddr.*handle //p')",
      /no rule in the chain masq_checks masquerades fd00:1::2/,
    ],
  },
};

/** What is lost in the namespace of the pod. */
const INSIDE: Readonly<Record<string, Loss>> = {
  "an address": [
    () => "ip addr del 10.1.0.2/24 dev eth0",
    /"eth0" does not have the address 10\.1\.0\.2\/24/,
  ],
  "an IPv6 address": [() => "ip addr del fd00:1::2/64 dev eth0", /does not have the address fd00:1::2\/64/],
  "the default route": [() => "ip route del default", /the route to 0\.0\.0\.0\/0/],
  "the IPv6 default route": [() => "ip -6 route del default", /the route to ::\/0/],
  "the interface": [() => "ip link del eth0", /interface "eth0" is not in/],
  "the interface being up": [() => "ip link set eth0 down", /interface "eth0" is down/],
};

for (const type of Object.keys(TYPES)) {
  for (const ipMasqBackend of ["iptables", "nftables"]) {
    Deno.test({
      name: `the CHECK of ${type} names what the machine has lost, with rules in ${ipMasqBackend}`,
      ...NEEDED,
      fn: inWorld(async (world) => {
        const losses = { ...COMMON, ...OF_TYPE[type], ...OF_BACKEND[ipMasqBackend] };
        for (const [what, [script, says]] of Object.entries(losses)) {
          const pod = await attach(world, type, { ipMasqBackend, mtu: 1400 });
          assertEquals(await pod.check(), { code: 0, says: "" }, what);
          await pod.machine.sh(script(pod.port));
          const { code, says: said } = await pod.check();
          assertEquals(code, 1, what);
          assertMatch(said, says, what);
          await pod.remove();
        }
      }),
    });
  }

  Deno.test({
    name: `the CHECK of ${type} names what the namespace of the pod has lost`,
    ...NEEDED,
    fn: inWorld(async (world) => {
      for (const [what, [script, says]] of Object.entries(INSIDE)) {
        const pod = await attach(world, type, {});
        await sh(script(pod.port), pod.netns);
        const { code, says: said } = await pod.check();
        assertEquals(code, 1, what);
        assertMatch(said, says, what);
        await pod.remove();
      }
    }),
  });
}

Deno.test({
  name: "the CHECK of bridge asks for no rule, no forwarding and no address that its ADD did not make",
  ...NEEDED,
  fn: inWorld(async (world) => {
    for (const more of [{ ipMasq: false, isGateway: false }, { isGateway: false }, { ipMasq: false }]) {
      const pod = await attach(world, "bridge", more);
      if (more.isGateway === false) {
        await pod.machine.sh("sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
      }
      if (more.ipMasq === false) await pod.machine.sh("nft flush ruleset");
      assertEquals(await pod.check(), { code: 0, says: "" }, JSON.stringify(more));
      assert(await pod.machine.sh("ip link show br0") !== "");
      await pod.remove();
    }
  }),
});
