/** A repeatable source of random choices (mulberry32): the same seed gives the same test cases. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number from 0 to below the limit. */
  below(limit: number): number {
    this.#state = this.#state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(this.#state ^ this.#state >>> 15, 1 | this.#state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  one<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** A random number of values, below the limit. */
  list<T>(limit: number, make: (index: number) => T): T[] {
    return Array.from({ length: this.below(limit) }, (_, index) => make(index));
  }
}

/** The variable that sets another seed than the default, or repeats a case that failed. */
export const SEED_VARIABLE = "PODWIRE_TEST_SEED";

/** The seed in the environment. */
export function seedFromEnvironment(): number | undefined {
  const text = Deno.env.get(SEED_VARIABLE) ?? "";
  if (text === "") return undefined;
  if (!/^\d{1,10}$/.test(text)) throw new Error(`${SEED_VARIABLE} must be a number, not ${text}`);
  return Number(text);
}

/** Random choices of one case. Neighbouring seeds give unrelated choices. */
export function randomOf(seed: number): Random {
  return new Random(Math.imul(seed, 0x9e3779b1));
}

/**
 * A test of `count` random cases. Each case has its own seed, which a failure prints: a run with that seed begins with
 * the case that failed.
 */
export function property(name: string, check: (random: Random) => void, cases = 10_000): void {
  Deno.test(name, () => {
    const first = seedFromEnvironment() ?? 1;
    for (let seed = first; seed < first + cases; seed++) {
      try {
        check(randomOf(seed));
      } catch (cause) {
        const what = cause instanceof Error ? cause.message : String(cause);
        throw new Error(`to repeat this case: ${SEED_VARIABLE}=${seed}; ${what}`, { cause });
      }
    }
  });
}
