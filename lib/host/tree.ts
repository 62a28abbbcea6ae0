/** Copies a file, with exactly this mode. Requires `--allow-read` and `--allow-write`. */
export async function copyFile(from: string, to: string, mode: number): Promise<void> {
  await Deno.copyFile(from, to);
  await Deno.chmod(to, mode);
}

/** Removes a directory and what is in it; one that is absent is fine. Requires `--allow-write`. */
export async function removeTree(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
