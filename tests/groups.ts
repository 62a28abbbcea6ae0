// What each worker of Deno runs, and in which order. To start a worker costs half a second of processor time
// before its first test runs, more than most files of pure tests need: those of a folder share some. The
// heavy files, tests/ itself and tests/root, have one each and come first, so that no core is idle while the
// last of them runs.
import { ensureDir } from "@std/fs";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
/** No name in it is a test's, so that Deno finds none by itself. */
const GROUPS = "tests/.groups";
const HEAVY = [/^tests\/[^/]+$/, /^tests\/root\/[^/]+$/];
const SIZE = 6;

/** The files that share a worker, in the order in which Deno takes them. */
export function groupsOf(files: readonly string[]): readonly (readonly string[])[] {
  const heavy = HEAVY.flatMap((pattern) => files.filter((file) => pattern.test(file)).map((file) => [file]));
  const folders = Map.groupBy(
    files.filter((file) => !HEAVY.some((pattern) => pattern.test(file))),
    (file) => file.slice(0, file.lastIndexOf("/")),
  );
  const light = [...folders.values()].flatMap((members) =>
    Array.from(
      { length: Math.ceil(members.length / SIZE) },
      (_, n) => members.slice(n * SIZE, (n + 1) * SIZE),
    )
  );
  return [...heavy, ...light];
}

/**
 * Writes a module for each group, those for each version of Deno in a folder of their own, and returns their
 * paths. Deno runs them in the order of their names.
 */
export async function grouped(files: readonly string[], version: string): Promise<string[]> {
  // The command line's name of a version is the name of a folder below this one, whatever it is.
  const folder = `${GROUPS}/deno-${version.replaceAll("/", "_")}`;
  await Deno.remove(`${ROOT}${folder}`, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  await ensureDir(`${ROOT}${folder}`);
  return await Promise.all(
    groupsOf(files).map(async (members, index) => {
      const first = (members[0] ?? "").replace(/^tests\//, "").replace(/_test\.ts$/, "").replaceAll("/", ".");
      const path = `${folder}/${String(index).padStart(3, "0")}.${first}.ts`;
      await Deno.writeTextFile(
        `${ROOT}${path}`,
        members.map((file) => `import "../../../${file}";\n`).join(""),
      );
      return path;
    }),
  );
}
