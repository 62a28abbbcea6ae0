import { assertEquals, assertThrows } from "@std/assert";
import { variablesForKernel } from "./kernel.ts";
import { testsThatImport } from "./library_tests.ts";
import { emulatorArgs, exitCodeIn, moduleFiles, shellSettings } from "./kernel_machine.ts";

Deno.test("the emulated machine can read this one's files, and neither write them nor reach a network", () => {
  const machine = {
    kernel: { release: "6.1.0", image: "/k/boot/vmlinuz-6.1.0", modules: "/k/lib/modules/6.1.0" },
    emulator: { program: "/q/usr/bin/qemu-system-x86_64", args: ["-L", "/q/usr/share/qemu"], env: {} },
    busybox: "/b/busybox",
    init: "/c/tests/kernel_init.sh",
    checkout: "/c",
    env: {},
    command: ["true"],
  };
  const args = emulatorArgs(machine, "/work");
  const after = (name: string) => args.flatMap((arg, index) => arg === name ? [args[index + 1]] : []);
  assertEquals({
    nothingElse: ["-nodefaults", "-no-user-config"].filter((arg) => args.includes(arg)),
    files: after("-virtfs").map((text) => text?.split(",").filter((part) => /^(path|readonly)=/.test(part))),
    network: args.filter((arg) => /^-(nic|net|netdev|device)/.test(arg)),
    memory: after("-m"),
    serial: after("-serial"),
    kernel: [...after("-kernel"), ...after("-initrd"), ...after("-L")],
  }, {
    nothingElse: ["-nodefaults", "-no-user-config"],
    files: [["path=/", "readonly=on"]],
    network: [],
    memory: ["4096"],
    serial: ["file:/work/console", "stdio", "file:/work/report"],
    kernel: ["/k/boot/vmlinuz-6.1.0", "/work/ram-disk", "/q/usr/share/qemu"],
  });
});

Deno.test("a report without a whole exit code is none", () => {
  const reports = { "0\n": 0, "124\r\n": 124, "": undefined, "1": undefined, "Killed\n": undefined };
  for (const [report, code] of Object.entries(reports)) assertEquals(exitCodeIn(report), code, report);
});

Deno.test("the first process gets the modules that it needs, with those that they need, each once", () => {
  const dependencies = [
    "kernel/net/9p/9pnet.ko:",
    "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko",
    "kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko",
    "kernel/net/vrf.ko.xz:",
  ].join("\n");
  assertEquals(moduleFiles(["9pnet_virtio", "9p", "vrf"], dependencies), [
    "kernel/net/9p/9pnet_virtio.ko",
    "kernel/net/9p/9pnet.ko",
    "kernel/fs/9p/9p.ko",
    "kernel/fs/netfs/netfs.ko",
    "kernel/net/vrf.ko.xz",
  ]);
  assertThrows(() => moduleFiles(["net"], dependencies), Error, "no module net");
});

Deno.test("a command and its variables reach the machine unchanged", async () => {
  const words = ["a b", "it's", "$HOME `x` \\", "", "--filter=/ä\n/"];
  const script = `${shellSettings({ VALUE: "a 'b' $c" }, words)}printf '%s|' "$VALUE" "$@"`;
  const { stdout } = await new Deno.Command("sh", { args: ["-ec", script] }).output();
  assertEquals(new TextDecoder().decode(stdout), ["a 'b' $c", ...words, ""].join("|"));
});

Deno.test("the tests that ask for links run there by themselves, with the variables of the tests alone", async () => {
  const tests = await testsThatImport("tests/root/need_links.ts");
  assertEquals(tests.includes("tests/kernel/kernel_test.ts"), true, "it imports it by others");
  assertEquals(tests.includes("tests/kernel/ip_lines_test.ts"), false);
  const env = {
    HOME: "/root",
    SECRET: "x",
    DENOW_STD: "npm",
    DENO_DIR: "/d",
    PODWIRE_TEST_X: "1",
    PATH: "/p",
  };
  assertEquals(variablesForKernel(env), {
    HOME: "/root",
    DENOW_STD: "npm",
    DENO_DIR: "/d",
    PODWIRE_TEST_X: "1",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    PODWIRE_TEST_KERNEL: "1",
  });
});
