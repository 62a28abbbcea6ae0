import { assertEquals, assertInstanceOf } from "@std/assert";
import { startProblem } from "../../lib/host/command.ts";
import { failedStart } from "../../lib/host/inherited.ts";
import { HAS_LIBC } from "../open_libc.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

/** Runs a script with these descriptors open, and returns its output. */
async function runWith(redirections: string, script: string, permissions = "-A"): Promise<unknown> {
  const path = await Deno.makeTempFile({ dir: `${ROOT}tests/host`, prefix: ".inherited-", suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, script);
    // Closes the descriptors that the tests themselves inherited.
    const close =
      'for n in /proc/$$/fd/*; do n=${n##*/}; [ $n -lt 3 ] || [ $n = 255 ] || eval "exec $n>&-"; done';
    const command = `${close}; exec "$0" run -q --no-prompt ${permissions} "$1" ${redirections}`;
    const { stdout, stderr } = await new Deno.Command("bash", {
      args: ["-c", command, Deno.execPath(), path],
    })
      .output();
    const text = new TextDecoder().decode(stdout);
    if (text === "") throw new Error(new TextDecoder().decode(stderr));
    return JSON.parse(text);
  } finally {
    await Deno.remove(path);
  }
}

const SEE = `
import { runCommand } from "../../lib/host/command.ts";
import { runAttached } from "../../lib/host/attached.ts";
import { mayCallLibc } from "../../lib/host/libc.ts";
mayCallLibc();
const script = 'cd /proc/self/fd; for n in *; do [ -e /proc/self/fd/$n ] && echo $n; done; echo $$; exec env';
const seen = [];
for (const ownGroup of [true, false]) {
  let started;
  const env = { PATH: "/usr/bin:/bin", CNI_ARGS: "A=1;B='x y'\\n" };
  const { stdout } = await runCommand({ program: "sh", args: ["-c", script], env, ownGroup, onStart: (pid) => started = pid });
  const numbers = stdout.split("\\n").filter((line) => /^[0-9]+$/.test(line)).map(Number);
  const variables = stdout.split("\\n").filter((line) => /^\\w+=/.test(line) && !/^(OLD)?PWD=/.test(line)).sort();
  seen.push({ numbers: numbers.slice(0, -1), samePid: numbers.at(-1) === started, variables });
}
const attached = ["-c", "ls /proc/self/fd | wc -l >&2; [ ! -e /proc/self/fd/12 ] && [ ! -e /proc/self/fd/3 ]"];
const { code } = await runAttached({ program: "sh", args: attached, inheritEnv: true });
console.log(JSON.stringify({ seen, code }));
`;
const NOTHING = {
  seen: [true, false].map(() => ({
    numbers: [0, 1, 2],
    samePid: true,
    variables: ["CNI_ARGS=A=1;B='x y'", "PATH=/usr/bin:/bin"],
  })),
  code: 0,
};

for (const redirections of ["", "3</etc/passwd", "3</etc/passwd 12</etc/passwd", "200</etc/passwd"]) {
  Deno.test(`programs inherit only standard input, output and error, if started with "${redirections}"`, async () => {
    assertEquals(await runWith(redirections, SEE), NOTHING);
    assertEquals(await runWith(redirections, SEE, "-A --deny-ffi"), NOTHING);
  });
}

const COUNT_SHELLS = `
import { runCommand } from "../../lib/host/command.ts";
import { mayCallLibc } from "../../lib/host/libc.ts";
mayCallLibc();
let shells = 0;
const { Command } = Deno;
Deno.Command = class extends Command {
  constructor(program, options) {
    super(program, options);
    if (program === "sh") shells++;
  }
};
await runCommand({ program: "true" });
console.log(shells);
`;

Deno.test({
  name: "only a program that could inherit a descriptor is preceded by a shell, if the C library is open",
  ignore: !HAS_LIBC,
  fn: async () => {
    assertEquals(await runWith("", COUNT_SHELLS), 0);
    assertEquals(await runWith("3</etc/passwd", COUNT_SHELLS), 1);
    assertEquals(await runWith("", COUNT_SHELLS, "-A --deny-ffi"), 1);
  },
});

Deno.test("a program that a shell could not become fails like a failed start", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const failureOf = async (program: string) => {
      const args = ["-c", 'exec "$@"', "podwire-start", program];
      const { code, stderr } = await new Deno.Command("sh", { args, env: { LC_ALL: "C" } }).output();
      return failedStart(program, code, new TextDecoder().decode(stderr));
    };
    assertEquals(startProblem(await failureOf(`${dir}/missing`)), "not-found");
    assertEquals(startProblem(await failureOf(dir)), "permission");
    await Deno.writeTextFile(`${dir}/script`, "#!/no/interpreter\n", { mode: 0o755 });
    assertEquals(startProblem(await failureOf(`${dir}/script`)), "not-found");
    await Deno.copyFile("/bin/true", `${dir}/busy`);
    await Deno.chmod(`${dir}/busy`, 0o755);
    {
      using _writer = await Deno.open(`${dir}/busy`, { write: true });
      const busy = await failureOf(`${dir}/busy`);
      assertInstanceOf(busy, Error);
      assertEquals(startProblem(busy), "busy");
    }
    assertEquals(await failureOf(`${dir}/busy`), undefined);
    assertEquals(failedStart("/p", 127, "plugin: not found"), undefined, "the words are the program's own");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
