// The words that the project does not use, as data: `words_test.ts` looks for them in all files, `messages_test.ts` in messages.

/** One word, or one turn of phrase, and what is written instead. */
export interface Word {
  readonly pattern: RegExp;
  readonly instead: string;
}

const word = (pattern: RegExp, instead: string): Word => ({ pattern, instead });

/** In identifiers, comments, strings and file names alike. */
export const OLD_WORDS: readonly Word[] = [
  word(/\bspec\/[a-z_]+\.ts|lib\/spec\b/, "lib/cni"),
  word(/spare/i, "warm sandbox, warm pool"),
  word(/doom/i, "removal verdict"),
  word(/dismantl/i, "tear down"),
  word(
    /takes?Down|taken?Down|\b(take|takes|taken|taking|took) (\w+ ){0,4}down\b/i,
    "tear down, stop, remove",
  ),
  word(/\bRemains\b|DamagedRemains|\bremains\.ts|#remains/, "damaged sandboxes"),
  word(/\bStanding\b|standing(After|\.ts)|#standing/, "ready condition"),
  word(/(?<!e)lapsed/i, "last transition"),
  word(
    /(Status|Watched|status|watched)_?[sS]ubjects?|(named|network)Subject/,
    "status target, network condition",
  ),
  word(/\bQuestions(Options)?\b|questions\.ts|<Put>|: Put\b|\bPut\[\]/, "prober, probe result"),
  word(
    /(?<=(class|new|type|interface|:|<) ?)(Turns|Schedule|Slots)\b|(turns|schedule|slots)\.ts/,
    "coalescer, debouncer, semaphore",
  ),
  word(
    /\b(un)?(tell|tells|told|telling)\b|(?<=[a-z])(Tell|Tells|Told)(?![a-z])|\b(tell|told)[A-Z_]/i,
    "log, emit, notify, say",
  ),
  word(/upkeep/i, "maintenance, background, status and gc"),
  word(/\b[A-Z]\w*Seen\b/, "...Event"),
  word(/\bshown[A-Z]\w*/, "toJson, format..."),
  word(/\b(un)?seal(s|ed|ing)?\b|openSealed/i, "checksummed"),
  word(/noteIfPossible/, "writeBestEffort"),
  word(/spoken|inCommonVersion/i, "version negotiation"),
  word(/neverRan/, "firstSkippedPlugin"),
  word(/settleHint|\bisLeft\b/, "syncRetryHint, isPendingRemoval"),
  word(/endUnheard/, "endOrphanedGroups"),
  word(/SandboxMaking|\bpermit\(/, "SandboxCreator, checkPermissions"),
  word(/\b[A-Z]\w*Parts\b|\bParts\b|\bparts\.ts|\bholding\(/, "context, withSandboxLock"),
  word(/\bInside\b(?! [a-z])|lookInside/, "inspectNetns"),
  word(/Wish\b|lookAround/, "selection, snapshot"),
  word(/\bManner\b/, "policy"),
  word(/\bDoor\b|Misshapen/, "PortKey, ValidationError"),
  word(/(?<!Math\.)\bfloors?\b|\bHOUSE\b/, "layers"),
];

/** In what people read: comments, test names, help and messages. */
export const OLD_PHRASES: readonly Word[] = [
  word(/\bwhoever\b/i, "a process that, a caller that, anyone who"),
  word(/\b(nobody|somebody)\b/i, "no process, another process, a name for who it is"),
  word(/\bwhat else has a say\b/i, "what else decides"),
  word(/(?<!there )\bis no (?!longer\b|more than\b|such\b)/i, "is not a"),
  word(/\bbe it\b/i, "whether it is"),
  word(/\bfor want of\b/i, "because there is no"),
  word(/\bwho looks\b/i, "reader"),
];

/** What of these words stands in a text, as the text itself. */
export function oldWordsIn(text: string, words: readonly Word[] = [...OLD_WORDS, ...OLD_PHRASES]): string[] {
  return words.flatMap(({ pattern }) => [...text.matchAll(new RegExp(pattern, `${pattern.flags}g`))])
    .map(([found]) => found);
}
