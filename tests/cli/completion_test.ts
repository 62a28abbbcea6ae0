import { assert, assertEquals } from "@std/assert";
import { GLOBAL_OPTIONS } from "../../lib/cli/command.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { runCommand } from "../../lib/host/command.ts";
import { podwire } from "./fake_io.ts";

async function script(shell: string): Promise<string> {
  const { code, stdout, stderr } = await podwire(["completion", shell], { uid: 1000 });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return stdout;
}

const hasShell = async (shell: string) => {
  const { code } = await runCommand({ program: "sh", args: ["-c", `command -v ${shell}`] });
  return code === 0;
};

Deno.test("every completion script has every command and every option", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const text = await script(shell);
    for (const { name, options } of [...COMMANDS, { name: "podwire", options: GLOBAL_OPTIONS }]) {
      for (const word of name.split(" ")) assert(text.includes(word), `${shell} ${name}`);
      const long = shell === "fish" ? "-l " : "--";
      for (const option of options) assert(text.includes(`${long}${option.name}`), `${shell} ${option.name}`);
    }
  }
});

for (const shell of ["bash", "zsh", "fish"]) {
  Deno.test({
    name: `the completion script for ${shell} is in its syntax`,
    ignore: !await hasShell(shell),
    fn: async () => {
      const { code, stderr } = await runCommand({ program: shell, args: ["-n"], stdin: await script(shell) });
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
    },
  });
}

/** Returns what bash completes the last word of a command line with. */
async function completed(...words: string[]): Promise<string[]> {
  const last = `COMP_WORDS=(podwire ${
    words.map((word) => `'${word}'`).join(" ")
  }); COMP_CWORD=${words.length}`;
  const body = `podwire() { printf 'ID NAMESPACE NAME STATE\\n1 default web ready\\n2 prod db ready\\n'; }
${await script("bash")}
${last}; _podwire; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = await runCommand({ program: "bash", args: ["-c", body] });
  assertEquals(stderr, "");
  return stdout.split("\n").filter((word) => word !== "");
}

Deno.test({
  name: "bash completes commands, options and the names of sandboxes",
  ignore: !await hasShell("bash"),
  fn: async () => {
    assertEquals(await completed("ins"), ["inspect"]);
    assertEquals(
      await completed("--conf-dir", "/x", "ins"),
      ["inspect"],
      "the value of an option is not a command",
    );
    assertEquals(await completed("run", "--rep"), ["--replace"]);
    assertEquals(await completed("run", "--network", "none", "--ip-"), ["--ip-range"]);
    assertEquals(await completed("run", "--dns"), ["--dns", "--dns-search", "--dns-option"]);
    assertEquals(await completed("rm", "--for"), ["--force"]);
    assertEquals(await completed("rm", "w"), ["web"]);
    assertEquals(await completed("exec", "d"), ["db"]);
    assertEquals(await completed("completion", ""), ["bash", "zsh", "fish"]);
    assertEquals(await completed("plugin", "l"), ["loopback"]);
  },
});

Deno.test("a shell without a script is refused", async () => {
  for (const shell of ["tcsh", "toString"]) {
    const { code, stdout, stderr } = await podwire(["completion", shell]);
    assertEquals({ code, stdout }, { code: 2, stdout: "" });
    assertEquals(stderr, `podwire: no completion for "${shell}"; there are bash, zsh, fish\n`);
  }
});
