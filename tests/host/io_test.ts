import { assert, assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { denoRules } from "../../lib/host/deno_rules.ts";
import { processIo } from "../../lib/host/io.ts";

const IO = new URL("../../lib/host/io.ts", import.meta.url);

/** Runs a script that has an `io`, with only these flags. */
async function withIo(
  script: string,
  flags: readonly string[] = [],
  shell = '"$@"',
  stdin = "",
  onStderrLine = (_: string) => {},
) {
  const file = await Deno.makeTempFile({ prefix: "pwt-", suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, `import { processIo } from "${IO}"; const io = processIo(); ${script}`);
    const deno = [
      Deno.execPath(),
      "run",
      "-q",
      "--no-prompt",
      "--no-config",
      "--no-check",
      ...flags,
      file,
      "a",
      "--b",
    ];
    const env = {
      HOME: Deno.env.get("HOME") ?? "/",
      PATH: Deno.env.get("PATH") ?? "",
      NO_COLOR: "1",
      PWT: "é",
      EMPTY: "",
    };
    return await runCommand({ program: "sh", args: ["-c", shell, "sh", ...deno], env, stdin, onStderrLine });
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("processIo() needs no permission for arguments, streams and signals", async () => {
  const script = `
    io.writeError(JSON.stringify([io.args, io.stdoutIsTerminal, io.stderrIsTerminal, io.pid > 1]));
    const off = io.onSignal(["SIGTERM", "SIGINT"], () => {});
    off();
    io.write((await io.readStdin()).toUpperCase());`;
  const { stdout, stderr, code } = await withIo(script, [], undefined, "straße\n");
  assertEquals(
    { code, stdout, stderr },
    { code: 0, stdout: "STRASSE\n", stderr: '[["a","--b"],false,false,true]' },
  );
});

Deno.test("processIo() reads long input unchanged, with its byte order mark", async () => {
  const text = "\ufeff€😀".repeat(100_000);
  const { stdout } = await withIo("io.write(await io.readStdin());", [], undefined, text);
  assert(stdout === text);
  assertEquals((await withIo("io.write(await io.readStdin() + '.');")).stdout, ".");
});

Deno.test("processIo() reads the granted variables, and distinguishes empty from missing", async () => {
  const { stdout } = await withIo(
    'io.write(JSON.stringify([io.env("PWT"), io.env("EMPTY"), io.env("PWT_NOT")]));',
    ["--allow-env=PWT,EMPTY,PWT_NOT"],
  );
  assertEquals(stdout, '["é","",null]');
});

Deno.test("processIo() knows the user only with permission to read, or from Deno 2.8.3 on to run sh", async () => {
  const flag = denoRules().kernelFilesByRead ? "--allow-read=/proc/self" : "--allow-run=sh";
  const { stdout } = await withIo("io.write(String(io.uid()));", [flag]);
  assertEquals(stdout, (await runCommand({ program: "id", args: ["-u"] })).stdout.trim());
  assertEquals(String(processIo().uid()), stdout);
});

Deno.test("processIo() passes on a signal until the listener is removed", async () => {
  const script = `
    let seen = 0;
    const alive = setInterval(() => {}, 1000);
    const off = io.onSignal(["SIGUSR1", "SIGUSR2"], (name) => {
      io.write(name + "\\n");
      io.writeError(io.pid + "\\n");
      if (++seen === 2) off();
      if (seen === 2) clearInterval(alive);
    });
    io.writeError(io.pid + "\\n");`;
  const signals = ["SIGUSR2", "SIGUSR1"] as const;
  let sent = 0;
  const { stdout, code } = await withIo(script, [], undefined, "", (line) => {
    const signal = signals[sent++];
    const pid = Number(line);
    assert(pid > 1);
    if (signal) Deno.kill(pid, signal);
  });
  assertEquals({ code, stdout }, { code: 0, stdout: "SIGUSR2\nSIGUSR1\n" });
});

Deno.test("processIo() writes a long text completely through a slow pipe", async () => {
  const text = 'io.write("0123456789".repeat(100_000));';
  assertEquals((await withIo(text, [], '"$@" | (sleep 0.2; wc -c)')).stdout.trim(), "1000000");
});

Deno.test("processIo() does not fail if the reader stops reading", async () => {
  const script = 'for (let i = 0; i < 10_000; i++) io.write("line\\n"); io.writeError("done");';
  const { stdout, stderr } = await withIo(script, [], '"$@" | head -n 1');
  assertEquals({ stdout, stderr }, { stdout: "line\n", stderr: "done" });
});
