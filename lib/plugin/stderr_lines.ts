const MOST_LINES = 200;
const LONGEST_LINE = 2_000;

/**
 * Passes on the lines that one call of a plugin writes to standard error: at most the first 200, then the number of the
 * others, because a plugin may write without end. A log line is many times as long as a short line of a plugin.
 */
export class StderrLines {
  readonly #report: (line: string) => void;
  #count = 0;

  constructor(report: (line: string) => void) {
    this.#report = report;
  }

  /** Adds the next line. */
  add(line: string): void {
    if (++this.#count > MOST_LINES) return;
    const rest = line.length - LONGEST_LINE;
    this.#report(rest > 0 ? `${line.slice(0, LONGEST_LINE)}... (and ${rest} characters more)` : line);
  }

  /** Reports how many lines were left out. */
  end(): void {
    const rest = this.#count - MOST_LINES;
    if (rest > 0) this.#report(`... (and ${rest} lines more)`);
  }
}
