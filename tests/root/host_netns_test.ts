import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { type CommandRequest, HostError, runCommand } from "../../lib/host/command.ts";
import {
  createNetns,
  netnsId,
  netnsProcesses,
  nsProblem,
  pinNetns,
  removeNetns,
  runInside,
  sameNetns,
} from "../../lib/host/netns.ts";
import { isPermissionDenied } from "../../lib/host/permissions.ts";
import { createsNetns } from "./creates_netns.ts";
import { need } from "./need.ts";
import { unmountBelow } from "./unmount.ts";

const unique = () => `pwt-${crypto.randomUUID().slice(0, 8)}`;
/** The script gets `args` as $0, $1 and so on. */
const sh = (script: string, ...args: string[]) =>
  runCommand({ program: "sh", args: ["-c", script, ...args] });

/** A directory for namespaces of one test, unmounted and removed at its end. */
async function inNsDir(fn: (dir: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir({ prefix: "pwt-" });
  const dir = `${parent}/netns`;
  try {
    await fn(dir);
  } finally {
    await unmountBelow(dir);
    await Deno.remove(parent, { recursive: true });
  }
}

/** The names of the namespaces in a directory, sorted. */
async function namespacesIn(dir: string): Promise<string[]> {
  const names = (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
  const found = await Promise.all(names.map(async (name) => await nsProblem(`${dir}/${name}`) === undefined));
  return names.filter((_, index) => found[index]);
}

/** How often something is mounted at a path. */
async function mounts(path: string): Promise<number> {
  const { stdout } = await runCommand({ program: "cat", args: ["/proc/self/mountinfo"] });
  return stdout.split("\n").filter((line) => line.split(" ")[4] === path).length;
}

function rootTest(name: string, fn: (dir: string) => Promise<void>): void {
  Deno.test({ name, ...need("root", "ip"), fn: () => inNsDir(fn) });
}

rootTest("createNetns() makes a namespace with lo up that removeNetns() removes", async (dir) => {
  const path = `${dir}/a`;
  await createNetns(path);
  assertEquals({ problem: await nsProblem(path), mounts: await mounts(path) }, {
    problem: undefined,
    mounts: 1,
  });
  assertNotEquals(await netnsId(path), await netnsId("/proc/self/ns/net"));
  const { stdout } = await runInside(path, { program: "ip", args: ["-br", "link"] });
  assertStringIncludes(stdout, "lo ");
  assertStringIncludes(stdout, "LOOPBACK,UP,LOWER_UP");
  assertEquals(
    stdout.trim().split("\n").length,
    (await sh("unshare -n ip -br link")).stdout.trim().split("\n").length,
  );
  assertEquals(await removeNetns(path), true);
  assertEquals(
    {
      exists: await nsProblem(path) === undefined,
      mounts: await mounts(path),
      removed: await removeNetns(path),
    },
    { exists: false, mounts: 0, removed: false },
  );
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
});

Deno.test({
  name: "createNetns() in /run/netns makes what `ip netns` knows, and accepts what `ip netns` made",
  ...need("root", "ip"),
  fn: async () => {
    const [ours, theirs] = [unique(), unique()];
    const ip = (...args: string[]) => runCommand({ program: "ip", args });
    try {
      await createNetns(`/run/netns/${ours}`);
      assertStringIncludes((await ip("netns", "list")).stdout, ours);
      assertEquals((await ip("-n", ours, "link", "show", "lo")).code, 0);
      assertEquals((await ip("netns", "add", theirs)).code, 0);
      const names = await namespacesIn("/run/netns");
      assert(names.includes(ours) && names.includes(theirs));
      assertEquals(await removeNetns(`/run/netns/${theirs}`), true);
      assertEquals((await ip("netns", "delete", ours)).code, 0);
      assertEquals(await removeNetns(`/run/netns/${ours}`), false);
    } finally {
      for (const name of [ours, theirs]) await removeNetns(`/run/netns/${name}`);
    }
  },
});

rootTest("createNetns() makes the directory a mount point, shared, once", async (dir) => {
  const numbers = Array.from({ length: 8 }, (_, i) => i);
  await Promise.all(numbers.map((n) => createNetns(`${dir}/${n}`)));
  assertEquals(await mounts(dir), 1);
  const { stdout } = await runCommand({ program: "cat", args: ["/proc/self/mountinfo"] });
  const line = stdout.split("\n").find((line) => line.split(" ")[4] === dir) ?? "";
  assertStringIncludes(line, " shared:");
  assertEquals(await namespacesIn(dir), numbers.map(String));
  for (const n of numbers) assertEquals(await mounts(`${dir}/${n}`), 1);
  assertEquals(new Set(await Promise.all(numbers.map((n) => netnsId(`${dir}/${n}`)))).size, numbers.length);
});

rootTest("removeNetns() removes a namespace in other mount namespaces too", async (dir) => {
  await createNetns(`${dir}/a`);
  const stop = new AbortController();
  const up = Promise.withResolvers<void>();
  const other = runCommand({
    program: "unshare",
    args: ["--mount", "--propagation", "unchanged", "sh", "-c", "echo up >&2; exec sleep 300"],
    signal: stop.signal,
    onStderrLine: () => up.resolve(),
  });
  await up.promise;
  try {
    // Deno may not open what a mount elsewhere keeps in place: removing the file below it would be refused.
    assertEquals(await removeNetns(`${dir}/a`), true);
    await createNetns(`${dir}/a`);
    assertEquals(await removeNetns(`${dir}/a`), true);
  } finally {
    stop.abort();
    await other;
  }
});

rootTest("createNetns() fails where something exists and leaves that alone", async (dir) => {
  const path = `${dir}/a`;
  await createNetns(path);
  const id = await netnsId(path);
  const again = await assertRejects(() => createNetns(path), HostError);
  assertEquals({ reason: again.reason, message: again.message }, {
    reason: "exists",
    message: `Cannot create network namespace "${path}": exists`,
  });
  assertEquals({ netnsId: await netnsId(path), mounts: await mounts(path) }, { netnsId: id, mounts: 1 });

  await Deno.writeTextFile(`${dir}/file`, "");
  await Deno.symlink("nowhere", `${dir}/link`);
  for (const [name, words] of [["file", "plain file"], ["link", "symbolic link"]] as const) {
    const error = await assertRejects(() => createNetns(`${dir}/${name}`), HostError);
    assertEquals(error.reason, "exists");
    assertStringIncludes(error.message, words);
    assert(error.cause instanceof Deno.errors.AlreadyExists);
  }
});

rootTest("of many that create one namespace one wins", async (dir) => {
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => createNetns(`${dir}/a`)));
  assertEquals(results.filter(({ status }) => status === "fulfilled").length, 1);
  assertEquals(await mounts(`${dir}/a`), 1);
});

rootTest("createNetns() leaves nothing when a step fails", async (dir) => {
  const path = `${dir}/a`;
  const failing = (request: CommandRequest) =>
    runCommand(
      createsNetns(request)
        ? { ...request, program: "unshare", args: [`--net=${path}`, "--", "false"] }
        : request,
    );
  const error = await assertRejects(() => createNetns(path, { run: failing }), HostError);
  assertEquals(error.program, "unshare");
  assertEquals({ mounts: await mounts(path), nsProblem: await nsProblem(path) }, {
    mounts: 0,
    nsProblem: "does not exist",
  });

  const missing = (request: CommandRequest) =>
    runCommand(createsNetns(request) ? { ...request, program: "pwt-absent" } : request);
  assertEquals(
    (await assertRejects(() => createNetns(path, { run: missing }), HostError)).reason,
    "program-missing",
  );
  assertEquals(await nsProblem(path), "does not exist");
});

rootTest("createNetns() leaves nothing when its signal fires", async (dir) => {
  const path = `${dir}/a`;
  const stop = new AbortController();
  const reason = new Error("enough");
  const slow = (request: CommandRequest) => {
    if (!createsNetns(request)) return runCommand(request);
    setTimeout(() => stop.abort(reason), 200);
    return runCommand({ ...request, program: "unshare", args: [`--net=${path}`, "--", "sleep", "300"] });
  };
  assertEquals(await assertRejects(() => createNetns(path, { run: slow, signal: stop.signal })), reason);
  assertEquals({ mounts: await mounts(path), nsProblem: await nsProblem(path) }, {
    mounts: 0,
    nsProblem: "does not exist",
  });
  assertEquals(await assertRejects(() => createNetns(path, { signal: stop.signal })), reason);
});

rootTest(
  "removeNetns() removes what a crash left between file and mount, and all mounts on a path",
  async (dir) => {
    await createNetns(`${dir}/a`);
    await Deno.writeTextFile(`${dir}/left`, "");
    assertEquals(await nsProblem(`${dir}/left`), "is a plain file, not a network namespace");
    assertEquals(await removeNetns(`${dir}/left`), true);
    for (let i = 0; i < 3; i++) {
      await sh('unshare --net="$0" true', `${dir}/a`);
    }
    assertEquals(await mounts(`${dir}/a`), 4);
    assertEquals(await removeNetns(`${dir}/a`), true);
    assertEquals(await mounts(`${dir}/a`), 0);
  },
);

rootTest("removeNetns() works while a process is inside", async (dir) => {
  const path = `${dir}/a`;
  await createNetns(path);
  const stop = new AbortController();
  const up = Promise.withResolvers<void>();
  const inside = runInside(path, {
    program: "sh",
    args: ["-c", 'exec 5<"$0"; echo up >&2; exec sleep 300', path],
    signal: stop.signal,
    onStderrLine: () => up.resolve(),
  });
  await up.promise;
  try {
    assertEquals(await removeNetns(path), true);
    assertEquals(await nsProblem(path), "does not exist");
  } finally {
    stop.abort();
    await inside;
  }
});

rootTest("removeNetns() removes nothing but namespaces and empty files", async (dir) => {
  await createNetns(`${dir}/a`);
  await Deno.writeTextFile(`${dir}/file`, "precious");
  await Deno.mkdir(`${dir}/folder`);
  await Deno.symlink("a", `${dir}/link`);
  await Deno.symlink("nowhere", `${dir}/dangling`);
  for (const name of ["file", "folder", "link", "dangling"]) {
    const error = await assertRejects(() => removeNetns(`${dir}/${name}`), HostError);
    assertEquals(error.reason, "not-a-netns");
    await Deno.lstat(`${dir}/${name}`);
  }
  await assertRejects(() => removeNetns("/proc/self/ns/net"), HostError);
  assertEquals(await nsProblem(`${dir}/a`), undefined);
});

rootTest("removeNetns() by several at once ends with nothing there", async (dir) => {
  await createNetns(`${dir}/a`);
  const removed = await Promise.all(Array.from({ length: 5 }, () => removeNetns(`${dir}/a`)));
  assert(removed.includes(true));
  assertEquals(await nsProblem(`${dir}/a`), "does not exist");
});

rootTest("pinNetns() keeps the namespace of a process beyond its end", async (dir) => {
  const child = new Deno.Command("unshare", { args: ["--net", "sleep", "300"] }).spawn();
  try {
    const of = `/proc/${child.pid}/ns/net`;
    while (await sameNetns(of, "/proc/self/ns/net")) await delay(5);
    const id = await netnsId(of);
    await pinNetns(child.pid, `${dir}/a`);
    assertEquals(await netnsId(`${dir}/a`), id);
    await pinNetns(`${dir}/a`, `${dir}/b`);
    child.kill("SIGKILL");
    await child.status;
    assertEquals([await netnsId(`${dir}/a`), await netnsId(`${dir}/b`)], [id, id]);
    assertEquals((await runInside(`${dir}/b`, { program: "ip", args: ["link", "show", "lo"] })).code, 0);
    assertEquals(await removeNetns(`${dir}/a`), true);
    assertEquals(await nsProblem(`${dir}/b`), undefined);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended above.
    }
    await child.status;
  }
});

rootTest("pinNetns() takes network namespaces only, and leaves nothing else", async (dir) => {
  await createNetns(`${dir}/a`);
  await Deno.writeTextFile(`${dir}/file`, "");
  const uts = `${dir}/uts`;
  await Deno.writeTextFile(uts, "");
  await runCommand({ program: "unshare", args: [`--uts=${uts}`, "true"] });
  for (
    const [source, words] of [
      [`${dir}/absent`, "does not exist"],
      [`${dir}/file`, "plain file"],
      [dir, "directory"],
      ["/proc/self/ns/uts", "namespace of another kind (uts)"],
      [uts, "namespace of another kind"],
      [4_194_305, "does not exist"],
    ] as const
  ) {
    const error = await assertRejects(() => pinNetns(source, `${dir}/b`), HostError);
    assertEquals(error.reason, "not-a-netns");
    assertStringIncludes(error.message, words);
    assertEquals(await nsProblem(`${dir}/b`), "does not exist");
  }
  assertEquals(
    (await assertRejects(() => pinNetns("/proc/self/ns/net", `${dir}/a`), HostError)).reason,
    "exists",
  );
});

rootTest("nsProblem() says what a path is instead of a namespace", async (dir) => {
  await createNetns(`${dir}/a`);
  await Deno.symlink("a", `${dir}/link`);
  await Deno.symlink("nowhere", `${dir}/dangling`);
  await Deno.symlink("/etc", `${dir}/etc`);
  await Deno.writeTextFile(`${dir}/file`, "x");
  assertEquals(await nsProblem(`${dir}/link`), undefined);
  assertEquals(await nsProblem("/proc/self/ns/net"), undefined);
  assertEquals(await nsProblem(`${dir}/absent`), "does not exist");
  assertEquals(await nsProblem(`${dir}/file/below`), "does not exist");
  assertEquals(await nsProblem(`${dir}/dangling`), 'is a symbolic link to "nowhere", which does not exist');
  assertEquals(await nsProblem(`${dir}/etc`), 'is a symbolic link to "/etc", a directory');
  assertEquals(await nsProblem("/proc/4194305/ns/net"), "does not exist");
  assertEquals(await nsProblem("/proc/self/ns/mnt"), "is a namespace of another kind (mnt)");
  assert(await sameNetns(`${dir}/a`, `${dir}/link`));
  assertEquals(await sameNetns(`${dir}/absent`, `${dir}/absent`), false);
});

rootTest(
  "runInside() passes input, output and code through, and reports a namespace that is gone",
  async (dir) => {
    await createNetns(`${dir}/a`);
    const outcome = await runInside(`${dir}/a`, {
      program: "sh",
      args: ["-c", "cat; echo e >&2; exit 5"],
      stdin: "in",
    });
    assertEquals({ code: outcome.code, stdout: outcome.stdout, stderr: outcome.stderr }, {
      code: 5,
      stdout: "in",
      stderr: "e\n",
    });
    const gone = await runInside(`${dir}/absent`, { program: "true" });
    assertEquals(gone.code, 1);
    assertStringIncludes(gone.stderr, "absent");
    assertEquals((await runInside(`${dir}/a`, { program: "pwt-absent" })).code, 127);
  },
);

rootTest("without root, making and removing reports that the permission is missing", async (dir) => {
  await createNetns(`${dir}/a`);
  // If the path cannot be walked, mount has another message.
  await Deno.chmod(`${dir}/..`, 0o755);
  const asNobody = (request: CommandRequest) =>
    runCommand({
      ...request,
      program: "setpriv",
      args: ["--reuid=65534", "--clear-groups", request.program, ...request.args ?? []],
    });
  assert(isPermissionDenied(await assertRejects(() => createNetns(`${dir}/b`, { run: asNobody }))));
  assert(isPermissionDenied(await assertRejects(() => removeNetns(`${dir}/a`, { run: asNobody }))));
  assertEquals({ namespacesIn: await namespacesIn(dir), nsProblem: await nsProblem(`${dir}/b`) }, {
    namespacesIn: ["a"],
    nsProblem: "does not exist",
  });
});

rootTest("createNetns() reports what it could not undo", async (dir) => {
  const path = `${dir}/a`;
  const run = (request: CommandRequest) =>
    createsNetns(request)
      ? runCommand({ ...request, program: "unshare", args: [`--net=${path}`, "--", "false"] })
      : runCommand(request.program === "umount" ? { program: "false" } : request);
  const error = await assertRejects(() => createNetns(path, { run }), AggregateError);
  assertEquals(error.errors.map(({ program }: HostError) => program), ["unshare", "umount"]);
});

Deno.test("createNetns() and removeNetns() take absolute paths only", async () => {
  await assertRejects(() => createNetns("-a"), TypeError, 'Cannot use "-a"');
  await assertRejects(() => removeNetns("a/b"), TypeError);
});

rootTest("the processes in a namespace are those that were started there or entered it", async (dir) => {
  await createNetns(`${dir}/a`);
  await createNetns(`${dir}/b`);
  const inside = new Deno.Command("nsenter", {
    args: [`--net=${dir}/a`, "--", "sh", "-c", "echo; exec sleep 300"],
    stdout: "piped",
  }).spawn();
  try {
    // Its line says that it has entered.
    const lines = inside.stdout.getReader();
    await lines.read();
    lines.releaseLock();
    assertEquals(await netnsProcesses(`${dir}/a`), [inside.pid]);
    assertEquals([await netnsProcesses(`${dir}/b`), await netnsProcesses(`${dir}/absent`)], [[], []]);
  } finally {
    inside.kill("SIGKILL");
    await inside.stdout.cancel();
    await inside.status;
  }
  assertEquals(await netnsProcesses(`${dir}/a`), []);
});

rootTest("twenty namespaces come and go at once", async (dir) => {
  const paths = Array.from({ length: 20 }, (_, i) => `${dir}/${i}`);
  await Promise.all(paths.map((path) => createNetns(path)));
  assertEquals((await namespacesIn(dir)).length, 20);
  await Promise.all(paths.map((path) => removeNetns(path)));
  assertEquals({ namespacesIn: await namespacesIn(dir), from: Array.from(Deno.readDirSync(dir)) }, {
    namespacesIn: [],
    from: [],
  });
});
