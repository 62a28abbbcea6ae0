// Host ports with the reference plugins of release 1.9.1 on the real kernel: the rules of a port's owner stay
// as they are when another container asks for the port.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { need } from "./need.ts";
import { bridge, hostLocal, PORTMAP, SUBNET4 } from "./plugins_case.ts";
import { needKernel } from "./plugins_kernel.ts";
import { PluginWorld } from "./plugins_world.ts";

const withPorts = (...ports: readonly Record<string, string | number>[]) => ({
  capabilityArgs: { portMappings: ports.map((port) => ({ containerPort: 80, protocol: "tcp", ...port })) },
});

const test = needKernel(
  "F67 G49 the second owner of a port changes no rule of the kernel (plugins 1.9.1)",
  "iptables",
);

Deno.test({
  name: test.name,
  ignore: test.ignore || need("root", "ip", "cni-1.9.1").ignore,
  fn: async () => {
    await using world = await PluginWorld.make("1.9.1", "pod", "other");
    await world.network("1.0.0", [bridge(world), PORTMAP]);
    const [before, otherBefore] = [await world.left(), await world.left("other")];
    const one = world.request("pod", withPorts({ hostPort: 18080 }));
    await world.podwire.add(world.name, one);
    const rules = await world.rules();
    assert(rules.some((rule) => rule.includes("18080")), rules.join("\n"));
    for (const hostIP of ["", "0.0.0.0", "127.0.0.1", "::1", "::ffff:192.0.2.1"]) {
      const ports = withPorts({ hostPort: 18081 }, { hostPort: 18080, hostIP, protocol: "TCP" });
      const error = await assertRejects(
        () => world.podwire.add(world.name, world.request("other", ports)),
        CniError,
      );
      assertEquals({ kind: error.kind, network: error.context.network }, {
        kind: "conflict",
        network: world.name,
      });
      assertEquals({
        rules: await world.rules(),
        attachmentsCount: (await world.podwire.attachments()).length,
      }, { rules, attachmentsCount: 1 });
    }
    const udp = world.request("other", withPorts({ hostPort: 18080, protocol: "udp" }));
    await world.podwire.add(world.name, udp);
    await world.podwire.del(world.name, udp);
    assertEquals(await world.rules(), rules);
    await world.podwire.del(world.name, one);
    const other = world.request("other", withPorts({ hostPort: 18080 }));
    await world.podwire.add(world.name, other);
    assert((await world.rules()).some((rule) => rule.includes("18080")));
    await world.podwire.del(world.name, other);
    assertEquals([await world.left(), await world.left("other")], [before, otherBefore]);
  },
});

for (const release of ["1.1.1", "1.9.1"] as const) {
  const check = needKernel(
    `the CHECK of portmap ${release} gets a hint where a known defect alone explains its failure, and no hint where rules ` +
      "are missing (plugins#819)",
    "iptables",
  );

  Deno.test({
    name: check.name,
    ignore: check.ignore || need("root", "ip", `cni-${release}`).ignore,
    fn: async () => {
      await using world = await PluginWorld.make(release, "v4", "both");
      for (const [pod, subnets] of [["v4", [SUBNET4]], ["both", []]] as const) {
        await world.network("1.0.0", [bridge(world, { ipam: hostLocal(world, ...subnets) }), PORTMAP], pod);
        const request = world.request(pod, withPorts({ hostPort: 18080 }));
        await world.podwire.add(world.name, request);
        const check = () => world.podwire.check(world.name, request);
        if (release === "1.9.1") await check();
        else assertMatch((await assertRejects(check, CniError)).context.hint ?? "", /plugins#819/);
        await world.sh("iptables -w -t nat -F CNI-HOSTPORT-DNAT");
        assertEquals((await assertRejects(check, CniError)).context.hint, undefined);
        await world.podwire.del(world.name, request);
      }
    },
  });
}
