/**
 * Runs a program and returns its standard output.
 *
 * @throws {Error} with the last line that it wrote, if it fails
 */
export async function programOutput(program: string, args: string[], cwd?: string): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    stdin: "null",
    ...(cwd === undefined ? {} : { cwd }),
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim().split("\n").at(-1);
  throw new Error(`${program} ${args.at(-1)} exited with ${code}: ${said}`);
}
