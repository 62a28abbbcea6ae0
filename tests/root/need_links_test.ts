import { assertEquals } from "@std/assert";
import { type LinkKind, needLinks } from "./need_links.ts";

/** How each is made on the link `lo2`. */
const KINDS: Readonly<Record<LinkKind, string>> = {
  "bridge-vlan": "ip link add made type bridge vlan_filtering 1",
  dummy: "ip link add made type dummy",
  ipvlan: "ip link add made link lo2 type ipvlan mode l2",
  macvlan: "ip link add made link lo2 type macvlan mode bridge",
  vlan: "ip link add made link lo2 type vlan id 5",
  vrf: "ip link add made type vrf table 10",
};

for (const [kind, command] of Object.entries(KINDS)) {
  Deno.test({
    name: `a kernel that a test of ${kind} links runs under makes them`,
    ...needLinks([kind as LinkKind]),
    fn: async () => {
      const script = `ip link add lo2 type veth peer name lo3 && ${command} && ip -d -j link show made`;
      const { stdout, stderr } = await new Deno.Command("unshare", {
        args: ["--net", "sh", "-ec", script],
        stdin: "null",
      }).output();
      const decoder = new TextDecoder();
      assertEquals(decoder.decode(stderr), "");
      const [link] = JSON.parse(decoder.decode(stdout)) as { linkinfo: { info_kind: string } }[];
      assertEquals(link?.linkinfo.info_kind, kind.replace("-vlan", ""));
    },
  });
}
