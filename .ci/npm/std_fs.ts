// What the project uses of jsr:@std/fs, with the same signature, for networks that reach npm and not JSR.
// `denow` maps the import to this file then; published code and the lock file always name the real package.

/** Makes sure that `dir` is a directory; makes it, and its missing parents, if nothing exists there. */
export async function ensureDir(dir: string | URL): Promise<void> {
  try {
    // Follows a symbolic link on purpose: a link to a directory is good enough.
    const info = await Deno.stat(dir);
    if (info.isDirectory) return;
    throw new Error(`Cannot make the directory "${dir}": a file of that name exists`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  // Recursive making does not fail if another process was faster.
  await Deno.mkdir(dir, { recursive: true });
}
