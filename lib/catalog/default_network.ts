/** The default network that was chosen before, and is kept while containers are attached to it. */
export interface DefaultPin {
  readonly network: string;
  /** Its configuration file. */
  readonly file: string;
  /** When it was chosen first, ISO 8601. */
  readonly since: string;
}

/** Which network is the default for requests that name none, and why. */
export interface DefaultChoice {
  /** Undefined if there is none. A name that was given may be that of a network that does not exist. */
  readonly network: string | undefined;
  /**
   * `name`: it was given. `first`: its file comes first. `pinned`: containers are attached to it, so a file that comes
   * first now does not replace it. `gone`: there is none, because containers are attached to a network whose file is gone.
   * `unusable`: there is none, because the first file is unusable. `emptied`: there is none, because networks of files were
   * in use here, and the embedded network does not replace them by itself. `none`: there is no network.
   */
  readonly by: "name" | "first" | "pinned" | "gone" | "unusable" | "emptied" | "none";
  /** The network that is pinned, or gone. */
  readonly pin?: DefaultPin;
  /** The file that comes first. */
  readonly first?: string | undefined;
  /** The default network until now, if it was another one. */
  readonly was?: string;
}

/** What the choice depends on. */
export interface DefaultCandidates {
  /** The name that the user gave. */
  readonly named: string | undefined;
  /** The file of each usable network, by name, in order. */
  readonly usable: ReadonlyMap<string, string>;
  /** The first file of all, if it is unusable. */
  readonly unusable: string | undefined;
  /** Whether networks of files that `network create` had not made were ever in use. */
  readonly hadFiles: boolean;
  /** The previous choice. */
  readonly pin: DefaultPin | undefined;
  /** Returns whether a container is attached to the network. Called only if the choice depends on it. */
  readonly isAttached: (network: string) => Promise<boolean>;
  /** Returns whether the path is that of a file: only networks of files are pinned. */
  readonly isFile: (file: string) => boolean;
  /** The time, ISO 8601. */
  readonly now: string;
}

/**
 * Chooses the default network, and returns also what to remember. While containers are attached to the previous default
 * network, no other one replaces it: otherwise pods of one node would be in networks that are not connected.
 */
export async function chooseDefault(
  candidates: DefaultCandidates,
): Promise<{ readonly choice: DefaultChoice; readonly pin: DefaultPin | undefined }> {
  const { named, unusable, hadFiles, pin, isAttached } = candidates;
  if (named !== undefined) return { choice: { network: named, by: "name" }, pin };
  const isOffered = ([, file]: readonly [string, string]) => !hadFiles || candidates.isFile(file);
  const usable = new Map([...candidates.usable].filter(isOffered));
  const [[network, firstUsable] = []] = usable;
  const first = unusable ?? firstUsable;
  const isPassedOver = pin?.network !== network || unusable !== undefined;
  if (pin !== undefined && isPassedOver && await isAttached(pin.network)) {
    const more = { pin, first };
    if (usable.has(pin.network)) return { choice: { network: pin.network, by: "pinned", ...more }, pin };
    return { choice: { network: undefined, by: "gone", ...more }, pin };
  }
  // The pin stays: the previous network may come back.
  if (network === undefined || first === undefined) {
    const by = candidates.usable.size > usable.size ? "emptied" : "none";
    return { choice: { network: undefined, by }, pin };
  }
  if (unusable !== undefined) return { choice: { network: undefined, by: "unusable", first: unusable }, pin };
  const was = pin === undefined || pin.network === network ? {} : { was: pin.network };
  return { choice: { network, by: "first", ...was }, pin: pinOf(network, first, candidates) };
}

/** Returns what to pin: the same object if nothing has changed. */
function pinOf(
  network: string,
  file: string,
  { pin, isFile, now }: DefaultCandidates,
): DefaultPin | undefined {
  if (!isFile(file)) return undefined;
  if (pin?.network !== network) return { network, file, since: now };
  return pin.file === file ? pin : { ...pin, file };
}
