// The built-in firewall against the originals: the same rules in the same order, and each checks and removes what the other
// has made.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertDone } from "./builtin_call.ts";
import { inWorld } from "./builtin_world.ts";
import { A, BOTH, type Case, CASES, ISOLATED } from "./firewall_cases.ts";
import { callOf, Machine, ORIGINALS, OURS } from "./firewall_world.ts";
import { type Component, need } from "./need.ts";

/** 1.1.1 does not know `isolated`, nor version 1.1.0. */
function isKnownTo(needs: Component, { attachments }: Case): boolean {
  return needs !== "cni-1.1.1" || !/isolated|1\.1\.0/.test(JSON.stringify(attachments));
}

/** Without the lines that are podwire's own, see `docs/plugins.md`; 1.1.1 has another comment for isolation. */
function comparable(rules: readonly string[], needs: Component): readonly string[] {
  const theirs = rules.filter((rule) =>
    !rule.includes("CNI-PUBLISHED") && !rule.endsWith("--ctstate DNAT -j RETURN") &&
    !/-m conntrack --ctstate DNAT -m comment .* -j RETURN/.test(rule)
  );
  return needs !== "cni-1.1.1"
    ? theirs
    : theirs.map((rule) => rule.replace("same-bridge|isolated", "same-bridge"));
}

/** The rules of containers among those that are new. */
function ofContainers(
  rules: readonly string[],
  before: readonly string[],
  { attachments }: Case,
): readonly string[] {
  const addresses = attachments.flatMap(({ ips }) => ips.map((address) => address.replace(/\/.*/, "")));
  return rules.filter((rule) =>
    !before.includes(rule) && addresses.some((address) => rule.includes(`${address}/`))
  );
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, each] of Object.entries(CASES)) {
    if (!isKnownTo(needs, each)) continue;
    Deno.test({
      name:
        `firewall: ${name}: the rules are those of ${needs}, and each checks and removes those of the other`,
      ...need("root", "ip", "iptables", "nft", needs),
      fn: inWorld(async (world) => {
        const seen: unknown[] = [];
        for (const [at, add, other] of [["a", OURS, original], ["b", original, OURS]] as const) {
          const machine = await Machine.make(world, at);
          if (each.before !== undefined) await machine.sh(each.before);
          const before = await machine.rules();
          const results: unknown[] = [];
          for (const attachment of each.attachments) {
            const answer = await add(callOf("ADD", attachment), machine);
            assertDone(answer);
            const { dns = {}, ...result } = answer.document;
            results.push({ ...result, dns });
          }
          const rules = await machine.rules();
          seen.push({ results, rules: comparable(rules, needs) });
          for (const attachment of each.attachments) {
            for (const caller of [OURS, original]) {
              assertDone(await caller(callOf("CHECK", attachment), machine));
            }
          }
          assertEquals(await machine.rules(), rules, "a CHECK has changed something");
          for (const attachment of each.attachments) {
            assertDone(await other(callOf("DEL", attachment), machine));
          }
          const left = ofContainers(await machine.rules(), before, each);
          // What the original does not know, another DEL removes, or GC, or the next ADD of the address.
          assertEquals(left.filter((rule) => !rule.includes("CNI-PUBLISHED")), []);
          for (const attachment of each.attachments) {
            assertDone(await OURS(callOf("DEL", attachment), machine));
          }
          const after = await machine.rules();
          assertEquals(ofContainers(after, before, each), []);
          assertEquals(after.filter((rule) => /CNI-PUBLISHED|CNI-ISOLATION/.test(rule)), []);
          assertEquals(before.filter((rule) => !after.includes(rule)), []);
        }
        assertEquals(seen[0], seen[1]);
      }),
    });
  }
}

Deno.test({
  name: "the built-in firewall makes the rules of an attachment once, and so does the original after it",
  ...need("root", "ip", "iptables", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const attachment = { ...A, ips: BOTH, config: ISOLATED };
    const [, original] = ORIGINALS[1]!;
    assertDone(await OURS(callOf("ADD", attachment), machine));
    const rules = await machine.rules();
    for (const add of [OURS, original, OURS]) {
      assertDone(await add(callOf("ADD", attachment), machine));
      assertEquals(await machine.rules(), rules);
    }
    const dump = rules.join("\n");
    assertStringIncludes(dump, '-A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy');
  }),
});
