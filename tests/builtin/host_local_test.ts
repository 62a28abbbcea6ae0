import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { withIpam } from "./ipam_calls.ts";

const SUBNET = { subnet: "10.1.2.0/24" };
const BOTH = { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00:1::/64" }]] };

Deno.test(
  "ADD writes the same files as the original plugin, byte for byte",
  withIpam(BOTH, async (ipam) => {
    assertEquals(await ipam.add(), ["10.1.2.2/24", "fd00:1::2/64"]);
    assertEquals(ipam.reserved(), { "10.1.2.2": "c1\r\neth0", "fd00:1::2": "c1\r\neth0" });
    assertEquals(Deno.readTextFileSync(ipam.path("last_reserved_ip.0")), "10.1.2.2");
    assertEquals(Deno.readTextFileSync(ipam.path("last_reserved_ip.1")), "fd00:1::2");
    assertEquals(Deno.statSync(ipam.path("10.1.2.2")).mode! & 0o777, 0o600);
    assertEquals(Deno.statSync(ipam.path("lock")).isFile, true);
  }),
);

Deno.test(
  "the result has gateways, routes and the name servers of a file",
  withIpam({}, async (ipam) => {
    const resolvConf = `${ipam.dir}/resolv.conf`;
    await Deno.writeTextFile(
      resolvConf,
      "# comment\nnameserver 10.0.0.53\n; other\ndomain a.example\nsearch a.example b.example\noptions ndots:2\nnameserver\n",
    );
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "10.9.0.0/16", gw: "10.1.2.9", priority: 5 }];
    const answer = await ipam.call("ADD", { ipam: { ...SUBNET, gateway: "10.1.2.200", routes, resolvConf } });
    assertEquals(answer.document, {
      cniVersion: "1.1.0",
      ips: [{ address: "10.1.2.1/24", gateway: "10.1.2.200" }],
      routes,
      dns: {
        nameservers: ["10.0.0.53"],
        domain: "a.example",
        search: ["a.example", "b.example"],
        options: ["ndots:2"],
      },
    });
    const missing = await ipam.refusal("ADD", { ipam: { ...SUBNET, resolvConf: "/nowhere/x" } });
    assertEquals(missing.code, 7);
  }),
);

Deno.test(
  "U22 addresses are used in turn, and a freed one is used again last",
  withIpam({ subnet: "10.1.2.0/29" }, async (ipam) => {
    for (const [id, address] of [["a", "10.1.2.2/29"], ["b", "10.1.2.3/29"], ["c", "10.1.2.4/29"]] as const) {
      assertEquals(await ipam.add({ id }), [address]);
    }
    await ipam.done("DEL", { id: "a" });
    assertEquals(await ipam.add({ id: "d" }), ["10.1.2.5/29"]);
    assertEquals(await ipam.add({ id: "e" }), ["10.1.2.6/29"]);
    assertEquals(await ipam.add({ id: "f" }), ["10.1.2.2/29"]);
  }),
);

Deno.test(
  "when all addresses are taken, ADD says where, STATUS is not ready, and nothing is left half done",
  withIpam({ ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "10.1.3.0/30" }]] }, async (ipam) => {
    await ipam.done("STATUS");
    await ipam.add({ id: "a" });
    const { code, document } = await ipam.call("ADD", { id: "b" });
    assertEquals(code, 1);
    assertEquals(document.code, 999);
    assertEquals(
      document.msg,
      "failed to allocate for range 1: no IP addresses available in range set: 10.1.3.1-10.1.3.2",
    );
    assertStringIncludes(document.details, `${ipam.dir}/web, held: 1;`);
    assertEquals(ipam.reserved(), { "10.1.2.2": "a\r\neth0", "10.1.3.2": "a\r\neth0" });
    assertEquals((await ipam.refusal("STATUS")).code, 50);
  }),
);

Deno.test(
  "DEL frees the addresses of container and interface, and can be repeated",
  withIpam(BOTH, async (ipam) => {
    await ipam.add({ id: "a" });
    await ipam.add({ id: "a", ifName: "eth1" });
    await ipam.done("DEL", { id: "a" });
    assertEquals(ipam.reserved(), { "10.1.2.3": "a\r\neth1", "fd00:1::3": "a\r\neth1" });
    await ipam.done("DEL", { id: "a" });
    await ipam.done("DEL", { id: "other" });
    assertEquals(Object.keys(ipam.reserved()).length, 2);
  }),
);

Deno.test(
  "DEL and CHECK accept files without an interface name, which old versions wrote",
  withIpam(SUBNET, async (ipam) => {
    await ipam.add({ id: "other" });
    await Deno.writeTextFile(ipam.path("10.1.2.77"), "old\n");
    await ipam.done("CHECK", { id: "old" });
    await ipam.done("DEL", { id: "old" });
    assertEquals(Object.keys(ipam.reserved()), ["10.1.2.2"]);
  }),
);

Deno.test(
  "CHECK fails if the address is no longer reserved",
  withIpam(SUBNET, async (ipam) => {
    await ipam.add();
    await ipam.done("CHECK");
    assertStringIncludes((await ipam.refusal("CHECK", { ifName: "eth1" })).msg, "no address is reserved");
    await ipam.done("DEL");
    await ipam.refusal("CHECK");
  }),
);

Deno.test(
  "U16 GC frees addresses that no attachment holds, also an empty file of a crash",
  withIpam(BOTH, async (ipam) => {
    for (const id of ["a", "b", "c"]) await ipam.add({ id });
    await Deno.writeTextFile(ipam.path("10.1.2.99"), "");
    const valid = [{ containerID: "b", ifname: "eth0" }, { containerID: "c", ifname: "eth1" }];
    const { stderr } = await ipam.done("GC", { more: { "cni.dev/valid-attachments": valid } });
    assertEquals(ipam.reserved(), { "10.1.2.3": "b\r\neth0", "fd00:1::3": "b\r\neth0" });
    assertStringIncludes(stderr, "released 10.1.2.99");
    assertEquals(Deno.readTextFileSync(ipam.path("last_reserved_ip.0")), "10.1.2.4");
  }),
);

Deno.test(
  "GC without the list frees nothing",
  withIpam(SUBNET, async (ipam) => {
    await ipam.add();
    assertEquals(await ipam.refusal("GC"), { code: 7, msg: '["cni.dev/valid-attachments"] is missing' });
    assertEquals(Object.keys(ipam.reserved()).length, 1);
  }),
);

Deno.test(
  "addresses can be requested in four ways",
  withIpam(SUBNET, async (ipam) => {
    assertEquals(await ipam.add({ id: "a", args: "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.50" }), [
      "10.1.2.50/24",
    ]);
    assertEquals(await ipam.add({ id: "b", more: { args: { cni: { ips: ["10.1.2.51"] } } } }), [
      "10.1.2.51/24",
    ]);
    assertEquals(await ipam.add({ id: "c", more: { runtimeConfig: { ips: ["10.1.2.52/16"] } } }), [
      "10.1.2.52/24",
    ]);
    assertEquals(
      await ipam.add({ id: "d", more: { runtimeConfig: { ipRanges: [[{ subnet: "10.7.0.0/24" }]] } } }),
      [
        "10.7.0.2/24",
        // The next address of a set is stored under its index.
        "10.1.2.2/24",
      ],
    );
  }),
);

Deno.test(
  "U21 each set gives one of the requested addresses",
  withIpam(BOTH, async (ipam) => {
    const ips = ["FD00:1:0::AA", "10.1.2.50"];
    assertEquals(await ipam.add({ more: { runtimeConfig: { ips } } }), ["10.1.2.50/24", "fd00:1::aa/64"]);
    assertEquals(Object.keys(ipam.reserved()), ["10.1.2.50", "fd00:1::aa"]);
  }),
);

Deno.test(
  "an address that is not available is refused, and nothing stays reserved",
  withIpam(BOTH, async (ipam) => {
    await ipam.add({ id: "a", args: "IP=10.1.2.50" });
    const wish = { id: "b", more: { runtimeConfig: { ips: ["10.1.2.50"] } } };
    assertEquals((await ipam.call("ADD", wish)).document.details, 'it is held by container "a" (eth0)');
    const ask = async (...ips: string[]) =>
      (await ipam.refusal("ADD", { id: "b", more: { runtimeConfig: { ips } } })).msg;
    assertEquals(
      await ask("10.1.2.50"),
      "failed to allocate for range 0: requested IP address 10.1.2.50 is not available in range set 10.1.2.1-10.1.2.254",
    );
    assertEquals(
      await ask("10.1.2.1"),
      "failed to allocate for range 0: requested ip 10.1.2.1 is subnet's gateway",
    );
    assertEquals(
      await ask("10.1.2.60", "fd00:1::1"),
      "failed to allocate for range 1: requested ip fd00:1::1 is subnet's gateway",
    );
    assertEquals(await ask("10.9.9.9"), "failed to allocate all requested IPs: 10.9.9.9");
    assertEquals(await ask("10.1.2.60", "10.1.2.61"), "failed to allocate all requested IPs: 10.1.2.61");
    assertEquals(Object.values(ipam.reserved()), ["a\r\neth0", "a\r\neth0"]);
  }),
);

Deno.test(
  "U15 a second ADD of the same attachment is refused, and the first keeps its address",
  withIpam(SUBNET, async (ipam) => {
    await ipam.add();
    assertStringIncludes((await ipam.refusal("ADD")).msg, "10.1.2.2 has been allocated to c1");
    assertEquals(ipam.reserved(), { "10.1.2.2": "c1\r\neth0" });
  }),
);

Deno.test(
  "concurrent ADDs get different addresses",
  withIpam(BOTH, async (ipam) => {
    const all = await Promise.all(Array.from({ length: 40 }, (_, n) => ipam.add({ id: `c${n}` })));
    assertEquals(new Set(all.map(([v4]) => v4)).size, 40);
    assertEquals(new Set(all.map(([, v6]) => v6)).size, 40);
    await Promise.all(Array.from({ length: 40 }, (_, n) => ipam.done("DEL", { id: `c${n}` })));
    assertEquals(ipam.reserved(), {});
  }),
);

Deno.test(
  "an invalid configuration is refused with code 7 and the name of the field",
  withIpam(SUBNET, async (ipam) => {
    const refusal = (bad: JsonObject) => ipam.refusal("ADD", { ipam: bad });
    assertEquals(await refusal({}), { code: 7, msg: "no IP ranges specified" });
    assertEquals(
      (await refusal({ ranges: [{ subnet: "10.1.2.0/24" }] })).msg,
      "ipam.ranges[0] must be an array, not an object",
    );
    assertEquals(
      (await refusal({ ranges: [[{ subnet: "10.1.2.1/24" }]] })).msg.startsWith(
        "ipam.ranges[0][0].subnet has host bits",
      ),
      true,
    );
    assertEquals(await refusal({ ...SUBNET, routes: [{ gw: "10.1.2.1" }] }), {
      code: 7,
      msg: "ipam.routes[0].dst is missing",
    });
    assertEquals((await ipam.refusal("ADD", { more: { ipam: null } })).msg, "ipam is missing");
    assertEquals((await ipam.refusal("ADD", { args: "IP=x" })).code, 4);
    assertEquals((await ipam.refusal("ADD", { args: "MAC=x" })).msg, 'ARGS: unknown args ["MAC=x"]');
  }),
);

Deno.test(
  "results before 0.3.0 have one address of a family",
  withIpam({ ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "10.1.3.0/24" }]] }, async (ipam) => {
    assertEquals(
      (await ipam.refusal("ADD", { version: "0.2.0" })).msg,
      "CNI version 0.2.0 does not support more than 1 address per family",
    );
    const { document } = await ipam.call("ADD", { version: "0.2.0", ipam: BOTH });
    assert(document.ip4.ip === "10.1.2.2/24" && document.ip6.ip === "fd00:1::2/64");
  }),
);

Deno.test(
  "old and new style of ranges work together, the old one first",
  withIpam({ ...SUBNET, ranges: [[{ subnet: "10.1.3.0/24" }]] }, async (ipam) => {
    assertEquals(await ipam.add(), ["10.1.2.2/24", "10.1.3.2/24"]);
  }),
);

Deno.test(
  "a damaged file of the last address only changes the order",
  withIpam(SUBNET, async (ipam) => {
    await ipam.add({ id: "a" });
    await Deno.writeTextFile(ipam.path("last_reserved_ip.0"), "\0\0");
    assertEquals(await ipam.add({ id: "b" }), ["10.1.2.3/24"]);
  }),
);
