import { assertEquals, assertRejects } from "@std/assert";
import { attachmentComment, attachmentTag, iptablesChain } from "../../lib/builtin/attachment_tag.ts";
import { addMasquerade, collectMasquerade, removeMasquerade } from "../../lib/builtin/masquerade.ts";
import { formatIp, type Ip, parseCidr } from "../../lib/cni/address.ts";
import { CniError } from "../../lib/cni/error.ts";
import { HostError } from "../../lib/host/command.ts";
import { type Ran, type Reply, ScriptedRun } from "./scripted_run.ts";

const WEB = { network: "web", containerId: "c1", ifName: "eth0" };
const CHAIN = await iptablesChain(WEB);
const COMMENT = '-m comment --comment "name: \\"web\\" id: \\"c1\\""';
const BOTH = ["10.1.0.2/24", "10.2.0.2/16", "fd00::2/64"].map((text) => parseCidr(text)!);
const MISSING = new Deno.errors.NotFound("no such program");
const NO_TABLE = { code: 1, stderr: "Error: No such file or directory\n" };
const signal = new AbortController().signal;

/** For a container without other interfaces. */
const keepNone = () => false;

function host(reply: (ran: Ran) => Reply | Error | undefined) {
  const scripted = new ScriptedRun(reply);
  return { scripted, host: { run: scripted.run, signal } };
}

const stdinOf = (scripted: ScriptedRun, command: string) =>
  scripted.ran.filter((ran) => ran.command.startsWith(command)).map(({ stdin }) => stdin);

Deno.test("names and comments are those of the reference plugins", async () => {
  // From rules that release 1.9.1 made for network "smoke", container "c1".
  assertEquals(await iptablesChain({ network: "smoke", containerId: "c1" }), "CNI-04e0e119cfba3d7ceb0f2500");
  const tag = await attachmentTag(WEB);
  assertEquals(/^[0-9a-f]{16}-[0-9a-f]{16}$/.test(tag), true);
  assertEquals(await attachmentComment(WEB), `${tag}, net: web, if: eth0, id: c1`);
  const long = await attachmentComment({ ...WEB, containerId: "c".repeat(200) });
  assertEquals(long.length, 128);
  const cutThrough = await attachmentComment({ network: "n".repeat(78), containerId: "c", ifName: "äöü" });
  assertEquals(cutThrough.includes("\ufffd"), false);
});

Deno.test("iptables is used if it works, with one transaction for each family", async () => {
  const { scripted, host: here } = host(({ command }) =>
    command.startsWith("iptables -w")
      ? { stdout: `-P POSTROUTING ACCEPT\n-A POSTROUTING -s 10.1.0.2/32 -j ${CHAIN}\n` }
      : {}
  );
  await addMasquerade(here, WEB, BOTH);
  assertEquals(scripted.commands.sort(), [
    "ip6tables -w -t nat -S POSTROUTING",
    "ip6tables-restore -w --noflush",
    "iptables -w -t nat -S POSTROUTING",
    "iptables-restore -w --noflush",
  ]);
  assertEquals(stdinOf(scripted, "iptables-restore"), [[
    "*nat",
    `:${CHAIN} - [0:0]`,
    `-D POSTROUTING -s 10.1.0.2/32 -j ${CHAIN}`,
    // Every network of the container before the rule for all the rest.
    `-A ${CHAIN} -d 10.1.0.2/24 ${COMMENT} -j ACCEPT`,
    `-A ${CHAIN} -d 10.2.0.2/16 ${COMMENT} -j ACCEPT`,
    `-A ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
    `-A POSTROUTING -s 10.1.0.2 ${COMMENT} -j ${CHAIN}`,
    `-A POSTROUTING -s 10.2.0.2 ${COMMENT} -j ${CHAIN}`,
    "COMMIT",
    "",
  ].join("\n")]);
});

Deno.test("a list of rules that is cut short is read again, and one that is never complete is an error", async () => {
  let lists = 0;
  const { host: here } = host(({ command }) =>
    command.startsWith("nft -j") ? { stdout: ++lists < 4 ? "" : '{"nftables": []}' } : {}
  );
  await addMasquerade(here, WEB, BOTH, { backend: "nftables" });
  assertEquals(lists, 4);
  const { host: broken } = host(() => ({ stdout: '{"nftables":' }));
  const add = () => addMasquerade(broken, WEB, BOTH, { backend: "nftables" });
  await assertRejects(
    add,
    HostError,
    "Cannot read the rules that nft lists of inet cni_plugins_masquerade masq_checks",
  );
});

Deno.test("nftables is used if iptables is missing or does not work", async () => {
  for (const broken of [MISSING, { code: 3, stderr: "Table does not exist" }]) {
    const { scripted, host: here } = host(({ command }) =>
      command.startsWith("ip") ? broken : command.startsWith("nft -j") ? NO_TABLE : {}
    );
    await addMasquerade(here, WEB, BOTH.slice(0, 1));
    const comment = await attachmentComment(WEB);
    assertEquals(stdinOf(scripted, "nft -f"), [[
      "add table inet cni_plugins_masquerade",
      "add chain inet cni_plugins_masquerade masq_checks",
      "add chain inet cni_plugins_masquerade postrouting { type nat hook postrouting priority srcnat ; }",
      "flush chain inet cni_plugins_masquerade postrouting",
      "add rule inet cni_plugins_masquerade postrouting ip daddr == 224.0.0.0/4 return",
      "add rule inet cni_plugins_masquerade postrouting ip6 daddr == ff00::/8 return",
      "add rule inet cni_plugins_masquerade postrouting goto masq_checks",
      "add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.1.0.2 ip daddr != 10.1.0.0/24 " +
      `masquerade comment "${comment}"`,
      "",
    ].join("\n")]);
  }
});

Deno.test("only the requested backend is used, and the error names it", async () => {
  const nothing = host(() => MISSING).host;
  for (
    const [wish, words] of [
      [undefined, "Cannot masquerade: neither iptables nor nftables works here"],
      ["iptables", "Cannot masquerade: iptables does not work here"],
      ["nftables", "Cannot masquerade: nftables does not work here"],
    ] as const
  ) {
    const error = await assertRejects(() => addMasquerade(nothing, WEB, BOTH, { backend: wish }), CniError);
    assertEquals([error.code, error.msg], [999, words]);
  }
  const { scripted, host: here } = host(() => ({ stdout: '{"nftables": []}' }));
  await addMasquerade(here, WEB, BOTH, { backend: "nftables" });
  assertEquals(scripted.commands, ["nft -j list chain inet cni_plugins_masquerade masq_checks", "nft -f -"]);
});

Deno.test("DEL uses both backends and needs no address", async () => {
  const tag = await attachmentTag(WEB);
  const rules = [
    { rule: { chain: "masq_checks", handle: 7, comment: `${tag}, net: web` } },
    { rule: { chain: "masq_checks", handle: 8, comment: "0123456789abcdef-0123456789abcdef, net: other" } },
    { rule: { chain: "masq_checks", handle: 9 } },
    { metainfo: {} },
  ];
  const { scripted, host: here } = host(({ command }) => {
    if (command.startsWith("iptables -w")) {
      return {
        stdout: `-N ${CHAIN}\n-N CNI-other\n-A POSTROUTING -s 10.1.0.2/32 ${COMMENT} -j ${CHAIN}\n` +
          `-A POSTROUTING -s 10.1.0.3/32 -j CNI-other\n-A ${CHAIN} -d 10.1.0.0/24 -j ACCEPT\n`,
      };
    }
    return command.startsWith("nft -j") ? { stdout: JSON.stringify({ nftables: rules }) } : {};
  });
  await removeMasquerade(here, WEB, keepNone);
  assertEquals(stdinOf(scripted, "nft -f"), [
    "delete rule inet cni_plugins_masquerade masq_checks handle 7\n",
  ]);
  assertEquals(stdinOf(scripted, "iptables-restore"), [
    `*nat\n-D POSTROUTING -s 10.1.0.2/32 ${COMMENT} -j ${CHAIN}\n-F ${CHAIN}\n-X ${CHAIN}\nCOMMIT\n`,
  ]);
  assertEquals(stdinOf(scripted, "ip6tables-restore"), []);
});

/** The rules of eth0 (10.1.0.2) and eth1 (10.1.0.3 and 10.2.0.3) of one container, as iptables lists them. */
const OF_TWO = [
  `-N ${CHAIN}`,
  ...["10.1.0.2", "10.1.0.3", "10.2.0.3"].map((ip) => `-A POSTROUTING -s ${ip}/32 ${COMMENT} -j ${CHAIN}`),
  `-A ${CHAIN} -d 10.1.0.0/24 ${COMMENT} -j ACCEPT`,
  `-A ${CHAIN} -d 10.2.0.0/16 ${COMMENT} -j ACCEPT`,
  `-A ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
];

/** Answers with the rules of a chain, or of all, as iptables does. */
const nat = (lines: readonly string[]) =>
  host(({ command }) => {
    if (command.startsWith("nft -j")) return { stdout: '{"nftables": []}' };
    if (!command.startsWith("iptables -w")) return {};
    const chain = / -S (\S+)$/.exec(command)?.[1];
    const shown = lines.filter((line) => chain === undefined || line.split(" ")[1] === chain);
    return { stdout: `${shown.join("\n")}\n` };
  });

const transaction = (...lines: string[]) => [["*nat", ...lines, "COMMIT", ""].join("\n")];

Deno.test("ADD of one interface keeps the rules of the container's other interface, with the last rule last", async () => {
  const { scripted, host: here } = nat(OF_TWO);
  await addMasquerade(
    here,
    { ...WEB, ifName: "eth1" },
    ["10.1.0.3/24", "10.3.0.3/16"].map((text) => parseCidr(text)!),
  );
  assertEquals(
    stdinOf(scripted, "iptables-restore"),
    transaction(
      `-D POSTROUTING -s 10.1.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
      `-A ${CHAIN} -d 10.3.0.3/16 ${COMMENT} -j ACCEPT`,
      `-A ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
      `-A POSTROUTING -s 10.1.0.3 ${COMMENT} -j ${CHAIN}`,
      `-A POSTROUTING -s 10.3.0.3 ${COMMENT} -j ${CHAIN}`,
    ),
  );
});

Deno.test("a repeated ADD replaces the rules of its own interface, and a network that no address is in any more", async () => {
  const { scripted, host: here } = nat(OF_TWO);
  await addMasquerade(
    here,
    { ...WEB, ifName: "eth1" },
    ["10.1.0.3/24", "10.2.0.3/24"].map((text) => parseCidr(text)!),
  );
  assertEquals(
    stdinOf(scripted, "iptables-restore"),
    transaction(
      `-D POSTROUTING -s 10.1.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D POSTROUTING -s 10.2.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D ${CHAIN} -d 10.2.0.0/16 ${COMMENT} -j ACCEPT`,
      `-D ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
      `-A ${CHAIN} -d 10.2.0.3/24 ${COMMENT} -j ACCEPT`,
      `-A ${CHAIN} ! -d 224.0.0.0/4 ${COMMENT} -j MASQUERADE`,
      `-A POSTROUTING -s 10.1.0.3 ${COMMENT} -j ${CHAIN}`,
      `-A POSTROUTING -s 10.2.0.3 ${COMMENT} -j ${CHAIN}`,
    ),
  );
});

Deno.test("DEL of one interface keeps the jumps that are kept and the networks that these need", async () => {
  const { scripted, host: here } = nat(OF_TWO);
  await removeMasquerade(here, { ...WEB, ifName: "eth1" }, (ip) => formatIp(ip) === "10.1.0.2");
  assertEquals(
    stdinOf(scripted, "iptables-restore"),
    transaction(
      `-D POSTROUTING -s 10.1.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D POSTROUTING -s 10.2.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D ${CHAIN} -d 10.2.0.0/16 ${COMMENT} -j ACCEPT`,
    ),
  );
  const untouched = nat(OF_TWO);
  await removeMasquerade(untouched.host, { ...WEB, ifName: "eth2" }, () => true);
  assertEquals(stdinOf(untouched.scripted, "iptables-restore"), []);
});

Deno.test("a jump for a whole network, of an old release, goes with the last jump for one address", async () => {
  const old = `-A POSTROUTING -s 10.1.0.0/24 ${COMMENT} -j ${CHAIN}`;
  const some = nat([...OF_TWO, old]);
  await removeMasquerade(some.host, WEB, (ip) => formatIp(ip) !== "10.1.0.2");
  assertEquals(
    stdinOf(some.scripted, "iptables-restore"),
    transaction(`-D POSTROUTING -s 10.1.0.2/32 ${COMMENT} -j ${CHAIN}`),
  );
  const last = nat([`-N ${CHAIN}`, old]);
  await removeMasquerade(last.host, WEB, keepNone);
  assertEquals(
    stdinOf(last.scripted, "iptables-restore"),
    transaction(old.replace("-A", "-D"), `-F ${CHAIN}`, `-X ${CHAIN}`),
  );
});

Deno.test("GC removes the rules of a valid container only for addresses that are surely stale", async () => {
  const { scripted, host: here } = nat(OF_TWO);
  const isStale = (ip: Ip, id: string) => Promise.resolve(id === "c1" && formatIp(ip) === "10.2.0.3");
  await collectMasquerade(here, "web", [WEB], isStale);
  assertEquals(
    stdinOf(scripted, "iptables-restore"),
    transaction(
      `-D POSTROUTING -s 10.2.0.3/32 ${COMMENT} -j ${CHAIN}`,
      `-D ${CHAIN} -d 10.2.0.0/16 ${COMMENT} -j ACCEPT`,
    ),
  );
});

Deno.test("DEL succeeds without rules and without programs", async () => {
  for (
    const reply of [() => MISSING, () => NO_TABLE, () => ({ code: 1, stderr: "Protocol not supported" })]
  ) {
    await removeMasquerade(host(reply).host, WEB, keepNone);
  }
});

Deno.test("a missing lock or privilege does not count as an empty list of rules", async () => {
  const busy =
    host(({ command }) => command.startsWith("iptables") ? { code: 4, stderr: "lock" } : NO_TABLE).host;
  await assertRejects(() => removeMasquerade(busy, WEB, keepNone), HostError);
  const denied =
    host(({ command }) => command.startsWith("nft") ? { code: 1, stderr: "Operation not permitted" } : {})
      .host;
  await assertRejects(() => removeMasquerade(denied, WEB, keepNone), HostError);
});

Deno.test("a change that conflicts with another process is planned again", async () => {
  const tag = await attachmentTag(WEB);
  let lists = 0;
  let changes = 0;
  const { host: here } = host(({ command }) => {
    if (command.startsWith("nft -j")) {
      const rules = lists++ === 0 ? [{ rule: { chain: "masq_checks", handle: 7, comment: tag } }] : [];
      return { stdout: JSON.stringify({ nftables: rules }) };
    }
    if (command.startsWith("nft -f")) changes++;
    return command.startsWith("nft -f") ? NO_TABLE : MISSING;
  });
  await removeMasquerade(here, WEB, keepNone);
  assertEquals({ lists, changes }, { lists: 2, changes: 1 });
});

Deno.test("GC keeps valid attachments and foreign rules that look similar", async () => {
  const stale = { ...WEB, containerId: "stale" };
  const staleChain = await iptablesChain(stale);
  const jump = (id: string, chain: string, network = "web") =>
    `-A POSTROUTING -s 10.1.0.9/32 -m comment --comment "name: \\"${network}\\" id: \\"${id}\\"" -j ${chain}`;
  const nat = [
    `-N ${CHAIN}`,
    `-N ${staleChain}`,
    jump("c1", CHAIN),
    jump("stale", staleChain),
    jump("forged", staleChain),
    jump("x", await iptablesChain({ network: "other", containerId: "x" }), "other"),
  ].join("\n");
  const nft = [[7, WEB], [8, stale], [9, { ...stale, network: "other" }]] as const;
  const rules = await Promise.all(
    nft.map(async ([handle, one]) => ({
      rule: { chain: "masq_checks", handle, comment: await attachmentComment(one) },
    })),
  );
  const { scripted, host: here } = host(({ command }) =>
    command.startsWith("iptables -w")
      ? { stdout: nat }
      : command.startsWith("nft -j")
      ? { stdout: JSON.stringify({ nftables: rules }) }
      : {}
  );
  await collectMasquerade(here, "web", [WEB], () => Promise.resolve(false));
  assertEquals(stdinOf(scripted, "nft -f"), [
    "delete rule inet cni_plugins_masquerade masq_checks handle 8\n",
  ]);
  const [restored = ""] = stdinOf(scripted, "iptables-restore");
  assertEquals(restored.includes(`-X ${staleChain}`), true);
  assertEquals(restored.includes(CHAIN), false);
});

const NFT = { backend: "nftables" } as const;

/** The rules of the chain as `nft -a` lists them. */
const listing = (...rules: readonly (readonly [handle: number, comment: string])[]) =>
  `table inet cni_plugins_masquerade {\n\tchain masq_checks { # handle 1\n${
    rules.map(([handle, comment]) =>
      `\t\tip saddr 10.1.0.9 ip daddr != 10.1.0.0/24 masquerade comment "${comment}" # handle ${handle}\n`
    ).join("")
  }\t}\n}\n`;

/** A host whose chain is known, because one ADD is done. */
async function knownChain(reply: (ran: Ran) => Reply | Error | undefined) {
  let isKnown = false;
  const made = host((ran) => isKnown ? reply(ran) : ran.command.startsWith("nft -j") ? NO_TABLE : {});
  await addMasquerade(made.host, { ...WEB, containerId: "first" }, BOTH, NFT);
  isKnown = true;
  made.scripted.ran.length = 0;
  return made;
}

Deno.test("an ADD with nftables is one program and one transaction, once the chain is known", async () => {
  const other = await attachmentComment({ ...WEB, containerId: "c2" });
  const { scripted, host: here } = await knownChain(() => ({ stdout: listing([7, other]) }));
  await addMasquerade(here, WEB, BOTH, NFT);
  assertEquals(scripted.commands, ["nft -a -f -"]);
  const [script = ""] = stdinOf(scripted, "nft -a");
  assertEquals(
    script.startsWith("list chain inet cni_plugins_masquerade masq_checks\nadd table inet "),
    true,
  );
  assertEquals(
    script.split(`masquerade comment "${await attachmentComment(WEB)}"\n`).length,
    BOTH.length + 1,
  );
});

Deno.test("an ADD that finds rules of an earlier one removes these, and no others", async () => {
  const own = await attachmentComment(WEB);
  const other = await attachmentComment({ ...WEB, containerId: "c2" });
  const now = [[7, own], [8, other], [9, own]] as const;
  const { scripted, host: here } = await knownChain(({ command }) =>
    command.startsWith("nft -a") ? { stdout: listing(now[0], now[1]) } : command.startsWith("nft -j")
      ? {
        stdout: JSON.stringify({
          nftables: now.map(([handle, comment]) => ({ rule: { chain: "masq_checks", handle, comment } })),
        }),
      }
      : {}
  );
  await addMasquerade(here, WEB, BOTH, NFT);
  assertEquals(stdinOf(scripted, "nft -f"), [
    "delete rule inet cni_plugins_masquerade masq_checks handle 7\n",
  ]);
});

Deno.test("an ADD whose chain is gone, or whose list is cut short, is done in two steps, and so is the next one", async () => {
  const own = await attachmentComment(WEB);
  for (const reply of [NO_TABLE, { stdout: listing([7, own]).slice(0, -2) }]) {
    const { scripted, host: here } = await knownChain(({ command }) =>
      command.startsWith("nft -a") ? reply : command.startsWith("nft -j")
        ? {
          stdout: JSON.stringify({ nftables: [{ rule: { chain: "masq_checks", handle: 7, comment: own } }] }),
        }
        : {}
    );
    await addMasquerade(here, WEB, BOTH, NFT);
    assertEquals(scripted.commands, [
      "nft -a -f -",
      "nft -j list chain inet cni_plugins_masquerade masq_checks",
      "nft -f -",
    ]);
    assertEquals(stdinOf(scripted, "nft -f")[0]?.includes("masq_checks handle 7\n"), true);
  }
});

Deno.test("DEL does not ask iptables if nftables was requested and has the rules, and asks it if not", async () => {
  const rule = { rule: { chain: "masq_checks", handle: 7, comment: await attachmentComment(WEB) } };
  for (const rules of [[rule], []]) {
    const { scripted, host: here } = host(({ command }) =>
      command.startsWith("nft -j")
        ? { stdout: JSON.stringify({ nftables: rules }) }
        : command.startsWith("iptables -w")
        ? { stdout: `-N ${CHAIN}\n` }
        : {}
    );
    await removeMasquerade(here, WEB, keepNone, NFT);
    const [first, ...others] = scripted.commands;
    assertEquals(first, "nft -j list chain inet cni_plugins_masquerade masq_checks");
    assertEquals(
      others.sort(),
      rules.length > 0
        ? ["nft -f -"]
        : ["ip6tables -w -t nat -S", "iptables -w -t nat -S", "iptables-restore -w --noflush"],
    );
  }
});
