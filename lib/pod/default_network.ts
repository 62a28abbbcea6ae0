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
   * `none`: there is no network.
   */
  readonly by: "name" | "first" | "pinned" | "gone" | "none";
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
  const { named, usable, pin, isAttached } = question;
  if (named !== undefined) return { choice: { network: named, by: "name" }, pin };
  const [[network, first] = []] = usable;
  if (pin !== undefined && pin.network !== network && await isAttached(pin.network)) {
    const shown = { pin, ...(first === undefined ? {} : { first }) };
    if (usable.has(pin.network)) return { choice: { network: pin.network, by: "pinned", ...shown }, pin };
    return { choice: { network: undefined, by: "gone", ...shown }, pin };
  }
  // The network of last time may come back.
  if (network === undefined || first === undefined) {
    return { choice: { network: undefined, by: "none" }, pin };
  }
  const was = pin === undefined || pin.network === network ? {} : { was: pin.network };
  return { choice: { network, by: "first", ...was }, pin: pinOf(network, first, question) };
}

/** The same object where nothing has changed. */
function pinOf(network: string, file: string, { pin, isFile, now }: DefaultQuestion): DefaultPin | undefined {
  if (!isFile(file)) return undefined;
  if (pin?.network !== network) return { network, file, since: now };
  return pin.file === file ? pin : { ...pin, file };
}
