import { assert, assertEquals } from "@std/assert";
import { HostError, runCommand } from "../../lib/host/command.ts";
import { denoRules } from "../../lib/host/deno_rules.ts";
import {
  grantsFor,
  isPermissionDenied,
  mayChange,
  missingFlags,
  permissionFlag,
  restrictedPath,
} from "../../lib/host/permissions.ts";

const HOST = new URL("../../lib/host/", import.meta.url);

/** Runs a script with only these flags, and returns its output. */
async function runWith(flags: readonly string[], script: string): Promise<string> {
  const file = await Deno.makeTempFile({ prefix: "pwt-", suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const outcome = await runCommand({
      program: Deno.execPath(),
      args: [
        "run",
        "-q",
        "--no-prompt",
        "--no-config",
        "--no-remote",
        "--no-npm",
        "--no-check",
        ...flags,
        file,
      ],
      env: { HOME: Deno.env.get("HOME") ?? "/", PATH: Deno.env.get("PATH") ?? "", NO_COLOR: "1" },
    });
    assertEquals([outcome.code, outcome.stderr], [0, ""]);
    return outcome.stdout;
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("permissionFlag() returns the flag that grants what Deno refused", async () => {
  const tries = {
    read: 'Deno.readTextFileSync("/etc/hostname, x")',
    write: 'Deno.writeTextFileSync("/dev/null", "x")',
    rename: 'Deno.renameSync("/etc/pwt-a", "/etc/pwt-b")',
    run: 'new Deno.Command("ip", { args: ["-V"] }).outputSync()',
    path: 'new Deno.Command("/bin/true").outputSync()',
    kill: "Deno.kill(-999999, 0)",
    env: 'Deno.env.get("NETCONFPATH")',
    environment: "Deno.env.toObject()",
    sys: "Deno.hostname()",
    proc: 'Deno.openSync("/proc/self/mountinfo")',
    net: "Deno.listen({ port: 4242 })",
    temp: "Deno.removeSync(Deno.makeTempDirSync())",
    preload: 'new Deno.Command("ip", { env: { LD_PRELOAD: "x" } }).outputSync()',
  };
  const script = `
    import { permissionFlag, isPermissionDenied } from "${new URL("permissions.ts", HOST)}";
    const tries = { ${Object.entries(tries).map(([name, code]) => `${name}: () => ${code}`)} };
    const flags = {};
    for (const [name, fn] of Object.entries(tries)) {
      try { fn(); flags[name] = "allowed"; }
      catch (error) { flags[name] = permissionFlag(new Error("outer", { cause: error })) ?? String(error); }
    }
    console.log(JSON.stringify(flags));`;
  const flags = JSON.parse(await runWith([], script));
  assertEquals(flags, {
    read: denoRules().commasDoubled ? "--allow-read=/etc/hostname,, x" : "--allow-read",
    write: "--allow-write=/dev/null",
    rename: "--allow-read=/etc/pwt-a",
    run: "--allow-run=ip",
    path: "--allow-run=/bin/true",
    kill: "--allow-run",
    env: "--allow-env=NETCONFPATH",
    environment: "--allow-env",
    sys: "--allow-sys=hostname",
    proc: "--allow-read=/proc/self/mountinfo",
    net: "--allow-net=0.0.0.0:4242",
    temp: "--allow-write",
    preload: "--allow-run",
  });
  // With each flag, the same call is no longer refused.
  for (const [name, flag] of Object.entries(flags) as [string, string][]) {
    if (["preload", "proc", "rename"].includes(name)) continue;
    const again = JSON.parse(await runWith([flag], script));
    assert(again[name] !== flag, `${name}: ${flag} does not help`);
  }
  assertEquals(JSON.parse(await runWith(["--allow-read"], script)).proc, "--allow-all");
});

Deno.test("each version of Deno has its own names for what podwire needs", () => {
  const wanted = {
    read: ["/etc/cni/net.d", "/proc", "/proc/self/ns/net", "/sys/class/net", "/process"],
    write: ["/run/netns"],
    run: ["ip"],
    sockets: ["/run/podwire/podwire.sock"],
  };
  const socket = "/run/podwire/podwire.sock";
  const kernel = ["/proc", "/proc/self/ns/net", "/sys/class/net"];
  const byRead = {
    read: ["/etc/cni/net.d", ...kernel, "/process", socket],
    write: ["/run/netns", socket],
    run: ["ip"],
  };
  const byRun = {
    read: ["/etc/cni/net.d", "/process", socket],
    write: ["/run/netns", socket],
    run: ["ip", "sh"],
  };
  const byNet = { ...byRun, net: [`unix:${socket}`] };
  const table: Record<string, Record<string, string[]>> = {
    "2.7.11": byRead,
    "2.8.0": byRead,
    "2.8.2": byRead,
    "2.8.3": byRun,
    "2.8.10": byRun,
    "2.9.0-rc.1": byNet,
    "2.9.0": byNet,
    "2.9.6+abc": byNet,
    "2.10.0": byNet,
    "3.0.0": byNet,
  };
  for (const [version, expected] of Object.entries(table)) {
    const grants = Object.groupBy(grantsFor(wanted, version), ({ kind }) => kind);
    const values = Object.entries(grants).map(([kind, list]) => [kind, list.map(({ value }) => value)]);
    assertEquals(Object.fromEntries(values), expected, version);
  }
  assertEquals(grantsFor(wanted), grantsFor(wanted, Deno.version.deno));
  assertEquals(grantsFor({ run: ["sh"], read: ["/proc"] }, "2.9.6"), [{ kind: "run", value: "sh" }]);
  const doubled = ["2.7.11", "2.9.5", "2.9.6", "2.10.0"].map((version) => denoRules(version).commasDoubled);
  assertEquals(doubled, [true, true, false, false]);
});

Deno.test("the table matches this version of Deno, and its flags are sufficient", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    const socket = `${dir}/s`;
    const script = `
      import { missingFlags } from "${new URL("permissions.ts", HOST)}";
      const missing = missingFlags({ read: ["/proc"], sockets: ["${socket}"] });
      const done = { missing };
      try { Deno.statSync("/proc/self/ns/net"); done.stat = true } catch { done.stat = false }
      try { new Deno.Command("sh", { args: ["-c", ":"] }).outputSync(); done.sh = true } catch { done.sh = false }
      try { Deno.listen({ transport: "unix", path: "${socket}" }).close(); done.listen = true } catch { done.listen = false }
      console.log(JSON.stringify(done));`;
    const none = JSON.parse(await runWith([], script));
    assertEquals({ ...none, missing: none.missing.length > 0 }, {
      missing: true,
      stat: false,
      sh: false,
      listen: false,
    });
    const granted = JSON.parse(await runWith(none.missing, script));
    const { kernelFilesByRead } = denoRules();
    assertEquals(granted, { missing: [], stat: kernelFilesByRead, sh: !kernelFilesByRead, listen: true });
    assertEquals(missingFlags({ read: ["/proc"], sockets: [socket] }), [], "the tests have them");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("permissionFlag() prefers what the caller says about the request", () => {
  const refused = new Deno.errors.NotCapable("in words not known yet");
  assertEquals(permissionFlag(refused), "--allow-all");
  assertEquals(
    permissionFlag(refused, { kind: "run", value: "/opt/cni/bin/bridge" }),
    "--allow-run=/opt/cni/bin/bridge",
  );
  assertEquals(permissionFlag(refused, { kind: "env" }), "--allow-env");
});

Deno.test("permissionFlag() returns undefined for every other error", () => {
  const looped = new Error("a");
  looped.cause = looped;
  for (const error of [undefined, null, "--allow-run", looped, new Deno.errors.PermissionDenied("x")]) {
    assertEquals(permissionFlag(error), undefined);
  }
});

Deno.test("isPermissionDenied() distinguishes refusals of the kernel from those of Deno", () => {
  assert(isPermissionDenied(new Error("outer", { cause: new Deno.errors.PermissionDenied("x") })));
  assert(!isPermissionDenied(new Deno.errors.NotCapable("x")));
  const mount = (stderr: string) => new HostError("Cannot run mount", { stderr });
  assert(isPermissionDenied(mount("mount: /x: must be superuser to use mount.\n")));
  assert(isPermissionDenied(mount("RTNETLINK answers: Operation not permitted\n")));
  assert(!isPermissionDenied(mount("mount: /x: not mount point or bad option.\n")));
  assert(!isPermissionDenied(new Error("x")));
});

Deno.test("runCommand() ends a program also if only that program is granted", async () => {
  const script = `
    import { HostError, runCommand } from "${new URL("command.ts", HOST)}";
    const script = "(trap '' TERM; exec sleep 6) & echo $!; exec sleep 6";
    const request = { program: "sh", args: ["-c", script], signal: AbortSignal.timeout(100), graceMs: 300 };
    const { ended, signal, stdout, elapsedMs } = await runCommand(request);
    const lives = await runCommand({ program: "sh", args: ["-c", "sleep 0.05; grep -L '^State:.Z' /proc/$0/status 2>/dev/null", stdout.trim()] });
    console.log(JSON.stringify([ended, signal, elapsedMs < 5_000, lives.stdout !== ""]));`;
  // Scoped: the program is ended, its child is out of reach. With \`kill\`, or unscoped, the child is ended too.
  assertEquals(JSON.parse(await runWith(["--allow-run=sh"], script)), ["aborted", "SIGTERM", true, true]);
  assertEquals(JSON.parse(await runWith(["--allow-run=sh,kill"], script)), [
    "aborted",
    "SIGTERM",
    true,
    false,
  ]);
  assertEquals(JSON.parse(await runWith(["--allow-run"], script)), ["aborted", "SIGTERM", true, false]);
});

Deno.test("a file that Deno refuses to a compiled program is reported by its path, because such a program takes no flags", () => {
  const kept = new Deno.errors.NotCapable(
    'Requires all access to "/proc/foo", run again with the --allow-all flag',
  );
  assertEquals([restrictedPath(kept, true), restrictedPath(kept, false)], ["/proc/foo", undefined]);
  assertEquals(restrictedPath(new Error("about something else", { cause: kept }), true), "/proc/foo");
  const ordinary = new Deno.errors.NotCapable(
    'Requires run access to "ip", run again with the --allow-run flag',
  );
  assertEquals([restrictedPath(ordinary, true), restrictedPath(new Error("no"), true)], [
    undefined,
    undefined,
  ]);
});

Deno.test({
  name: "files may be changed where both permissions are granted",
  permissions: { read: ["/nowhere/a", "/nowhere/b"], write: ["/nowhere/a", "/nowhere/c"] },
  fn: () => {
    const paths = ["/nowhere/a", "/nowhere/a/below", "/nowhere/b", "/nowhere/c", "/nowhere"];
    assertEquals(paths.map(mayChange), [true, true, false, false, false]);
  },
});
