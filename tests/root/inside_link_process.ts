// What a program in a sandbox sees where the resolv.conf of the host is a link. It changes /etc, and so has one of its own: it is run
// in a mount namespace that no other test sees.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { inWorld, sh } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";

await inWorld(async (world) => {
  await sh(`cp -a /etc ${world.dir}/etc && mount --bind ${world.dir}/etc /etc`);
  await bridgeNetwork(world, "front", { more: { capabilities: { dns: true } } });
  const { sandboxes } = runtimeOf(world, FLAVOURS[0]!);
  const [etc, target] = ["/etc/resolv.conf", `${world.dir}/stub`];
  const shown = async (script: string) => {
    const { code, stdout, stderr } = await sandboxes.exec("web", { program: "sh", args: ["-c", script] });
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, script);
    return stdout;
  };
  await sandboxes.run({ name: "web", networks: [{ name: "front", dns: { servers: ["192.0.2.1"] } }] });
  try {
    await sh(`rm -f ${etc}`);
    await Deno.writeTextFile(target, "nameserver 127.0.0.53\n");
    await Deno.symlink(target, etc);
    assertStringIncludes(await shown(`cat ${etc}`), "nameserver 192.0.2.1\n");
    assertEquals(await sh(`cat ${etc}`), "nameserver 127.0.0.53\n");
    // A link that leads nowhere, and none at all, are left as they are.
    await Deno.remove(target);
    assertEquals(await shown(`cat ${etc} 2>/dev/null || echo none`), "none\n");
    await Deno.remove(etc);
    assertEquals(await shown(`ls ${etc} 2>/dev/null || echo none`), "none\n");
  } finally {
    await sandboxes.remove("web", { force: true });
    await sh("umount /etc");
  }
})();
