// Networks that are created, used by the original plugins, and removed, on the real kernel.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { runCommand } from "../../lib/host/command.ts";
import { EMBEDDED_FILE } from "../../lib/catalog/embedded_network.ts";
import type { NetworkRequest } from "../../lib/network/network_request.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import { LiveRuntime } from "../../lib/runtime/live.ts";
import { CNI_1_9_1, need } from "./need.ts";
import { PeerServer, seenAs } from "./plugins_traffic.ts";
import { sandboxTest, SandboxWorld } from "./sandbox_world.ts";

/** A name that no other test gives to a bridge. */
const unique = (name: string) => `${name}${crypto.randomUUID().slice(-6)}`;

const failing = (act: () => Promise<unknown>) => assertRejects(act, CniError);

const ADDRESSES = "/var/lib/cni/networks";
/** What is in the directory of the addresses of a network; undefined if there is none. */
const addressFiles = (network: string) =>
  isThere(`${ADDRESSES}/${network}`)
    ? Array.from(Deno.readDirSync(`${ADDRESSES}/${network}`), ({ name }) => name).sort()
    : undefined;
const isThere = (path: string) => {
  try {
    return Deno.lstatSync(path) !== undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
};
/** The names of the files of the configuration directory. */
const files = (world: SandboxWorld) => Array.from(Deno.readDirSync(world.confDir), ({ name }) => name).sort();

async function links(): Promise<string[]> {
  const { stdout } = await runCommand({ program: "ip", args: ["-j", "link", "show"] });
  return JSON.parse(stdout).map(({ ifname }: { ifname: string }) => ifname);
}

Deno.test({
  name:
    "U88 U89 a network that was created is used by the original plugins, shows its containers, and goes without a trace",
  ...need("root", "ip", "cni-1.9.1", "iptables"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    const podwire = world.podwire({ pluginDirs: [CNI_1_9_1], builtinPolicy: "off" });
    const name = unique("w");
    const { file, warnings } = await podwire.createNetwork({ name, ipv6: true, mtu: 1400 });
    assertEquals({ file, warnings }, { file: `${world.confDir}/${name}.conflist`, warnings: [] });
    assertEquals(Deno.statSync(file).mode! & 0o777, 0o644);
    const [four = "", six = ""] = (await podwire.inspectNetwork(name)).subnets;
    assertMatch(four, /^10\.21[01]\.\d+\.0\/24$/);
    assertMatch(six, /^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
    // Only a file was made.
    assert(!(await links()).includes(`pw-${name}`));
    const ids = ["one", "two"].map((id) => world.id(id));
    for (const id of ids) {
      await podwire.sandboxes.run({ id, name: world.plain(id), networks: [{ name }] });
    }
    const { attachments, created } = await podwire.inspectNetwork(name);
    assertEquals(
      attachments.map(({ containerId, ifName, pod, state, addresses, mac }) => ({
        ...{ id: world.plain(containerId), ifName, pod, state, addresses: addresses.length },
        mac: /^[0-9a-f:]{17}$/.test(mac ?? ""),
      })),
      ["one", "two"].map((id) => ({
        ...{ id, ifName: "eth0", pod: `default/${id}`, state: "attached", addresses: 2, mac: true },
      })),
    );
    assertMatch(created ?? "", /^\d{4}-/);
    const netns = await Promise.all(ids.map(async (id) => (await podwire.sandboxes.get(id)).netns));
    await using _server = await PeerServer.start(netns[1] ?? "", 80);
    const [own, target] = attachments.map(({ addresses: [address = ""] }) => address.split("/")[0] ?? "");
    assertEquals(await seenAs(netns[0] ?? "", target ?? "", 80), own);
    const refused = await failing(() => podwire.removeNetwork(name));
    assertEquals([refused.kind, refused.msg], [
      "conflict",
      `Cannot remove the network "${name}": containers are attached to it`,
    ]);
    assertEquals(world.plain(refused.context.details ?? ""), "one:eth0, two:eth0");
    for (const id of ids) await podwire.sandboxes.remove(id);
    // The original bridge leaves its bridge, and host-local its directory; they go with their network.
    assert((await links()).includes(`pw-${name}`));
    assertEquals(addressFiles(name), ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
    await podwire.removeNetwork(name);
    assertEquals(addressFiles(name), undefined);
    assertEquals([files(world), (await links()).includes(`pw-${name}`)], [[], false]);
    assertEquals((await failing(() => podwire.removeNetwork(name))).kind, "not-found");
  },
});

sandboxTest(
  "the addresses of a removed network stay as long as one is held, or another file is there",
  async (world) => {
    const podwire = world.podwire({ pluginDirs: [`${world.confDir}/none`] });
    for (const kept of ["10.210.0.77", "note"]) {
      const name = unique("k");
      const dir = `${ADDRESSES}/${name}`;
      await podwire.createNetwork({ name });
      await podwire.sandboxes.run({ id: world.id(name), name, networks: [{ name }] });
      await podwire.sandboxes.remove(name);
      await Deno.writeTextFile(`${dir}/${kept}`, "another\r\neth0");
      await podwire.removeNetwork(name);
      assert(addressFiles(name)?.includes(kept));
      await Deno.remove(`${dir}/${kept}`);
      await podwire.createNetwork({ name });
      await podwire.removeNetwork(name);
      assertEquals(addressFiles(name), undefined);
      const own = [".podwire", ".podwire/.names"].map((folder) => `${ADDRESSES}/${folder}/${name}`);
      assertEquals(own.filter((path) => isThere(path)), []);
    }
  },
);

sandboxTest(
  "networks beside the embedded one leave it the default, until a file of another owner is there",
  async (world) => {
    const podwire = () => world.podwire({ pluginDirs: [CNI_1_9_1] });
    const defaults = async () => (await podwire().listNetworks()).map((one) => `${one.name} ${one.default}`);
    await podwire().createNetwork({ name: "back" });
    assertEquals(await defaults(), ["podwire true", "back false"]);
    // A process that attaches remembers what it has read.
    await failing(() => podwire().sandboxes.run({ name: "web", networks: [{ name: "absent" }] }));
    assertEquals(await defaults(), ["podwire true", "back false"]);
    const plugins = [{
      type: "bridge",
      bridge: "cni9",
      ipam: { type: "host-local", subnet: "10.88.0.0/24" },
    }];
    const list = JSON.stringify({ cniVersion: "1.0.0", name: "zone", plugins });
    await Deno.writeTextFile(`${world.confDir}/zone.conflist`, list);
    assertEquals(await defaults(), ["back true", "zone false"]);
    const overlap = await failing(() => podwire().createNetwork({ name: "x", subnets: ["10.88.0.0/16"] }));
    assertEquals(overlap.msg, '10.88.0.0/16 overlaps with 10.88.0.0/24, the network "zone" (zone.conflist)');
    const foreign = await failing(() => podwire().removeNetwork("zone"));
    assertEquals([foreign.kind, foreign.msg], [
      "usage",
      'Cannot remove the network "zone": podwire has not made its file',
    ]);
    await Deno.remove(`${world.confDir}/back.conflist`);
    assertEquals(files(world), ["zone.conflist"]);
  },
);

sandboxTest(
  "a damaged file of a created network hides neither its network nor the embedded one",
  async (world) => {
    const podwire = () => world.podwire({ pluginDirs: [CNI_1_9_1] });
    await podwire().createNetwork({ name: "back" });
    await failing(() => podwire().sandboxes.run({ name: "web", networks: [{ name: "absent" }] }));
    await Deno.writeTextFile(`${world.confDir}/back.conflist`, "{");
    assertEquals((await podwire().networks()).map(({ name, status }) => `${name} ${status}`), [
      "podwire used",
      "back stale",
    ]);
  },
);

sandboxTest("a bridge that is there is not taken for that of a new network", async (world) => {
  const podwire = world.podwire({ pluginDirs: [CNI_1_9_1] });
  const name = unique("b");
  const bridge = `pw-${name}`;
  await world.sh("ip link add $1 type bridge", bridge);
  try {
    const { kind, msg } = await failing(() => podwire.createNetwork({ name }));
    assertEquals([kind, msg], [
      "conflict",
      `Cannot create the network "${name}": there is an interface "${bridge}"`,
    ]);
    assertEquals(files(world), []);
    await podwire.createNetwork({ name, options: { bridge } });
    await podwire.removeNetwork(name);
    assert((await links()).includes(bridge));
  } finally {
    await world.sh("ip link delete $1", bridge);
  }
});

sandboxTest(
  "U84 the embedded network is neither created nor removed, and its subnets stay its own",
  async (world) => {
    const podwire = world.podwire();
    assertEquals((await failing(() => podwire.createNetwork({ name: "podwire" }))).kind, "usage");
    const { kind, msg } = await failing(() => podwire.removeNetwork("podwire"));
    assertEquals([kind, msg], ["usage", '"podwire" is the embedded network, which has no file']);
    for (const subnet of ["10.209.0.0/16", "10.209.7.0/24", "fd50:7704::/64"]) {
      const error = await failing(() => podwire.createNetwork({ name: "x", subnets: [subnet] }));
      assertStringIncludes(error.msg, "the embedded network");
    }
    assertEquals((await podwire.inspectNetwork("podwire")).file, EMBEDDED_FILE);
    assertEquals(files(world), []);
  },
);

Deno.test({
  name:
    "U82 the same holds for IPv6; ipvlan shares the subnet of its parent, and a network on a foreign bridge that of the bridge",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    const [link, bridge] = [unique("ho"), unique("hb")];
    const tag = (1 + crypto.getRandomValues(new Uint16Array(1))[0]! % 0xffff).toString(16);
    const net = (rest: string) => `fd77:${tag}:0:${rest}`;
    await world.sh(
      `ip link add $1 type veth peer name $1p && ip link set $1 up && ip link set $1p up && ip link add $2 type bridge &&
      ip link set $2 up && ip addr add ${net("1::1/64")} dev $1 nodad && ip addr add ${
        net("2::1/64")
      } dev $2 nodad &&
      ip route add fd77:${tag}::/48 via ${net("1::9")} dev $1`,
      link,
      bridge,
    );
    try {
      const podwire = world.podwire({ pluginDirs: [CNI_1_9_1] });
      const create = (name: string, subnet: string, more: Partial<NetworkRequest> = {}) =>
        podwire.createNetwork({ name, subnets: [subnet], ...more });
      const wide = `fd77:${tag}::/48`;
      for (
        const [subnet, by] of [[net("1::/64"), link], [net("1::/80"), link], [wide, link], [
          net("2::/64"),
          bridge,
        ]]
      ) {
        const { kind, msg } = await failing(() => create("x", subnet ?? ""));
        assertEquals([kind, msg.includes(` overlaps with fd77:${tag}:`), msg.includes(by ?? "")], [
          "conflict",
          true,
          true,
        ], msg);
      }
      // Nor on a bridge that of another interface.
      const other = await failing(() => create("x", net("1::/64"), { options: { bridge } }));
      assertEquals(other.kind, "conflict");
      assertStringIncludes(other.msg, link);
      assertEquals(files(world), []);
      const { warnings } = await create("narrow", net("9::/64"));
      assertStringIncludes(warnings[0] ?? "", `the subnet is in ${wide}, the route through ${link}`);
      const onLink = { driver: "ipvlan", options: { parent: link } } as const;
      for (const name of ["lan", "lan2"]) {
        assertEquals((await create(name, net("1::/64"), onLink)).warnings, []);
      }
      // The wide route is not one of the bridge.
      const own = await create("own", net("2::/64"), { options: { bridge } });
      assertEquals(own.warnings.map((warning) => warning.includes(wide)), [true]);
    } finally {
      await world.sh("ip link delete $1; ip link delete $2", link, bridge);
    }
  },
});

Deno.test({
  name: "U82 what this host routes is refused if it is equal or narrower, and is a warning if it is wider",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    const [link, peer] = [unique("ho"), unique("hp")];
    const octet = 64 + crypto.getRandomValues(new Uint8Array(1))[0]! % 64;
    const net = (rest: string) => `100.${octet}.${rest}`;
    await world.sh(
      `ip link add $1 type veth peer name $2 && ip link set $1 up && ip link set $2 up &&
      ip addr add ${net("1.1/24")} dev $1 && ip route add ${net("64.0/18")} via ${net("1.9")} dev $1`,
      link,
      peer,
    );
    try {
      const podwire = world.podwire({ pluginDirs: [CNI_1_9_1] });
      const refused = async (...subnets: string[]) =>
        (await failing(() => podwire.createNetwork({ name: "x", subnets }))).msg;
      const address = `the address ${net("1.1/24")} of ${link}`;
      assertEquals(
        await refused(net("1.0/24")),
        `${net("1.0/24")} overlaps with ${net("1.1/32")}, ${address}`,
      );
      assertEquals(
        await refused(net("1.0/25")),
        `${net("1.0/25")} overlaps with ${net("1.1/32")}, ${address}`,
      );
      assertStringIncludes(await refused(net("64.0/18")), `the route through ${link}`);
      assertStringIncludes(await refused(net("0.0/16")), "overlaps with");
      assertEquals(files(world), []);
      const { warnings } = await podwire.createNetwork({ name: "narrow", subnets: [net("65.0/24")] });
      assertStringIncludes(
        warnings[0] ?? "",
        `the subnet is in ${net("64.0/18")}, the route through ${link}`,
      );
      // Its containers are in the network of the parent.
      const lan = { driver: "macvlan" as const, subnets: [net("1.0/24")], options: { parent: link } };
      assertEquals((await podwire.createNetwork({ name: "lan", ...lan })).warnings, []);
      assertEquals((await podwire.createNetwork({ name: "lan2", ...lan })).warnings, []);
      const own = await podwire.createNetwork({ name: "own", subnets: [net("1.0/24")], allowOverlap: true });
      assertEquals(own.list.name, "own");
    } finally {
      await world.sh("ip link delete $1", link);
    }
  },
});

sandboxTest(
  "of many calls at the same time each gets a subnet of its own, and one name is given once",
  async (world) => {
    const make = (name: string) => world.podwire({ pluginDirs: [CNI_1_9_1] }).createNetwork({ name });
    const pools = ["100.127.0.0/21"];
    const created = await Promise.all(
      Array.from(
        { length: 8 },
        (_, index) => world.podwire({ pluginDirs: [CNI_1_9_1] }).createNetwork({ name: `n${index}`, pools }),
      ),
    );
    assertEquals(created.length, 8);
    const networks = await world.podwire().listNetworks();
    const subnets = networks.filter(({ created }) => created !== null).flatMap(({ subnets }) => subnets);
    assertEquals(subnets.sort(), Array.from({ length: 8 }, (_, index) => `100.127.${index}.0/24`));
    const full = await failing(() => world.podwire().createNetwork({ name: "more", pools }));
    assertEquals([full.kind, full.msg], ["conflict", "Cannot choose a subnet: all pools are in use"]);
    assertMatch(
      full.context.details ?? "",
      /^100\.127\.0\.0\/21: 100\.127\.\d\.0\/24, the network "n\d" \(n\d\.conflist\);.*; and 4 more$/,
    );
    const outcomes = await Promise.allSettled([make("same"), make("same"), make("same")]);
    assertEquals(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  },
);

sandboxTest(
  "a live runtime uses a network as soon as it is created, and no more when it is removed",
  async (world) => {
    const runtime = await LiveRuntime.open({ ...world.options, log: world.log });
    try {
      await runtime.createNetwork({ name: "back", options: { ipam: "none", bridge: unique("br") } });
      const names = async (of: Pick<Podwire, "listNetworks">) =>
        (await of.listNetworks()).map(({ name }) => name);
      assertEquals(await names(runtime), ["podwire", "back"]);
      // What another process has just created is seen, whether its event has arrived or not.
      const pools = ["100.125.0.0/23"];
      await world.podwire({ pluginDirs: [CNI_1_9_1] }).createNetwork({ name: "n0", pools });
      await runtime.createNetwork({ name: "n1", pools });
      assertEquals((await runtime.inspectNetwork("n1")).subnets, ["100.125.1.0/24"]);
      for (const name of ["back", "n0", "n1"]) await runtime.removeNetwork(name);
      assertEquals(await names(runtime), ["podwire"]);
    } finally {
      await runtime[Symbol.asyncDispose]();
    }
  },
);

sandboxTest(
  "a template is filled with the networks of the node's pods, and has to be whole",
  async (world) => {
    const podwire = world.podwire({ pluginDirs: [CNI_1_9_1] });
    const name = unique("t");
    const ranges = '[{{range $i, $r := .PodCIDRRanges}}{{if $i}},{{end}}[{"subnet": "{{$r}}"}]{{end}}]';
    const plugins =
      `[{"type": "bridge", "bridge": "${name}", "ipam": {"type": "host-local", "ranges": ${ranges}}}]`;
    const template = `{"cniVersion": "1.0.0", "name": "${name}", "plugins": ${plugins}}`;
    const podCIDRs = ["100.126.9.0/24", "fd77:9::/64"];
    const refused = async (more: object) =>
      (await failing(() => podwire.createNetwork({ name, template, podCIDRs, ...more }))).msg;
    assertEquals(await refused({ podCIDRs: [] }), "podCIDRs: a template needs the networks of the pods");
    assertEquals(await refused({ mtu: 1400 }), "mtu: a template has its own");
    assertEquals(await refused({ name: "other" }), `template: its network is "${name}", not "other"`);
    assertStringIncludes(
      await refused({ template: "{{.Node}}" }),
      "template: line 1: {{.Node}} is not known",
    );
    assertStringIncludes(await refused({ podCIDRs: ["10.209.3.0/24"] }), "the embedded network");
    assertEquals(files(world), []);
    await podwire.createNetwork({ name, template, podCIDRs });
    assertEquals((await podwire.inspectNetwork(name)).subnets, podCIDRs);
    // Without a template it is a subnet.
    const overlap = await failing(() => podwire.createNetwork({ name: "plain", podCIDRs }));
    assertStringIncludes(overlap.msg, `the network "${name}"`);
    await podwire.removeNetwork(name);
    await podwire.createNetwork({ name: "plain", podCIDRs });
    assertEquals((await podwire.inspectNetwork("plain")).subnets, podCIDRs);
  },
);
