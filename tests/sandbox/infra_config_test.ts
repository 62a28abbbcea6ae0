// The configuration of an infra container on machines that do not support everything.
import { assertEquals } from "@std/assert";
import { infraConfig, infraLimits } from "../../lib/sandbox/infra_config.ts";
import { FakeRun } from "../fake_run.ts";

const ALL_CAPS = "000001ffffffffff";

/** A machine whose process has these properties. */
function machine(
  { map = "0 0 4294967295", score = 0, caps = ALL_CAPS, seccomp = "Seccomp:\t0\n" } = {},
): FakeRun {
  const files: Record<string, string> = {
    uid_map: `         ${map}\n`,
    gid_map: `         ${map}\n`,
    oom_score_adj: `${score}\n`,
    status: `Name:\tcat\nCapEff:\t${caps}\n${seccomp}`,
  };
  return new FakeRun(({ args: [path = ""] = [] }) => ({ stdout: files[path.split("/").at(-1) ?? ""] ?? "" }));
}

Deno.test("an infra container gets what the machine allows", async () => {
  const limitsOf = async (...args: Parameters<typeof machine>) => await infraLimits(machine(...args).run);
  const whole = { user: 65_535, oomScoreAdj: -998, hasSeccomp: true };
  assertEquals(await limitsOf(), whole);
  assertEquals(await limitsOf({ seccomp: "" }), { ...whole, hasSeccomp: false });
  // In a user namespace no process can lower an OOM score, whatever its capabilities are.
  assertEquals(await limitsOf({ map: "0 100000 65536", score: 100 }), { ...whole, oomScoreAdj: 100 });
  assertEquals(await limitsOf({ map: "0 100000 65536", score: -1000 }), whole);
  assertEquals(await limitsOf({ map: "0 1000 1" }), { ...whole, user: 0, oomScoreAdj: 0 });
  assertEquals(await limitsOf({ map: "0 1000 1\n 1 100000 65536", score: 5 }), { ...whole, oomScoreAdj: 5 });
  assertEquals(await limitsOf({ caps: "00000000a80425fb" }), { ...whole, oomScoreAdj: 0 });
});

Deno.test("the seccomp profile of an infra container allows no system call that creates namespaces, mounts or sockets", () => {
  const identity = { hostname: "web", annotations: {}, cgroup: "/x" };
  const limits = { user: 65_535, oomScoreAdj: -998, hasSeccomp: true };
  // deno-lint-ignore no-explicit-any
  const { seccomp } = infraConfig(identity, limits).linux as any;
  assertEquals(seccomp.defaultAction, "SCMP_ACT_ERRNO");
  const allowed: string[] = seccomp.syscalls
    .filter(({ action, args }: { action: string; args?: unknown }) =>
      action === "SCMP_ACT_ALLOW" && args === undefined
    )
    .flatMap(({ names }: { names: string[] }) => names);
  for (
    const name of [
      ...[
        "clone",
        "clone3",
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "socket",
        "bpf",
        "ptrace",
      ],
      ...[
        "keyctl",
        "add_key",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "setuid",
        "setresuid",
        "capset",
      ],
      ...[
        "process_vm_readv",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "swapon",
        "open_by_handle_at",
      ],
    ]
  ) assertEquals(allowed.includes(name), false, name);
  assertEquals(new Set(allowed).size, allowed.length, "no duplicates");
  // deno-lint-ignore no-explicit-any
  assertEquals((infraConfig(identity, { ...limits, hasSeccomp: false }).linux as any).seccomp, undefined);
});
