// What the built-in host-local has beyond the original: addresses by name, and addresses that no container gets.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { StickyAddresses } from "../../lib/builtin/sticky_addresses.ts";
import { formatIp, type Ip, parseIp } from "../../lib/cni/address.ts";
import { CNI_1_9_1, need } from "../root/need.ts";
import { assertDone, callBinary } from "../root/builtin_call.ts";
import { inTempDir } from "../temp_dir.ts";
import { type Ipam, withIpam } from "./ipam_calls.ts";

const STICKY = { subnet: "10.1.2.0/29", sticky: true };
const named = (name: string, namespace = "default") =>
  `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;

let containers = 0;
/** Attaches a sandbox as a new container, and returns its address. */
async function start(ipam: Ipam, name: string, more = {}): Promise<{ id: string; address: string }> {
  const id = `c${containers++}`;
  const [address = ""] = await ipam.add({ id, args: named(name), ...more });
  return { id, address: address.replace(/\/.*/, "") };
}

Deno.test(
  "U18 with sticky each sandbox keeps its address over 20 restarts in any order, as do new ones between them",
  withIpam({ ...STICKY, subnet: "10.1.2.0/26" }, async (ipam) => {
    const names = Array.from({ length: 20 }, (_, at) => `web-${at}`);
    const first = new Map<string, string>();
    const running = new Map<string, string>();
    for (const name of names) {
      const { id, address } = await start(ipam, name);
      first.set(name, address);
      running.set(name, id);
    }
    const random = crypto.getRandomValues(new Uint32Array(20));
    for (const number of random) {
      const stopped = names.filter((_, at) => (number >> at) % 2 === 1).sort(() => number % 3 - 1);
      for (const name of stopped) await ipam.done("DEL", { id: running.get(name) ?? "", args: named(name) });
      const other = await start(ipam, `other-${number}`);
      assert(![...first.values()].includes(other.address), other.address);
      await ipam.done("DEL", { id: other.id, args: named(`other-${number}`) });
      for (const name of stopped.reverse()) {
        const { id, address } = await start(ipam, name);
        assertEquals({ name, address }, { name, address: first.get(name) });
        running.set(name, id);
      }
    }
  }),
);

Deno.test(
  "U18 with sticky the address of another sandbox is given out only when nothing else is free, that of the longest stopped one first",
  withIpam(STICKY, async (ipam) => {
    const started: { name: string; id: string; address: string }[] = [];
    for (const name of ["a", "b", "c", "d", "e"]) started.push({ name, ...await start(ipam, name) });
    assertEquals(started.map(({ address }) => address), [2, 3, 4, 5, 6].map((host) => `10.1.2.${host}`));
    const stop = async (name: string, seconds: number) => {
      const one = started.find((each) => each.name === name);
      if (one === undefined) throw new Error(name);
      await ipam.done("DEL", { id: one.id, args: named(name) });
      const at = new Date(Date.now() - seconds * 1000);
      Deno.utimeSync(`${ipam.dir}/.podwire/.names/web/addresses/${one.address}`, at, at);
      return one.address;
    };
    await stop("b", 10);
    const longest = await stop("d", 30);
    await stop("a", 20);
    // Also for one without a name.
    const [address] = await ipam.add({ id: "nameless" });
    assertEquals(address, `${longest}/29`);
    await ipam.done("DEL", { id: "nameless" });
    // Which is remembered for none now.
    assertEquals((await start(ipam, "d")).address, longest);
    assertEquals((await start(ipam, "b")).address, "10.1.2.3");
    assertEquals((await start(ipam, "f")).address, "10.1.2.2");
    const refused = await ipam.call("ADD", { id: "g", args: named("a") });
    assertStringIncludes(refused.document.msg, "no IP addresses available in range set: 10.1.2.1-10.1.2.6");
    assertStringIncludes(refused.document.details, "all 5 addresses of it are reserved");
  }),
);

Deno.test(
  "with sticky two sandboxes of one name in different namespaces, and two interfaces of one, are different",
  withIpam(
    { ranges: [[{ subnet: "10.1.2.0/28" }], [{ subnet: "fd00:1::/64" }]], sticky: true },
    async (ipam) => {
      const asks = [
        { id: "a", args: named("web") },
        { id: "a", ifName: "eth1", args: named("web") },
        { id: "b", args: named("web", "other") },
      ];
      const before = [];
      for (const ask of asks) before.push(await ipam.add(ask));
      for (const ask of asks) await ipam.done("DEL", ask);
      const after = [];
      for (const ask of asks.toReversed()) after.unshift(await ipam.add({ ...ask, id: `${ask.id}2` }));
      assertEquals(after, before);
      assertEquals(new Set(before.flat()).size, 6);
    },
  ),
);

Deno.test(
  "with sticky a requested address counts more than the last one, and is the last one then",
  withIpam(STICKY, async (ipam) => {
    const { id } = await start(ipam, "a");
    await ipam.done("DEL", { id });
    const asked = await start(ipam, "a", { args: `${named("a")};IP=10.1.2.6` });
    assertEquals(asked.address, "10.1.2.6");
    await ipam.done("DEL", { id: asked.id });
    assertEquals((await start(ipam, "a")).address, "10.1.2.6");
    // The one before is free for all.
    assertEquals((await start(ipam, "b")).address, "10.1.2.2");
  }),
);

Deno.test(
  "with sticky a memory that is damaged, or of another name, is not used, and the ADD succeeds",
  withIpam(STICKY, async (ipam) => {
    const { id, address } = await start(ipam, "a");
    await ipam.done("DEL", { id });
    const root = `${ipam.dir}/.podwire/.names/web`;
    const [file = ""] = Array.from(Deno.readDirSync(`${root}/names`), ({ name }) => `${root}/names/${name}`);
    for (const text of ["", "\0\0\0", '["x","y","z"]\n10.1.2.4\n', '["default","a","eth0"]\nnonsense\n']) {
      await Deno.writeTextFile(file, text);
      const next = await start(ipam, "a");
      await ipam.done("DEL", { id: next.id });
    }
    await Deno.remove(root, { recursive: true });
    await Deno.writeTextFile(root, "in the way");
    const answer = await ipam.call("ADD", { id: "last", args: named("a") });
    assertEquals(answer.code, 0, address);
    assertStringIncludes(answer.stderr, "cannot remember addresses");
  }),
);

Deno.test({
  name:
    "the original takes nothing of what sticky has stored for an address, and its own are not given twice",
  ...need("root", "cni-1.9.1"),
  fn: withIpam(STICKY, async (ipam) => {
    const { id } = await start(ipam, "a");
    await ipam.done("DEL", { id });
    const config = {
      cniVersion: "1.0.0",
      name: "web",
      type: "bridge",
      ipam: { type: "host-local", dataDir: ipam.dir, ...STICKY },
    };
    const theirs = (containerId: string, verb: "ADD" | "DEL") =>
      callBinary(CNI_1_9_1, "host-local", { verb, containerId, netns: "/nowhere", config });
    const taken = [];
    for (const name of ["x", "y", "z", "u", "v"]) {
      const answer = await theirs(name, "ADD");
      assertDone(answer);
      taken.push(answer.document.ips[0].address);
    }
    assertEquals(new Set(taken).size, 5);
    assertEquals((await theirs("w", "ADD")).code, 1);
    const refused = await ipam.refusal("ADD", { id: "later", args: named("a") });
    assertStringIncludes(refused.msg, "no IP addresses available");
    for (const name of ["x", "y", "z", "u", "v"]) assertDone(await theirs(name, "DEL"));
    assertEquals((await start(ipam, "a")).address, "10.1.2.2");
  }),
});

Deno.test(
  "sticky remembers so many names: then those go whose addresses were not in use for longest",
  () =>
    inTempDir((dir) => {
      const sticky = new StickyAddresses(`${dir}/web`, { most: 10 });
      const ip = (host: number) => parseIp(`10.1.2.${host}`) as Ip;
      const named = (host: number) => ({ namespace: "default", name: `n${host}`, ifName: "eth0" });
      const isTaken = (address: Ip) => formatIp(address) === "10.1.2.1";
      for (let host = 1; host <= 10; host++) {
        sticky.remember(named(host), [ip(host)], isTaken);
        Deno.utimeSync(`${dir}/.podwire/.names/web/addresses/10.1.2.${host}`, host, host);
      }
      sticky.remember(named(11), [ip(11)], isTaken);
      const known = Array.from({ length: 11 }, (_, at) => sticky.of(named(at + 1)).map(formatIp).join());
      // The first one is in use.
      assertEquals(known.map((text) => text.split(".")[3] ?? ""), [
        "1",
        "",
        ...Array.from({ length: 9 }, (_, at) => `${at + 3}`),
      ]);
      const count = (folder: string) => [...Deno.readDirSync(`${dir}/.podwire/.names/web/${folder}`)].length;
      assertEquals([count("names"), count("addresses")], [10, 10]);
      return Promise.resolve();
    }),
);

Deno.test(
  "U20 an excluded address, network or range is given to no container, not even on request",
  withIpam(
    { subnet: "10.1.2.0/27", exclude: ["10.1.2.2", "10.1.2.8/29", "10.1.2.16-10.1.2.28"] },
    async (ipam) => {
      const given = [];
      for (let at = 0; at < 6; at++) given.push(...await ipam.add({ id: `c${at}` }));
      assertEquals(given.map((address) => address.replace(/\/.*/, "")), [
        ...[3, 4, 5, 6, 7, 29].map((host) => `10.1.2.${host}`),
      ]);
      await ipam.add({ id: "last" });
      const refused = await ipam.call("ADD", { id: "none" });
      assertStringIncludes(
        refused.document.msg,
        "no IP addresses available in range set: 10.1.2.1-10.1.2.30",
      );
      assertStringIncludes(refused.document.details, "all 7 addresses of it are reserved");
      assertStringIncludes(refused.document.details, "held: 7");
      const status = await ipam.call("STATUS");
      assertStringIncludes(status.document.details, "all 7 addresses of it are reserved");
      const asked = await ipam.refusal("ADD", { id: "asked", args: "IP=10.1.2.17" });
      assertStringIncludes(asked.msg, "requested ip 10.1.2.17 is excluded");
    },
  ),
);

Deno.test(
  "half of a network of 2^64 addresses is excluded at once",
  withIpam({ subnet: "fd00:1::/64", exclude: ["fd00:1::/65"] }, async (ipam) => {
    assertEquals(await ipam.add({ id: "a" }), ["fd00:1:0:0:8000::/64"]);
    assertEquals(await ipam.add({ id: "b" }), ["fd00:1::8000:0:0:1/64"]);
  }),
);

Deno.test(
  "what excludes nothing, or is not an address, is refused by its place",
  withIpam({}, async (ipam) => {
    const refusal = async (exclude: string[]) =>
      (await ipam.refusal("ADD", { ipam: { subnet: "10.1.2.0/24", exclude } })).msg;
    assertEquals(await refusal(["10.1.3.5"]), "ipam.exclude[0] 10.1.3.5 is not in a range");
    assertEquals(
      await refusal(["10.1.2.5", "fd00::/64"]),
      "ipam.exclude[1] fd00::-fd00::ffff:ffff:ffff:ffff is not in a range",
    );
    const wrong = "is not an address, a network, or a range of addresses:";
    for (
      const text of ["web", "10.1.2.1-", "10.1.2.1-10.1.2.2-10.1.2.3", "10.1.2.1-fd00::1", "10.1.2.0/33"]
    ) {
      assertEquals(await refusal([text]), `ipam.exclude[0] ${wrong} ${text}`);
    }
    assertEquals(await refusal(["10.1.2.9-10.1.2.8"]), "ipam.exclude[0] 10.1.2.8 is before 10.1.2.9");
  }),
);
