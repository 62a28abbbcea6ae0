/** The files of a sandbox that are bound over those of `/etc` inside it. */
export interface InsidePaths {
  /** The path of its `resolv.conf`. */
  readonly resolvConf: string;
  /** The path of its `hosts`. */
  readonly hosts: string;
}

/** Returns where the files of a sandbox are, whether they are there or not. */
export function insidePaths(stateDir: string, id: string): InsidePaths {
  const dir = sandboxDir(stateDir, id);
  return { resolvConf: `${dir}/resolv.conf`, hosts: `${dir}/hosts` };
}

/** The folder with one folder for each sandbox that has files. */
export function sandboxesDir(stateDir: string): string {
  return `${stateDir}/inside/sandboxes`;
}

/** The folder with the files of a sandbox. */
export function sandboxDir(stateDir: string, id: string): string {
  return `${sandboxesDir(stateDir)}/${id}`;
}

/** The folder with one file for each network: the sandboxes that are on it. */
export function networksDir(stateDir: string): string {
  return `${stateDir}/inside/networks`;
}
