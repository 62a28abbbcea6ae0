import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { CreateVeth, Operation } from "../../lib/kernel/operation.ts";
import type { TestedKernel } from "./kernels.ts";
import { inside, ipJson, linkByIp, MAC, names, OTHER_MAC, type World, worldTest } from "./world.ts";

const bridge = { kind: "create-bridge", name: "br0", mac: "02:00:00:00:00:01" } as const;

function veth({ pod }: World, more: Partial<CreateVeth> = {}): CreateVeth {
  const peer = { name: "eth0", mac: OTHER_MAC, netns: pod };
  return { kind: "create-veth", name: "veth0", mac: MAC, bridge: "br0", peer, ...more };
}

/** The tests of operations that make, change and remove interfaces. */
export function linkSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("a pair has its addresses and size, is on the bridge, and only its end on the host is up", async (world) => {
    const { host, pod } = world;
    await world.apply(host, { ...bridge, mtu: 1400 }, veth(world, { mtu: 1350 }));
    const [br, outer, inner] = [
      await linkByIp(host, "br0"),
      await linkByIp(host, "veth0"),
      await linkByIp(pod, "eth0"),
    ];
    const common = { kind: "veth", mtu: 1350 };
    assertEquals({ kind: br.kind, mac: br.mac, isUp: br.isUp }, {
      kind: "bridge",
      mac: bridge.mac,
      isUp: false,
    });
    assertEquals({ ...outer }, {
      ...outer,
      ...common,
      mac: MAC,
      master: "br0",
      isUp: true,
      peerIndex: inner.index,
    });
    assertEquals({ ...inner }, {
      ...inner,
      ...common,
      mac: OTHER_MAC,
      master: "",
      isUp: false,
      peerIndex: outer.index,
    });
  });

  test("a pair without a bridge is a port of none, and its end on the host is up", async (world) => {
    await world.apply(world.host, veth(world, { bridge: undefined }));
    const [outer, inner] = [await linkByIp(world.host, "veth0"), await linkByIp(world.pod, "eth0")];
    assertEquals([outer.kind, outer.master, outer.isUp, outer.peerIndex], ["veth", "", true, inner.index]);
    const error = await world.fails(world.host, [veth(world, { bridge: undefined })], {
      index: 0,
      problem: "exists",
    });
    assertStringIncludes(error.message, 'Cannot create the veth "veth0" with "eth0" in ');
  });

  test("sizes that are not named are those of the kernel", async (world) => {
    await world.apply(world.host, bridge, veth(world));
    for (const name of ["br0", "veth0"]) assertEquals((await linkByIp(world.host, name)).mtu, 1500);
  });

  test("a bridge has the size that is asked for", async (world) => {
    await world.apply(world.host, { ...bridge, mtu: 1280 });
    assertEquals((await linkByIp(world.host, "br0")).mtu, 1280);
  });

  test("a pair on a bridge that does not exist is not made", async (world) => {
    const error = await world.fails(world.host, [veth(world)], { index: 0, problem: "missing" });
    assertStringIncludes(error.message, 'Cannot create the veth "veth0" on bridge "br0" with "eth0" in ');
    assertEquals([await names(world.host), await names(world.pod)], [["lo"], ["lo"]]);
  });

  test("a name that is taken, on either side, is reported, and nothing is made", async (world) => {
    const { host, pod } = world;
    await world.apply(host, bridge);
    await world.fails(host, [bridge], { index: 0, problem: "exists" });
    await world.apply(host, veth(world));
    const peer = { name: "eth1", mac: MAC, netns: pod };
    await world.fails(host, [veth(world, { peer })], { index: 0, problem: "exists" });
    await world.fails(host, [veth(world, { name: "veth1" })], { index: 0, problem: "exists" });
    assertEquals([await names(host), await names(pod)], [["br0", "lo", "veth0"], ["eth0", "lo"]]);
  });

  test("the first operation that fails ends the others, and those before it stay done", async (world) => {
    const { host } = world;
    const operations: readonly Operation[] = [
      bridge,
      veth(world),
      { kind: "set-link", name: "absent", up: true },
      { kind: "create-bridge", name: "br1", mac: MAC },
    ];
    const error = await world.fails(host, operations, { index: 2, problem: "missing" });
    assertStringIncludes(error.message, 'Cannot change the interface "absent": ');
    assertEquals(await names(host), ["br0", "lo", "veth0"]);
  });

  test("a port is changed, in both of its switches, as often as asked", async (world) => {
    const { host } = world;
    await world.apply(host, bridge, veth(world));
    for (const [hairpin, isolated] of [[true, true], [false, true], [true, false], [false, false]] as const) {
      await world.apply(host, { kind: "set-port", name: "veth0", hairpin, isolated });
      const [link] = await ipJson(host, "link", "show", "dev", "veth0");
      const { info_slave_data: data } = link?.linkinfo as { info_slave_data: Record<string, unknown> };
      assertEquals({ hairpin: data.hairpin, isolated: data.isolated }, { hairpin, isolated });
    }
  });

  test("an interface that is missing, or not a port, is not changed as one", async (world) => {
    const { host } = world;
    const port = { kind: "set-port", name: "br0", hairpin: true, isolated: true } as const;
    await world.fails(host, [port], { index: 0, problem: "missing" });
    await world.apply(host, bridge);
    await world.fails(host, [port], { index: 0, problem: "other" });
  });

  test("of an interface only what is named changes", async (world) => {
    const { host } = world;
    await world.apply(host, bridge);
    const facts = async () => {
      const { isUp, isPromiscuous, isAllMulticast, mtu, txQueueLength, mac, alias } = await linkByIp(
        host,
        "br0",
      );
      return { isUp, isPromiscuous, isAllMulticast, mtu, txQueueLength, mac, alias };
    };
    let expected = await facts();
    const steps = [
      [{ up: true }, { isUp: true }],
      [{ promiscuous: true }, { isPromiscuous: true }],
      [{ allMulticast: true }, { isAllMulticast: true }],
      [{ mtu: 1234 }, { mtu: 1234 }],
      [{ txQueueLength: 77 }, { txQueueLength: 77 }],
      [{ alias: "a b, ü" }, { alias: "a b, ü" }],
      [{ mac: MAC }, { mac: MAC }],
      [{ up: false }, { isUp: false }],
      [{ promiscuous: false, allMulticast: false, mtu: 1300, txQueueLength: 0, up: true, mac: OTHER_MAC }, {
        isPromiscuous: false,
        isAllMulticast: false,
        mtu: 1300,
        txQueueLength: 0,
        isUp: true,
        mac: OTHER_MAC,
      }],
      [{}, {}],
    ] as const;
    for (const [change, difference] of steps) {
      await world.apply(host, { kind: "set-link", name: "br0", ...change });
      expected = { ...expected, ...difference };
      assertEquals(await facts(), expected);
    }
  });

  test("an interface is removed with the other end of its pair", async (world) => {
    const { host, pod } = world;
    await world.apply(host, bridge, veth(world));
    await world.apply(host, { kind: "remove-link", name: "veth0" });
    assertEquals([await names(host), await names(pod)], [["br0", "lo"], ["lo"]]);
    await world.fails(host, [{ kind: "remove-link", name: "veth0" }], { index: 0, problem: "missing" });
    await world.fails(host, [{ kind: "remove-link", name: "lo" }], { index: 0, problem: "other" });
  });

  test("an interface that takes the name of one that was removed is another one", async (world) => {
    const { host } = world;
    await world.apply(
      host,
      bridge,
      { kind: "set-link", name: "br0", up: true },
      { kind: "remove-link", name: "br0" },
      bridge,
      { kind: "set-link", name: "br0", alias: "second" },
    );
    const { isUp, alias } = await linkByIp(host, "br0");
    assertEquals({ isUp, alias }, { isUp: false, alias: "second" });
  });

  test("alternative names stand for the interface in every operation", async (world) => {
    const { host } = world;
    await world.apply(host, bridge);
    const long = "a-name-that-is-longer-than-fifteen";
    await inside(host, "ip", "link", "property", "add", "dev", "br0", "altname", "short", "altname", long);
    await world.apply(host, { kind: "set-link", name: "short", up: true });
    assert((await linkByIp(host, "br0")).isUp);
    await world.apply(host, veth(world, { bridge: "short" }));
    assertEquals((await linkByIp(host, "veth0")).master, "br0");
    await world.apply(host, { kind: "remove-link", name: long });
    assertEquals(await names(host), ["lo", "veth0"]);
  });

  test("without a namespace operations take effect in that of this process", async ({ kernel, pod }) => {
    const name = `pwt${crypto.randomUUID().slice(0, 8)}`;
    const peer = { name: "eth0", mac: OTHER_MAC, netns: pod };
    const [, , link] = await kernel.apply([
      { kind: "create-bridge", name, mac: MAC },
      { kind: "create-veth", name: `${name}v`, mac: MAC, bridge: name, peer },
      { kind: "show-link", name: `${name}v` },
    ]);
    try {
      assertEquals({ name: link.name, master: link.master }, { name: `${name}v`, master: name });
      assertEquals(await names(pod), ["eth0", "lo"]);
    } finally {
      await kernel.apply([{ kind: "remove-link", name }, { kind: "remove-link", name: `${name}v` }]);
    }
    assertEquals(await names(pod), ["lo"]);
  });

  test("the namespace of the other end must be one", async (world) => {
    const { host, pod, dir } = world;
    await world.apply(host, bridge);
    await Deno.writeTextFile(`${dir}/file`, "");
    for (const [path, problem] of [[`${dir}/absent`, "missing"], [`${dir}/file`, "other"]] as const) {
      const peer = { name: "eth0", mac: MAC, netns: path };
      const error = await world.fails(host, [veth(world, { peer })], { index: 0, problem });
      assertMatch(error.why, /\w/);
    }
    assertEquals([await names(host), await names(pod)], [["br0", "lo"], ["lo"]]);
  });
}
