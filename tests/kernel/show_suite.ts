import { assert, assertEquals } from "@std/assert";
import type { LinkInfo } from "../../lib/host/link_info.ts";
import type { CreateVeth, Question } from "../../lib/kernel/operation.ts";
import type { TestedKernel } from "./kernels.ts";
import { besideIp, cidr, ipLines, linksByIp, MAC, sh, type World, worldTest } from "./world.ts";

/** Links of many kinds, those that this kernel has; each may fail. */
const KINDS = `
ip link add br0 type bridge; ip link add br1 type bridge
ip link add a0 type veth peer name a1; ip link set a0 master br0 up; ip link set a1 up
ip link add b0 type veth peer name eth0 netns "$1"; ip link set b0 master br1
ip link set br0 up promisc on; ip link set br1 alias "alias with spaces"
ip link property add dev br1 altname other altname a-name-that-is-longer-than-fifteen
ip tuntap add tap0 mode tap; ip link set tap0 up; ip tuntap add tun0 mode tun; ip link set tun0 master br0
ip address add 10.1.2.3/24 broadcast + dev br0; ip address add fd00::5/64 dev br0
ip address add 10.1.2.4 peer 10.1.2.5/30 dev br0; ip address add 10.9.0.1/32 scope 77 dev br0
ip address add 10.9.0.2/32 scope link dev br0; ip address add 10.9.0.3/32 scope site dev br0
ip address add ::7.8.9.10/128 dev br0; ip address add ::ffff:7.8.9.10/128 dev br0; ip address add ::5/128 dev br0
ip address add 2001:db8:0:1:0:0:0:1/64 dev br0; ip address add 1:0:2:0:3:0:4:0/64 dev br0
ip link add ifb0 type ifb; ip link set ifb0 mtu 9000; ip link add dummy0 type dummy
ip link add vlan5 link a1 type vlan id 5; ip link add mv0 link a1 type macvlan; ip link add iv0 link a1 type ipvlan
ip link add gre0x type gre local 10.1.2.3 remote 10.1.2.9; ip link add gre6x type ip6gre local fd00::5 remote fd00::6
ip link add ipip0 type ipip local 10.1.2.3; ip link add sit0x type sit local 10.1.2.3
ip link add tnl6 type ip6tnl local fd00::5; ip link add vx0 type vxlan id 7 dstport 4789 dev a1
ip link add bond0 type bond; ip link add team0 type team; ip link add vrf0 type vrf table 10
ip link add wg0 type wireguard; ip link add vcan0 type vcan; ip link add nl0 type nlmon; ip link add hsr0 type hsr
ip link add macsec0 link a1 type macsec; ip link add bare0 type bareudp dstport 6635 ethertype ip
:
`;

const veth = (name: string, bridge: string, netns: string): CreateVeth => ({
  kind: "create-veth",
  name,
  mac: MAC,
  bridge,
  peer: { name, mac: MAC, netns },
});

/** The tests of operations that show interfaces. */
export function showSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("every fact about every kind of interface is as `ip` shows it", async (world) => {
    const { kernel, host, pod } = world;
    await sh('nsenter --net="$0" sh -c "$2" sh "$1" 2>/dev/null', host, pod, KINDS);
    for (const netns of [host, pod]) {
      const compare = async (question: Question, ...args: string[]) => {
        const ask = async () => [(await kernel.apply([question], { netns }))[0]].flat();
        const { answer, byIp } = await besideIp(netns, args, ask);
        assertEquals(answer, byIp, JSON.stringify(question));
        return byIp;
      };
      await compare({ kind: "show-links" }, "link", "show");
      const ofOneKind = async () =>
        [(await kernel.apply([{ kind: "show-links", of: "veth" }], { netns }))[0]].flat();
      const veths = await besideIp(netns, ["link", "show", "type", "veth"], ofOneKind);
      assertEquals(veths.answer, veths.byIp.map((link) => ({ ...link, port: undefined })));
      const links = await compare({ kind: "show-links", addresses: true }, "address", "show");
      for (const { name, altNames } of links) {
        for (const called of [name, ...altNames]) {
          await compare({ kind: "show-link", name: called }, "address", "show", "dev", name);
        }
      }
    }
    const kinds = new Set((await linksByIp(host, "link", "show")).map(({ kind, type }) => `${kind} ${type}`));
    for (const kind of [" loopback", "bridge ether", "veth ether", "tun ether", "tun none"]) {
      assert(kinds.has(kind), `no ${kind} among ${[...kinds].join(", ")}`);
    }
  });

  test("interfaces count what they carry, in both directions, only if that is asked for", async (world) => {
    const { kernel, host, pod } = world;
    const pair = veth("eth0", "br0", pod);
    await kernel.apply([{ kind: "create-bridge", name: "br0", mac: MAC }, pair], { netns: host });
    await sh(
      `nsenter --net="$0" ip address add 10.1.2.1/24 dev br0; nsenter --net="$1" sh -c 'ip link set eth0 up
       ip address add 10.1.2.2/24 dev eth0; ip neigh replace 10.1.2.1 lladdr ${MAC} dev eth0
       for i in 1 2 3; do printf 0123456789 >/dev/udp/10.1.2.1/9; done || :' 2>/dev/null || :`,
      host,
      pod,
    );
    for (const netns of [host, pod]) {
      const ask = async () => (await kernel.apply([{ kind: "show-links", traffic: true }], { netns }))[0];
      const { answer, byIp } = await besideIp(netns, ["-s", "link", "show"], ask);
      assertEquals(answer, byIp);
      assert(answer.every(({ traffic }) => traffic !== undefined), JSON.stringify(answer));
      const [more] = await kernel.apply(
        [{ kind: "show-links", traffic: true, addresses: true }, { kind: "show-link", name: "lo" }],
        { netns },
      );
      assert(more.every(({ traffic, addresses }) => traffic !== undefined && addresses !== undefined));
      const [without] = await kernel.apply([{ kind: "show-links" }], { netns });
      assert(without.every((link) => !("traffic" in link)));
    }
    const [links] = await kernel.apply([{ kind: "show-links", traffic: true }], { netns: pod });
    const { rx, tx } = links.find(({ name }) => name === "eth0")!.traffic!;
    assert(tx.packets > 0 && tx.bytes > tx.packets * 14, JSON.stringify({ rx, tx }));
  });

  test("the ports of a bridge are those that have it as their master", async (world) => {
    const { kernel, host, pod } = world;
    const bridge = (name: string) => ({ kind: "create-bridge", name, mac: MAC }) as const;
    await world.apply(host, bridge("br0"), bridge("br1"), veth("a", "br0", pod), veth("b", "br1", pod));
    const ports = async (name: string) => {
      const ask = () =>
        kernel.apply([
          { kind: "show-links", bridge: name },
          { kind: "show-links", bridge: name, of: "veth" },
        ], { netns: host });
      const { answer: [all, veths], byIp } = await besideIp(host, ["link", "show", "master", name], ask);
      assertEquals(all, byIp);
      // Of one kind alone it is not said what a port may do.
      const plain = (links: readonly LinkInfo[]) => links.map((link) => ({ ...link, port: undefined }));
      assertEquals(plain(veths), plain(byIp));
      return all.map(({ name }) => name);
    };
    assertEquals([await ports("br0"), await ports("br1"), await ports("a")], [["a"], ["b"], []]);
    await world.fails(host, [{ kind: "show-links", bridge: "absent" }], { index: 0, problem: "missing" });
    await world.fails(host, [{ kind: "show-link", name: "absent" }], { index: 0, problem: "missing" });
  });

  test("what is asked for several times at once is answered in order", async (world) => {
    const { kernel, host } = world;
    const answers = await kernel.apply([
      { kind: "create-bridge", name: "br0", mac: MAC },
      { kind: "show-link", name: "br0" },
      { kind: "add-address", device: "br0", address: cidr("10.1.2.3/24") },
      { kind: "show-link", name: "br0" },
      { kind: "remove-link", name: "br0" },
      { kind: "show-links" },
    ], { netns: host });
    const seen = (link: LinkInfo) => link.addresses.map(({ address }) => address);
    assertEquals(
      { before: seen(answers[1]), after: seen(answers[3]), left: answers[5].map(({ name }) => name) },
      { before: [], after: ["10.1.2.3/24"], left: ["lo"] },
    );
    assertEquals([answers[0], answers[2], answers[4]], [undefined, undefined, undefined]);
    assertEquals(await kernel.apply([], { netns: host }), []);
  });

  test("a thousand interfaces are all shown, as often as they are asked for", async (world) => {
    const { kernel, host } = world;
    const count = 1_000;
    const lines = Array.from({ length: count / 2 }, (_, n) => `link add a${n} type veth peer name b${n}`);
    await ipLines(host, lines);
    const expected = await linksByIp(host, "link", "show");
    assertEquals(expected.length, count + 1);
    const shown = await Promise.all(
      Array.from(
        { length: 4 },
        () => kernel.apply([{ kind: "show-links", addresses: true }], { netns: host }),
      ),
    );
    for (const [links] of shown) {
      assertEquals(links.map((link) => ({ ...link, addresses: [] })), expected);
      assertEquals(links[0]?.name, "lo");
    }
  });
}
