// What the built-in bridge keeps a container, and the host, from: frames with another MAC address, an interface that is up, the
// loss of a default route that a router advertises.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { RunCommand } from "../../lib/host/command.ts";
import { runInside } from "../../lib/host/netns.ts";
import { assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { connects, inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, need } from "./need.ts";

const CALLERS = {
  "built-in": (call: Call) => callBuiltin("bridge", call),
  "1.1.1": (call: Call) => callBinary(CNI_1_1_1, "bridge", call),
  "1.9.1": (call: Call) => callBinary(CNI_1_9_1, "bridge", call),
} as const;
type Caller = keyof typeof CALLERS;

function callOf(world: World, netns: string, pod: string, more: JsonObject = {}): Omit<Call, "verb"> {
  const config = {
    cniVersion: "1.0.0",
    name: `net-${world.tag}`,
    type: "bridge",
    bridge: world.bridge,
    macspoofchk: true,
    ipam: { type: "host-local", dataDir: world.dir, ranges: [[{ subnet: `${world.subnet4}.0/24` }]] },
    ...more,
  };
  return { containerId: `${pod}-${world.tag}`, netns, ifName: "eth0", config };
}

const table = async () => await sh("nft list table bridge nat 2>/dev/null || :");
const linesOf = async (world: World) =>
  (await table()).split("\n").filter((line) => line.includes(world.tag)).map((line) =>
    line.trim().replace(/veth[0-9a-f]{8}/, "VETH").replace(/[0-9a-f:]{17}/, "MAC").replaceAll(
      world.tag,
      "TAG",
    )
  );

const RULES = [
  "chain cni-br-iface-a-TAG-eth0 {",
  "chain cni-br-iface-a-TAG-eth0-mac {",
  'drop comment "macspoofchk-a-TAG-eth0"',
  'ether saddr MAC return comment "macspoofchk-a-TAG-eth0"',
  'iifname "VETH" jump cni-br-iface-a-TAG-eth0 comment "macspoofchk-a-TAG-eth0"',
  'jump cni-br-iface-a-TAG-eth0-mac comment "macspoofchk-a-TAG-eth0"',
];

for (const adder of ["built-in", "1.1.1", "1.9.1"] as const satisfies readonly Caller[]) {
  const others = adder === "built-in" ? ["built-in", "1.1.1", "1.9.1"] as const : ["built-in"] as const;
  for (const remover of others) {
    Deno.test({
      name: `macspoofchk: the rules of ${adder} are the same, checked and removed by ${remover}`,
      ...need("root", "ip", "nft", "cni-1.1.1", "cni-1.9.1"),
      fn: inWorld(async (world) => {
        const call = callOf(world, await world.netns("a"), "a");
        const added = await CALLERS[adder]({ ...call, verb: "ADD" });
        assertDone(added);
        assertEquals((await linesOf(world)).sort(), RULES);
        const config = { ...call.config, prevResult: added.document };
        if (remover === "built-in") assertDone(await CALLERS[remover]({ ...call, config, verb: "CHECK" }));
        assertDone(await CALLERS[remover]({ ...call, config, verb: "DEL" }));
        assertEquals(await linesOf(world), []);
      }),
    });
  }
}

Deno.test({
  name: "macspoofchk: a container reaches others with its own MAC address, and none with another one",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const [a, b] = [await world.netns("a"), await world.netns("b")];
    const first = resultOf(await callBuiltin("bridge", { ...callOf(world, a, "a"), verb: "ADD" }));
    const second = resultOf(await callBuiltin("bridge", { ...callOf(world, b, "b"), verb: "ADD" }));
    const target = second.ips?.[0]?.address.split("/")[0] ?? "";
    assert(await connects(a, b, target));
    await sh("ip link set eth0 address 02:11:22:33:44:55 && ip neigh flush all", a);
    await sh("ip neigh flush all", b);
    const script = `timeout 2 bash -c 'exec 3<>/dev/tcp/${target}/9' 2>&1 || :`;
    // A refusal would mean that the frame has arrived.
    assert(!(await sh(script, a)).includes("refused"));
    const own = first.interfaces?.[2]?.mac;
    await sh(`ip link set eth0 address ${own} && ip neigh flush all`, a);
    assert(await connects(a, b, target));
  }),
});

Deno.test({
  name:
    "macspoofchk: CHECK names a rule that is gone, an ADD after a lost DEL makes them once, and DEL works without the namespace",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = callOf(world, netns, "a");
    const added = await callBuiltin("bridge", { ...call, verb: "ADD" });
    const config = { ...call.config, prevResult: added.document };
    const check = async () => (await callBuiltin("bridge", { ...call, config, verb: "CHECK" })).document?.msg;
    assertEquals(await check(), undefined);
    const chain = `cni-br-iface-a-${world.tag}-eth0`;
    await sh(`nft flush chain bridge nat ${chain}-mac`);
    assertEquals(await check(), `the rules of macspoofchk in "${chain}" are not as the ADD made them`);
    await sh("ip link delete eth0", netns);
    const again = await callBuiltin("bridge", { ...call, verb: "ADD" });
    // The address of the lost attachment is still held.
    if (again.code !== 0) assertStringIncludes(String(again.document.msg), "duplicate allocation");
    for (const gone of ["", "/run/netns/absent"]) {
      assertDone(await callBuiltin("bridge", { ...call, netns: gone, config, verb: "DEL" }));
      assertEquals(await linesOf(world), []);
    }
  }),
});

Deno.test({
  name: "U10 macspoofchk: GC removes the rules of ports that are gone, and no others",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const [a, b] = [await world.netns("a"), await world.netns("b")];
    const [gone, kept] = [callOf(world, a, "a"), callOf(world, b, "b")];
    for (const call of [gone, kept]) assertDone(await callBuiltin("bridge", { ...call, verb: "ADD" }));
    await sh("ip link delete eth0", a);
    const valid = [{ containerID: kept.containerId ?? "", ifname: "eth0" }];
    const config = { ...kept.config, cniVersion: "1.1.0", "cni.dev/valid-attachments": valid };
    assertDone(await callBuiltin("bridge", { verb: "GC", config }));
    const lines = await linesOf(world);
    assertEquals(lines.filter((line) => line.includes("-a-TAG")), []);
    assertEquals(lines.length, RULES.length);
  }),
});

Deno.test({
  name:
    "U5 enabledad: an address that another machine on the bridge has is refused, and one that is free is usable at once",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const subnet = `${world.subnet6}::/64`;
    const ipam = { type: "host-local", dataDir: world.dir, ranges: [[{ subnet }]] };
    const more = { macspoofchk: false, enabledad: true, ipam };
    const [a, b] = [await world.netns("a"), await world.netns("b")];
    const first = callOf(world, a, "a", more);
    const added = await callBuiltin("bridge", { ...first, verb: "ADD" });
    assertEquals(resultOf(added).ips?.[0]?.address, `${world.subnet6}::2/64`);
    assertEquals(await sh("ip -6 addr show dev eth0 scope global tentative", a), "");
    // The next address is that of a machine that host-local knows nothing of.
    await sh(`ip addr add ${world.subnet6}::3/64 dev eth0 nodad`, a);
    const second = callOf(world, b, "b", more);
    const refused = await callBuiltin("bridge", { ...second, verb: "ADD" });
    assertEquals(
      refused.document?.msg,
      `Cannot use the address ${world.subnet6}::3/64: another machine on the link has it`,
    );
    assertEquals((await sh("ip -o link show", b)).trim().split("\n").length, 1);
    const config = { ...first.config, prevResult: added.document };
    assertDone(await callBuiltin("bridge", { ...first, config, verb: "CHECK" }));
    assertDone(await callBuiltin("bridge", { ...first, config, verb: "DEL" }));
  }),
});

Deno.test({
  name: "an interface that is to stay down stays down, and CHECK sees when it is up",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const more = { macspoofchk: false, disableContainerInterface: true, ipam: {} };
    const call = callOf(world, netns, "a", more);
    for (const caller of ["1.9.1", "built-in"] as const) {
      const added = await CALLERS[caller]({ ...call, verb: "ADD" });
      assertDone(added);
      assertMatch(await sh("ip -o link show eth0", netns), /state DOWN/);
      const config = { ...call.config, prevResult: added.document };
      assertDone(await callBuiltin("bridge", { ...call, config, verb: "CHECK" }));
      await sh("ip link set eth0 up", netns);
      const { document } = await callBuiltin("bridge", { ...call, config, verb: "CHECK" });
      assertEquals(document?.msg, 'interface "eth0" is up');
      assertDone(await callBuiltin("bridge", { ...call, config, verb: "DEL" }));
    }
  }),
});

const MANY = 1_000;

/** Rules of so many guarded ports, as an ADD makes them. */
function manyGuarded(): string {
  const lines = [
    "add table bridge nat",
    "add chain bridge nat PREROUTING { type filter hook prerouting priority -300 ; }",
  ];
  for (let at = 0; at < MANY; at++) {
    const iface = `cni-br-iface-other${at}-eth0`;
    const comment = `comment "macspoofchk-other${at}-eth0"`;
    lines.push(
      `add chain bridge nat ${iface}`,
      `add chain bridge nat ${iface}-mac`,
      `add rule bridge nat PREROUTING iifname "other${at}" jump ${iface} ${comment}`,
      `add rule bridge nat ${iface} jump ${iface}-mac ${comment}`,
      `add rule bridge nat ${iface}-mac ether saddr 02:00:00:00:00:01 return ${comment}`,
      `add rule bridge nat ${iface}-mac drop ${comment}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

Deno.test({
  name:
    "U10 macspoofchk: beside 1,000 guarded ports an ADD and a DEL start the same programs, and read no rule of their chains",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const machine = await world.netns("machine");
    const netns = await world.netns("a");
    const asked: string[] = [];
    const answers: string[] = [];
    const run: RunCommand = async (request) => {
      const outcome = await runInside(machine, request);
      if (request.program === "nft") {
        asked.push(`${request.args?.join(" ")}`);
        answers.push(outcome.stdout);
      }
      return outcome;
    };
    const call = callOf(world, netns, "a");
    const life = async () => {
      for (const verb of ["ADD", "DEL"] as const) {
        assertDone(await callBuiltin("bridge", { ...call, verb }, run));
      }
      return [asked.splice(0), answers.splice(0).join("")] as const;
    };
    // The first one makes the bridge and the chain.
    await life();
    const [alone] = await life();
    const { code, stderr } = await runInside(machine, {
      program: "nft",
      args: ["-f", "-"],
      stdin: manyGuarded(),
    });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const [beside, shown] = await life();
    assertEquals(beside, alone);
    assertEquals(beside.filter((args) => /ruleset|list table/.test(args)), []);
    // Of the others it sees how they are entered, no more.
    assertEquals(shown.includes("02:00:00:00:00:01"), false);
    assertEquals(shown.includes("other999"), true);
  }),
});
