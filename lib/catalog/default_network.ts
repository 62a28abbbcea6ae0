/** The network that stands in for requests that name none, since requests came. */
export interface DefaultPin {
  readonly network: string;
  /** Where it was read. */
  readonly file: string;
  /** ISO 8601. */
  readonly since: string;
}

/** Which network stands in when a request names none, and why. */
export interface DefaultChoice {
  /** Undefined if none does. A name that was given may be that of a network that is not there. */
  readonly network: string | undefined;
  /**
   * `name`: it was given. `first`: its file comes first. `pinned`: containers are attached to it, so that a file which
   * comes before it now does not take its place. `gone`: none, since containers are attached to one whose file is gone.
   * `unusable`: none, since the file that comes first cannot be used. `emptied`: none, since networks of files were in
   * force here, for which the embedded one does not stand in by itself. `none`: there is no network.
   */
  readonly by: "name" | "first" | "pinned" | "gone" | "unusable" | "emptied" | "none";
  /** What is pinned, or gone. */
  readonly pin?: DefaultPin;
  /** The file that would be first. */
  readonly first?: string;
  /** Which one it was until now, where that was another one. */
  readonly was?: string;
}

/** What is chosen from. */
export interface DefaultQuestion {
  /** The name that was given. */
  readonly named: string | undefined;
  /** The file of each usable network, by name, in order. */
  readonly usable: ReadonlyMap<string, string>;
  /** The file that comes first of all, if it cannot be used. */
  readonly unusable: string | undefined;
  /** Whether networks of files were in force at any time. */
  readonly hadFiles: boolean;
  /** The choice of last time. */
  readonly pin: DefaultPin | undefined;
  /** Whether a container is attached to the network. Asked only where that decides. */
  readonly isAttached: (network: string) => Promise<boolean>;
  /** Whether the network of this file may be pinned. */
  readonly isFile: (file: string) => boolean;
  /** ISO 8601. */
  readonly now: string;
}

/**
 * Chooses the default network, and gives what to remember of that. As long as containers are attached to the one of
 * last time, no other takes its place: pods of one node would be in networks that do not know each other.
 */
export async function chooseDefault(
  question: DefaultQuestion,
): Promise<{ readonly choice: DefaultChoice; readonly pin: DefaultPin | undefined }> {
  const { named, usable, unusable, hadFiles, pin, isAttached } = question;
  if (named !== undefined) return { choice: { network: named, by: "name" }, pin };
  const [[network, firstUsable] = []] = usable;
  const first = unusable ?? firstUsable;
  const isPassedOver = pin?.network !== network || unusable !== undefined;
  if (pin !== undefined && isPassedOver && await isAttached(pin.network)) {
    const shown = { pin, ...(first === undefined ? {} : { first }) };
    if (usable.has(pin.network)) return { choice: { network: pin.network, by: "pinned", ...shown }, pin };
    return { choice: { network: undefined, by: "gone", ...shown }, pin };
  }
  // The network of last time may come back.
  if (network === undefined || first === undefined) {
    return { choice: { network: undefined, by: "none" }, pin };
  }
  if (unusable !== undefined) return { choice: { network: undefined, by: "unusable", first: unusable }, pin };
  if (hadFiles && !question.isFile(first)) return { choice: { network: undefined, by: "emptied" }, pin };
  const was = pin === undefined || pin.network === network ? {} : { was: pin.network };
  return { choice: { network, by: "first", ...was }, pin: pinOf(network, first, question) };
}

/** The same object where nothing has changed. */
function pinOf(network: string, file: string, { pin, isFile, now }: DefaultQuestion): DefaultPin | undefined {
  if (!isFile(file)) return undefined;
  if (pin?.network !== network) return { network, file, since: now };
  return pin.file === file ? pin : { ...pin, file };
}
