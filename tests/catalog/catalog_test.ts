import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import { EMBEDDED_FILE, embeddedNetwork } from "../../lib/catalog/embedded_network.ts";
import type { CatalogEntry } from "../../lib/catalog/entry.ts";
import { type CatalogOptions, CatalogReader } from "../../lib/catalog/reader.ts";
import { CniError } from "../../lib/cni/error.ts";
import { ALWAYS_BUILTIN } from "../../lib/plugin/locate.ts";

const NETWORK = embeddedNetwork({ masquerade: "nftables", ipv6: true });
const EMBEDDED = () => Promise.resolve(NETWORK);

const list = (name: string, ...types: string[]) =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins: types.map((type) => ({ type })) });
const conf = (name: string, type = "bridge") => JSON.stringify({ cniVersion: "0.4.0", name, type });

/** Calls `fn` with a directory of these files. */
async function inDir(
  files: Readonly<Record<string, string>>,
  fn: (load: (options?: Partial<CatalogOptions>) => Promise<Catalog>, dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-catalog-" });
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${dir}/${name}`, text);
    await fn((options) => new CatalogReader({ confDir: dir, ...options }).read(), dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const brief = ({ file, name, status, default: isDefault }: CatalogEntry) =>
  `${file.slice(file.lastIndexOf("/") + 1)} ${name ?? "-"} ${status}${isDefault ? " default" : ""}`;

Deno.test("F17 F18 F25 F26 every file has an entry; the first file of a name is used, and the first of all is the default", () =>
  inDir({
    "10-web.conf": conf("web"),
    "15-broken.conflist": '{\n  "cniVersion": "1.0.0",\n  "name": 7\n}',
    "20-web.conflist": list("web", "ptp"),
    "30-db.json": conf("db", "macvlan"),
    "40-multi.conflist": list("multi", "bridge", "portmap"),
    "README": "",
  }, async (load, dir) => {
    const { entries } = await load();
    assertEquals(entries.map(brief), [
      "10-web.conf web used default",
      "15-broken.conflist - rejected",
      "20-web.conflist web shadowed",
      "30-db.json db used",
      "40-multi.conflist multi used",
    ]);
    const [web, broken, shadowed, , multi] = entries;
    assertEquals({
      line: broken?.line,
      column: broken?.column,
      cniVersion: broken?.cniVersion,
      plugins: broken?.plugins,
    }, { line: 3, column: 11, cniVersion: undefined, plugins: [] });
    assertStringIncludes(broken?.reason ?? "", "name");
    assertEquals(
      { cniVersion: web?.cniVersion, plugins: web?.plugins, reason: web?.reason, line: web?.line },
      { cniVersion: "0.4.0", plugins: ["bridge"], reason: undefined, line: undefined },
    );
    assertEquals(shadowed?.reason, `${dir}/10-web.conf has the same name and comes first`);
    assertEquals(multi?.plugins, ["bridge", "portmap"]);
  }));

Deno.test("F19 a rejected file has line and column of the fault and the valid versions, also for a file of the plugin folder", () =>
  inDir(
    { "10-web.conflist": list("web", "bridge"), "20-v.conf": conf("v").replace("0.4.0", "9.9.9") },
    async (load, dir) => {
      await Deno.mkdir(`${dir}/web`);
      await Deno.writeTextFile(`${dir}/web/10.conf`, '{\n  "type": [}');
      const [web, versions] = (await load()).entries;
      assertEquals({ file: web?.file, status: web?.status, line: web?.line, column: web?.column }, {
        file: `${dir}/web/10.conf`,
        status: "rejected",
        line: 2,
        column: 12,
      });
      assertStringIncludes(versions?.reason ?? "", "9.9.9");
      assertStringIncludes(versions?.reason ?? "", "1.1.0");
    },
  ));

Deno.test("F30 F32 F33 F35 a default network that is named is the only one, also if it does not exist", () =>
  inDir({ "10-a.conf": conf("a"), "20-b.conf": conf("b") }, async (load) => {
    const second = await load({ defaultNetwork: "b" });
    assertEquals(second.default().name, "b");
    assertEquals(second.entries.map(brief), ["10-a.conf a used", "20-b.conf b used default"]);
    const absent = await load({ defaultNetwork: "c" });
    const error = assertThrows(() => absent.default(), CniError);
    assertEquals(error.kind, "not-ready");
    assertStringIncludes(error.msg, 'the default network "c" is not in');
    assertEquals(absent.entries.some(({ default: isDefault }) => isDefault), false);
    assertEquals(absent.forPod("a").name, "a");
  }));

Deno.test("F31 without a named default network it is that of the first file, and none if that file is unusable", () =>
  inDir({ "10-a.conf": "{", "20-b.conf": conf("b") }, async (load, dir) => {
    const catalog = await load();
    const error = assertThrows(() => catalog.default(), CniError);
    assertEquals({ kind: error.kind, file: error.context.file, line: error.context.line }, {
      kind: "not-ready",
      file: `${dir}/10-a.conf`,
      line: 1,
    });
    assertEquals(catalog.forPod("b").name, "b");
    assertEquals(catalog.entries.map(brief), ["10-a.conf - rejected", "20-b.conf b used"]);
    assertEquals((await load({ defaultNetwork: "b" })).default().name, "b");
    await Deno.remove(`${dir}/10-a.conf`);
    assertEquals((await load()).default().name, "b");
  }));

Deno.test("a directory that the user names has to exist", () =>
  inDir({}, async (load, dir) => {
    assertEquals((await load({ confDirRequired: true })).entries, []);
    const absent = { confDir: `${dir}/absent`, confDirRequired: true, embedded: EMBEDDED };
    const error = await assertRejects(() => load(absent), CniError);
    assertEquals({ kind: error.kind, file: error.context.file }, {
      kind: "not-found",
      file: `${dir}/absent`,
    });
  }));

Deno.test("F27 F34 without a directory or a usable file the default network is not ready, and the error says why", () =>
  inDir({ "10-a.conf": "{" }, async (load, dir) => {
    const catalog = await load();
    const broken = assertThrows(() => catalog.default(), CniError);
    assertEquals({ kind: broken.kind, msg: broken.msg }, {
      kind: "not-ready",
      msg: `no usable network configuration in ${dir}`,
    });
    assertStringIncludes(broken.context.details ?? "", "10-a.conf");
    const absent = await load({ confDir: `${dir}/absent` });
    assertEquals(absent.entries, []);
    assertEquals(assertThrows(() => absent.default(), CniError).kind, "not-ready");
    await assertRejects(() => load({ confDir: `${dir}/10-a.conf` }), CniError);
  }));

Deno.test("the embedded network is used only if the directory holds no configuration file at all", () =>
  inDir({ "README": "nothing of ours" }, async (load, dir) => {
    const catalog = await load({ embedded: EMBEDDED });
    assertEquals(catalog.default().name, "podwire");
    assertEquals(catalog.entries.map(brief), [`${EMBEDDED_FILE} podwire used default`]);
    assertEquals((await load({ embedded: EMBEDDED, confDir: `${dir}/absent` })).default().name, "podwire");
    assertEquals((await load({ embedded: EMBEDDED, confDir: undefined })).forPod("podwire").name, "podwire");
    assertEquals(assertThrows(() => catalog.forPod("web"), CniError).kind, "not-found");
  }));

Deno.test("an unusable file is never replaced by the embedded network, nor is a file with another network", () =>
  inDir({ "10-web.conflist": "{" }, async (load, dir) => {
    const broken = await load({ embedded: EMBEDDED });
    assertEquals(assertThrows(() => broken.default(), CniError).kind, "not-ready");
    assertEquals(assertThrows(() => broken.forPod("podwire"), CniError).kind, "not-found");
    await Deno.writeTextFile(`${dir}/10-web.conflist`, list("web", "bridge"));
    const mended = await load({ embedded: EMBEDDED });
    assertEquals(mended.default().name, "web");
    assertThrows(() => mended.forPod("podwire"), CniError);
    const named = await load({ embedded: EMBEDDED, defaultNetwork: "podwire" });
    assertEquals(assertThrows(() => named.default(), CniError).kind, "not-ready");
  }));

Deno.test("A69 F17 a pod gets the first file of a name, and cnitool's verbs get a list before a single configuration", () =>
  inDir(
    { "10-web.conf": conf("web", "from-conf"), "20-web.conflist": list("web", "from-list") },
    async (load) => {
      const catalog = await load();
      assertEquals(catalog.forPod("web").plugins[0]?.type, "from-conf");
      assertEquals(catalog.asCnitool("web").plugins[0]?.type, "from-list");
    },
  ));

Deno.test("the error about an unknown network contains the rejected files", () =>
  inDir({ "10-a.conf": conf("a"), "20-web.conf": "{" }, async (load, dir) => {
    const catalog = await load();
    for (const ask of [() => catalog.forPod("web"), () => catalog.asCnitool("web")]) {
      const error = assertThrows(ask, CniError);
      assertEquals({ kind: error.kind, msg: error.msg }, {
        kind: "not-found",
        msg: `no net configuration with name "web" in ${dir}`,
      });
      assertStringIncludes(error.context.details ?? "", "20-web.conf");
    }
  }));

Deno.test("a catalog stays as it was read", () =>
  inDir({ "10-a.conf": conf("a") }, async (load, dir) => {
    const catalog = await load();
    await Deno.remove(`${dir}/10-a.conf`);
    assertEquals(catalog.default().name, "a");
    assertEquals((await load()).entries, []);
  }));

Deno.test("if there is a file, the embedded network is not requested", () =>
  inDir({ "10-a.conf": "{" }, async (load) => {
    await load({ embedded: () => Promise.reject(new Error("requested")) });
  }));

Deno.test("the embedded network uses what the machine provides", () => {
  const [full] = NETWORK.plugins;
  assertEquals([full?.type, full?.json[ALWAYS_BUILTIN]], ["bridge", true]);
  assertEquals({
    ipMasq: full?.json.ipMasq,
    ipMasqBackend: full?.json.ipMasqBackend,
    cniVersion: NETWORK.cniVersion,
  }, { ipMasq: true, ipMasqBackend: "nftables", cniVersion: "1.1.0" });
  assertEquals(JSON.stringify(full?.json.ipam).includes("fd50:7704::/64"), true);
  const types = NETWORK.plugins.map(({ type, json }) => [type, json[ALWAYS_BUILTIN]]);
  assertEquals(types, [["bridge", true], ["portmap", true], ["firewall", true]]);
  // Without a program for rules it says so, and does not go on without them.
  const [bare, ports] = embeddedNetwork({ masquerade: undefined, ipv6: false }).plugins;
  assertEquals([bare?.json.ipMasq, JSON.stringify(bare?.json.ipam).includes(":/")], [true, false]);
  assertEquals([bare?.json.ipMasqBackend, ports?.json.backend], [undefined, undefined]);
  const choice = { ipv4: "10.9.0.0/16", ipv6: "fd09::/64", mtu: 1400 };
  const [chosen] = embeddedNetwork({ masquerade: "iptables", ipv6: true }, choice).plugins;
  assertEquals([chosen?.json.mtu, chosen?.json.ipMasqBackend], [1400, "iptables"]);
  assertEquals(JSON.stringify(chosen?.json.ipam).match(/"subnet":"[^"]*"/g), [
    '"subnet":"10.9.0.0/16"',
    '"subnet":"fd09::/64"',
  ]);
});
