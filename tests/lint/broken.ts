// Broken configurations, each with what lint has to find in it.
import { bridge, type Files, list, PORTMAP } from "./world.ts";

/** One broken directory. */
export interface Broken {
  readonly files: Files;
  /** Each finding as `rule file:line:column`. */
  readonly found: readonly string[];
}

const GOOD = bridge("br0", "10.1.0.0/24");
const F = "10-a.conflist";
const one = (content: string | object, ...found: string[]): Broken => ({ files: { [F]: content }, found });
/** A list with one plugin, whose line 6 is its first member. */
const plugin = (content: object, ...found: string[]) => one(list("a", [content]), ...found);
/** A list of a bridge and one plugin more; the latter begins at line 26. */
const second = (content: object, ...found: string[]) => one(list("a", [GOOD, content]), ...found);

/** By what is wrong. */
export const BROKEN: Readonly<Record<string, Broken>> = {
  "an empty file": one("", `invalid-json ${F}:1:1`),
  "a comment": one('{\n  // the network\n  "name": "a"\n}', `invalid-json ${F}:2:3`),
  "a trailing comma": one(
    '{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "dummy"},]}',
    `invalid-json ${F}:1:68`,
  ),
  "a byte-order mark": one('\ufeff{"name": "a"}', `invalid-json ${F}:1:1`),
  "a key twice": one(
    '{"name": "a",\n "name": "b", "cniVersion": "1.0.0", "plugins": [{"type": "loopback"}]}',
    `invalid-config ${F}:2:2`,
  ),
  "no name": one({ cniVersion: "1.0.0", plugins: [GOOD] }, `invalid-config ${F}:1:1`),
  "a name with a slash": one(list("a/b", [GOOD]), `invalid-config ${F}:3:11`),
  "no plugins": one({ cniVersion: "1.0.0", name: "a" }, `invalid-config ${F}:1:1`),
  "an empty list of plugins": one(
    { cniVersion: "1.0.0", name: "a", plugins: [] },
    `invalid-config ${F}:4:14`,
  ),
  "the key plugins mistyped": one(
    { cniVersion: "1.0.0", name: "a", plugin: [GOOD] },
    `invalid-config ${F}:1:1`,
    `misspelt-key ${F}:4:13`,
  ),
  "a plugin without a type": one(list("a", [{ bridge: "br0" }]), `invalid-config ${F}:5:5`),
  "a version of the future": one(list("a", [GOOD], { cniVersion: "3.0.0" }), `invalid-config ${F}:2:17`),
  "a flag that is a number": one(list("a", [GOOD], { disableCheck: 1 }), `invalid-config ${F}:4:19`),
  "a list in a file for one plugin": {
    files: { "10-a.conf": list("a", [GOOD]) },
    found: ["wrong-form 10-a.conf:1:1"],
  },
  "a single plugin in a file for a list": one(
    { cniVersion: "1.0.0", name: "a", type: "loopback" },
    `wrong-form ${F}:1:1`,
  ),
  "a single plugin": {
    files: { "10-a.conf": { cniVersion: "1.0.0", name: "a", type: "loopback" } },
    found: ["single-plugin-file 10-a.conf:1:1"],
  },
  "no version": one(
    { name: "a", plugins: [{ type: "loopback" }] },
    `missing-version ${F}:1:1`,
  ),
  "an old version": one(list("a", [{ type: "loopback" }], { cniVersion: "0.3.1" }), `old-version ${F}:2:17`),
  "CHECK and GC are off": one(
    list("a", [{ type: "loopback" }], { disableCheck: true, disableGC: true }),
    `check-disabled ${F}:4:19`,
    `gc-disabled ${F}:5:16`,
  ),
  "a mistyped flag of a list": one(
    list("a", [{ type: "loopback" }], { disableChek: true }),
    `misspelt-key ${F}:4:18`,
  ),
  "a mistyped key of a plugin": plugin(
    { type: "bridge", isGatway: true },
    `misspelt-key ${F}:7:19`,
  ),
  "a mistyped key of a range": plugin(
    {
      type: "bridge",
      bridge: "b",
      ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24", rangeStrat: "10.1.0.9" }]] },
    },
    `misspelt-key ${F}:14:29`,
  ),
  "a key of another plugin": plugin({ type: "bridge", vrfname: "red" }, `unknown-key ${F}:7:18`),
  "a string for a flag": plugin({ type: "bridge", isGateway: "yes" }, `invalid-plugin-config ${F}:7:20`),
  "an unknown mode": plugin({ type: "macvlan", mode: "bridged" }, `invalid-plugin-config ${F}:7:15`),
  "two members that exclude each other": plugin(
    { type: "bridge", hairpinMode: true, promiscMode: true },
    `invalid-plugin-config ${F}:5:5`,
  ),
  "a subnet with host bits": plugin(
    bridge("br0", "10.1.0.7/24"),
    `invalid-plugin-config ${F}:15:25`,
  ),
  "a range that begins outside of the subnet": plugin(
    bridge("br0", "10.1.0.0/24", {}, { rangeStart: "10.2.0.4" }),
    `range-outside-subnet ${F}:16:29`,
  ),
  "a range that ends before it begins": plugin(
    bridge("br0", "10.1.0.0/24", {}, { rangeStart: "10.1.0.9", rangeEnd: "10.1.0.4" }),
    `range-outside-subnet ${F}:17:27`,
  ),
  "a gateway in another subnet": plugin(
    bridge("br0", "10.1.0.0/24", {}, { gateway: "10.2.0.1" }),
    `gateway-outside-subnet ${F}:16:26`,
  ),
  "a route by a gateway that is in no subnet": plugin(
    {
      type: "bridge",
      isGateway: true,
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.1.0.0/24" }]],
        routes: [{ dst: "0.0.0.0/0", gw: "10.9.0.1" }],
      },
    },
    `route-gateway-outside-subnet ${F}:20:19`,
  ),
  "a loopback network": plugin(bridge("br0", "127.1.0.0/24"), `special-subnet ${F}:15:25`),
  "overlapping subnets of two files": {
    files: { [F]: list("a", [GOOD]), "20-b.conflist": list("b", [bridge("br1", "10.1.0.128/25")]) },
    found: ["overlapping-subnets 20-b.conflist:15:25"],
  },
  "overlapping ranges on one bridge": {
    files: {
      [F]: list("a", [bridge("br0", "10.1.0.0/24", {}, { rangeEnd: "10.1.0.99" })]),
      "20-b.conflist": list("b", [bridge("br0", "10.1.0.0/24", {}, { rangeStart: "10.1.0.99" })]),
    },
    found: ["overlapping-subnets 20-b.conflist:15:25"],
  },
  "overlapping subnets of two plugins of one file": one(
    list("a", [{ ...GOOD }, {
      type: "ipvlan",
      master: "br0",
      ipam: { type: "static", addresses: [{ address: "10.1.0.7/24" }] },
    }, {
      type: "macvlan",
      master: "br0",
      linkInContainer: true,
      ipam: { type: "static", addresses: [{ address: "10.1.0.7/24" }] },
    }]),
    `overlapping-subnets ${F}:46:24`,
    `second-interface-plugin ${F}:27:15`,
  ),
  "two files of one name": {
    files: { [F]: list("a", [{ type: "loopback" }]), "20-a.conflist": list("a", [{ type: "loopback" }]) },
    found: ["duplicate-name 20-a.conflist:3:11"],
  },
  "the name none": one(list("none", [{ type: "loopback" }]), `reserved-name ${F}:3:11`),
  "a plugin that is not installed": plugin({ type: "brigde" }, `plugin-not-found ${F}:6:15`),
  "an IPAM plugin that is not installed": plugin(
    { type: "bridge", ipam: { type: "hostlocal" } },
    `plugin-not-found ${F}:8:17`,
  ),
  "what a runtime writes": plugin({ type: "loopback", prevResult: {} }, `reserved-key ${F}:7:21`),
  "a mistyped capability": second(
    { type: "portmap", capabilities: { portMappings: true, portmapping: true } },
    `unknown-capability ${F}:30:24`,
  ),
  "a capability of another plugin": plugin(
    { ...GOOD, capabilities: { portMappings: true } },
    `unread-capability ${F}:26:25`,
  ),
  "portmap that gets no ports": second({ type: "portmap" }, `missing-capability ${F}:27:15`),
  "a capability that is off": second(
    { type: "firewall", capabilities: { portMappings: false } },
    `capability-off ${F}:29:25`,
  ),
  "portmap as the first plugin": one(list("a", [PORTMAP, GOOD]), `chained-plugin-first ${F}:6:15`),
  "portmap twice": one(list("a", [GOOD, PORTMAP, PORTMAP]), `duplicate-plugin ${F}:33:15`),
  "two plugins that make eth0": second(
    { type: "macvlan", master: "eth1" },
    `second-interface-plugin ${F}:27:15`,
  ),
  "masquerading without a gateway": plugin(
    { type: "bridge", ipMasq: true },
    `masquerade-without-gateway ${F}:7:17`,
  ),
  "a name of its own in a list": plugin({ type: "loopback", name: "b" }, `ignored-member ${F}:7:15`),
  "a member that is withdrawn": second(
    { type: "bandwidth", ingressRate: 8000, ingressBurst: 8000, shapedSubnets: ["10.0.0.0/8"] },
    `deprecated-key ${F}:30:24`,
  ),
  "the same address for every container": plugin(
    { ...GOOD, args: { cni: { ips: ["10.1.0.9"] } } },
    `deprecated-key ${F}:27:18`,
  ),
  "an MTU without IPv6": plugin(
    { type: "ptp", mtu: 1000, ipam: { type: "host-local", ranges: [[{ subnet: "fd00::/64" }]] } },
    `mtu ${F}:7:14`,
  ),
  "an MTU that nothing carries": plugin({ type: "bridge", mtu: 65000 }, `mtu ${F}:7:14`),
  "a name as a name server, and the container itself": plugin(
    { type: "bridge", dns: { nameservers: ["ns.example", "127.0.0.53"] } },
    `dns ${F}:9:11`,
    `dns ${F}:10:11`,
  ),
  "four name servers": plugin(
    { type: "bridge", dns: { nameservers: ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"] } },
    `dns ${F}:12:11`,
  ),
  "an extension that no runtime reads": {
    files: {
      "10-a.conflst": list("a", [GOOD]),
      "20-b.conflist.bak": list("b", [GOOD]),
      "30-c.txt": list("c", [GOOD]),
      "40-d.txt": "d",
    },
    found: [
      "file-not-read 10-a.conflst:1:1",
      "file-not-read 20-b.conflist.bak:1:1",
      "file-not-read 30-c.txt:1:1",
      "file-not-read 40-d.txt:1:1",
    ],
  },
  "a plugin of the plugin folder": {
    files: { [F]: list("a", [GOOD]), "a/10-x.conf": { type: "portmap", snatt: true } },
    found: ["missing-capability a/10-x.conf:2:11", "misspelt-key a/10-x.conf:3:12"],
  },
  "a broken file of the plugin folder": {
    files: { [F]: list("a", [GOOD]), "a/10-x.conf": "{" },
    found: ["invalid-json a/10-x.conf:1:2"],
  },
  "an exclusion of a rule that is not there": one(
    list("a", [{ type: "loopback" }], { podwireLintExclude: ["check-disable", 4] }),
    `unknown-rule ${F}:5:5`,
    `unknown-rule ${F}:6:5`,
  ),
};
