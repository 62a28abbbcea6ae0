import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { InsideFiles } from "../../lib/inside/inside_files.ts";
import { networksDir, sandboxDir, sandboxesDir } from "../../lib/inside/inside_paths.ts";
import type { InsideSandbox } from "../../lib/inside/inside_sandbox.ts";
import { MOST_LISTED } from "../../lib/inside/network_members.ts";
import { lockFile } from "../../lib/host/lock.ts";
import { Lines } from "../attachment/world.ts";
import { Syncs } from "../syncs.ts";
import { inTempDir } from "../temp_dir.ts";

/** A folder with the files of sandboxes, as several processes could write them. */
class Folder {
  readonly log = new Lines();

  constructor(readonly dir: string) {}

  files(): InsideFiles {
    return new InsideFiles({
      stateDir: this.dir,
      lock: (signal) => lockFile(`${this.dir}/lock`, { signal }),
      log: this.log,
      hostFiles: [`${this.dir}/resolv.conf`],
    });
  }

  /** The names in the `hosts` of a sandbox, other than those of loopback. */
  async names(id: string): Promise<readonly string[]> {
    const text = await Deno.readTextFile(`${sandboxDir(this.dir, id)}/hosts`);
    return text.trimEnd().split("\n").slice(5);
  }

  async folders(): Promise<readonly string[]> {
    const names: string[] = [];
    for (const dir of [sandboxesDir(this.dir), networksDir(this.dir)]) {
      for await (const { name } of Deno.readDir(dir)) names.push(name);
    }
    return names.sort();
  }
}

function sandbox(
  id: string,
  networks: Readonly<Record<string, string>>,
  { namespace = "default", aliases = [] }: { namespace?: string; aliases?: readonly string[] } = {},
): InsideSandbox {
  const attached = Object.entries(networks).map(([network, address]) => {
    return { network, addresses: [address], aliases, dns: {}, wanted: {} };
  });
  return { id, name: `n-${id}`, namespace, networks: attached };
}

function folderTest(name: string, body: (folder: Folder) => Promise<void>): void {
  Deno.test(name, () => inTempDir((dir) => body(new Folder(dir))));
}

const line = (address: string, id: string) => `${address}\tn-${id} n-${id}.default`;

folderTest(
  "sandboxes know those on their networks, and no others, by whatever process they came",
  async (folder) => {
    const [one, two] = [folder.files(), folder.files()];
    await one.put(sandbox("a", { net: "10.0.0.1" }));
    await two.put(sandbox("b", { net: "10.0.0.2", back: "10.1.0.2" }));
    await one.put(sandbox("c", { back: "10.1.0.3" }));
    assertEquals(await folder.names("a"), [line("10.0.0.1", "a"), line("10.0.0.2", "b")]);
    assertEquals(await folder.names("b"), [
      line("10.0.0.2", "b"),
      line("10.1.0.2", "b"),
      line("10.0.0.1", "a"),
      line("10.1.0.3", "c"),
    ]);
    assertEquals(await folder.names("c"), [line("10.1.0.3", "c"), line("10.1.0.2", "b")]);

    // It changes its networks.
    await two.put(sandbox("b", { back: "10.1.0.9" }));
    assertEquals(await folder.names("a"), [line("10.0.0.1", "a")]);
    assertEquals(await folder.names("c"), [line("10.1.0.3", "c"), line("10.1.0.9", "b")]);

    await one.remove("b");
    await one.remove("b");
    assertEquals(await folder.names("c"), [line("10.1.0.3", "c")]);
    for (const id of ["a", "c"]) await two.remove(id);
    assertEquals(await folder.folders(), []);
    assertEquals(folder.log.all, []);
  },
);

folderTest(
  "the files are for all to read, keep their inode when they change, and never wait for the disk",
  async (folder) => {
    using syncs = new Syncs();
    const files = folder.files();
    await Deno.writeTextFile(`${folder.dir}/resolv.conf`, "nameserver 192.0.2.53\n");
    await files.put(sandbox("a", { net: "10.0.0.1" }));
    const { hosts, resolvConf } = files.paths("a");
    assert(files.has("a"));
    const before = [await Deno.stat(hosts), await Deno.stat(resolvConf)];
    assertEquals(before.map(({ mode }) => mode! & 0o777), [0o644, 0o644]);
    assertStringIncludes(await Deno.readTextFile(resolvConf), "nameserver 192.0.2.53\n");
    // Longer, and then shorter than before.
    await files.put(sandbox("b", { net: "10.0.0.2" }));
    assertEquals((await folder.names("a")).length, 2);
    await files.remove("b");
    assertEquals(await folder.names("a"), [line("10.0.0.1", "a")]);
    const after = [await Deno.stat(hosts), await Deno.stat(resolvConf)];
    assertEquals(after.map(({ ino }) => ino), before.map(({ ino }) => ino));
    assertEquals(syncs.take(), 0);
  },
);

folderTest(
  "sandboxes that come at the same time share the work, and all know each other at the end",
  async (folder) => {
    const [one, two] = [folder.files(), folder.files()];
    const ids = Array.from({ length: 24 }, (_, at) => `s${at}`);
    await Promise.all(ids.map((id, at) => (at % 2 ? one : two).put(sandbox(id, { net: `10.0.0.${at}` }))));
    for (const [at, id] of ids.entries()) {
      const [own, ...others] = await folder.names(id);
      assertEquals(own, line(`10.0.0.${at}`, id));
      assertEquals(others.length, ids.length - 1);
    }
    await Promise.all(ids.slice(1).map((id, at) => (at % 2 ? one : two).remove(id)));
    assertEquals(await folder.names("s0"), [line("10.0.0.0", "s0")]);
  },
);

folderTest(
  "sandboxes of a network that has too many do not list each other, until they are fewer",
  async (folder) => {
    const files = folder.files();
    const ids = Array.from({ length: MOST_LISTED }, (_, at) => `s${at}`);
    const own = (at: number) => line(`10.0.${at >> 8}.${at & 255}`, `s${at}`);
    await Promise.all(ids.map((id, at) => files.put(sandbox(id, { net: `10.0.${at >> 8}.${at & 255}` }))));
    assertEquals((await folder.names("s7")).length, MOST_LISTED);
    const many = "# too many sandboxes are on the network net to be listed here";
    await files.put(sandbox(`s${MOST_LISTED}`, { net: "10.0.1.0", back: "10.9.0.1" }));
    assertEquals(await folder.names("s7"), [own(7), many]);
    // One more is added without a look at the others.
    const { mtime } = await Deno.stat(files.paths("s7").hosts);
    await files.put(sandbox("more", { net: "10.0.9.9", back: "10.9.0.2" }));
    assertEquals(await folder.names("more"), [
      line("10.0.9.9", "more"),
      line("10.9.0.2", "more"),
      many,
      line("10.9.0.1", `s${MOST_LISTED}`),
    ]);
    assertEquals((await Deno.stat(files.paths("s7").hosts)).mtime, mtime);
    await files.remove(`s${MOST_LISTED}`);
    assertEquals(await folder.names("s7"), [own(7), many]);
    await files.remove("s0");
    const names = await folder.names("s7");
    assertEquals([names.length, names[0], names.at(-1)], [MOST_LISTED, own(7), line("10.0.9.9", "more")]);
  },
);

folderTest("a sweep makes everything as the sandboxes are, whatever was lost or changed", async (folder) => {
  const files = folder.files();
  const all = [sandbox("a", { net: "10.0.0.1" }), sandbox("b", { net: "10.0.0.2", back: "10.1.0.2" })];
  const sweep = () => files.sweep(() => Promise.resolve(all));
  await sweep();
  const expected = [line("10.0.0.1", "a"), line("10.0.0.2", "b")];
  assertEquals(await folder.names("a"), expected);
  const damages: Readonly<Record<string, () => Promise<void>>> = {
    "a text that another process began to write": () => Deno.writeTextFile(files.paths("a").hosts, "10.0"),
    "a file that is gone": () => Deno.remove(files.paths("a").hosts),
    "a folder that is gone": () => Deno.remove(sandboxDir(folder.dir, "a"), { recursive: true }),
    "a network that is gone": () => Deno.remove(`${networksDir(folder.dir)}/net`),
    "a network that is cut": () => Deno.truncate(`${networksDir(folder.dir)}/net`, 40),
    "a network of nonsense": () => Deno.writeTextFile(`${networksDir(folder.dir)}/net`, "nonsense\n"),
    "a network without sandboxes that is cut": () =>
      Deno.writeTextFile(`${networksDir(folder.dir)}/gone`, ""),
    "names of nonsense": () => Deno.writeTextFile(`${sandboxDir(folder.dir, "a")}/names`, "\t\t\nx\ty\n"),
    "a sandbox that has gone without its folder": async () => {
      await files.put(sandbox("gone", { net: "10.0.0.9" }));
      await Deno.remove(sandboxDir(folder.dir, "gone"), { recursive: true });
    },
    "a sandbox that has gone": () => files.put(sandbox("gone", { net: "10.0.0.9", other: "10.2.0.1" })),
    "a half-written file": () =>
      Deno.writeTextFile(`${sandboxDir(folder.dir, "a")}/.podwire-1-${"0".repeat(32)}.tmp`, "x"),
  };
  for (const [what, damage] of Object.entries(damages)) {
    await damage();
    await sweep();
    assertEquals(await folder.names("a"), expected, what);
    assertEquals(await folder.names("b"), [
      line("10.0.0.2", "b"),
      line("10.1.0.2", "b"),
      line("10.0.0.1", "a"),
    ], what);
    assertEquals(await folder.folders(), ["a", "b", "back", "net"], what);
  }
  // Nothing is written where nothing has changed.
  const { mtime } = await Deno.stat(files.paths("b").hosts);
  await sweep();
  assertEquals((await Deno.stat(files.paths("b").hosts)).mtime, mtime);
  assertEquals(folder.log.all, []);
  await files.sweep(() => Promise.resolve([]));
  assertEquals(await folder.folders(), []);
});

folderTest(
  "what cannot be written is a warning, and the others get their files all the same",
  async (folder) => {
    const files = folder.files();
    await files.put(sandbox("a", { net: "10.0.0.1" }));
    await Deno.remove(files.paths("a").hosts);
    await Deno.mkdir(files.paths("a").hosts);
    await Deno.writeTextFile(`${files.paths("a").hosts}/x`, "");
    await files.put(sandbox("b", { net: "10.0.0.2" }));
    assertEquals(await folder.names("b"), [line("10.0.0.2", "b"), line("10.0.0.1", "a")]);
    assertNotEquals(folder.log.all, []);
    assertStringIncludes(folder.log.all.join("\n"), "Cannot write the hosts and resolv.conf of a sandbox");
  },
);
