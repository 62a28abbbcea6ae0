// The commands under "The daemon" in the README, in their order, on a machine with the real systemd.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { need } from "./need.ts";
import { needMachine, SystemdMachine } from "./systemd_machine.ts";

const README = Deno.readTextFileSync(fromFileUrl(new URL("../../README.md", import.meta.url)));

/** A command, and the output that the README shows. */
interface Shown {
  readonly command: string;
  readonly output: string;
}

function commandsOf(heading: string): readonly Shown[] {
  const section = README.slice(README.indexOf(`\n## ${heading}\n`));
  const [, text = ""] = /```console\n(.*?)```/s.exec(section) ?? [];
  return text.split(/^# /m).slice(1).map((piece) => {
    // A text for standard input belongs to the command.
    const end = piece.includes("<<'EOF'") ? piece.indexOf("\nEOF\n") + 5 : piece.indexOf("\n") + 1;
    return { command: piece.slice(0, end), output: piece.slice(end) };
  });
}

/** Texts of that form are equal except for IDs and times; `...` stands for anything. */
function formOf(text: string): RegExp {
  const pattern = text.trimEnd().replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")
    .replaceAll("\\.\\.\\.", "[^]*")
    .replaceAll(/\b([0-9a-f]{32}|[0-9a-f]{12})\b/g, (id) => `[0-9a-f]{${id.length}}`)
    .replaceAll(/\b\d{4}-\d\d-\d\dT[\d:\\.]+Z/g, "[-\\dT:.]+Z");
  return new RegExp(`^${pattern}$`);
}

Deno.test({
  ...need(
    ...[
      "root",
      "systemd",
      "binary",
      "cni-1.1.1",
      "runc",
      "catatonit",
      "busybox",
      "iptables",
      "curl",
    ] as const,
  ),
  ...needMachine("the scenario of the README runs line by line, and prints what stands there"),
  fn: async () => {
    const shown = commandsOf("The daemon");
    assertEquals(shown[0]?.command.startsWith("apt install "), true, "what the machine has without it");
    const steps = shown.slice(1);
    assert(steps.length > 10, "the commands were found");
    await using machine = await SystemdMachine.boot();
    // One shell for all: functions last. The standard error of a command is shown too.
    const mark = "=-=-=";
    const script = steps.map(({ command }) => `${command}echo "${mark}$?"\n`).join("");
    const { stdout } = await machine.sh("exec sh 2>&1", script);
    const said = stdout.split(new RegExp(`^${mark}`, "m"));
    for (const [index, { command, output }] of steps.entries()) {
      const text = (said[index] ?? "the shell has gone").replace(/^\d+\n/, "").trimEnd();
      assert(formOf(output).test(text), `# ${command}${text}\n\nin the README stands\n${output}`);
      const failed = Number((said[index + 1] ?? "").split("\n")[0]);
      assertEquals({ command, failed }, { command, failed: 0 });
    }
    assertEquals(await machine.done("ls /run/netns; podwire attachments --json"), "[]\n", "nothing is left");
  },
});
