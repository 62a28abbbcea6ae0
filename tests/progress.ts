/**
 * Prints a line while a test runs, for a user who waits for a long one. Deno keeps what a test, or a program
 * that it starts, writes to standard error until the test has failed. The shell opens the real standard
 * error, which Deno may do with all permissions only.
 */
export function logProgress(line: string): void {
  const script = 'printf "%s\\n" "$1" >>"/proc/$PPID/fd/2"';
  new Deno.Command("sh", { args: ["-c", script, "sh", line], stderr: "null" }).outputSync();
}
