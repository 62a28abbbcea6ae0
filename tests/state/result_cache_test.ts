import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { type CachedAttachment, ResultCache } from "../../lib/state/result_cache.ts";
import { Random } from "../cni/random.ts";

async function inCache(fn: (cache: ResultCache, dir: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "podwire-cache-" });
  try {
    await fn(new ResultCache(`${root}/var/cni`), `${root}/var/cni/results`);
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
  cniArgs: [["IgnoreUnknown", "1"], ["IP", "10.1.0.2"]],
  capabilityArgs: { portMappings: [{ hostPort: 8080 }] },
  result: { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] },
};
const KEY = { containerId: "c1", network: "web", ifName: "eth0" };

Deno.test("E2 E7 an entry is the file <network>-<container>-<interface>, 0600 in a folder of 0700", () =>
  inCache(async (cache, dir) => {
    await cache.write(ENTRY);
    assertEquals((await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name), ["web-c1-eth0"]);
    assertEquals(((await Deno.stat(`${dir}/web-c1-eth0`)).mode ?? 0) & 0o777, 0o600);
    assertEquals(((await Deno.stat(dir)).mode ?? 0) & 0o777, 0o700);
  }));

Deno.test("E9 E11 E12 E13 E14 the entry is byte for byte what libcni writes", () =>
  inCache(async (cache, dir) => {
    await cache.write(ENTRY);
    assertEquals(
      await Deno.readTextFile(`${dir}/web-c1-eth0`),
      '{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjogIndlYiJ9","ifName":"eth0",' +
        '"networkName":"web","netns":"/run/netns/c1","cniArgs":[["IgnoreUnknown","1"],["IP","10.1.0.2"]],' +
        '"capabilityArgs":{"portMappings":[{"hostPort":8080}]},' +
        '"result":{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}]}}',
    );
  }));

Deno.test("E10 empty members are left out", () =>
  inCache(async (cache, dir) => {
    await cache.write({ ...ENTRY, netns: "", cniArgs: [], capabilityArgs: {}, result: undefined });
    assertEquals(
      await Deno.readTextFile(`${dir}/web-c1-eth0`),
      '{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjogIndlYiJ9","ifName":"eth0","networkName":"web"}',
    );
  }));

Deno.test("E14 the configuration is read byte for byte as it was written, whatever it contains", () =>
  inCache(async (cache) => {
    const config = '{\n\t"name": "web", "x": "<&>\u2028é\u{1f600}", "n": 9007199254740993\n}\n';
    await cache.write({ ...ENTRY, config });
    assertEquals((await cache.read(KEY))?.config, config);
  }));

Deno.test("E16 Y8 an entry of a Go runtime is read", () =>
  inCache(async (cache, dir) => {
    await Deno.mkdir(dir, { recursive: true });
    // Go sorts the keys of maps and writes missing bytes as null.
    const text =
      '{"kind":"cniCacheV1","containerId":"c1","config":null,"ifName":"eth0","networkName":"web",' +
      '"cniArgs":[["A","x=y"]],"capabilityArgs":{"mac":"02:00:00:00:00:01"},' +
      '"result":{"cniVersion":"0.4.0","dns":{},"ips":[{"version":"4","address":"10.1.0.2/24"}]}}';
    await Deno.writeTextFile(`${dir}/web-c1-eth0`, text);
    const entry = await cache.read(KEY);
    assertEquals({ netns: entry?.netns, config: entry?.config, cniArgs: entry?.cniArgs }, {
      netns: "",
      config: "",
      cniArgs: [["A", "x=y"]],
    });
    assertEquals(entry?.capabilityArgs, { mac: "02:00:00:00:00:01" });
    assertEquals(entry?.result?.cniVersion, "0.4.0");
  }));

Deno.test("E4 E26 the content of a file decides: an entry of another attachment is not read, replaced or removed", () =>
  inCache(async (cache, dir) => {
    const first = { ...ENTRY, network: "a-b", containerId: "c" };
    const second = { ...ENTRY, network: "a", containerId: "b-c" };
    await cache.write(first);
    const before = await Deno.readTextFile(`${dir}/a-b-c-eth0`);
    assertEquals(await cache.read(second), undefined);
    for (const refused of [() => cache.write(second), () => cache.requireFree(second)]) {
      const error = await assertRejects(refused, CniError);
      assertEquals(error.kind, "conflict");
      assertStringIncludes(error.context.details ?? "", 'container "c" to network "a-b"');
    }
    await cache.remove(second);
    assertEquals(await Deno.readTextFile(`${dir}/a-b-c-eth0`), before);
    await cache.remove(first);
    assertEquals(await cache.read(first), undefined);
    await cache.write(second);
  }));

Deno.test("E6 another attachment of the same container is another file", () =>
  inCache(async (cache, dir) => {
    await cache.write(ENTRY);
    await cache.write({ ...ENTRY, ifName: "eth1" });
    assertEquals((await Array.fromAsync(Deno.readDir(dir))).length, 2);
  }));

Deno.test("E5 names that are too long for a file name are refused before anything is written", () =>
  inCache(async (cache) => {
    const key = { ...KEY, network: "n".repeat(247) };
    await cache.write({ ...ENTRY, network: key.network });
    const error = await assertRejects(() => cache.requireFree({ ...key, containerId: "c12" }), CniError);
    assertEquals(error.kind, "usage");
  }));

Deno.test("E17 E27 only a missing file counts as missing: one that cannot be read is an error", () =>
  inCache(async (cache, dir) => {
    assertEquals(await cache.read(KEY), undefined);
    await Deno.mkdir(`${dir}/web-c1-eth0`, { recursive: true });
    await assertRejects(() => cache.read(KEY));
  }));

Deno.test("E8 an entry is replaced whole: a reader never sees half of one", () =>
  inCache(async (cache, dir) => {
    const config = "x".repeat(200_000);
    await cache.write({ ...ENTRY, config });
    let writing = true;
    const writer = (async () => {
      for (let i = 0; i < 20; i++) await cache.write({ ...ENTRY, config });
      writing = false;
    })();
    let reads = 0;
    for (; writing; reads++) assertEquals((await cache.read(KEY))?.config.length, config.length);
    await writer;
    assertEquals(reads > 0, true);
    assertEquals((await Array.fromAsync(Deno.readDir(dir))).length, 1);
  }));

Deno.test("E19 a file with only a result, as old releases of libcni wrote it, is read as that result", () =>
  inCache(async (cache, dir) => {
    await Deno.mkdir(dir, { recursive: true });
    await Deno.writeTextFile(`${dir}/web-c1-eth0`, '{"ip4": {"ip": "10.1.0.2/24"}, "dns": {}}');
    const entry = await cache.read(KEY);
    assertEquals({ containerId: entry?.containerId, config: entry?.config }, {
      containerId: "c1",
      config: "",
    });
    assertEquals(entry?.result, { ip4: { ip: "10.1.0.2/24" }, dns: {} });
    await cache.remove(KEY);
    assertEquals(await cache.read(KEY), undefined);
  }));

Deno.test("E22 a file that is not an entry is an error and not an empty result; it can be replaced and removed", () =>
  inCache(async (cache, dir) => {
    await Deno.mkdir(dir, { recursive: true });
    const entry = JSON.stringify({
      kind: "cniCacheV1",
      containerId: "c1",
      ifName: "eth0",
      networkName: "web",
    });
    const broken = [
      "",
      '{"kind": "cniCa',
      "[]",
      "{}",
      '{"kind": "cniCacheV2", "containerId": "c1"}',
      entry,
      entry.replace("}", ',"config":"*","result":{}}'),
      entry.replace("}", ',"config":null,"result":[]}'),
      entry.replace("}", ',"config":null,"cniArgs":[["A"]]}'),
      entry.replace("}", ',"config":null,"cniArgs":{}}'),
      entry.replace("}", ',"config":null,"capabilityArgs":[]}'),
    ];
    for (const text of broken) {
      await Deno.writeTextFile(`${dir}/web-c1-eth0`, text);
      const error = await assertRejects(() => cache.read(KEY), CniError, undefined, text);
      assertEquals({ kind: error.kind, code: error.code }, { kind: "io", code: 6 });
      assertStringIncludes(error.msg, "web-c1-eth0");
    }
    await cache.write(ENTRY);
    assertEquals((await cache.read(KEY))?.netns, "/run/netns/c1");
    await Deno.writeTextFile(`${dir}/web-c1-eth0`, "{");
    await cache.remove(KEY);
    assertEquals(await cache.read(KEY), undefined);
    await cache.remove(KEY);
  }));

Deno.test("E9 E11 E12 E13 an entry has the bytes that libcni writes: sorted inside, and escaped", () =>
  inCache(async (cache, dir) => {
    await cache.write({
      ...ENTRY,
      config: "{}",
      cniArgs: [["B", "<2>"], ["A", "1"]],
      capabilityArgs: { portMappings: [{ hostPort: 8080, containerPort: 80 }], mac: "a&b" },
      result: { cniVersion: "0.4.0", ips: [{ version: "4", address: "10.1.0.2/24" }], dns: {} },
    });
    assertEquals(
      await Deno.readTextFile(`${dir}/web-c1-eth0`),
      '{"kind":"cniCacheV1","containerId":"c1","config":"e30=","ifName":"eth0","networkName":"web",' +
        '"netns":"/run/netns/c1","cniArgs":[["B","\\u003c2\\u003e"],["A","1"]],' +
        '"capabilityArgs":{"mac":"a\\u0026b","portMappings":[{"containerPort":80,"hostPort":8080}]},' +
        '"result":{"cniVersion":"0.4.0","dns":{},"ips":[{"address":"10.1.0.2/24","version":"4"}]}}',
    );
  }));

Deno.test("property: an entry is read as it was written", () =>
  inCache(async (cache) => {
    const random = new Random(3);
    const word = () => random.list(12, () => random.one([...'aZ09 =;\\"<&é\u{1f600}\n'])).join("");
    for (let round = 0; round < 40; round++) {
      const entry: CachedAttachment = {
        ...ENTRY,
        netns: word(),
        config: word(),
        cniArgs: random.list(4, () => [word(), word()] as const),
        capabilityArgs: random.chance(50)
          ? {}
          : parseJson(JSON.stringify({ [word()]: [word()] })) as JsonObject,
        result: random.chance(30) ? undefined : { cniVersion: "1.1.0", x: word() },
      };
      await cache.write(entry);
      assertEquals(JSON.stringify(await cache.read(KEY)), JSON.stringify(entry));
    }
  }));
