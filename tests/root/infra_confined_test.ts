// What the process of a real infra container may do, as the kernel shows it.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };

/** Fields of `/proc/<pid>/status`. */
async function statusOf(pid: number): Promise<Record<string, string>> {
  const lines = (await sh(`cat /proc/${pid}/status`)).trimEnd().split("\n");
  return Object.fromEntries(lines.map((line) => {
    const [key = "", value = ""] = line.split(/:\s*/);
    return [key, value.replaceAll("\t", " ")];
  }));
}

/** Makes the sandbox "web" with an infra container, and returns its process once that runs its program. */
async function started(world: BinaryWorld): Promise<number> {
  const { pid } = await world.json(["run", "web", "--id", world.id("web"), "--infra"], { env });
  await until(
    "it runs catatonit",
    async () => (await sh(`cat /proc/${pid}/cmdline`)).startsWith("/catatonit"),
  );
  return pid;
}

function infraTest(name: string, fn: (world: BinaryWorld) => Promise<void>): void {
  binaryTest(name, ["runc", "catatonit"], async (world) => {
    await world.list([world.bridgePlugin()]);
    await fn(world);
  });
}

infraTest(
  "the process of an infra container runs without a user and without capabilities, and is the last to be killed",
  async (world) => {
    const pid = await started(world);
    const status = await statusOf(pid);
    const none = "0000000000000000";
    const { Uid, Gid, Groups = "", CapInh, CapPrm, CapEff, CapBnd, CapAmb, NoNewPrivs, Seccomp } = status;
    assertEquals(
      { Uid, Gid, groups: Groups.trim(), CapInh, CapPrm, CapEff, CapBnd, CapAmb, NoNewPrivs, Seccomp },
      {
        Uid: "65535 65535 65535 65535",
        Gid: "65535 65535 65535 65535",
        groups: "",
        CapInh: none,
        CapPrm: none,
        CapEff: none,
        CapBnd: none,
        CapAmb: none,
        NoNewPrivs: "1",
        // 2: system calls are filtered.
        Seccomp: "2",
      },
    );
    // If not even root may lower a score, as in a container, it stays what it is.
    const possible = await sh(
      "(echo -998 >/proc/self/oom_score_adj) 2>/dev/null && echo -998 || cat /proc/self/oom_score_adj",
    );
    assertEquals(await sh(`cat /proc/${pid}/oom_score_adj`), possible);

    const mounts = (await sh(`cat /proc/${pid}/mountinfo`)).trimEnd().split("\n").map((line) => {
      const [, , , , target = "", options = ""] = line.split(" ");
      return { target, isReadonly: options.split(",").includes("ro") };
    });
    const readonly = mounts.filter(({ isReadonly }) => isReadonly).map(({ target }) => target);
    for (const path of ["/", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/sysrq-trigger"]) {
      // Paths that this kernel lacks cannot be masked.
      if ((await sh(`ls -d ${path} 2>/dev/null || :`)) !== "") assert(readonly.includes(path), path);
    }
    for (
      const path of [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/acpi",
      ]
    ) {
      if ((await sh(`ls -d ${path} 2>/dev/null || :`)) === "") continue;
      assert(mounts.some(({ target }) => target === path), path);
    }
    assertEquals(mounts.filter(({ target }) => target.startsWith("/sys")), []);
    await world.done(["rm", "web"], { env });
    assertEquals(await world.traces(), []);
  },
);

infraTest("catatonit collects children and ends at a signal, although it is filtered", async (world) => {
  const pid = await started(world);
  // An orphan of another process of the container becomes its child, and must not stay as a zombie.
  await sh(`nsenter --target=${pid} --pid sh -c 'sleep 2 >/dev/null 2>&1 & :'`);
  const children = `cat /proc/${pid}/task/${pid}/children`;
  await until("its child is there", async () => await sh(children) !== "");
  await until("its child is collected", async () => await sh(children) === "");
  await sh(`kill -INT ${pid}`);
  await until("it has ended", async () => (await world.json(["inspect", "web"], { env })).state === "broken");
  const { reason } = await world.json(["inspect", "web"], { env });
  assertMatch(reason, /its infra container has ended/);
  await world.done(["rm", "web"], { env });
  assertEquals(await world.traces(), []);
});

infraTest(
  "a runtime that was built without seccomp makes the container all the same, and a warning says so",
  async (world) => {
    const runtime = await world.plugin(
      "oci",
      `#!/bin/sh
[ "$1" != features ] || { echo '{"linux": {"seccomp": {"enabled": false}}}'; exit; }
for arg; do [ "$arg" != --bundle ] || has=1; [ -z "$has" ] || [ ! -e "$arg/config.json" ] || ! grep -q '"seccomp"' "$arg/config.json" || exit 9; done
exec ${RUNC} "$@"
`,
    );
    const id = world.id("web");
    const { code, stdout, stderr } = await world.podwire(
      ["run", "web", "--id", id, "--infra", "--runtime", runtime, "--json"],
      { env },
    );
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /the infra container has no seccomp profile: .* does not support it/);
    const { Seccomp, Uid } = await statusOf(JSON.parse(stdout).pid);
    assertEquals({ Seccomp, Uid }, { Seccomp: "0", Uid: "65535 65535 65535 65535" });
    await world.done(["rm", "web"], { env });
    assertEquals(await world.traces(), []);
  },
);
