import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  commandHelp,
  firstOperand,
  GLOBAL_OPTIONS,
  type OptionSpec,
  parseCommandLine,
} from "../../lib/cli/command.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { CniError } from "../../lib/cni/error.ts";
import { podwire } from "./fake_io.ts";

const OWN: readonly OptionSpec[] = [
  { name: "force", alias: "f", kind: "flag", help: "all the same" },
  { name: "quiet", alias: "q", kind: "flag", help: "less" },
  { name: "name", alias: "n", kind: "value", value: "NAME", help: "a name" },
  { name: "port", alias: "p", kind: "list", value: "PORT", help: "a port" },
  { name: "too", kind: "optional", value: "[PATH]", help: "there too" },
];

const parse = (...args: string[]) => parseCommandLine(args, OWN);

function refusal(...args: string[]): string {
  const error = assertThrows(() => parse(...args), CniError);
  assertEquals(error.kind, "usage");
  return error.msg;
}

Deno.test("parseCommandLine() takes options before, between and after operands", () => {
  for (const order of [["-f", "a", "b"], ["a", "-f", "b"], ["a", "b", "--force"]]) {
    const { operands, flag } = parse(...order);
    assertEquals([operands, flag("force"), flag("quiet")], [["a", "b"], true, false]);
  }
});

Deno.test("parseCommandLine() takes a value after its flag or joined to it", () => {
  for (const args of [["--name", "x=y"], ["--name=x=y"], ["-n", "x=y"], ["-n=x=y"]]) {
    assertEquals(parse(...args, "operand").value("name"), "x=y");
    assertEquals(parse(...args, "operand").operands, ["operand"]);
  }
});

Deno.test("parseCommandLine() takes an optional value after its flag, joined to it, or none", () => {
  assertEquals([parse("-f").value("too"), parse("-f").flag("too")], [undefined, false]);
  for (const args of [["--too"], ["--too", "-f"], ["-f", "--too"], ["--too", "--name", "x"]]) {
    assertEquals([parse(...args).value("too"), parse(...args).operands], ["", []]);
  }
  for (const args of [["--too", "/a=b"], ["--too=/a=b"], ["--too", "/a=b", "-f"]]) {
    assertEquals([parse(...args).value("too"), parse(...args).operands], ["/a=b", []]);
  }
  assertEquals(parse("--too", "/a", "rest").operands, ["rest"]);
  assertEquals(refusal("--too="), "option --too needs a value: --too [PATH]");
  assertEquals(refusal("--too=/a", "--too=/b"), 'option --too is given twice, as "/a" and as "/b"');
});

Deno.test("parseCommandLine() takes one value, the last one of a global option, and collects a list in order", () => {
  assertEquals(parse("-n", "1", "--name=1").value("name"), "1");
  assertEquals(refusal("-n", "1", "--name=2"), 'option --name is given twice, as "1" and as "2"');
  const global = parseCommandLine(["--state-dir=/a", "--state-dir", "/b"], GLOBAL_OPTIONS);
  assertEquals(global.value("state-dir"), "/b");
  assertEquals(parse("-p", "1", "a", "--port=2", "--port", "1").list("port"), ["1", "2", "1"]);
  assertEquals([parse().value("name"), parse().list("port")], [undefined, []]);
});

Deno.test("parseCommandLine() returns values and operands unchanged", () => {
  for (
    const text of [
      "two\nlines",
      '{\n  "x": 1\n}',
      "=",
      "a=b",
      "007",
      "1e3",
      "0x10",
      "true",
      "false",
      "-",
      " ",
      "é",
      "__proto__",
      "constructor",
    ]
  ) {
    assertEquals(parse("-f", text).operands, [text]);
    assertEquals(parse("--name", text).value("name"), text);
    assertEquals(parse("-p", text, "-p", text).list("port"), [text, text]);
  }
});

Deno.test("parseCommandLine() takes a value that begins with a dash", () => {
  assertEquals(parse("--name", "-5").value("name"), "-5");
  assertEquals(parse("--name", "--force").value("name"), "--force");
  assertEquals(parse("--name", "--force").flag("force"), false);
  assertEquals(refusal("--name", "-a\nb"), 'option --name: a value of several lines cannot begin with "-"');
});

Deno.test("parseCommandLine() takes a group of short flags", () => {
  const { flag, operands } = parse("-fq", "a");
  assertEquals([flag("force"), flag("quiet"), operands], [true, true, ["a"]]);
  assertEquals(refusal("-fx"), "unknown option -fx");
  assertEquals(refusal("-fn"), "unknown option -fn", "an option that takes a value stands alone");
});

Deno.test("parseCommandLine() refuses an unknown option at any place", () => {
  assertEquals(refusal("--nonsense"), "unknown option --nonsense");
  assertEquals(refusal("a", "--nonsense=1", "b"), "unknown option --nonsense");
  assertEquals(refusal("-x"), "unknown option -x");
  assertEquals(refusal("--f"), "unknown option --f");
  assertEquals(refusal("-force"), "unknown option -force");
  assertEquals(refusal("--no-force"), "unknown option --no-force");
  assertEquals(
    refusal("--forc"),
    "unknown option --forc",
    "no abbreviations: they break when options are added",
  );
});

Deno.test("parseCommandLine() refuses an option without its value", () => {
  assertEquals(refusal("--name"), "option --name needs a value: --name NAME");
  assertEquals(refusal("--name="), "option --name needs a value: --name NAME");
  assertEquals(refusal("--name", ""), "option --name needs a value: --name NAME");
  assertEquals(refusal("-p", "--", "a"), "option -p needs a value: -p PORT");
});

Deno.test("parseCommandLine() refuses a value for a flag", () => {
  assertEquals(refusal("--force=true"), "option --force takes no value");
  assertEquals(refusal("--force="), "option --force takes no value");
  assertEquals(refusal("-f=false"), "option -f takes no value");
});

Deno.test("parseCommandLine() reads nothing after -- as an option", () => {
  const { operands, rest, flag } = parse("a", "--", "--force", "-x", "--", "b");
  assertEquals([operands, rest, flag("force")], [["a", "--force", "-x", "--", "b"], [], false]);
});

Deno.test("parseCommandLine() does not read options of a command after the own operands", () => {
  const parseOne = (...args: string[]) => parseCommandLine(args, OWN, { ownOperands: 1 });
  const { operands, rest, value } = parseOne("web", "-n", "x", "sh", "-c", "-f", "--", "-y");
  assertEquals([operands, rest, value("name")], [["web", "sh", "-c", "-f", "--", "-y"], [], "x"]);
  assertEquals(parseOne("web", "-f", "--", "sh", "-c").rest, ["sh", "-c"]);
  for (const args of [["--", "-n", "sh", "-c"], ["-f", "--", "-n", "--", "sh", "-c"]]) {
    const { operands, rest } = parseOne(...args);
    assertEquals({ operands, rest }, { operands: ["-n"], rest: ["sh", "-c"] });
  }
});

Deno.test("firstOperand() finds the command after options and their values", () => {
  const find = (...args: string[]) => firstOperand(args, GLOBAL_OPTIONS);
  assertEquals(find("run", "--json"), 0);
  assertEquals(find("--json", "run"), 1);
  assertEquals(find("--conf-dir", "run", "run"), 2);
  assertEquals(find("--conf-dir=/x", "--timeout", "1s", "-h", "run"), 4);
  assertEquals(find("--json", "--", "run"), 1);
  assertEquals(find("--json"), 1);
});

Deno.test("every global option may stand before and after the command", async () => {
  const values: Readonly<Record<string, string>> = {
    builtin: "off",
    timeout: "1s",
    "max-failed": "3",
    "log-level": "error",
    "log-format": "json",
  };
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    for (const { name, kind } of GLOBAL_OPTIONS) {
      const option = kind === "flag" ? [`--${name}`] : [`--${name}`, values[name] ?? dir];
      const state = name === "state-dir" ? [] : ["--state-dir", dir];
      for (const args of [[...option, ...state, "attachments"], ["attachments", ...state, ...option]]) {
        const { code, stderr } = await podwire(args);
        assertEquals({ args, code, stderr }, { args, code: 0, stderr: "" });
      }
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the help of every command shows every option, on standard output only, and exits 0", async () => {
  for (const command of COMMANDS) {
    for (const args of [[command.name, "--help"], ["-h", command.name], ["help", command.name]]) {
      const { code, stdout, stderr } = await podwire(args, { uid: 1000 });
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
      assertEquals(stdout, commandHelp(command));
    }
    const help = commandHelp(command);
    assert(help.startsWith(`Usage: podwire ${command.name} [OPTIONS]`), help);
    for (const { name, alias, value } of [...command.options, ...GLOBAL_OPTIONS]) {
      const short = alias === undefined ? "    " : `-${alias}, `;
      assert(
        help.includes(`  ${short}--${name}${value === undefined ? " " : ` ${value}`}`),
        `${command.name} ${name}`,
      );
    }
  }
});

Deno.test("the main help lists every command and every global option", async () => {
  for (const args of [["--help"], ["-h"], ["help"], []]) {
    const { code, stdout, stderr } = await podwire(args, { uid: 1000 });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    for (const { name, summary } of COMMANDS) {
      assert(new RegExp(`^  ${name} +${summary}$`, "m").test(stdout), name);
    }
    for (const { name } of GLOBAL_OPTIONS) assert(stdout.includes(`--${name}`), name);
  }
});

Deno.test("no option of a command hides a global one, and no two share a letter", () => {
  for (const { name, options } of COMMANDS) {
    const all = [...options, ...GLOBAL_OPTIONS];
    const words = all.flatMap(({ name, alias }) => alias === undefined ? [name] : [name, alias]);
    assertEquals(words.length, new Set(words).size, name);
  }
});
