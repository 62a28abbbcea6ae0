import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { compile, permissionFlags } from "../.ci/compile.ts";
import { need, PODWIRE_BINARY } from "./root/need.ts";

const config = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));

Deno.test("the binary gets files, programs, the C library and named variables, and nothing else", () => {
  const flags = permissionFlags(config.permissions.podwire);
  const [env, ...others] = flags.toSorted();
  const expected = ["ffi", "read", "run", "write"].map((name) => `--allow-${name}`);
  assertEquals(others, [...expected, "--deny-import", "--no-prompt"]);
  assertEquals(env, `--allow-env=${config.permissions.podwire.env.join(",")}`);
});

Deno.test("a permission that has no flag is refused, not dropped", () => {
  assertThrows(() => permissionFlags({ net: { deny: false } }), TypeError, `the permission "net"`);
});

Deno.test("an error names a base binary that DENORT_BIN names and that does not exist, before anything is made", async () => {
  const folder = await Deno.makeTempDir({ prefix: "compile-" });
  const before = Deno.env.get("DENORT_BIN");
  try {
    Deno.env.set("DENORT_BIN", `${folder}/denort`);
    await Deno.writeTextFile(`${folder}/empty.ts`, "");
    const compiling = () => compile(`${folder}/empty.ts`, `${folder}/empty`, {});
    await assertRejects(compiling, Error, `there is no "${folder}/denort", which DENORT_BIN names`);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["empty.ts"]);
  } finally {
    if (before === undefined) Deno.env.delete("DENORT_BIN");
    else Deno.env.set("DENORT_BIN", before);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "a compiled program has exactly the permissions of the set",
  ignore: Deno.build.target !== "x86_64-unknown-linux-gnu",
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "compile-" });
    try {
      await Deno.writeTextFile(
        `${folder}/states.ts`,
        `const state = (wanted: Deno.PermissionDescriptor) => Deno.permissions.querySync(wanted).state;
         if (import.meta.main) {
           console.log(JSON.stringify({
             read: state({ name: "read" }), write: state({ name: "write" }), run: state({ name: "run" }),
             net: state({ name: "net" }), ffi: state({ name: "ffi" }), sys: state({ name: "sys" }),
             import: state({ name: "import" }), env: state({ name: "env" }),
             PATH: state({ name: "env", variable: "PATH" }), LC_TIME: state({ name: "env", variable: "LC_TIME" }),
             SECRET: state({ name: "env", variable: "SECRET" }),
           }));
           try { Deno.env.get("SECRET") } catch (error) { console.log((error as Error).name) }
         }`,
      );
      await compile(`${folder}/states.ts`, `${folder}/states`, config.permissions.podwire);
      await Deno.mkdir(`${folder}/tmp`);
      const env = { TMPDIR: `${folder}/tmp` };
      const { stdout } = await new Deno.Command(`${folder}/states`, { stdin: "null", env }).output();
      const [states, refusal] = new TextDecoder().decode(stdout).trim().split("\n");
      assertEquals(JSON.parse(states ?? ""), {
        read: "granted",
        write: "granted",
        run: "granted",
        net: "prompt",
        ffi: "granted",
        sys: "prompt",
        import: "denied",
        env: "prompt",
        PATH: "granted",
        LC_TIME: "granted",
        SECRET: "prompt",
      });
      assertEquals(refusal, "NotCapable", "it must not ask");
      assertEquals(
        [...Deno.readDirSync(`${folder}/tmp`)],
        [],
        "it must not keep code where others can write",
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "a compiled program has the code of what a command calls, and V8 takes it",
  ignore: Deno.build.target !== "x86_64-unknown-linux-gnu",
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "compile-" });
    try {
      const inCi = (name: string) => new URL(`../.ci/${name}`, import.meta.url);
      await Deno.writeTextFile(
        `${folder}/code.ts`,
        `import { Script } from "node:vm";
         import { CODE_CACHE, loadScript, SCRIPT } from "${inCi("load_script.ts")}";
         if (import.meta.main) {
           const dir = import.meta.dirname;
           const { script, program } = loadScript(dir);
           const bare = new Script(Deno.readTextFileSync(dir + "/" + SCRIPT)).createCachedData().byteLength;
           const { size } = Deno.statSync(dir + "/" + CODE_CACHE);
           const { cachedDataRejected: rejected } = script;
           console.log(JSON.stringify({ exports: Object.keys(program), rejected, bare, size }));
         }`,
      );
      const script = inCi("program.ts").pathname;
      await compile(`${folder}/code.ts`, `${folder}/code`, config.permissions.podwire, { script });
      const { stdout } = await new Deno.Command(`${folder}/code`, { stdin: "null" }).output();
      const { exports, rejected, bare, size } = JSON.parse(new TextDecoder().decode(stdout));
      assertEquals([exports.toSorted(), rejected], [["main", "processIo"], false]);
      assert(size > 2 * bare, `${size} bytes, and ${bare} without any function`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "the binary is smaller than 105 MB",
  ...need("binary"),
  fn: async () => {
    const { size } = await Deno.stat(PODWIRE_BINARY);
    assert(size < 105e6, `${size} bytes`);
  },
});
