/** The commands that a document shows, with their output, run on a machine of a test. */
import { assert, assertEquals } from "@std/assert";
import type { SystemdMachine } from "./systemd_machine.ts";

/** A command, and the output that the document shows. */
export interface Shown {
  readonly command: string;
  readonly output: string;
}

/** The commands of the first block of a console below a heading. */
export function commandsOf(document: string, heading: string): readonly Shown[] {
  const section = document.slice(document.indexOf(`\n## ${heading}\n`));
  const [, text = ""] = /```console\n(.*?)```/s.exec(section) ?? [];
  return text.split(/^# /m).slice(1).map((piece) => {
    // A text for standard input belongs to the command.
    const end = piece.includes("<<'EOF'") ? piece.indexOf("\nEOF\n") + 5 : piece.indexOf("\n") + 1;
    return { command: piece.slice(0, end), output: piece.slice(end) };
  });
}

/** Runs the commands in their order. Each must succeed, and print what the document shows. */
export async function runShown(machine: SystemdMachine, steps: readonly Shown[]): Promise<void> {
  // One shell for all: functions last. The standard error of a command is shown too.
  const mark = "=-=-=";
  const script = steps.map(({ command }) => `${command}echo "${mark}$?"\n`).join("");
  const { stdout } = await machine.sh("exec sh 2>&1", script);
  const said = stdout.split(new RegExp(`^${mark}`, "m"));
  for (const [index, { command, output }] of steps.entries()) {
    const text = (said[index] ?? "the shell has gone").replace(/^\d+\n/, "").trimEnd();
    assert(formOf(output).test(text), `# ${command}${text}\n\nin the document stands\n${output}`);
    const failed = Number((said[index + 1] ?? "").split("\n")[0]);
    assertEquals({ command, failed }, { command, failed: 0 });
  }
}

/** Texts of that form are equal except for IDs and times; `...` stands for anything. */
function formOf(text: string): RegExp {
  const pattern = text.trimEnd().replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")
    .replaceAll("\\.\\.\\.", "[^]*")
    .replaceAll(/\b([0-9a-f]{32}|[0-9a-f]{12})\b/g, (id) => `[0-9a-f]{${id.length}}`)
    .replaceAll(/\b\d{4}-\d\d-\d\dT[\d:\\.]+Z/g, "[-\\dT:.]+Z");
  return new RegExp(`^${pattern}$`);
}
