/** Leaves the file of a socket at which no process listens, as a process that is killed does. */
export async function leaveDeadSocket(path: string): Promise<void> {
  // Deno removes a socket when it closes it, but only at the path that it knows.
  const listener = Deno.listen({ transport: "unix", path: `${path}.first` });
  await Deno.rename(`${path}.first`, path);
  listener.close();
}
