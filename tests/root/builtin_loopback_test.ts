import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertDone, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { CNI_1_9_1, need } from "./need.ts";

const config = { cniVersion: "1.1.0", name: "lo-net", type: "loopback" };

Deno.test({
  name: "loopback: ADD sets lo up, CHECK sees it, DEL sets it down",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    await sh("ip link set lo down", netns);
    const call = { containerId: "c1", netns, ifName: "lo", config };
    const down = await callBuiltin("loopback", { ...call, verb: "CHECK" });
    assertEquals(down.document.msg, "loopback interface is down");
    assertEquals(resultOf(await callBuiltin("loopback", { ...call, verb: "ADD" })), {
      cniVersion: "1.1.0",
      interfaces: [{ name: "lo", mac: "00:00:00:00:00:00", sandbox: netns }],
      ips: [{ interface: 0, address: "127.0.0.1/8" }, { interface: 0, address: "::1/128" }],
    });
    assertDone(await callBuiltin("loopback", { ...call, verb: "CHECK" }));
    assertDone(await callBuiltin("loopback", { ...call, verb: "DEL" }));
    assertStringIncludes(await sh("ip link show lo", netns), "state DOWN");
    assertDone(await callBuiltin("loopback", { ...call, verb: "DEL" }));
  }),
});

Deno.test({
  name: "loopback: DEL without namespace is fine, ADD is code 8",
  ...need("root", "ip"),
  fn: async () => {
    const call = { containerId: "c1", netns: "/run/netns/pwt-gone", ifName: "lo", config };
    assertDone(await callBuiltin("loopback", { ...call, verb: "DEL" }));
    assertDone(await callBuiltin("loopback", { ...call, netns: "", verb: "DEL" }));
    const { document } = await callBuiltin("loopback", { ...call, verb: "ADD" });
    assertEquals(document.code, 8);
    assertEquals(document.msg, 'Cannot open network namespace "/run/netns/pwt-gone": does not exist');
  },
});

Deno.test({
  name: "U81 loopback: the result of earlier plugins is passed on, a foreign address is refused",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: netns }] };
    const call = { verb: "ADD", containerId: "c1", netns, ifName: "lo" } as const;
    const passed = await callBuiltin("loopback", { ...call, config: { ...config, prevResult } });
    assertEquals(passed.document, prevResult);
    await sh("ip addr add 10.9.9.9/32 dev lo", netns);
    const { document } = await callBuiltin("loopback", { ...call, config });
    assertStringIncludes(document.msg, "non-loopback address");
  }),
});

Deno.test({
  name: "loopback: answers as the reference plugin does",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    // In versions below 1.0.0 the reference plugin loses the members that those versions had.
    const call = {
      verb: "ADD",
      containerId: "c1",
      netns,
      ifName: "lo",
      config: { ...config, cniVersion: "1.0.0" },
    } as const;
    const [ours, theirs] = [
      await callBuiltin("loopback", call),
      await callBinary(CNI_1_9_1, "loopback", call),
    ];
    assertEquals(ours.document, theirs.document);
  }),
});
