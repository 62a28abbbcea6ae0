/**
 * What work of an engine needs at the least, without an engine: the start of a program, a synced write, `ip -batch`. None of
 * it uses the code that is compared with it.
 */

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The program's own standard input and environment. */
export interface BareStart {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end, in the session of this process, and returns what it printed. */
export async function bareStart(
  program: string,
  args: readonly string[],
  { stdin = "", env = {} }: BareStart = {},
): Promise<string> {
  const child = new Deno.Command(program, {
    args: [...args],
    env: { PATH, ...env },
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A program may end without reading it.
  writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {});
  const { success, stdout, stderr } = await child.output();
  if (success) return new TextDecoder().decode(stdout);
  const why = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim();
  throw new Error(`Cannot run "${[program, ...args].join(" ")}": ${why}`);
}

/** As {@linkcode bareStart}, in a session of its own. */
export async function startThroughSetsid(program: string, how: BareStart = {}): Promise<string> {
  return await bareStart("/usr/bin/setsid", [program], how);
}

/** Writes a new file so that it and its name survive a loss of power. */
export async function syncedWrite(dir: string, name: string, text: string): Promise<void> {
  using file = await Deno.open(`${dir}/${name}`, { write: true, createNew: true });
  await file.write(new TextEncoder().encode(text));
  await file.sync();
  using folder = await Deno.open(dir);
  await folder.sync();
}

/** Runs lines of `ip -batch` in one process, in the namespace of that name if one is given. */
export async function ipBatch(lines: readonly string[], netns?: string): Promise<void> {
  const where = netns === undefined ? [] : ["-n", netns];
  await bareStart("ip", [...where, "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
}
