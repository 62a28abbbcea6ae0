// F44: a watched directory is replaced in several ways, with two watchers at once: Deno has one watch per path for the whole
// process. Polling is off, so each change is found by an event.
import { CatalogWorld, conf } from "./world.ts";

/** A way to replace the directory by one with network `name`. */
interface Replacement {
  readonly what: string;
  readonly put: (world: CatalogWorld, name: string) => Promise<void>;
  /** Adds a second file. @default {writeSecond} */
  readonly add?: (world: CatalogWorld, name: string) => Promise<void>;
}

const writeSecond: Replacement["put"] = (world, name) => world.write("20.conf", conf(name));

const fill = async (dir: string, name: string) => {
  await Deno.mkdir(dir, { recursive: true });
  await Deno.writeTextFile(`${dir}/10.conf`, conf(name));
};

/** As Kubernetes updates the files of a ConfigMap: links through `..data`, which is switched at once. */
async function switchData(world: CatalogWorld, files: Readonly<Record<string, string>>): Promise<void> {
  const { confDir } = world;
  const former = await Deno.readLink(`${confDir}/..data`).catch(() => undefined);
  const next = `..data-${crypto.randomUUID()}`;
  await Deno.mkdir(`${confDir}/${next}`, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${confDir}/${next}/${name}`, text);
  }
  await Deno.symlink(next, `${confDir}/..data_tmp`);
  await Deno.rename(`${confDir}/..data_tmp`, `${confDir}/..data`);
  for (const name of Object.keys(files)) {
    const isThere = await Deno.lstat(`${confDir}/${name}`).then(({ isSymlink }) => isSymlink, () => false);
    if (isThere) continue;
    await Deno.remove(`${confDir}/${name}`).catch(() => {});
    await Deno.symlink(`..data/${name}`, `${confDir}/${name}`);
  }
  if (former !== undefined) await Deno.remove(`${confDir}/${former}`, { recursive: true });
}

const REPLACEMENTS: readonly Replacement[] = [
  {
    what: "it is removed and created again",
    put: async ({ confDir }, name) => {
      await Deno.remove(confDir, { recursive: true });
      await fill(confDir, name);
    },
  },
  {
    what: "its parent is removed and created again",
    put: async ({ parent, confDir }, name) => {
      await Deno.remove(parent, { recursive: true });
      await fill(confDir, name);
    },
  },
  {
    what: "another one is renamed to it",
    put: async ({ dir, confDir }, name) => {
      await fill(`${dir}/next`, name);
      await Deno.rename(confDir, `${dir}/former-${name}`);
      await Deno.rename(`${dir}/next`, confDir);
    },
  },
  {
    what: "its parent is moved away, and removed after another one exists",
    put: async ({ dir, parent }, name) => {
      await fill(`${dir}/next/net.d`, name);
      await Deno.rename(parent, `${dir}/former`);
      await Deno.rename(`${dir}/next`, parent);
      await Deno.remove(`${dir}/former`, { recursive: true });
    },
  },
  {
    what: "it is a link that is switched",
    put: async ({ dir, confDir }, name) => {
      await fill(`${dir}/data/${name}`, name);
      await Deno.symlink(`../data/${name}`, `${dir}/link`);
      const { isSymlink } = await Deno.lstat(confDir);
      if (!isSymlink) await Deno.remove(confDir, { recursive: true });
      await Deno.rename(`${dir}/link`, confDir);
    },
  },
  {
    what: "its files are those of a ConfigMap, which is updated",
    put: (world, name) => switchData(world, { "10.conf": conf(name) }),
    add: async (world, name) => {
      const former = await Deno.readTextFile(world.path("10.conf"));
      await switchData(world, { "10.conf": former, "20.conf": conf(name) });
    },
  },
];

for (const { what, put, add = writeSecond } of REPLACEMENTS) {
  Deno.test(`F44 two watchers of a directory both follow it if ${what}, several times`, async () => {
    await using world = await CatalogWorld.make({ "10.conf": conf("first") });
    await using one = await world.watch();
    await using other = await world.watch();
    const bothBecome = async (...expected: string[]) => {
      await one.becomes(...expected);
      await other.becomes(...expected);
    };
    await bothBecome("10.conf first used default");
    for (const name of ["a", "b", "c"]) {
      await Deno.remove(world.path("20.conf")).catch(() => {});
      await put(world, name);
      await bothBecome(`10.conf ${name} used default`);
      await add(world, `${name}2`);
      await bothBecome(`10.conf ${name} used default`, `20.conf ${name}2 used`);
    }
  });
}
