import { assertEquals, assertRejects } from "@std/assert";
import { type CachedAttachment, ResultCache } from "../../lib/state/result_cache.ts";

async function inCache(fn: (cache: ResultCache, results: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "podwire-cache-list-" });
  try {
    await fn(new ResultCache(root), `${root}/results`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const ENTRY: CachedAttachment = {
  containerId: "c1",
  network: "web",
  ifName: "eth0",
  netns: "/run/netns/c1",
  config: '{"name": "web"}',
  cniArgs: [["A", "1"], ["B", "2"]],
  capabilityArgs: { mac: "02:00:00:00:00:01" },
  result: { cniVersion: "1.0.0" },
};

Deno.test("E28 a missing cache lists nothing; a cache that cannot be read is an error", () =>
  inCache(async (cache, results) => {
    assertEquals(await cache.list(), { entries: [], named: new Map(), unknown: [] });
    await Deno.writeTextFile(results, "no folder");
    await assertRejects(() => cache.list(), Error);
  }));

Deno.test("E29 E33 entries are listed in byte order of the file names, with all that is needed to delete them", () =>
  inCache(async (cache) => {
    for (const containerId of ["b", "B", "a-1", "a"]) await cache.write({ ...ENTRY, containerId });
    const { entries, unknown } = await cache.list();
    assertEquals(entries.map(({ containerId }) => containerId), ["B", "a-1", "a", "b"]);
    assertEquals(entries[2], { ...ENTRY, containerId: "a" });
    assertEquals(unknown, []);
  }));

Deno.test("E32 the content of an entry names its attachment: the name of its file does not matter", () =>
  inCache(async (cache, results) => {
    await cache.write(ENTRY);
    await Deno.rename(`${results}/web-c1-eth0`, `${results}/something else`);
    assertEquals((await cache.list()).entries, [ENTRY]);
  }));

Deno.test("E31 E35 folders and unfinished files are skipped, and files that are not entries are listed with the reason", () =>
  inCache(async (cache, results) => {
    await cache.write(ENTRY);
    const text = await Deno.readTextFile(`${results}/web-c1-eth0`);
    await Deno.mkdir(`${results}/web-folder-eth0`);
    await Deno.writeTextFile(`${results}/.web-c2-eth0.tmp`, "{");
    await Deno.symlink("/nowhere", `${results}/web-link-eth0`);
    const bad: Record<string, string> = {
      "web-1-eth0": "",
      "web-2-eth0": "[]",
      "web-3-eth0": text.replace("cniCacheV1", "cniCacheV2"),
      "web-4-eth0": text.replace('"ifName":"eth0"', '"ifName":""'),
      "web-5-eth0": text.replace('"networkName":"web"', '"networkName":""'),
      "web-6-eth0": '{"cniVersion": "0.4.0", "ips": []}',
      "web-7-eth0": text.replace('"containerId":"c1"', '"containerId":7'),
    };
    for (const [name, content] of Object.entries(bad)) {
      await Deno.writeTextFile(`${results}/${name}`, content);
    }
    const { entries, unknown } = await cache.list();
    assertEquals(entries, [ENTRY]);
    assertEquals(unknown.map(({ name }) => name), [...Object.keys(bad), "web-link-eth0"]);
    for (const { name, path, reason } of unknown) {
      assertEquals([path, reason !== ""], [`${results}/${name}`, true]);
    }
  }));
