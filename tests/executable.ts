/**
 * Writes a program that can be started at once. A process of its own writes it: a file that this process has
 * open is open, too, in each child that another test is just starting, and the kernel starts no file that is
 * open for writing.
 */
export function writeExecutable(path: string, content: string | Uint8Array, mode = "755"): void {
  const source = `${path}.source`;
  Deno.writeFileSync(source, typeof content === "string" ? new TextEncoder().encode(content) : content);
  try {
    copyExecutable(source, path, mode);
  } finally {
    Deno.removeSync(source);
  }
}

/** Copies a program in the same way. */
export function copyExecutable(source: string, path: string, mode = "755"): void {
  const args = ["-c", 'cp "$1" "$2" && chmod "$3" "$2"', "sh", source, path, mode];
  const { success } = new Deno.Command("sh", { args }).outputSync();
  if (!success) throw new Error(`Cannot write ${path}`);
}
