import { assertEquals } from "@std/assert";
import { hostDns } from "../../lib/inside/host_dns.ts";
import { hostsText, MemberLines } from "../../lib/inside/hosts_text.ts";
import { type InsideNetwork, insideNetworks, type InsideSandbox } from "../../lib/inside/inside_sandbox.ts";
import { membersOf, parseMember, printMember } from "../../lib/inside/member.ts";
import { resolvConfText } from "../../lib/inside/resolv_conf_text.ts";
import { inTempDir } from "../temp_dir.ts";

const HOST = { nameservers: ["192.0.2.53"], search: ["host.example"], options: ["edns0"] };

function network(name: string, more: Partial<InsideNetwork> = {}): InsideNetwork {
  return { network: name, addresses: [], aliases: [], dns: {}, wanted: {}, ...more };
}

function sandbox(name: string, networks: readonly InsideNetwork[], namespace = "default"): InsideSandbox {
  return { id: `id-${name}-${namespace}`, name, namespace, networks };
}

/** The lines behind the one that says who made the file. */
function resolvConf(networks: readonly InsideNetwork[]): readonly string[] {
  return resolvConfText(sandbox("web", networks), HOST).trimEnd().split("\n").slice(1);
}

Deno.test("a resolv.conf has what was asked for, else what the results say, else what the host has", () => {
  assertEquals(resolvConf([network("a")]), ["search host.example", "nameserver 192.0.2.53", "options edns0"]);
  const results = [
    network("a", { dns: { nameservers: ["10.0.0.53"], domain: "a.example", search: ["x.example"] } }),
    network("b", {
      dns: { nameservers: ["10.1.0.53", "10.0.0.53"], search: ["b.example"], options: ["ndots:2"] },
    }),
  ];
  assertEquals(resolvConf(results), [
    "search a.example x.example b.example",
    "nameserver 10.0.0.53",
    "nameserver 10.1.0.53",
    "options ndots:2",
  ]);
  const wanted = network("c", { wanted: { nameservers: ["fd00::53"] }, dns: { nameservers: ["10.2.0.53"] } });
  assertEquals(resolvConf([...results, wanted]), [
    "search a.example x.example b.example",
    "nameserver fd00::53",
    "options ndots:2",
  ]);
  // The domains of the host are of no use without its name servers.
  assertEquals(resolvConf([wanted]), ["nameserver fd00::53"]);
  assertEquals(resolvConf([network("a", { wanted: { search: ["."] } })]), [
    "search .",
    "nameserver 192.0.2.53",
    "options edns0",
  ]);
});

Deno.test("what a plugin reports cannot become another line of a file", () => {
  const dns = { nameservers: ["10.0.0.1\nnameserver 6.6.6.6", "10.0.0.53"], search: ["a b", "c"] };
  assertEquals(resolvConf([network("a", { dns })]), ["search c", "nameserver 10.0.0.53"]);
  const aliases = ["good", "two words", "line\nbreak", "a,b", ""];
  const own = membersOf(sandbox("web", [network("a", { addresses: ["10.0.0.2"], aliases })])).get("a")!;
  assertEquals(own.aliases, ["good"]);
  assertEquals(parseMember(printMember(own)), own);
  for (const line of ["", "one", `${printMember(own)}\tmore`]) {
    assertEquals(parseMember(line), undefined, line);
  }
});

Deno.test("a hosts file has the own names first, and the others as they are called from its namespace", () => {
  const [a, b] = [
    [network("a", { addresses: ["10.0.0.2", "fd00::2"], aliases: ["www", "web"] })],
    [network("a", { addresses: ["10.0.0.3"], aliases: ["store", "localhost"] })],
  ];
  const members = [
    sandbox("web", a),
    sandbox("db", b),
    sandbox("db", [network("a", { addresses: ["10.0.0.4"], aliases: ["cache"] })], "shop"),
    sandbox("quiet", [network("a")]),
  ].map((each) => membersOf(each).get("a")!);
  const text = hostsText([{ network: "a", own: members[0]!, members: new MemberLines(members) }]);
  assertEquals(text.split("\n").slice(1), [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
    "10.0.0.2\tweb web.default www",
    "fd00::2\tweb web.default www",
    "10.0.0.3\tdb db.default store",
    "10.0.0.4\tdb.shop cache.shop",
    "",
  ]);
  const many = hostsText([{ network: "a", own: members[0]!, members: undefined }]);
  assertEquals(many.split("\n").slice(5), [
    "10.0.0.2\tweb web.default www",
    "fd00::2\tweb web.default www",
    "# too many sandboxes are on the network a to be listed here",
    "",
  ]);
});

Deno.test("only attachments that are up count, with what the request asked for", () => {
  const result = {
    cniVersion: "1.0.0",
    ips: [{ address: "10.0.0.2/24" }, { address: "fd00::2/64" }],
    dns: { nameservers: ["10.0.0.53"] },
  };
  const capabilityArgs = {
    dns: { servers: ["10.9.9.9"], searches: ["s"], options: ["o"] },
    aliases: ["www", 1],
  };
  const attached = { network: "a", state: "attached" as const, result, capabilityArgs };
  const expected = {
    network: "a",
    addresses: ["10.0.0.2", "fd00::2"],
    aliases: ["www"],
    dns: { nameservers: ["10.0.0.53"] },
    wanted: { nameservers: ["10.9.9.9"], search: ["s"], options: ["o"] },
  };
  const others = [
    { ...attached, state: "failed" as const },
    { ...attached, result: undefined },
  ];
  assertEquals(insideNetworks([attached, ...others]), [expected]);
  assertEquals(insideNetworks([{ ...attached, capabilityArgs: { dns: [], aliases: "no" } }]), [
    { ...expected, aliases: [], wanted: {} },
  ]);
});

Deno.test("name servers of the host that a sandbox cannot ask are left out, and those behind them take their place", () =>
  inTempDir(async (dir) => {
    const [stub, real] = [`${dir}/stub`, `${dir}/real`];
    const write = (path: string, lines: readonly string[]) =>
      Deno.writeTextFile(path, lines.map((line) => `${line}\n`).join(""));
    assertEquals(await hostDns([stub, real]), {});
    await write(stub, ["nameserver 127.0.0.53", "search lan", "options edns0 trust-ad"]);
    const none = { nameservers: [], search: ["lan"], options: ["edns0", "trust-ad"] };
    assertEquals(await hostDns([stub, real]), none);
    await write(real, ["nameserver 192.0.2.1", "nameserver ::1", "nameserver fe80::1%eth0", "search real"]);
    assertEquals(await hostDns([stub, real]), { nameservers: ["192.0.2.1"], search: ["real"] });
    await write(stub, ["# of the machine", "nameserver 127.0.0.1", "nameserver 192.0.2.9"]);
    assertEquals(await hostDns([stub, real]), { nameservers: ["192.0.2.9"] });
    // A file of another kind.
    await write(stub, ["\0\0", "nameserver", "nameserver nonsense"]);
    assertEquals(await hostDns([stub]), { nameservers: [] });
  }));
