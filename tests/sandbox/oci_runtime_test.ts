// Which runtime called a hook, and what it answers.
import { assertEquals } from "@std/assert";
import { callingRuntime, hasContainer, type OciRuntime } from "../../lib/sandbox/oci_runtime.ts";
import { FakeRun, type ScriptedOutcome } from "../fake_run.ts";

/** Returns the runtime that is found for a process with this program and command line. */
async function calledBy(exe: string, ...args: string[]): Promise<OciRuntime | undefined> {
  const host = new FakeRun(({ program }) => ({
    stdout: program === "readlink" ? `${exe}\n` : args.map((arg) => `${arg}\0`).join(""),
  }));
  return await callingRuntime(42, "c1", { run: host.run });
}

Deno.test("the runtime and its root are read from the command line of the engine", async () => {
  const log = ["--log", "/b/log.json", "--log-format", "json"];
  assertEquals(await calledBy("/usr/sbin/runc", "runc", ...log, "create", "--bundle", "/b", "c1"), {
    program: "/usr/sbin/runc",
  });
  // The containerd shim, CRI-O with conmon, crun, youki, and a restored container.
  for (
    const [program, root, args] of [
      ["/usr/bin/runc", "/run/containerd/runc/k8s.io", [
        "runc",
        "--root",
        "/run/containerd/runc/k8s.io",
        ...log,
      ]],
      ["/usr/bin/crun", "/run/crun", ["/usr/bin/crun", "--root=/run/crun", "--systemd-cgroup"]],
      ["/usr/bin/youki", "/run/youki", ["youki", "-r", "/run/youki"]],
      ["/usr/bin/runsc", "/run/create", ["runsc", "-root=/run/create"]],
    ] as const
  ) {
    for (const verb of ["create", "run", "restore"]) {
      assertEquals(await calledBy(program, ...args, verb, "--bundle", "/b", "c1"), { program, root });
    }
  }
});

Deno.test("a process that called the hook but is not the runtime that creates this container is ignored", async () => {
  for (
    const [exe, ...args] of [
      ["/bin/dash", "sh", "-c", 'podwire "$@"; exit $?', "podwire", "c1"],
      ["/usr/bin/containerd-shim-kata-v2", "containerd-shim-kata-v2", "-id", "c1"],
      ["/usr/sbin/runc", "runc", "create", "c2"],
      ["/usr/sbin/runc", "runc", "delete", "c1"],
      ["", ""],
    ] as [string, ...string[]][]
  ) assertEquals(await calledBy(exe, ...args), undefined, args.join(" "));
  // The file of the program has no path any more; the name on the command line may still have one.
  assertEquals(await calledBy("/memfd:runc (deleted)", "/usr/sbin/runc", "create", "c1"), {
    program: "/usr/sbin/runc",
  });
  assertEquals(await calledBy("/usr/sbin/runc (deleted)", "runc", "create", "c1"), undefined);
});

Deno.test("only a list without an error message proves that a container does not exist", async () => {
  const answer = async (outcome: ScriptedOutcome, runtime: OciRuntime = { program: "/usr/bin/runc" }) => {
    const host = new FakeRun([outcome]);
    const has = await hasContainer("c1", runtime, { run: host.run, path: "/bin" });
    return { has, line: host.lines[0] };
  };
  const ask = 'sh -c exec "$@" sh /usr/bin/runc';
  assertEquals(await answer({ stdout: "c0\nc1\n" }), { has: true, line: `${ask} list --quiet` });
  assertEquals(await answer({ stdout: "c0\nc11\n" }), { has: false, line: `${ask} list --quiet` });
  assertEquals((await answer({ stdout: "" })).has, false);
  assertEquals((await answer({ stdout: "", stderr: "cgroups in hybrid mode not supported\n" })).has, false);
  assertEquals(
    (await answer({ stdout: "c0\n", stderr: "load container c1: unexpected end of JSON\n" })).has,
    undefined,
  );
  assertEquals((await answer({ code: 127, stderr: "sh: runc: not found\n" })).has, undefined);
  assertEquals((await answer({ code: 1, stderr: "no such directory\n" })).has, undefined);
  assertEquals(
    (await answer({ code: 0, ended: "aborted" })).has,
    undefined,
  );
  assertEquals(
    (await answer({}, { program: "/usr/bin/runc", root: "/run/x" })).line,
    `${ask} --root /run/x list --quiet`,
  );
});
