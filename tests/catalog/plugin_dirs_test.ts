import { assertEquals } from "@std/assert";
import { PluginDirs } from "../../lib/catalog/plugin_dirs.ts";

Deno.test("F36 a plugin directory has changed if a plugin appeared, disappeared, was replaced or became executable", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-plugin-dirs-" });
  try {
    const dirs = new PluginDirs([`${dir}/one`, `${dir}/two`]);
    const changed = () => dirs.haveChanged(["bridge"]);
    assertEquals([await changed(), await changed()], [false, false]);
    const plugin = `${dir}/two/bridge`;
    const steps: readonly (() => Promise<unknown>)[] = [
      async () => {
        await Deno.mkdir(`${dir}/two`);
        await Deno.writeTextFile(plugin, "#!/bin/sh", { mode: 0o644 });
      },
      () => Deno.chmod(plugin, 0o755),
      () => Deno.writeTextFile(plugin, "#!/bin/sh\nexit 1"),
      async () => {
        await Deno.writeTextFile(`${dir}/new`, "#!/bin/sh\nexit 2", { mode: 0o755 });
        await Deno.rename(`${dir}/new`, plugin);
      },
      () => Deno.symlink("/bin/true", `${dir}/two/ptp`),
      () => Deno.remove(`${dir}/two`, { recursive: true }),
    ];
    for (const step of steps) {
      await step();
      assertEquals([await changed(), await changed()], [true, false]);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("F126 vendor directories of the plugins in use are included, and including them is not a change", async () => {
  const dirs = new PluginDirs(["/nowhere/bin", ""]);
  assertEquals(dirs.pathsFor(["bridge", "ptp"]), ["/nowhere/bin", "/opt/bridge/bin", "/opt/ptp/bin"]);
  assertEquals(await dirs.haveChanged([]), false);
  assertEquals(await dirs.haveChanged(["bridge"]), false);
});
