import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { Catalog } from "../../lib/catalog/catalog.ts";
import { loadDirectory, type LoadedFile } from "../../lib/catalog/load.ts";
import type { NetworkConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { Random } from "../cni/random.ts";

type Files = Readonly<Record<string, string>>;

/** A configuration directory with these files; a path may have a folder in front. */
async function inDir(files: Files, fn: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-load-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      const folder = path.slice(0, path.lastIndexOf("/") + 1);
      await Deno.mkdir(`${dir}/${folder}`, { recursive: true });
      await Deno.writeTextFile(`${dir}/${path}`, text);
    }
    await fn(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const list = (name: string, ...types: string[]) =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins: types.map((type) => ({ type })) });
const conf = (name: string, type = "bridge") => JSON.stringify({ cniVersion: "1.0.0", name, type });
const plugin = (type: string) => JSON.stringify({ type });

/** The network of that name in a catalog of these files, as cnitool chooses it. */
function asCnitool(files: readonly LoadedFile[], name: string, confDir: string): NetworkConfigList {
  const never = { since: undefined, badSince: undefined };
  const content = files.map(({ file, list, error }) => ({ file, list, error, ...never }));
  return new Catalog({ confDir, files: content, choice: { network: undefined, by: "none" } }).asCnitool(name);
}

/** `file name type+type`, or `file: why not`, with the directory left out. */
async function shown(dir: string): Promise<string[]> {
  return (await loadDirectory(dir)).map(({ file, list, error }) => {
    const name = file.slice(dir.length + 1);
    if (list === undefined) return `${name}: ${error.msg}`;
    return `${name} ${list.name} ${list.plugins.map(({ type }) => type).join("+")}`;
  });
}

Deno.test("A1 A6 A7 A8 A10 files with the three extensions in lower case are read, but not those in folders", () =>
  inDir({
    "10-a.conf": conf("a"),
    "20-b.conflist": list("b", "bridge"),
    "30-c.json": conf("c"),
    ".conf": conf("bare"),
    ".hid.conf": conf("hidden"),
    "x.CONF": conf("upper"),
    "x.conf~": conf("backup"),
    "README": "no configuration",
    "conf": conf("word"),
    "sub/40-d.conf": conf("d"),
  }, async (dir) => {
    assertEquals(await shown(dir), [
      ".conf bare bridge",
      ".hid.conf hidden bridge",
      "10-a.conf a bridge",
      "20-b.conflist b bridge",
      "30-c.json c bridge",
    ]);
  }));

Deno.test("A2 A3 a missing directory is empty, and an unreadable one is an error", () =>
  inDir({ "file": "" }, async (dir) => {
    assertEquals(await loadDirectory(`${dir}/absent`), []);
    const error = await assertRejects(() => loadDirectory(`${dir}/file`), CniError);
    assertEquals({ kind: error.kind, file: error.context.file }, { kind: "io", file: `${dir}/file` });
  }));

Deno.test("A4 A5 directories are skipped, and links to directories or to nowhere are reported", () =>
  inDir({ "real/net": conf("a") }, async (dir) => {
    await Deno.mkdir(`${dir}/sub.conf`);
    await Deno.symlink(`${dir}/real`, `${dir}/10-folder.conf`);
    await Deno.symlink(`${dir}/gone`, `${dir}/20-dangling.conflist`);
    await Deno.symlink(`${dir}/real/net`, `${dir}/30-good.conf`);
    assertEquals(await shown(dir), [
      "10-folder.conf: the link leads to a directory",
      "20-dangling.conflist: the link leads nowhere",
      "30-good.conf a bridge",
    ]);
    // The same through a link to the directory itself.
    await Deno.symlink(dir, `${dir}/real/again`);
    assertEquals((await shown(`${dir}/real/again`)).length, 3);
  }));

Deno.test("A9 files come in byte order of their names", () =>
  inDir({
    "5-x.conf": conf("five"),
    "10-x.conf": conf("ten"),
    "B.conf": conf("B"),
    "a.conf": conf("a"),
    "\u{ff41}.conf": conf("wide"),
    "\u{1f600}.conf": conf("face"),
  }, async (dir) => {
    assertEquals((await loadDirectory(dir)).map(({ list }) => list?.name), [
      "ten",
      "five",
      "B",
      "a",
      "wide",
      "face",
    ]);
  }));

Deno.test("A19 A20 an unusable file is reported with line and column and hides no other", () =>
  inDir({
    "10-bad.conflist": '{\n  "name": "bad",\n  "plugins": [}',
    "20-worse.conf": '{"name": "worse", "type": 1}',
    "30-good.conf": conf("good"),
  }, async (dir) => {
    const [bad, worse, good] = await loadDirectory(dir);
    assertEquals({
      code: bad?.error?.code,
      line: bad?.error?.context.line,
      column: bad?.error?.context.column,
    }, { code: 6, line: 3, column: 15 });
    assertEquals(bad?.error?.context.file, `${dir}/10-bad.conflist`);
    assertEquals({
      code: worse?.error?.code,
      line: worse?.error?.context.line,
      column: worse?.error?.context.column,
    }, { code: 7, line: 1, column: 27 });
    assertEquals(good?.list?.name, "good");
  }));

Deno.test("A4 A5 A54 in the plugin folder directories are skipped, and a link to nowhere makes the network unusable", () =>
  inDir({ "10-web.conflist": list("web", "bridge"), "web/10-a.conf": plugin("portmap") }, async (dir) => {
    await Deno.mkdir(`${dir}/web/20-sub.conf`);
    assertEquals(await shown(dir), ["10-web.conflist web bridge+portmap"]);
    await Deno.symlink(`${dir}/gone`, `${dir}/web/30-dangling.conf`);
    assertEquals(await shown(dir), ["10-web.conflist: the link leads nowhere"]);
  }));

Deno.test("A52 A54 A55 the plugins of the folder follow the inlined ones, in byte order of their files", () =>
  inDir({
    "10-web.conflist": list("web", "bridge"),
    "web/20-b.conf": plugin("tuning"),
    "web/10-a.conf": plugin("portmap"),
    "web/.h.conf": plugin("hidden"),
    "web/30.json": plugin("json"),
    "web/40.conflist": list("x", "conflist"),
    "web/sub/50.conf": plugin("below"),
  }, async (dir) => {
    assertEquals(await shown(dir), ["10-web.conflist web bridge+hidden+portmap+tuning"]);
  }));

Deno.test("A53 rejects a name that leaves the directory, and an empty one", () =>
  inDir({
    "conf/10-up.conflist": list("../other", "bridge"),
    "conf/20-empty.conflist": list("", "bridge"),
    "conf/30-other.conf": conf("fine"),
    "other/10-x.conf": plugin("stolen"),
  }, async (dir) => {
    const [up, empty, fine] = await loadDirectory(`${dir}/conf`);
    assertEquals({ code: up?.error?.code, details: up?.error?.context.details }, {
      code: 7,
      details: "../other",
    });
    assertEquals(empty?.error?.code, 7);
    assertEquals(fine?.list?.plugins.map(({ type }) => type), ["bridge"]);
  }));

Deno.test("A56 A57 the plugin folder may be missing or empty if the list has a plugin", () =>
  inDir({
    "10-inlined.conflist": list("inlined", "bridge"),
    "20-folder.conflist": '{"cniVersion": "1.0.0", "name": "folder"}',
    "folder/10.conf": plugin("bridge"),
    "30-none.conflist": '{"cniVersion": "1.0.0", "name": "none"}',
    "40-empty.conflist": '{"cniVersion": "1.0.0", "name": "empty"}',
    "empty/README": "",
  }, async (dir) => {
    assertEquals(await shown(dir), [
      "10-inlined.conflist inlined bridge",
      "20-folder.conflist folder bridge",
      "30-none.conflist: no plugin configs found",
      "40-empty.conflist: no plugin configs found",
    ]);
  }));

Deno.test("A58 A62 with loadOnlyInlinedPlugins the folder is not read, not even for errors", () =>
  inDir({
    "10-web.conflist": JSON.stringify({
      cniVersion: "1.0.0",
      name: "web",
      loadOnlyInlinedPlugins: true,
      plugins: [{ type: "bridge" }],
    }),
    "web/10.conf": "broken",
  }, async (dir) => assertEquals(await shown(dir), ["10-web.conflist web bridge"])));

Deno.test("A59 one invalid file in the folder makes the whole network unusable, and the error names that file", () =>
  inDir({
    "10-web.conflist": list("web", "bridge"),
    "web/10.conf": plugin("portmap"),
    "web/20.conf": '{\n"type": 1}',
  }, async (dir) => {
    const [web] = await loadDirectory(dir);
    assertEquals(web?.file, `${dir}/10-web.conflist`);
    assertEquals({ file: web?.error?.context.file, line: web?.error?.context.line }, {
      file: `${dir}/web/20.conf`,
      line: 2,
    });
  }));

Deno.test("A60 a file at the path of the folder is an error that names it", () =>
  inDir({ "10-web.conflist": list("web", "bridge"), "web": "" }, async (dir) => {
    const [web] = await loadDirectory(dir);
    assertStringIncludes(web?.error?.msg ?? "", `failed to read plugin config files in ${dir}/web`);
  }));

Deno.test("A61 A64 the text of the list contains the plugins of the folder", () =>
  inDir({
    "10-web.conflist":
      '{"cniVersion": "1.0.0", "name": "web", "plugins": [{"type": "bridge"}], "id": 12345678901234567890}',
    "web/10.conf": '{"type": "portmap", "name": "other", "cniVersion": "0.4.0", "rate": 1.0}',
  }, async (dir) => {
    const [web] = await loadDirectory(dir);
    const text = web?.list?.text ?? "";
    assertEquals(JSON.parse(text).plugins.map(({ type }: { type: string }) => type), ["bridge", "portmap"]);
    assertStringIncludes(text, "12345678901234567890");
    assertStringIncludes(text, '"rate":1.0');
  }));

Deno.test("A65 A75 a single configuration becomes a list of one plugin, without the folder", () =>
  inDir({ "10-web.conf": conf("web"), "web/10.conf": plugin("portmap") }, async (dir) => {
    assertEquals(await shown(dir), ["10-web.conf web bridge"]);
  }));

Deno.test("A68 A69 A70 A71 by name: lists come before single configurations, and unusable files hide no others", () =>
  inDir({
    "05-broken.conflist": "{",
    "06-list.conf": list("stray", "bridge"),
    "10-web.conf": conf("web", "from-conf"),
    "20-web.conflist": list("web", "from-list"),
    "30-web.conflist": list("web", "later"),
    "40-only.json": conf("only", "json"),
  }, async (dir) => {
    const files = await loadDirectory(dir);
    assertEquals(asCnitool(files, "web", dir).plugins[0]?.type, "from-list");
    assertEquals(asCnitool(files, "only", dir).plugins[0]?.type, "json");
    const error = assertThrows(() => asCnitool(files, "stray", dir), CniError);
    assertStringIncludes(error.context.details ?? "", "05-broken.conflist");
    assertStringIncludes(error.context.details ?? "", "06-list.conf");
  }));

Deno.test("A66 by name: the first list of that name in byte order of the files, with its folder", () =>
  inDir({
    "9-web.conflist": list("web", "last"),
    "10-web.conflist": list("web", "first"),
    "05-other.conflist": list("other", "other"),
    "web/10.conf": plugin("folder"),
  }, async (dir) => {
    const web = asCnitool(await loadDirectory(dir), "web", dir);
    assertEquals(web.plugins.map(({ type }) => type), ["first", "folder"]);
  }));

Deno.test("A72 A73 an empty directory and an unknown name have different messages, both of kind not-found", async () => {
  await inDir({}, async (dir) => {
    const none = assertThrows(() => asCnitool([], "web", dir), CniError);
    assertEquals({ kind: none.kind, msg: none.msg }, {
      kind: "not-found",
      msg: `no net configurations found in ${dir}`,
    });
    await Deno.writeTextFile(`${dir}/10.conflist`, list("other", "bridge"));
    const files = await loadDirectory(dir);
    const other = assertThrows(() => asCnitool(files, "web", dir), CniError);
    assertEquals({ kind: other.kind, msg: other.msg }, {
      kind: "not-found",
      msg: `no net configuration with name "web" in ${dir}`,
    });
  });
});

Deno.test("property: by name, the choice is the first list of that name, else the first configuration", () => {
  const random = new Random(7);
  for (let round = 0; round < 300; round++) {
    const files = random.list(8, (index): LoadedFile => {
      const file = `/d/${index}${random.one([".conflist", ".conf", ".json"])}`;
      if (random.chance(20)) return { file, error: new CniError("config", "bad", { file }) };
      // Only the name matters here.
      const list = { name: random.one(["a", "b", "c"]) } as LoadedFile["list"];
      return { file, list: list! };
    });
    const named = files.filter(({ list }) => list?.name === "a");
    const expected = named.find(({ file }) => file.endsWith(".conflist")) ?? named[0];
    if (expected === undefined) assertThrows(() => asCnitool(files, "a", "/d"), CniError);
    else assertEquals(asCnitool(files, "a", "/d") === expected.list, true);
  }
});

Deno.test("the error about a file whose extension does not fit its content says how to name it", () =>
  inDir(
    { "1.conf": list("a", "bridge"), "2.json": list("b", "bridge"), "3.conflist": conf("c") },
    async (dir) => {
      const loaded = await loadDirectory(dir);
      assertEquals(loaded.map(({ error }) => error?.context.details), [
        "it holds a list of plugins, so its name should be 1.conflist",
        "it holds a list of plugins, so its name should be 2.conflist",
        "it holds the configuration of a single plugin, so its name should be 3.conf",
      ]);
    },
  ));

Deno.test("UTF-16 is recognized with and without byte order mark and in both orders, and so are other bytes that are not UTF-8", () =>
  inDir({}, async (dir) => {
    const units = (text: string, littleEndian: boolean) => {
      const view = new DataView(new ArrayBuffer(2 * text.length));
      for (let at = 0; at < text.length; at++) view.setUint16(2 * at, text.charCodeAt(at), littleEndian);
      return new Uint8Array(view.buffer);
    };
    const cases: readonly [Uint8Array, string][] = [
      [units(`\ufeff${conf("a")}`, true), "the configuration is UTF-16, not UTF-8"],
      [units(`\ufeff${conf("a")}`, false), "the configuration is UTF-16, not UTF-8"],
      [units(conf("a"), true), "the configuration is UTF-16, not UTF-8"],
      [units(conf("a"), false), "the configuration is UTF-16, not UTF-8"],
      [new TextEncoder().encode(`\ufeff${conf("a")}`), "the text starts with a byte-order mark (U+FEFF)"],
      [new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), "the configuration is not UTF-8"],
    ];
    for (const [bytes, msg] of cases) {
      await Deno.writeFile(`${dir}/1.conf`, bytes);
      const [file] = await loadDirectory(dir);
      assertEquals({ kind: file?.error?.kind, msg: file?.error?.msg }, { kind: "config", msg });
    }
  }));

Deno.test("a plugin type that is a path is refused when the file is loaded, also that of IPAM", () =>
  inDir({
    "1.conf": conf("a", "../rec"),
    "2.conflist": list("b", "bridge", "."),
    "3.conf": JSON.stringify({ name: "c", type: "bridge", ipam: { type: "a/b" } }),
    "4.conf": conf("d", "x\u202ey"),
    "5.conf": conf("e", "x".repeat(256)),
    "6.conf": conf("f", "x".repeat(255)),
  }, async (dir) => {
    const loaded = await loadDirectory(dir);
    assertEquals(loaded.map(({ error }) => error?.context.path), [
      "type",
      "plugins[1].type",
      "ipam.type",
      "type",
      "type",
      undefined,
    ]);
  }));
