/** The middle one of the values: the mean of the two middle ones if their number is even; NaN if there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = NaN, high = NaN] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}

/**
 * The median of the ratios of what was measured in the same round: what disturbs a round disturbs both of its values.
 *
 * @throws {RangeError} if the numbers of rounds differ
 */
export function medianRatio(values: readonly number[], others: readonly number[]): number {
  return median(paired(values, others, (a, b) => a / b));
}

/** The median of the differences of what was measured in the same round. @throws {RangeError} as {@linkcode medianRatio} */
export function medianDifference(values: readonly number[], others: readonly number[]): number {
  return median(paired(values, others, (a, b) => a - b));
}

function paired(
  values: readonly number[],
  others: readonly number[],
  compare: (value: number, other: number) => number,
): number[] {
  if (values.length !== others.length) {
    throw new RangeError(`Cannot pair ${values.length} rounds with ${others.length}: their numbers differ`);
  }
  return values.map((value, round) => compare(value, others[round] ?? NaN));
}
