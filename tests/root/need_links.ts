// What a test needs that depends on how the kernel was built, and that nothing can fetch: kinds of links. The kernel of
// `./denow task test:kernel` has them all.
import { type Component, need } from "./need.ts";

/** Set under the kernel of `./denow task test:kernel`, which must make every link that a test asks for. */
export const UNDER_TEST_KERNEL = "PODWIRE_TEST_KERNEL";

/** A kind of link that not every kernel makes. */
export type LinkKind = "bridge-vlan" | "dummy" | "ipvlan" | "macvlan" | "vlan" | "vrf";

/** What `ip` calls those that are not a kind of their own: a bridge that keeps VLANs apart. */
const WORDS: Partial<Record<LinkKind, readonly string[]>> = {
  "bridge-vlan": ["bridge", "vlan_filtering", "1"],
};

const made = new Map<LinkKind, boolean>();

/**
 * Spread it into a test's definition: the test is ignored if a component is missing, or if this kernel makes no link of
 * one of `kinds`. The latter does not fail CI, because nothing can fetch another kernel.
 */
export function needLinks(kinds: readonly LinkKind[], ...components: Component[]): { ignore: boolean } {
  const needed = need("root", "ip", ...components);
  if (needed.ignore) return needed;
  const lacking = kinds.filter((kind) => !isMade(kind));
  if (lacking.length > 0 && Deno.env.has(UNDER_TEST_KERNEL)) {
    throw new Error(
      `Cannot run the tests under this kernel: it makes no link of the kind ${lacking.join(", ")}`,
    );
  }
  return { ignore: lacking.length > 0 };
}

/** Whether the kernel knows the kind, seen in a network namespace that ends with the question. */
function isMade(kind: LinkKind): boolean {
  const known = made.get(kind);
  if (known !== undefined) return known;
  const { stderr } = new Deno.Command("unshare", {
    args: ["--net", "ip", "link", "add", "pwkind", "type", ...WORDS[kind] ?? [kind]],
    env: { LC_ALL: "C" },
    stdin: "null",
  }).outputSync();
  // A link that lacks a parent or a number is refused for that, and in other words.
  const isKnown = !/Unknown device type|Operation not supported/.test(new TextDecoder().decode(stderr));
  made.set(kind, isKnown);
  if (!isKnown) {
    console.error(`skipping the tests that need links of the kind ${kind}: this kernel makes none`);
  }
  return isKnown;
}
