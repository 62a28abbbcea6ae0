// The entries of the package: each one works, and loads no more than it needs.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const { exports } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  exports: Readonly<Record<string, string>>;
};
const IMPORT = /^(?:import|export)\b[^;]*?\bfrom "(\.{1,2}\/[^"]+\.ts)";/gm;
const TYPES_ONLY = /^(?:import|export) type\b/;

/** Returns the files of this project that an entry loads, itself included. Imports of types are not loaded. */
async function loaded(entry: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const follow = async (url: URL) => {
    if (found.has(url.href)) return;
    found.add(url.href);
    for (const [statement, target = ""] of (await Deno.readTextFile(url)).matchAll(IMPORT)) {
      if (!TYPES_ONLY.test(statement)) await follow(new URL(target, url));
    }
  };
  await follow(new URL(entry, `file://${ROOT}`));
  return found;
}

Deno.test("every entry can be imported by its public name", async () => {
  assertEquals(Object.keys(exports), [".", "./plugin", "./cni", "./client", "./testing"]);
  for (const entry of Object.keys(exports)) {
    const members = await import(`@podwire/podwire${entry.slice(1)}`);
    assert(Object.keys(members).length > 0, entry);
  }
});

Deno.test("a plugin and the words of CNI load few modules", async () => {
  const counts = Object.fromEntries(
    await Promise.all(
      Object.entries(exports).map(async ([entry, file]) => [entry, (await loaded(file)).size] as const),
    ),
  );
  const { ".": all = 0, "./plugin": plugin = 0, "./cni": cni = 0, "./client": client = 0 } = counts;
  assert(plugin < 60 && cni < 25 && client < 90 && all > 2 * plugin, JSON.stringify(counts));
});

Deno.test("a command that attaches loads the code of no sandbox, of no pod and of nothing that keeps running", async () => {
  const files = [...await loaded("lib/cli/attachment.ts")].map((url) =>
    url.slice(`file://${ROOT}lib/`.length)
  );
  const rooms = ["gc", "readiness", "daemon", "builtin"].map((room) => `${room}/`);
  const unwanted = files.filter((file) => rooms.some((room) => file.startsWith(room)) || /watch/.test(file));
  assertEquals(unwanted, ["builtin/mod.ts"], "the list of the built-in plugins loads them late");
  const ofSandboxes = files.filter((file) => file.startsWith("sandbox/"));
  assertEquals(ofSandboxes.toSorted(), ["sandbox/needs_recovery.ts", "sandbox/recovered_boot.ts"]);
  assert(files.length < 190, `${files.length} modules`);
});

Deno.test("the compiled program prints its version with the code that this needs alone", async () => {
  const files = [...await loaded(".ci/start.ts")].map((url) => url.slice(`file://${ROOT}`.length));
  assertEquals(files, [".ci/start.ts", "lib/cli/version.ts"]);
});

Deno.test("no entry loads the code of the CRI or of NRI, and the commands that serve them load it only then", async () => {
  for (
    const file of [
      ...Object.values(exports),
      "cli.ts",
      "lib/cli/main.ts",
      "lib/cli/serve.ts",
      ".ci/program.ts",
    ]
  ) {
    const found = [...await loaded(file)].filter((url) => /\/lib\/(cri|nri)\//.test(url));
    assertEquals(found, [], file);
  }
  const found = [...await loaded("lib/cli/nri.ts")].filter((url) => /\/lib\/(nri|cri)\//.test(url));
  assertEquals(found, [], "the command loads what it needs when it runs");
  const late = [...await loaded("lib/cri/serve_cri.ts")].filter((url) => url.includes("/lib/cri/"));
  assert(late.length > 15, `${late.length} modules`);
});

Deno.test("the words of CNI touch nothing but themselves", async () => {
  const outside = [...await loaded(exports["./cni"] ?? "")].filter((url) => !url.includes("/lib/cni/"));
  assertEquals(outside, [`file://${ROOT}cni.ts`]);
});
