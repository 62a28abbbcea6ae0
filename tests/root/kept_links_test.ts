// A removed pod keeps nothing that leads to the host, whatever a surviving process in it did to its
// interfaces; only then does its address go to another pod. With the real plugins on the real kernel.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type CommandRequest, type RunCommand, runCommand } from "../../lib/host/command.ts";
import { netnsId } from "../../lib/host/netns.ts";
import { until } from "../until.ts";
import { inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, heldAddresses, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

const TRICKS: Readonly<Record<string, (other: number) => string>> = {
  "renames it": () => "ip link set eth0 down; ip link set eth0 name mine; ip link set mine up",
  "puts a veth in its place": () =>
    "ip link set eth0 down; ip link set eth0 name mine; ip link set mine up; ip link add eth0 type veth peer name peer",
  "puts a bridge in its place and gives it its address": () =>
    "ip link set eth0 down; ip link set eth0 name mine; ip link set mine up; ip link add eth0 type bridge; " +
    "ip link set eth0 address $(cat /sys/class/net/mine/address 2>/dev/null || echo 02:00:00:00:00:01)",
  "moves it to another namespace": (other) => `ip link set eth0 netns ${other}`,
  "moves it away and puts a veth in its place": (other) =>
    `ip link set eth0 netns ${other}; ip link add eth0 type veth peer name peer`,
  "gives it another hardware address": () => "ip link set eth0 address 02:00:00:00:00:07",
};

/** A process in a namespace of a path, or in a new one. */
function dweller(netns?: string): Deno.ChildProcess {
  const enter = netns === undefined ? ["unshare", "--net"] : ["nsenter", `--net=${netns}`];
  const [program = "", ...args] = [...enter, "--", "sleep", "600"];
  return new Deno.Command(program, { args }).spawn();
}

async function ports(world: World): Promise<readonly string[]> {
  const shown = await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`);
  return shown.split("\n").filter((line) => line !== "");
}

for (const flavour of FLAVOURS) {
  for (const [trick, script] of Object.entries(TRICKS)) {
    Deno.test({
      name: `nothing of a pod's interface is left when a process inside ${trick}: ${flavour.name}`,
      ...need("root", "ip", "iptables", ...flavour.needs),
      fn: inWorld(async (world) => {
        await bridgeNetwork(world, "one", { more: { isGateway: true, ipMasq: true } });
        const podwire = runtimeOf(world, flavour);
        const { id, netns, ips } = await podwire.sandboxes.run({
          name: `pod-${world.tag}`,
          networks: [{ name: "one", ifName: "eth0" }],
        });
        const own = await netnsId("/proc/self/ns/net");
        const [inside, elsewhere] = [dweller(netns), dweller()];
        try {
          const isIn = async ({ pid }: Deno.ChildProcess) => await netnsId(`/proc/${pid}/ns/net`) !== own;
          await until(async () => await isIn(inside) && await isIn(elsewhere), "both are inside");
          await sh(script(elsewhere.pid), netns);
          assertEquals((await ports(world)).length, 1);
          assert((await masqueradeRules(id)).length > 0);
          await podwire.sandboxes.remove(id, { force: true });
          assertEquals(await ports(world), []);
          assertEquals(await masqueradeRules(id), []);
          assertEquals(await podwire.attachments(), []);
          assertEquals(await heldAddresses(world, "one"), []);
          assertMatch(ips[0] ?? "", /^10\./);
        } finally {
          for (const child of [inside, elsewhere]) {
            child.kill("SIGKILL");
            await child.status;
          }
          await podwire.sandboxes.remove(id, { force: true });
        }
      }),
    });
  }

  Deno.test({
    name:
      `nothing of a pod's interface and its rules is left if its namespace is gone before: ${flavour.name}`,
    ...need("root", "ip", "iptables", ...flavour.needs),
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "one", { more: { isGateway: true, ipMasq: true } });
      const podwire = runtimeOf(world, flavour);
      const { id, netns } = await podwire.sandboxes.run({ networks: [{ name: "one", ifName: "eth0" }] });
      assert((await masqueradeRules(id)).length > 0);
      await sh(`umount -l ${netns}`);
      await podwire.sandboxes.remove(id, { force: true });
      const left = {
        ports: await ports(world),
        rules: await masqueradeRules(id),
        held: await heldAddresses(world, "one"),
        attachments: await podwire.attachments(),
      };
      assertEquals(left, { ports: [], rules: [], held: [], attachments: [] });
    }),
  });

  Deno.test({
    name: `a host end that cannot be removed keeps the attachment on record: ${flavour.name}`,
    ...need("root", "ip", ...flavour.needs),
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "one");
      const isRemoval = ({ program, args = [], stdin = "" }: CommandRequest) =>
        program === "ip" && `${args.join(" ")} ${stdin}`.includes("link delete");
      const broken: RunCommand = async (request) =>
        isRemoval(request)
          ? { ...await runCommand({ program: "false" }), stderr: "Command failed -:1\n" }
          : await runCommand(request);
      const { sandboxes } = runtimeOf(world, flavour);
      const networks = [{ name: "one", ifName: "eth0" }];
      const { id, netns } = await sandboxes.run({ networks });
      const inside = dweller(netns);
      const own = await netnsId("/proc/self/ns/net");
      await until(async () => await netnsId(`/proc/${inside.pid}/ns/net`) !== own, "it is inside");
      await sh(TRICKS["puts a veth in its place"]?.(0) ?? "", netns);
      const failing = runtimeOf(world, flavour, { run: broken });
      const failures = await failing.sandboxes.stop(id);
      assertEquals(failures.length, 1);
      const [{ state } = { state: "none" }] = await failing.attachments();
      assertEquals(state, "failed");
      // Until it is gone, it is cut off, or its address is held.
      const held = await heldAddresses(world, "one");
      const [port = ""] = await ports(world);
      if (held.length === 0) assertMatch(port, /state DOWN/);
      const podwire = runtimeOf(world, flavour);
      await podwire.recover();
      assertEquals({ ports: await ports(world), attachments: await podwire.attachments() }, {
        ports: [],
        attachments: [],
      });
      assertEquals(await heldAddresses(world, "one"), []);
      await podwire.sandboxes.remove(id);
      inside.kill("SIGKILL");
      await inside.status;
    }),
  });
}
