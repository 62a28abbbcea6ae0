import { assert, assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { interfaceNames } from "../../lib/pod/interface_names.ts";
import { property } from "../cni/random.ts";
import { plan, refusal } from "./plan.ts";

const planned = (networks: Parameters<typeof plan>[0] & object = {}) =>
  plan(networks).map(({ list, ifName }) => `${list.name}=${ifName}`);

Deno.test("F6 F54 a pod that names no network gets the default one as eth0", () => {
  assertEquals(planned(), ["a=eth0"]);
  assertEquals(planned({ networks: [] }), ["a=eth0"]);
});

Deno.test("F55 an interface name that is requested twice is refused, and the error names the second network", () => {
  const error = refusal({ networks: [{ name: "a", ifName: "net1" }, { name: "b", ifName: "net1" }] });
  assertEquals({ kind: error.kind, msg: error.msg, network: error.context.network }, {
    kind: "usage",
    msg: 'network "b" requested interface name "net1" already assigned',
    network: "b",
  });
  assertEquals(refusal({ networks: [{ name: "a", ifName: "n" }, { name: "a", ifName: "n" }] }).kind, "usage");
  assertEquals(refusal({ networks: [{ name: "a", ifName: "lo" }] }).kind, "usage");
});

Deno.test("an interface name that the kernel would refuse is refused, and the error names network and value", () => {
  for (const ifName of ["", "way-too-long-name", ".", "a b", "a/b", "a:b"]) {
    const error = refusal({ networks: [{ name: "a" }, { name: "b", ifName }] });
    assertEquals({ kind: error.kind, network: error.context.network, path: error.context.path }, {
      kind: "usage",
      network: "b",
      path: "ifName",
    }, ifName);
    assert(error.msg.startsWith(`ifName: ${JSON.stringify(ifName)}: interface name`), error.msg);
  }
});

Deno.test("F56 F59 G15 the others get the lowest free ethN in order, and a network may come twice", () => {
  const a = { name: "a" };
  const b = { name: "b" };
  const c = { name: "c" };
  assertEquals(planned({ networks: [a, { ...b, ifName: "eth0" }, c] }), ["a=eth1", "b=eth0", "c=eth2"]);
  assertEquals(planned({ networks: [{ ...a, ifName: "eth1" }, b, c] }), ["a=eth1", "b=eth0", "c=eth2"]);
  assertEquals(planned({ networks: [a, a, { ...a, ifName: "net1" }] }), ["a=eth0", "a=eth1", "a=net1"]);
});

Deno.test("F57 there are ten thousand automatic names and no more", () => {
  const networks = Array.from({ length: 10_000 }, () => ({ name: "b" }));
  assertEquals(plan({ networks }).at(-1)?.ifName, "eth9999");
  const error = refusal({ networks: [...networks, { name: "c" }] });
  assertEquals(error.msg, 'failed to find free interface name for network "c"');
});

Deno.test("F58 automatic names are only ethN: net1 and the like are names that a request asks for", () => {
  assertEquals(planned({ networks: [{ name: "a" }, { name: "b" }, { name: "c", ifName: "net1" }] }), [
    "a=eth0",
    "b=eth1",
    "c=net1",
  ]);
});

property(
  "interface names: unique, the explicit ones as they are, the others the lowest free in order",
  (random) => {
    const explicit = new Set<string>();
    const wanted = random.list(9, (index) => {
      const name = `n${index}`;
      const ifName = random.chance(70) ? `eth${random.below(8)}` : `net${random.below(3)}`;
      if (random.chance(50) || explicit.has(ifName)) return { name };
      explicit.add(ifName);
      return { name, ifName };
    });
    const before = JSON.stringify(wanted);
    const names = interfaceNames(wanted);
    assertEquals(JSON.stringify(wanted), before);
    assertEquals([names.length, new Set(names).size], [wanted.length, wanted.length]);
    const taken = new Set(explicit);
    for (const [index, { ifName }] of wanted.entries()) {
      let lowest = 0;
      while (taken.has(`eth${lowest}`)) lowest++;
      assertEquals(names[index], ifName ?? `eth${lowest}`);
      taken.add(names[index] ?? "");
    }
  },
  2_000,
);

property("interface names: one that is there already is refused wherever it stands", (random) => {
  const wanted = [{ name: "a", ifName: "net1" }, ...random.list(6, () => ({ name: "b" }))];
  wanted.splice(random.below(wanted.length + 1), 0, { name: "c", ifName: "net1" });
  assertThrows(() => interfaceNames(wanted), CniError, "already assigned");
}, 200);
