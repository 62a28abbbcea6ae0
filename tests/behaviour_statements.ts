// Reads docs/behaviour.md and docs/plugin-users.md, and the names of tests, which begin with the numbers of the statements that they
// prove.

/** A statement of one of the documents. */
export interface Statement {
  /** Such as `A12`. */
  readonly id: string;
  /** Whether an item says that podwire decides against it, or that it cannot be seen from outside. */
  readonly hasNote: boolean;
}

/** The groups that are not about a runtime: test doubles, and how statements were confirmed. */
const GROUPS_ASIDE = ["Y", "Z"];

/** The statements of the document, in its order. */
export function statementsIn(markdown: string): readonly Statement[] {
  return [...markdown.matchAll(/^- \*\*([A-Z]\d+)\*\* \S.*\n(?: .*\n)*/gm)]
    .map(([text, id = ""]) => ({ id, hasNote: /^ {2}- \*\*podwire:\*\* \S/m.test(text) }));
}

function span(group: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${group}${first + index}`);
}

const LIST = /^[A-Z]\d+(?:(?:,? | and | to |-)[A-Z]\d+)*(?![\w-])/;
const RANGE = /([A-Z])(\d+)(?: to |-)\1(\d+)/g;

/**
 * The statements at the start of a name or line: `B16-B18 B20 words` names four; one among the words does not
 * count.
 */
export function namedAtStart(text: string): string[] {
  const list = LIST.exec(text)?.[0] ?? "";
  const spelledOut = list.replace(RANGE, (_, group, first, last) => span(group, +first, +last).join(" "));
  return spelledOut.match(/[A-Z]\d+/g) ?? [];
}

/**
 * A literal that names a test: the first argument of `Deno.test`, `t.step` or an own `binaryTest`, `onMachine` or
 * `property`, or a `name:`.
 */
const TEST_NAME =
  /(?:\b(?:test|onMachine|\w+Test|property|\w+\.step)\(|\bname:)\s*(["'`])((?:\\.|(?!\1).)*)\1/gs;
const COMMENT = /^\s*(?:\/\/|\/?\*).*$/gm;

/** The names of the tests in a file, as far as they are written as literals. */
export function testNames(source: string): string[] {
  return [...source.replace(COMMENT, "").matchAll(TEST_NAME)].map(([, , name = ""]) => name);
}

/** What is wrong between the statements and the names of the tests. */
export function behaviourProblems(statements: readonly Statement[], names: readonly string[]): string[] {
  const ids = statements.map(({ id }) => id);
  const tested = names.flatMap(namedAtStart);
  const twice = ids.filter((id, index) => ids.indexOf(id) < index);
  return [
    ...statements.filter(({ id, hasNote }) =>
      !hasNote && !tested.includes(id) && !GROUPS_ASIDE.includes(id.charAt(0))
    )
      .map(({ id }) => `${id} has no test and no line that says why`),
    ...statements.filter(({ id, hasNote }) => hasNote && tested.includes(id))
      .map(({ id }) => `${id} has a test and a line that says why it has none: remove the line`),
    ...new Set(
      tested.filter((id) => !ids.includes(id)).map((id) =>
        `${id} is in the name of a test and is not in the document`
      ),
    ),
    ...twice.map((id) => `${id} is in the document twice`),
  ];
}
