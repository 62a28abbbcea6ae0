// The programs against the kernel of this machine: what only they can get wrong.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parseCidr } from "../../lib/cni/address.ts";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";
import { netnsId } from "../../lib/host/netns.ts";
import { kernelFor } from "../../lib/kernel/choose_kernel.ts";
import { IpKernel } from "../../lib/kernel/ip_kernel.ts";
import { type Kernel, KernelError } from "../../lib/kernel/kernel.ts";
import { findLink, linksByAlias, removeLink } from "../../lib/kernel/links.ts";
import type { Operation } from "../../lib/kernel/operation.ts";
import "../open_libc.ts";
import { need } from "../root/need.ts";

interface World {
  readonly kernel: Kernel;
  /** The namespaces of a host and a pod. */
  readonly host: string;
  readonly pod: string;
  /** The programs that were started. */
  readonly started: string[];
}

function rootTest(name: string, fn: (world: World) => Promise<void>): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: async () => {
      const dir = await Deno.makeTempDir({ prefix: "pwt" });
      const started: string[] = [];
      const kernel = new IpKernel((request: CommandRequest) => {
        started.push(request.program);
        return runCommand(request);
      });
      const [host, pod] = [`${dir}/host`, `${dir}/pod`];
      try {
        for (const path of [host, pod]) await kernel.createNetns(path, { alias: "made by a test" });
        started.length = 0;
        await fn({ kernel, host, pod, started });
      } finally {
        for (const path of [host, pod]) await kernel.removeNetns(path);
        await runCommand({ program: "umount", args: ["-l", dir] });
        await Deno.remove(dir, { recursive: true });
      }
    },
  });
}

const MACS = { host: "02:00:00:00:10:01", pod: "02:00:00:00:10:02", bridge: "02:00:00:00:10:03" };

function pairIn(pod: string, name = "v0") {
  return {
    kind: "create-veth",
    name,
    mac: MACS.host,
    mtu: 1400,
    bridge: "br0",
    peer: { name: "eth0", mac: MACS.pod, netns: pod },
  } as const;
}

const BRIDGE = { kind: "create-bridge", name: "br0", mac: MACS.bridge } as const;

rootTest(
  "a call is one process, and answers with all facts of a link",
  async ({ kernel, host, pod, started }) => {
    const address = parseCidr("10.77.0.1/24")!;
    const [, , , , , , bridge, port, ports] = await kernel.apply([
      BRIDGE,
      pairIn(pod),
      { kind: "set-port", name: "v0", hairpin: true, isolated: true },
      { kind: "set-link", name: "v0", alias: "two words" },
      { kind: "add-address", device: "br0", address },
      { kind: "set-link", name: "br0", up: true, promiscuous: true },
      { kind: "show-link", name: "br0" },
      { kind: "show-link", name: "v0" },
      { kind: "show-links", bridge: "br0" },
    ], { netns: host, sysctls: [{ name: "net/ipv4/ip_forward", value: "1", required: true }] });
    assertEquals(started, ["nsenter"]);
    const inside = await findLink(kernel, "eth0", { netns: pod });
    assertEquals(
      [bridge.kind, bridge.mac, bridge.isUp, bridge.isPromiscuous, bridge.addresses[0]?.address],
      ["bridge", MACS.bridge, true, true, "10.77.0.1/24"],
    );
    assertEquals(
      [port.kind, port.mac, port.mtu, port.master, port.alias, port.peerIndex],
      ["veth", MACS.host, 1400, "br0", "two words", inside?.index],
    );
    assertEquals([inside?.kind, inside?.mac, inside?.peerIndex], ["veth", MACS.pod, port.index]);
    assertEquals(ports.map(({ name }) => name), ["v0"]);
    const [veths] = await kernel.apply([{ kind: "show-links", of: "veth" }], { netns: host });
    assertEquals(veths.map(({ name, kind, alias }) => [name, kind, alias]), [["v0", "veth", "two words"]]);
    // Of the namespace of this process, where other tests have interfaces too.
    assertEquals(await linksByAlias(kernel, (alias) => alias === "two words"), []);
  },
);

rootTest(
  "the operation that fails has its place, and those before it stay done",
  async ({ kernel, host, pod }) => {
    const failing = async (...operations: Operation[]) => {
      const error = await assertRejects(() => kernel.apply(operations, { netns: host }), KernelError);
      return [error.index, error.problem];
    };
    const address = parseCidr("10.77.0.1/24")!;
    const add = { kind: "add-address", device: "br0", address } as const;
    assertEquals(await failing(BRIDGE, BRIDGE), [1, "exists"]);
    assert(await findLink(kernel, "br0", { netns: host }) !== undefined);
    assertEquals(await failing(add, add), [1, "exists"]);
    await kernel.apply([{ ...add, replace: true }], { netns: host });
    assertEquals(await failing({ ...add, kind: "remove-address", address: parseCidr("10.9.0.1/24")! }), [
      0,
      "missing",
    ]);
    await kernel.apply([pairIn(pod)], { netns: host });
    assertEquals(await failing(pairIn(pod)), [0, "exists"]);
    assertEquals(await failing(pairIn(pod, "v1")), [0, "exists"]);
    for (const kind of ["remove-link", "show-link", "set-link"] as const) {
      assertEquals(
        await failing({ kind: "set-link", name: "lo", up: true }, { kind, name: "nope", up: true }),
        [
          1,
          "missing",
        ],
      );
    }
    // Here ip ends before it names the line.
    const astray = { ...pairIn(pod, "v1"), bridge: "nope" };
    assertEquals(await failing(astray), [0, "missing"]);
    assertEquals(await failing(astray, { kind: "show-link", name: "v1" }), [undefined, "missing"]);
  },
);

rootTest(
  "a link is found by an alternative name, and by no name that ip makes up",
  async ({ kernel, host }) => {
    await kernel.apply([BRIDGE], { netns: host });
    const add = ["link", "property", "add", "dev", "br0", "altname", "another-name"];
    const { code } = await runCommand({ program: "nsenter", args: [`--net=${host}`, "ip", ...add] });
    assertEquals(code, 0);
    const found = await findLink(kernel, "another-name", { netns: host });
    assertEquals([found?.name, found?.altNames], ["br0", ["another-name"]]);
    for (const name of ["other-name", "if1", "if77", "a-name-that-is-too-long"]) {
      assertEquals(await findLink(kernel, name, { netns: host }), undefined, name);
    }
    assertEquals(await removeLink(kernel, "br0", { netns: host }), true);
    assertEquals(await removeLink(kernel, "br0", { netns: host }), false);
    await assertRejects(() => removeLink(kernel, "br0", { netns: `${host}-gone` }), KernelError);
  },
);

rootTest(
  "a namespace is pinned under a second name, and lives until both are removed",
  async ({ kernel, host }) => {
    const again = `${host}-again`;
    await kernel.pinNetns(host, again);
    assertEquals(await netnsId(again), await netnsId(host));
    assertEquals((await findLink(kernel, "lo", { netns: again }))?.alias, "made by a test");
    assertEquals([await kernel.removeNetns(again), await kernel.removeNetns(again)], [true, false]);
  },
);

Deno.test({
  name: "the links of this namespace are shown without entering one",
  ...need("ip"),
  fn: async () => {
    const [links] = await kernelFor(runCommand).apply([{ kind: "show-links", addresses: true }]);
    assert(links.some(({ name, addresses }) => name === "lo" && Array.isArray(addresses)));
  },
});
