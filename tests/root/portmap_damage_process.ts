// The work of a test in builtin_portmap_rules_test.ts, in a network namespace of its own: what it removes belongs to all containers.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { PORTMAP_BACKENDS, type PortmapBackend } from "../../lib/builtin/portmap_config.ts";
import { dnatChain } from "../../lib/builtin/portmap_frame.ts";
import { assertDone } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { callOf, leftOf, OURS } from "./portmap_world.ts";

/** What happens to the rules, and what the CHECK says of it. */
function damages(backend: PortmapBackend, chain: string, id: string): readonly (readonly [string, RegExp])[] {
  if (backend === "iptables") {
    return [
      [`iptables -w -t nat -D ${chain} 3`, /no rule leads 18080-18081\/tcp of IPv4/],
      [`ip6tables -w -t nat -D ${chain} 1`, /masquerade connections to 18080-18081\/tcp of IPv6 are missing/],
      [`iptables -w -t nat -F CNI-HOSTPORT-DNAT`, /nothing leads to the rules of 18080-18081\/tcp of IPv4/],
      [
        "iptables -w -t nat -D OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        /OUTPUT .* is missing/,
      ],
      ["iptables -w -t nat -F CNI-HOSTPORT-MASQ", /CNI-HOSTPORT-MASQ .* is missing/],
      ["iptables -w -t nat -F; ip6tables -w -t nat -F", /is missing in the table nat of IPv4/],
    ];
  }
  const remove = (family: string, table: string, pattern: string) =>
    `nft -a list chain ${family} cni_hostport ${table} | grep '${pattern}' | sed 's/.* handle //' | ` +
    `while read -r handle; do nft delete rule ${family} cni_hostport ${table} handle $handle; done`;
  return [
    [remove("ip", "hostports", `dport.*${id}`), /no rule leads 18080-18081\/tcp of IPv4/],
    [
      remove("ip6", "masquerading", `proto-dst.*${id}`),
      /masquerade connections to the ports of IPv6 are missing/,
    ],
    [
      "nft flush chain ip cni_hostport prerouting",
      /nothing in the chain prerouting leads to the ports of IPv4/,
    ],
    ["nft flush chain ip6 cni_hostport output", /nothing in the chain output leads to the ports of IPv6/],
    ["nft flush chain ip cni_hostport hostports_all", /nothing in the chain hostports_all leads/],
    ["nft delete table ip cni_hostport", /no rule leads/],
  ];
}

async function check(backend: PortmapBackend): Promise<void> {
  await inWorld(async (world) => {
    const netns = await world.netns("a");
    const portMappings = [18080, 18081].map((hostPort) => ({
      ...{ hostPort, containerPort: hostPort - 18000, protocol: "tcp" },
    }));
    const call = callOf(world, netns, { runtimeConfig: { portMappings }, backend });
    const { containerId = "" } = call;
    const chain = await dnatChain({ network: `net-${world.tag}`, containerId });
    for (const [script, says] of damages(backend, chain, containerId)) {
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await sh(script);
      const { code, document } = await OURS({ ...call, verb: "CHECK" });
      assertEquals(code, 1, script);
      assertMatch(document.msg, says, script);
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      assertDone(await OURS({ ...call, verb: "DEL" }));
      assertEquals(await leftOf(world, chain), [], script);
    }
    const gone = await OURS({ ...call, verb: "CHECK" });
    assertStringIncludes(gone.document.msg, `no rules of the container are in ${backend}`);
  })();
}

if (import.meta.main) {
  const backend = PORTMAP_BACKENDS.find((name) => name === Deno.args[0]);
  if (backend === undefined) throw new Error(`no such backend: ${Deno.args[0]}`);
  await check(backend);
}
