// What programs in a sandbox see: its files in /etc, its interfaces in /sys, and the namespaces of its infra container.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { Sandboxes } from "../../lib/sandbox/sandbox.ts";
import { printedBy } from "../kernel/denow_process.ts";
import { ownMounts } from "./own_mounts.ts";
import { until } from "../until.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

const MORE = { capabilities: { dns: true, aliases: true } };

function execTest(name: string, fn: (world: World, sandboxes: Sandboxes) => Promise<void>): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "front", { more: MORE });
      const { sandboxes } = runtimeOf(world, FLAVOURS[0]!);
      try {
        await fn(world, sandboxes);
      } finally {
        for (const { id } of await sandboxes.list()) await sandboxes.remove(id, { force: true });
      }
    }),
  });
}

/** What a shell prints in a sandbox; it must succeed. */
async function shIn(sandboxes: Sandboxes, name: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await sandboxes.exec(name, { program: "sh", args: ["-c", script] });
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, script);
  return stdout;
}

execTest(
  "a program finds the names of the sandbox in /etc, and its interfaces in /sys",
  async (_, sandboxes) => {
    const dns = { servers: ["192.0.2.1"], searches: ["a.example"] };
    const web = await sandboxes.run({ name: "web", networks: [{ name: "front", dns, aliases: ["www"] }] });
    const db = await sandboxes.run({ name: "db", networks: [{ name: "front" }] });
    assertEquals(
      await shIn(sandboxes, "web", "cat /etc/resolv.conf"),
      await Deno.readTextFile(web.files!.resolvConf),
    );
    assertEquals(await shIn(sandboxes, "web", "cat /etc/hosts"), await Deno.readTextFile(web.files!.hosts));
    assertStringIncludes(await shIn(sandboxes, "web", "getent hosts db"), db.ips[0]!);
    assertStringIncludes(await shIn(sandboxes, "db", "getent hosts www"), web.ips[0]!);
    assertEquals(await shIn(sandboxes, "web", "ls /sys/class/net"), "eth0\nlo\n");
    const [{ address }] = JSON.parse(await sh("ip -j link show eth0", web.netns));
    assertEquals(await shIn(sandboxes, "web", "cat /sys/class/net/eth0/address"), `${address}\n`);
    // The control groups and whatever else is mounted there are still there.
    const below =
      "sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* \\(/sys/[^ ]*\\) .*|\\1|p' /proc/self/mountinfo | sort -u";
    assertEquals(await shIn(sandboxes, "web", below), await sh(below));
    assertEquals(await shIn(sandboxes, "web", "ls /sys/fs/cgroup"), await sh("ls /sys/fs/cgroup"));
  },
);

execTest("no mount of the host changes before, while or after a program runs", async (world, sandboxes) => {
  await sandboxes.run({ name: "web", networks: [{ name: "front" }] });
  const before = await ownMounts(world.dir);
  const [pipe, mark] = [`${world.dir}/pipe`, `${world.dir}/mark`];
  await sh(`mkfifo ${pipe}`);
  const script = `mount -t tmpfs tmpfs /mnt && echo >/mnt/own && echo >${mark} && cat ${pipe} && ls /mnt`;
  const running = shIn(sandboxes, "web", script);
  await until(() => Deno.stat(mark).then(() => true, () => false));
  assertEquals(await ownMounts(world.dir), before);
  await sh(`echo go >${pipe}`);
  assertEquals(await running, "go\nown\n");
  assertEquals(await ownMounts(world.dir), before);
  // A program that cannot be started, and one that is cut short.
  assertEquals((await sandboxes.exec("web", { program: "no-such-program" })).code, 127);
  assertEquals((await sandboxes.exec("web", { program: "/etc/hosts" })).code, 126);
  const hanging = { program: "sleep", args: ["601"] };
  await assertRejects(() => sandboxes.exec("web", hanging, { signal: AbortSignal.timeout(500) }), CniError);
  assertEquals(await ownMounts(world.dir), before);
  assertEquals(await sh("pgrep -xf 'sleep 601' || :"), "");
});

execTest("the program gets every variable, and its working directory", async (world, sandboxes) => {
  await sandboxes.run({ name: "web", networks: [{ name: "front" }] });
  const env = { "A.B": "1", "with space": "x y", LONG: "a\nb" };
  const { stdout } = await sandboxes.exec("web", {
    program: "env",
    args: ["-0"],
    env: { ...env, PATH: "/usr/bin:/bin" },
  });
  const got = Object.fromEntries(
    stdout.split("\0").filter(Boolean).map((each) => {
      const at = each.indexOf("=");
      return [each.slice(0, at), each.slice(at + 1)];
    }),
  );
  assertEquals(got, { ...env, PATH: "/usr/bin:/bin", LC_ALL: "C" });
  const cwd = await Deno.realPath(world.dir);
  assertEquals((await sandboxes.exec("web", { program: "pwd", cwd })).stdout, `${cwd}\n`);
  assertEquals((await sandboxes.exec("web", { program: "pwd" })).stdout, `${Deno.cwd()}\n`);
  const args = ["-c", 'for a; do printf "<%s>" "$a"; done', "sh", "--", "-x", "a b", ""];
  assertEquals((await sandboxes.exec("web", { program: "sh", args })).stdout, "<--><-x><a b><>");
});

execTest(
  "files of /etc/netns/NAME take the place of those of the host and of the sandbox",
  async (world, sandboxes) => {
    const path = await world.netns("named");
    const dir = `/etc/netns/${path.split("/").at(-1)}`;
    await Deno.mkdir(dir, { recursive: true });
    try {
      await Deno.writeTextFile(`${dir}/resolv.conf`, "nameserver 192.0.2.77\n");
      await Deno.writeTextFile(`${dir}/hostname`, "of-the-namespace\n");
      await Deno.writeTextFile(`${dir}/no-such-file-in-etc`, "x\n");
      const web = await sandboxes.run({
        name: "web",
        source: { kind: "path", path },
        networks: [{ name: "front" }],
      });
      assertEquals(await shIn(sandboxes, "web", "cat /etc/resolv.conf"), "nameserver 192.0.2.77\n");
      assertEquals(await shIn(sandboxes, "web", "cat /etc/hostname"), "of-the-namespace\n");
      assertEquals(await shIn(sandboxes, "web", "cat /etc/hosts"), await Deno.readTextFile(web.files!.hosts));
      assertEquals(
        await shIn(sandboxes, "web", "ls /etc/no-such-file-in-etc 2>&1 || :"),
        await sh(
          "ls /etc/no-such-file-in-etc 2>&1 || :",
        ),
      );
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

Deno.test({
  name: "a resolv.conf of the host that is a link has the file bound over its target, in the sandbox only",
  ...need("root", "ip"),
  fn: async () => {
    const own = { namespaces: ["--mount"] };
    assertEquals(await printedBy("../root/inside_link_process.ts", ["--allow-all"], [], own), "");
  },
});

execTest("files that were lost are made anew before a program runs", async (world, sandboxes) => {
  const web = await sandboxes.run({ name: "web", networks: [{ name: "front" }] });
  await Deno.remove(`${world.dir}/state/inside`, { recursive: true });
  assertStringIncludes(await shIn(sandboxes, "web", "cat /etc/hosts"), `${web.ips[0]}\tweb web.default\n`);
});

execTest("a sandbox in the namespace of the host has the files of the host", async (_, sandboxes) => {
  const host = await sandboxes.run({ name: "host", source: { kind: "host" } });
  assertEquals(host.files, null);
  assertEquals(
    await shIn(sandboxes, "host", "cat /etc/hosts; ls /sys/class/net"),
    await sh("cat /etc/hosts; ls /sys/class/net"),
  );
  const refused = await assertRejects(
    () => sandboxes.exec("host", { program: "true", infra: true }),
    CniError,
  );
  assertEquals(refused.msg, 'Cannot enter sandbox "host": it has no infra container');
});
