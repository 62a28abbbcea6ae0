import { assertEquals } from "@std/assert";
import { attachmentComment } from "../../lib/builtin/attachment_tag.ts";
import { keptAddresses, staleAddresses } from "../../lib/builtin/kept_addresses.ts";
import { parseIp } from "../../lib/cni/address.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { inTempDir } from "../temp_dir.ts";
import { ScriptedRun } from "./scripted_run.ts";

const WEB = { network: "web", containerId: "c1", ifName: "eth1" };
/** Nothing is known of it, and its namespace is gone. */
const UNKNOWN = { ...WEB, netns: "", addresses: [] };
const DHCP: JsonObject = { type: "bridge", bridge: "br0", ipMasq: true, ipam: { type: "dhcp" } };
const signal = new AbortController().signal;
const ip = (text: string) => parseIp(text)!;

const hostWith = (...veths: readonly { readonly ifalias?: string; readonly master?: string }[]) => {
  const shown = veths.map((veth, index) => ({ ifname: `veth${index}`, ...veth }));
  const scripted = new ScriptedRun(() => ({ stdout: `${JSON.stringify(shown)}\n` }));
  return { scripted, run: scripted.run, signal };
};

/** A store with these files: the owner of each address. */
async function withStore(
  files: Readonly<Record<string, string>>,
  fn: (config: JsonObject) => Promise<void>,
): Promise<void> {
  await inTempDir(async (dataDir) => {
    await Deno.mkdir(`${dataDir}/web`);
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${dataDir}/web/${name}`, text);
    }
    await fn({ ...DHCP, ipam: { type: "host-local", dataDir } });
  });
}

Deno.test("without host-local an address stays while a pair on the host may be that of another interface", async () => {
  const alias = (more: Partial<typeof WEB>) => attachmentComment({ ...WEB, ...more });
  const longName = { network: "w".repeat(100) };
  for (
    const [veths, more, stays] of [
      [[], {}, false],
      [[{ ifalias: await alias({ ifName: "eth0" }), master: "br0" }], {}, true],
      // Its own, and those of another container and of another network.
      [[{ ifalias: await alias({}) }], {}, false],
      [[{ ifalias: await alias({ containerId: "c2", ifName: "eth0" }) }], {}, false],
      [[{ ifalias: await alias({ network: "other", ifName: "eth0" }) }], {}, false],
      // Made by the CNI plugins project, or by something else on its own bridge.
      [[{ master: "br0" }], {}, true],
      [[{}], {}, true],
      [[{ master: "docker0" }], {}, false],
      // An alias that is cut names no interface.
      [[{ ifalias: await alias({ ...longName, ifName: "eth0" }) }], longName, true],
    ] as const
  ) {
    const isKept = keptAddresses({ ...UNKNOWN, ...more }, [DHCP], hostWith(...veths));
    assertEquals(await isKept(ip("10.1.0.2")), stays, JSON.stringify(veths));
  }
});

Deno.test("an address of the result goes, in every form, and nothing is run to find that out", async () => {
  const here = hostWith({});
  const isKept = keptAddresses({ ...UNKNOWN, addresses: ["10.1.0.2/24", "fd00::2", "?"] }, [DHCP], here);
  assertEquals([await isKept(ip("10.1.0.2")), await isKept(ip("fd00::2"))], [false, false]);
  assertEquals(here.scripted.commands, []);
  assertEquals(await isKept(ip("10.1.0.3")), true);
});

Deno.test("host-local's store decides before the result, and an address that it has for no interface goes", async () => {
  const files = {
    "10.1.0.2": "c1\r\neth0",
    "10.1.0.3": "c1\r\neth1",
    "10.1.0.4": "c2\r\neth0",
    "10.1.0.5": "c1",
  };
  await withStore(files, async (config) => {
    const veth = hostWith({});
    const kept = async (addresses: readonly string[], plugins = [config]) => {
      const isKept = keptAddresses({ ...UNKNOWN, addresses }, plugins, veth);
      const all = ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"];
      const verdicts = await Promise.all(all.map(async (text) => await isKept(ip(text)) ? [text] : []));
      return verdicts.flat();
    };
    // An old version wrote no interface: the pairs decide.
    assertEquals(await kept([]), ["10.1.0.2", "10.1.0.5"]);
    assertEquals(await kept(["10.1.0.2/24", "10.1.0.5/24"]), ["10.1.0.2"]);
    // An interface of another IPAM plugin is not in the store.
    assertEquals(await kept([], [config, DHCP]), ["10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
  });
});

Deno.test("an address of a valid container is stale only if the store has it for an interface that is not valid", async () => {
  const files = { "10.1.0.2": "c1\r\neth0", "10.1.0.3": "c1\r\neth1", "10.1.0.5": "c1" };
  await withStore(files, async (config) => {
    const stale = async (ifName: string) => {
      const isStale = staleAddresses("web", config, [{ containerId: "c1", ifName }]);
      const all = ["10.1.0.2", "10.1.0.3", "10.1.0.5", "10.1.0.6"];
      const verdicts = await Promise.all(
        all.map(async (text) => await isStale(ip(text), "c1") ? [text] : []),
      );
      return verdicts.flat();
    };
    assertEquals(await stale("eth0"), ["10.1.0.3"]);
    // A runtime that names no interface means all of them.
    assertEquals(await stale(""), []);
  });
  assertEquals(await staleAddresses("web", DHCP, [])(ip("10.1.0.2"), "c1"), false);
});
