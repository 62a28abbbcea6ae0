import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";
import { linkTarget, namesIn, ownUser, realPath, statOf } from "../../lib/host/stat.ts";
import { inTempDir } from "../temp_dir.ts";

const HOST = fromFileUrl(new URL("../../lib/host/", import.meta.url));

/** The other files that inspect files directly, because files of the kernel do not matter there. */
const ELSEWHERE = [
  // Whether a program exists.
  "search_path.ts",
  // Where Deno refuses that, a program looks.
  "inherited.ts",
  // The files of addresses.
  "file_now.ts",
  // A path that may not be inspected is not checked.
  "file_safety.ts",
  "lock.ts",
  // Whether a missing file is a dangling link.
  "read_file.ts",
  // Its own files.
  "running_programs.ts",
  "socket.ts",
  // Those that a dead process has left.
  "unix_listener.ts",
  // A path that may not be inspected is not watched.
  "watch.ts",
];
const LOOK = /\b(?:Deno|fs)\s*\.\s*(?:l?stat|readLink|readDir|realPath|readlink|readdir|realpath)(?:Sync)?\b/;

Deno.test("only stat.ts inspects files below /proc and /sys", async () => {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(HOST)) {
    const text = await Deno.readTextFile(`${HOST}${name}`);
    const code = text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "");
    if (LOOK.test(code)) found.push(name);
  }
  assertEquals(found.sort(), [...ELSEWHERE, "stat.ts"].sort());
});

Deno.test("statOf(), linkTarget(), namesIn() and realPath() see the files of the kernel as programs do", async () => {
  const own = `/proc/${Deno.pid}`;
  const { stdout } = await runCommand({ program: "stat", args: ["-Lc", "%d %i", `${own}/ns/net`] });
  for (const path of [`${own}/ns/net`, "/proc/self/ns/net", "//proc/thread-self/ns/net"]) {
    const there = await statOf(path);
    assertEquals(`${there?.dev} ${there?.ino}\n`, stdout, path);
  }
  const { isFile, isDirectory, mode } = await statOf(own) ?? {};
  assertEquals({ isFile, isDirectory, mode }, { isFile: false, isDirectory: true, mode: 0o040555 });
  const status = await statOf(`${own}/status`);
  assertEquals({ isFile: status?.isFile, isDirectory: status?.isDirectory }, {
    isFile: true,
    isDirectory: false,
  });
  assertEquals(await linkTarget("/proc/self/ns/net"), `net:[${stdout.trim().split(" ")[1]}]`);
  assertEquals(await linkTarget(own), undefined);
  assert((await namesIn("/proc/self/ns")).includes("net"));
  assert((await namesIn("/proc")).includes(String(Deno.pid)));
  assert((await namesIn("/sys/class/net")).includes("lo"));
  assertEquals(await realPath("/proc/self/exe"), Deno.realPathSync(Deno.execPath()));
  const { stdout: user } = await runCommand({ program: "id", args: ["-u"] });
  assertEquals(`${ownUser()}\n`, user);
});

Deno.test("a missing path, or one that is not a directory, gives the same result below /proc as elsewhere", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    for (
      const { absent, file } of [
        { absent: "/proc/self/nope", file: "/proc/self/status" },
        { absent: `${dir}/nope`, file: `${dir}/file` },
      ]
    ) {
      assertEquals(await statOf(absent), undefined);
      assertEquals(await linkTarget(absent), undefined);
      await assertRejects(() => namesIn(absent), Deno.errors.NotFound);
      await assertRejects(() => realPath(absent), Deno.errors.NotFound);
      await assertRejects(() => statOf(`${file}/x`), Deno.errors.NotADirectory);
      await assertRejects(() => namesIn(file), Deno.errors.NotADirectory);
    }
  }));

Deno.test("each of many concurrent requests gets its own answer, from few programs", async () => {
  const wanted = Array.from({ length: 3_000 }, (_, index) => index % 3 === 0 ? Deno.pid : 5_000_000 + index);
  const answers = await Promise.all(wanted.map((pid) => statOf(`/proc/${pid}`)));
  assertEquals(answers.map((there) => there !== undefined), wanted.map((pid) => pid === Deno.pid));
});

Deno.test("without full permissions a script sees the files of the kernel with --allow-read and sh, and never prompts", () =>
  inTempDir(async (dir) => {
    const script = `${dir}/look.ts`;
    await Deno.writeTextFile(
      script,
      `import { linkTarget, namesIn, ownUser, statOf } from "${HOST}stat.ts";
      const pids = (await namesIn("/proc")).filter((name) => /^\\d+$/.test(name));
      const there = await Promise.all(pids.map((pid) => statOf("/proc/" + pid + "/ns/net").catch(() => undefined)));
      const own = pids.indexOf(String(Deno.pid));
      console.log(own >= 0, there[own]?.ino === (await statOf("/proc/self/ns/net"))?.ino, ownUser(),
        (await linkTarget("/proc/self/ns/net"))?.startsWith("net:["));`,
    );
    const flags = ["--no-prompt", "--no-config", "--no-check", "--allow-read", "--allow-run=sh"];
    const { code, stdout, stderr } = await runCommand({
      program: Deno.execPath(),
      args: ["run", "-q", ...flags, script],
      env: { HOME: dir, PATH: Deno.env.get("PATH") ?? "", NO_COLOR: "1" },
    });
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: `true true ${ownUser()} true\n`, stderr: "" });
  }));
