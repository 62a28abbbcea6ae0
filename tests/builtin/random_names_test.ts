import { assert, assertEquals, assertMatch } from "@std/assert";
import { randomMac, randomVethName } from "../../lib/builtin/random_names.ts";

Deno.test("U65 a MAC address is random, that of one interface, and of the kind that no manufacturer gives", () => {
  const macs = Array.from({ length: 1_000 }, () => randomMac());
  assertEquals(new Set(macs).size, macs.length);
  for (const mac of macs) {
    assertMatch(mac, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    assertEquals(parseInt(mac, 16) & 3, 2, mac);
  }
});

Deno.test("the name of an interface of the host is random, and short enough", () => {
  const names = Array.from({ length: 100 }, () => randomVethName());
  assert(new Set(names).size > 90);
  for (const name of names) assertMatch(name, /^veth[0-9a-f]{8}$/);
});
