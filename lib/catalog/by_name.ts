/** What the rules below need to know about a file. */
export interface NamedFile {
  readonly file: string;
  /** Undefined if the file is unusable. */
  readonly list?: { readonly name: string } | undefined;
}

/** The network of each name by the rule for pods: the first usable file in the order given. */
export function byNameForPod<F extends NamedFile>(files: readonly F[]): ReadonlyMap<string, F> {
  const chosen = new Map<string, F>();
  for (const file of files) {
    if (file.list !== undefined && !chosen.has(file.list.name)) chosen.set(file.list.name, file);
  }
  return chosen;
}

/** The network of each name by the rule of libcni and cnitool: lists come before single configurations. */
export function byNameAsCnitool<F extends NamedFile>(files: readonly F[]): ReadonlyMap<string, F> {
  const lists = files.filter(({ file }) => file.endsWith(".conflist"));
  return byNameForPod([...lists, ...files]);
}
