// Which security modules a kernel has, from the files that show them.
import { assertEquals } from "@std/assert";
import { securityModules } from "../../lib/host/security_modules.ts";
import { FakeRun } from "../fake_run.ts";

const [ENABLED, PROFILES, ENFORCE] = [
  "/sys/module/apparmor/parameters/enabled",
  "/sys/kernel/security/apparmor/profiles",
  "/sys/fs/selinux/enforce",
];

const modulesOf = (files: Readonly<Record<string, string>>) =>
  securityModules({ run: new FakeRun(({ args: [path = ""] = [] }) => ({ stdout: files[path] ?? "" })).run });

Deno.test("the security modules are those that the kernel shows, with the profiles that are loaded", async () => {
  assertEquals(await modulesOf({}), { apparmor: undefined, selinux: false });
  assertEquals(await modulesOf({ [ENFORCE]: "0" }), { apparmor: undefined, selinux: true });
  assertEquals(await modulesOf({ [ENABLED]: "N\n", [PROFILES]: "a (enforce)\n" }), {
    apparmor: undefined,
    selinux: false,
  });
  assertEquals(await modulesOf({ [ENABLED]: "Y\n", [PROFILES]: "a b (enforce)\n/usr/bin/c (complain)\n" }), {
    apparmor: new Set(["a b", "/usr/bin/c"]),
    selinux: false,
  });
  assertEquals(await modulesOf({ [ENABLED]: "Y\n" }), { apparmor: "unknown", selinux: false });
});
