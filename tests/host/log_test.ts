import { assertEquals, assertMatch } from "@std/assert";
import { createLogger, isLogLevel, LOG_LEVELS, type LoggerOptions } from "../../lib/host/log.ts";

function logged(
  options: Omit<LoggerOptions, "write">,
  use: (log: ReturnType<typeof createLogger>) => void,
): string[] {
  const lines: string[] = [];
  use(createLogger({ ...options, write: (text) => lines.push(text) }));
  return lines;
}

Deno.test("createLogger() drops messages below its level", () => {
  const say = (log: ReturnType<typeof createLogger>) => LOG_LEVELS.forEach((level) => log[level](level));
  assertEquals(logged({ level: "debug" }, say), [
    "debug: debug\n",
    "info: info\n",
    "warn: warn\n",
    "error: error\n",
  ]);
  assertEquals(logged({}, say), ["info: info\n", "warn: warn\n", "error: error\n"]);
  assertEquals(logged({ level: "error" }, say), ["error: error\n"]);
});

Deno.test("createLogger() writes fields after the message, quoted if needed", () => {
  const fields = {
    network: "web",
    ms: 12,
    msg: "two words",
    empty: "",
    none: undefined,
    list: [1, "a"],
    eq: "a=b",
  };
  assertEquals(logged({}, (log) => log.info("attached", fields)), [
    'info: attached network=web ms=12 msg="two words" empty="" list=[1,"a"] eq="a=b"\n',
  ]);
});

Deno.test("createLogger() writes one line that cannot control a terminal", () => {
  const error = new Error("a\nb\x1b[2J");
  assertEquals(logged({}, (log) => log.warn("bad\r\nthing \x1b[31m", { error, text: "x\ny\x9b" })), [
    'warn: bad\\x0d\\nthing \\x1b[31m error="a\\nb\\u001b[2J" text="x\\ny\\x9b"\n',
  ]);
});

Deno.test("createLogger() colours the level only on request", () => {
  assertEquals(logged({ color: true }, (log) => log.error("x")), ["\x1b[31merror\x1b[0m: x\n"]);
  assertEquals(logged({ color: true, format: "json" }, (log) => log.error("x"))[0]?.includes("\x1b"), false);
});

Deno.test("createLogger() writes one JSON object in each line", () => {
  const now = () => new Date("2026-01-02T03:04:05.678Z");
  const fields = { n: 1n, error: new Error("no\nroute"), level: "mine", nested: { a: [null] } };
  const [line = ""] = logged({ format: "json", now }, (log) => log.info("two\nlines", fields));
  assertMatch(line, /^[^\n]+\n$/);
  assertEquals(JSON.parse(line), {
    time: "2026-01-02T03:04:05.678Z",
    level: "info",
    msg: "two\nlines",
    n: "1",
    error: "no\nroute",
    level_: "mine",
    nested: { a: [null] },
  });
});

Deno.test("createLogger() makes independent loggers", () => {
  const [one, two]: [string[], string[]] = [[], []];
  const a = createLogger({ level: "debug", write: (text) => one.push(text) });
  const b = createLogger({ level: "error", write: (text) => two.push(text) });
  a.debug("x");
  b.debug("y");
  assertEquals([one, two], [["debug: x\n"], []]);
});

Deno.test("isLogLevel() knows the four levels", () => {
  assertEquals(["debug", "info", "warn", "error", "WARN", "", "toString"].map(isLogLevel), [
    true,
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
});
