// The plugins make, check and remove the same rules of iptables in this process and by its programs.
import { assertEquals } from "@std/assert";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "./need.ts";
import { printedBy } from "../kernel/denow_process.ts";

/** Where no other test changes the rules. */
const OWN_NETNS = { namespaces: ["--net"] };

Deno.test({
  name:
    "firewall, isolation, masquerading and ports: the rules of iptables are the same in this process and by programs, and " +
    "each way checks and removes those of the other",
  ignore: need("root", "ip", "iptables", "nft").ignore || !HAS_LIBC,
  fn: async () => {
    assertEquals(await printedBy("../root/rules_both_ways_process.ts", ["--allow-all"], [], OWN_NETNS), "");
  },
});
