// Random changes of a configuration directory: once it is quiet, the networks in use are those of a fresh reading, and for
// unusable files those of their last usable content. The model contains each content that could have been read.
import { assert, assertEquals } from "@std/assert";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import { loadDirectory } from "../../lib/catalog/load.ts";
import { Random } from "../cni/random.ts";
import { CatalogWorld, conf, list, type WatchedWorld } from "./world.ts";

const FILES = ["10-a.conflist", "20-b.conf", "30-c.json", "40-d.conflist"] as const;
const NETWORKS = ["a", "b", "c"] as const;
const NONE = "(none)";

/** The contents that can be in use for each file, as text; `NONE` if it may have none. */
type Possible = Map<string, Set<string>>;

/** Adds what can be read now: a usable content, or nothing for a missing file. An unusable file adds nothing. */
async function record(confDir: string, possible: Possible): Promise<void> {
  const found = new Map((await loadDirectory(confDir)).map((loaded) => [loaded.file, loaded]));
  for (const name of FILES) {
    const file = `${confDir}/${name}`;
    const versions = possible.get(file) ?? new Set([NONE]);
    const { list } = found.get(file) ?? {};
    if (!found.has(file)) versions.add(NONE);
    else if (list !== undefined) versions.add(list.text);
    possible.set(file, versions);
  }
}

/** The content in use of each file. */
function contentInUse(catalog: Catalog): Map<string, string> {
  return new Map(catalog.content.files.map(({ file, list }) => [file, list?.text ?? NONE]));
}

/** Returns what is wrong with the catalog after the changes, or undefined. */
async function fault(confDir: string, catalog: Catalog, possible: Possible): Promise<string | undefined> {
  const fresh = await loadDirectory(confDir);
  const files = catalog.content.files;
  const names = (all: readonly { readonly file: string }[]) => all.map(({ file }) => file).join();
  if (names(files) !== names(fresh)) return `${names(files)}, not ${names(fresh)}`;
  for (const [index, { file, list, error }] of fresh.entries()) {
    const got = files[index];
    if (got?.error?.message !== error?.message) {
      return `${file}: ${got?.error?.message}, not ${error?.message}`;
    }
    const text = got?.list?.text ?? NONE;
    if (list !== undefined && text !== list.text) return `${file} contains ${list.text}, not ${text}`;
    if (list === undefined && !possible.get(file)?.has(text)) return `${file} never contained ${text}`;
  }
  return undefined;
}

async function ignoreMissing(promise: Promise<unknown>): Promise<void> {
  await promise.catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Makes one random change, as people and programs do. */
async function change(
  world: CatalogWorld,
  random: Random,
  n: number,
  look: () => Promise<void>,
): Promise<string> {
  const name = random.one(FILES);
  const path = world.path(name);
  const network = random.one(NETWORKS);
  const text = name.endsWith(".conflist") ? list(network, `p${n}`) : conf(network, `p${n}`);
  const folder = world.path(network);
  const actions: Record<string, () => Promise<unknown>> = {
    "write": () => Deno.writeTextFile(path, text),
    "replace": async () => {
      await Deno.writeTextFile(world.path("new.tmp"), text);
      await Deno.rename(world.path("new.tmp"), path);
    },
    "write half of": () => Deno.writeTextFile(path, text.slice(0, 1 + random.below(text.length - 2))),
    "truncate": () => Deno.writeTextFile(path, ""),
    "remove": () => ignoreMissing(Deno.remove(path)),
    "rename": () => ignoreMissing(Deno.rename(path, world.path(random.one(FILES)))),
    "make the folder beside": () => Deno.mkdir(folder, { recursive: true }),
    "write a plugin beside": async () => {
      await Deno.mkdir(folder, { recursive: true });
      await look();
      await Deno.writeTextFile(`${folder}/10.conf`, JSON.stringify({ type: `f${n}` }));
    },
    "break a plugin beside": async () => {
      await Deno.mkdir(folder, { recursive: true });
      await look();
      await Deno.writeTextFile(`${folder}/10.conf`, `{"type": ${n}`);
    },
    "remove the folder beside": () => ignoreMissing(Deno.remove(folder, { recursive: true })),
    "replace the directory of": async () => {
      await new Deno.Command("cp", { args: ["-r", world.confDir, `${world.parent}/copy`] }).output();
      await Deno.rename(world.confDir, `${world.parent}/former`);
      await Deno.rename(`${world.parent}/copy`, world.confDir);
      await Deno.remove(`${world.parent}/former`, { recursive: true });
    },
  };
  const action = random.one(Object.keys(actions));
  await actions[action]?.();
  return `${action} ${name}`;
}

async function waitUntilRight(
  watched: WatchedWorld,
  world: CatalogWorld,
  possible: Possible,
  done: string[],
) {
  let wrong: string | undefined;
  const isRight = async () => {
    wrong = await fault(world.confDir, await watched.source.current(), possible);
    return wrong === undefined;
  };
  await watched.until(isRight, "the catalog is right").catch((error) => {
    throw new Error(`${wrong} after ${done.join(", ")}`, { cause: error });
  });
}

for (const seed of [1, 2, 3]) {
  Deno.test(`F28 F36 F40 F43 F44 after any changes, the networks in use are those of the files and of their last usable contents (${seed})`, async () => {
    await using world = await CatalogWorld.make({ [FILES[0]]: list("a", "p"), [FILES[1]]: conf("b") });
    await using watched = await world.watch({ gatherMs: 30 });
    const random = new Random(seed);
    for (let round = 0; round < 15; round++) {
      const before = contentInUse(await watched.source.current());
      const possible: Possible = new Map([...before].map(([file, text]) => [file, new Set([text])]));
      const done: string[] = [];
      for (let n = 1 + random.below(6); n > 0; n--) {
        const look = () => record(world.confDir, possible);
        done.push(await change(world, random, round * 10 + n, look));
        await look();
      }
      await waitUntilRight(watched, world, possible, done);
      // A reading on request finds the same.
      const catalog = await watched.source.reload();
      assertEquals(await fault(world.confDir, catalog, possible), undefined);
    }
    assert(watched.changes.length > 0);
  });
}
