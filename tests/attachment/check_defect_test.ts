// A failed CHECK that only a known defect of a plugin explains comes with a hint, and no other does.
import { assertEquals, assertMatch } from "@std/assert";
import { withDefectHint } from "../../lib/attachment/check_defect.ts";
import { CniError } from "../../lib/cni/error.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";

const V4 = [{ address: "10.1.0.2/24" }];
const V6 = [{ address: "fd00:1::2/64" }];
const MISSING = "chain CNI-DN-2f27ee1c5e6990e208e4f not found in iptables table nat";
const rule = (target: string) =>
  `rule [[-p tcp --dport 18080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK] [-p tcp --dport 18080 -j DNAT --to-destination ` +
  `${target}:80]] in chain CNI-DN-2f27ee1c5e6990e208e4f not found in table nat`;

function hintOf(
  msg: string,
  ips: readonly { readonly address: string }[],
  type = "portmap",
): string | undefined {
  const error = withDefectHint(new CniError("plugin", msg, { code: 999 }), type, {
    cniVersion: "1.0.0",
    ips,
  });
  return asCniError(error).context.hint;
}

Deno.test("portmap 1.1.1 misses rules in a family without an address, or rules of the other family (plugins#819)", () => {
  for (
    const [msg, ips] of [
      [`could not check ipv6 dnat: ${MISSING}`, V4],
      [`could not check ipv4 dnat: ${MISSING}`, V6],
      [`could not check ipv6 dnat: ${rule("10.1.0.2")}`, [...V4, ...V6]],
      [`could not check ipv4 dnat: ${rule("[fd00:1::2]")}`, [...V4, ...V6]],
    ] as const
  ) {
    assertMatch(hintOf(msg, ips) ?? "", /plugins#819.*ports may well be open/, msg);
  }
});

Deno.test("rules that are really missing, and other plugins, get no hint", () => {
  for (
    const [msg, ips, type] of [
      [`could not check ipv4 dnat: ${MISSING}`, V4],
      [`could not check ipv6 dnat: ${MISSING}`, [...V4, ...V6]],
      [`could not check ipv6 dnat: ${rule("[fd00:1::2]")}`, [...V4, ...V6]],
      [`could not check ipv4 dnat: ${rule("10.1.0.2")}`, V4],
      [`could not check ipv6 dnat: ${MISSING}`, []],
      [`could not check ipv6 dnat: ${MISSING}`, V4, "other"],
      ["iptables is locked", V4],
    ] as const
  ) {
    assertEquals(hintOf(msg, ips, type), undefined, msg);
  }
});

Deno.test("another hint stays", () => {
  const error = new CniError("plugin", `could not check ipv6 dnat: ${MISSING}`, { hint: "look there" });
  assertEquals(withDefectHint(error, "portmap", { ips: [{ address: "10.1.0.2/24" }] }), error);
});
