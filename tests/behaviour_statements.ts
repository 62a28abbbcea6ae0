// Which statements of the behaviour specification there are, and how tests and `behaviour_coverage.md` name them.

/** The numbers of each group that has to be covered. A group that is not here may be named and is not asked for. */
export const STATEMENTS: Readonly<Record<string, string>> = {
  A: "1-87",
  B: "1-87",
  C: "1-50",
  D: "1-16 20-44 50-76 80-84",
  E: "1-37 40-47",
  F: "1-114 120-138 140-144",
  G: "1-53",
  H: "1-27",
};

/** Every statement of `groups`, such as `A12`, in order. */
export function statementsOf(groups: Readonly<Record<string, string>>): string[] {
  return Object.entries(groups).flatMap(([group, ranges]) =>
    ranges.split(" ").flatMap((range) => {
      const [first = "", last = first] = range.split("-");
      return span(group, Number(first), Number(last));
    })
  );
}

function span(group: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${group}${first + index}`);
}

const LIST = /^[A-Z]\d+(?:(?:,? | and | to |-)[A-Z]\d+)*(?![\w-])/;
const RANGE = /([A-Z])(\d+)(?: to |-)\1(\d+)/g;

/** The statements at the start of a name or line: `B16-B18 B20 words` names four; one amid the words counts nothing. */
export function namedAtStart(text: string): string[] {
  const list = LIST.exec(text)?.[0] ?? "";
  const spelledOut = list.replace(RANGE, (_, group, first, last) => span(group, +first, +last).join(" "));
  return spelledOut.match(/[A-Z]\d+/g) ?? [];
}

/** A literal that names a test: the first argument of `Deno.test`, `t.step` or an own `binaryTest` or `property`, or a `name:`. */
const TEST_NAME = /(?:\b(?:test|\w+Test|property|\w+\.step)\(|\bname:)\s*(["'`])((?:\\.|(?!\1).)*)\1/gs;
const COMMENT = /^\s*(?:\/\/|\/?\*).*$/gm;

/** The names of the tests in a file, as far as they are written as literals. */
export function testNames(source: string): string[] {
  return [...source.replace(COMMENT, "").matchAll(TEST_NAME)].map(([, , name = ""]) => name);
}

/** The statements of each entry of `behaviour_coverage.md`: a list item that begins with numbers and tells why. */
export function excusedIn(markdown: string): string[] {
  return [...markdown.matchAll(/^- \*\*([^*]+)\*\* \S/gm)].flatMap(([, list = ""]) => namedAtStart(list));
}

/** What is wrong between the statements, the names of the tests and the entries without a test. */
export function coverageProblems(
  groups: Readonly<Record<string, string>>,
  names: readonly string[],
  excused: readonly string[],
): string[] {
  const statements = statementsOf(groups);
  const tested = names.flatMap(namedAtStart);
  const isUnknown = (number: string) =>
    Object.hasOwn(groups, number.charAt(0)) && !statements.includes(number);
  const twice = excused.filter((number, index) => excused.indexOf(number) < index);
  return [
    ...statements.filter((number) => !tested.includes(number) && !excused.includes(number))
      .map((number) => `${number} has no test and no entry`),
    ...new Set(
      tested.filter(isUnknown).map((number) => `${number} is in the name of a test and does not exist`),
    ),
    ...excused.filter((number) => !statements.includes(number))
      .map((number) => `${number} has an entry and does not exist`),
    ...excused.filter((number) => tested.includes(number))
      .map((number) => `${number} has an entry and a test by now: remove the entry`),
    ...twice.map((number) => `${number} has two entries`),
  ];
}
