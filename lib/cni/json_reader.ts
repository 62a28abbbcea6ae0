import { CniError, ERROR_CODES, type ErrorKind } from "./error.ts";

/** A position in a text, one-based; columns count characters, not bytes or UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One step from a value to a value in it: a key or an index. */
export type JsonPath = readonly (string | number)[];

/** What to do with a key that an object has twice. */
export type DuplicateKeys = "last wins" | "refused";

/** The source of a JSON text, for its errors, and the limits of the text. */
export interface JsonSource {
  /** The file that holds the text. */
  readonly file?: string | undefined;
  /** The kind of the errors. @default {"config"} */
  readonly kind?: ErrorKind | undefined;
  /** How deep objects and arrays may be nested. @default {2 * MAX_DEPTH} */
  readonly maxDepth?: number | undefined;
  /** What to do with a key that an object has twice. @default {"last wins"} */
  readonly duplicateKeys?: DuplicateKeys | undefined;
}

/**
 * How deep a configuration or a result may be nested. Other texts may be nested twice as deep, so that a request or a
 * record that encloses them can always be read again. The limit makes recursion safe everywhere.
 */
export const MAX_DEPTH = 512;

/** The longest path in a message; the error itself has the whole path. */
const SHOWN_PATH_LENGTH = 120;

const BYTE_ORDER_MARK = "\ufeff";
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const WORD = /[-+.\w]+/y;
const SPACE = /[\t\n\r ]*/y;
const LINE_BREAK = /\r\n|\n|\r/g;
const SIMPLE_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ["\\", "\\"],
  ["/", "/"],
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
]);

/** Hints about JavaScript that is not JSON, by the unexpected character. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ["/", "JSON has no comments"],
  ["'", "strings are written in double quotes"],
  [",}", "a comma must not stand before a closing bracket"],
  [",]", "a comma must not stand before a closing bracket"],
]);

/**
 * Steps through a JSON text (RFC 8259) once, from left to right.
 *
 * JSON.parse is not enough: its errors have the position only in their messages, which change with the engine.
 */
export class JsonReader {
  offset = 0;
  readonly #path: (string | number)[] = [];
  #depth = 0;
  #deepest = 0;
  #hasDuplicateKeys = false;
  #keyOffset = 0;

  constructor(readonly text: string, readonly source: JsonSource = {}) {}

  /** The deepest nesting that was read so far. */
  get deepest(): number {
    return this.#deepest;
  }

  /** Whether one of the objects read so far has a key twice. */
  get hasDuplicateKeys(): boolean {
    return this.#hasDuplicateKeys;
  }

  /** Skips white space and returns the next character; an empty string at the end. */
  next(): string {
    if (this.text.charCodeAt(this.offset) <= 0x20) {
      SPACE.lastIndex = this.offset;
      SPACE.test(this.text);
      this.offset = SPACE.lastIndex;
    }
    return this.text.charAt(this.offset);
  }

  /** Stops at the first value of the document. */
  begin(): void {
    if (this.text === "") throw this.error("not valid JSON: the text is empty");
    if (this.text.startsWith(BYTE_ORDER_MARK)) {
      throw this.error(
        "the text starts with a byte-order mark (U+FEFF)",
        "save it as UTF-8 without byte-order mark",
      );
    }
    if (this.next() === "") {
      this.offset = 0;
      throw this.error("not valid JSON: the text is only white space");
    }
  }

  /** Checks that nothing follows the document. */
  end(): void {
    if (this.next() !== "") throw this.error(`unexpected ${this.#found()} after the end of the JSON value`);
  }

  /** Reads a string, from quote to quote. */
  string(): string {
    const start = this.offset;
    let text = "";
    let chunk = ++this.offset;
    for (; this.offset < this.text.length; this.offset++) {
      const char = this.text.charCodeAt(this.offset);
      if (char === 0x22) return text + this.text.slice(chunk, this.offset++);
      if (char < 0x20) throw this.error(`unexpected ${this.#found()} in a string: write it as an escape`);
      if (char !== 0x5c) continue;
      text += this.text.slice(chunk, this.offset) + this.#escaped();
      chunk = this.offset + 1;
    }
    this.offset = start;
    throw this.error("a string is not closed");
  }

  /** Reads `true`, `false`, `null` or a number, as written. */
  word(): string {
    WORD.lastIndex = this.offset;
    const word = WORD.test(this.text) ? this.text.slice(this.offset, WORD.lastIndex) : "";
    const known = word === "true" || word === "false" || word === "null";
    if (!known && !NUMBER.test(word)) {
      if (word === "") throw this.#unexpected("a value");
      const short = word.length > 40 ? `${word.slice(0, 40)}...` : word;
      throw this.error(`"${short}" is not a JSON ${/^[-+.\d]/.test(word) ? "number" : "value"}`);
    }
    this.offset += word.length;
    return word;
  }

  /** Reads an object. `read` is called after each colon and must read the value. */
  object(read: (key: string) => void): void {
    this.#open();
    for (let first = true;; first = false) {
      const next = this.next();
      if (first && next === "}") break;
      if (next !== '"') throw this.#unexpected(`a key in double quotes${first ? ' or "}"' : ""}`);
      const keyOffset = this.offset;
      const key = this.string();
      this.#path.push(key);
      if (this.next() !== ":") throw this.#unexpected('":"');
      this.offset++;
      this.next();
      this.#keyOffset = keyOffset;
      read(key);
      this.#path.pop();
      if (this.#closes("}")) break;
    }
    this.#close();
  }

  /** Reads an array. `read` is called at each element and must read it. */
  array(read: (index: number) => void): void {
    this.#open();
    for (let index = 0;; index++) {
      const next = this.next();
      if (next === "]" && index === 0) break;
      if (next === "" || next === "]") throw this.#unexpected(`a value${index === 0 ? ' or "]"' : ""}`);
      this.#path.push(index);
      read(index);
      this.#path.pop();
      if (this.#closes("]")) break;
    }
    this.#close();
  }

  /** Makes the error about the current position. */
  error(msg: string, hint?: string): CniError {
    return this.#error(msg, this.offset, ERROR_CODES.decodingFailure, hint);
  }

  /** The `read` of {@linkcode JsonReader.object} calls this for a key that the object already has. */
  duplicateKey(): void {
    this.#hasDuplicateKeys = true;
    if (this.source.duplicateKeys !== "refused") return;
    const msg = "the object has this key twice";
    throw this.#error(msg, this.#keyOffset, ERROR_CODES.invalidNetworkConfig);
  }

  #error(msg: string, offset: number, code: number, hint?: string): CniError {
    const { file, kind = "config" } = this.source;
    const path = formatPath(this.#path);
    return new CniError(kind, path === "" ? msg : `${readablePath(path)}: ${msg}`, {
      code,
      path,
      ...positionAt(this.text, offset),
      file,
      hint,
    });
  }

  #open(): void {
    const { maxDepth = 2 * MAX_DEPTH } = this.source;
    if (++this.#depth > maxDepth) throw this.error(`nested deeper than ${maxDepth} levels`);
    if (this.#depth > this.#deepest) this.#deepest = this.#depth;
    this.offset++;
  }

  #close(): void {
    this.#depth--;
    this.offset++;
  }

  #closes(bracket: string): boolean {
    const next = this.next();
    if (next === ",") this.offset++;
    else if (next !== bracket) throw this.#unexpected(`"," or "${bracket}"`);
    return next === bracket;
  }

  #escaped(): string {
    const letter = this.text.charAt(++this.offset);
    const simple = SIMPLE_ESCAPES.get(letter);
    if (simple !== undefined) return simple;
    if (letter === "") return "";
    const digits = this.text.slice(this.offset + 1, this.offset + 5);
    if (letter !== "u" || !/^[\da-f]{4}$/i.test(digits)) {
      this.offset--;
      throw this.error(
        `unexpected escape ${quoted(`\\${letter}${letter === "u" ? digits : ""}`)} in a string`,
      );
    }
    this.offset += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  #unexpected(wanted: string): CniError {
    const char = this.text.charAt(this.offset);
    const behindComma = this.text.slice(0, this.offset).trimEnd().endsWith(",");
    const hint = HINTS.get(behindComma ? `,${char}` : char);
    return this.error(`unexpected ${this.#found()}: expected ${wanted}`, hint ?? HINTS.get(char));
  }

  #found(): string {
    const code = this.text.codePointAt(this.offset);
    return code === undefined ? "end of the text" : quoted(String.fromCodePoint(code));
  }
}

/** Prints a path as `plugins[1].type`. */
export function formatPath(path: JsonPath): string {
  return path.map((step, index) => {
    if (typeof step === "number") return `[${step}]`;
    if (!/^[\w-]+$/.test(step)) return `[${JSON.stringify(step)}]`;
    return index === 0 ? step : `.${step}`;
  }).join("");
}

/** Shortens a printed path for messages: a very long one keeps its beginning and its end. */
export function readablePath(path: string): string {
  const half = SHOWN_PATH_LENGTH / 2;
  return path.length <= SHOWN_PATH_LENGTH ? path : `${path.slice(0, half)}...${path.slice(-half)}`;
}

/** Returns the position of an offset, in UTF-16 units, in a text. */
export function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset).split(LINE_BREAK);
  let column = 1;
  for (const _ of before.at(-1) ?? "") column++;
  return { line: before.length, column };
}

function quoted(text: string): string {
  const visible = text.replace(
    /[\p{C}\p{Z}]/gu,
    (char) => char === " " ? char : `U+${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}`,
  );
  if (visible !== text) return visible;
  // A double quote between double quotes is hard to read.
  return text.includes('"') ? `'${text}'` : `"${text}"`;
}
